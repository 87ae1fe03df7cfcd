"""What a measurement has to tell the reader of the run beside its numbers (imports no torch)."""

import logging

NOTE = "claims-note"
"""The property of a test in which a note travels."""

log = logging.getLogger("prolepsis")

_untold: list[str] = []


def note(text: str) -> None:
    """Have the run say ``text`` at its end; the same text is said once."""
    log.warning(text)
    _untold.append(text)


def taken() -> list[str]:
    """What was noted since this was last asked."""
    found = list(dict.fromkeys(_untold))
    _untold.clear()
    return found
