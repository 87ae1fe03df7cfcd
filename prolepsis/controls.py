"""Control arms every experiment can run: the same measurement on control subjects."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from prolepsis.errors import NoMemory, Untested
from prolepsis.measurement import Measurement
from prolepsis.subject import Subject
from prolepsis.subjects.loading import kept_subject
from prolepsis.subjects.twins import IN_PLACE, twin_of, untrained_in_place
from prolepsis.unfinished import Unfinished, name_of, named

Values = Mapping[str, float]

_values: dict[tuple[str, str], Values] = {}


class _Last:
    """What its twin is to be ``asked`` by arm, None where a twin is asked at once."""

    def __init__(self, _: Subject) -> None:
        self.asked: dict[str, Callable[[Subject], Values]] | None = None


def control_arms(
    subject: Subject, measure: Callable[[Subject], Values], controls: Mapping[str, str | None]
) -> dict[str, Values]:
    """The very same measurement on control subjects: arm name → values, ``controls`` being arm name → subject id.

    Each control subject gets its own choice of site, features and dose. Arms without a control subject are absent, and
    so are those that an untrained twin made in place cannot be asked: its transcoder is that of the trained model.
    Within :func:`but_the_twin` those of such a twin are absent too, since they come last.
    """
    arms: dict[str, Values] = {}
    last = subject.once(_Last).asked
    for name, reference in controls.items():
        if reference == IN_PLACE and last is not None:
            last[name] = measure
        elif reference == IN_PLACE:
            arms |= twin_arms(subject, {name: measure})
        elif reference is not None:
            control = kept_subject(reference, str(subject.device), subject.dtype)
            arms[name] = _measured_once(control, measure, nullcontext())
    return arms


def twin_arms(subject: Subject, asked: Mapping[str, Callable[[Subject], Values]]) -> dict[str, Values]:
    """Arm name → what each measurement says of the untrained twin made in place; absent where it cannot be asked.

    Raises NoMemory where it could be, with more memory: without the arm nothing would ask for it again.
    """
    arms = {}
    for name, measure in asked.items():
        try:
            arms[name] = _measured_once(twin_of(subject), measure, untrained_in_place(subject))
        except NoMemory:
            raise
        except Untested:
            continue
    return arms


def but_the_twin(subject: Subject, experiment: Callable[[Subject], Measurement]) -> Measurement:
    """The measurement of an experiment; raises Unfinished with it where a twin made in place is to be asked too."""
    asked = subject.once(_Last).asked = {}
    try:
        made = experiment(subject)
    finally:
        subject.once(_Last).asked = None
    if asked:
        raise Unfinished(made, {arm: name_of(measure) for arm, measure in asked.items()})
    return made


def finished(subject: Subject, begun: Unfinished) -> Measurement:
    """The measurement with the arms it lacks."""
    start = time.perf_counter()
    arms = {**begun.made.arms, **twin_arms(subject, {arm: named(name) for arm, name in begun.asked.items()})}
    return replace(begun.made, arms=arms, seconds=begun.made.seconds + time.perf_counter() - start)


def _measured_once(
    control: Subject, measure: Callable[[Subject], Values], within: AbstractContextManager[object]
) -> Values:
    """What ``measure`` says of a control subject, which is one ``within`` a context."""
    key = (control.digest, f"{measure.__module__}.{measure.__qualname__}")
    if key not in _values:
        with within:
            _values[key] = measure(control)
    return _values[key]


def mechanism_controls(subject: Subject) -> dict[str, str | None]:
    """The fair nulls for a mechanism: no training at all, and the same behaviour by another mechanism."""
    return {"untrained twin": subject.twin, "same behaviour": subject.same_behaviour}
