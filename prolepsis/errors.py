"""The four ways a run can stop short of a verdict; everything else that is raised is a bug of ours."""


class UserError(Exception):
    """Something the user gave cannot be used; the message is one line naming it and the cure (exit code 4)."""


class Untested(Exception):
    """Weights, licence, hardware or data are missing; the message says what to get and how large it is."""


class HarnessFault(Exception):
    """The instrument itself failed (a sham arm moved, a value is not a number); never turned into a verdict."""
