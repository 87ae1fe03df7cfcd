"""Measures the claims that one subject is asked, family by family (imports no torch itself)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from prolepsis.claim import Dtype
from prolepsis.errors import Untested, let_go, within_memory
from prolepsis.experiments.families import experiment
from prolepsis.hub.needs import reads_pairs
from prolepsis.ledger import Claim
from prolepsis.measurement import Measurement
from prolepsis.unfinished import Unfinished

if TYPE_CHECKING:
    from prolepsis.subject import Subject

Found = dict[tuple[str, str], Measurement | Untested]
"""(claim id, variant) → measurement, or what is missing to make it."""
TWIN = "twin"
"""What making an untrained twin in place and undoing it is called among the names of families."""


class Known:
    """What is known of measurements already: nothing. A store of them takes its place."""

    def measured(self, _subject: "Subject", _experiment: str, measure: Callable[[], Measurement]) -> Measurement:
        """The measurement of an experiment; raises :class:`Unfinished` with it where it lacks the arms of a twin."""
        return measure()

    def finished(self, _subject: "Subject", _experiment: str, finish: Callable[[], Measurement]) -> Measurement:
        """The same measurement with these arms."""
        return finish()


@contextmanager
def done_for(_family: str) -> Iterator[None]:
    """What is done inside is done for a family of claims, or is the :data:`TWIN`; what counts it takes this place."""
    yield


def measure(claims: Sequence[Claim], subject: "Subject") -> Found:
    """Measure ``claims`` on ``subject``; (claim id, variant) → measurement, or what is missing to make it."""
    (found,) = measure_families({"": claims}, subject).values()
    if isinstance(found, Exception):
        raise found
    return found


def measure_families(
    claims: Mapping[str, Sequence[Claim]],
    subject: "Subject",
    progress: Callable[[str], None] = lambda _: None,
    known: Known | None = None,
) -> dict[str, Found | Exception]:
    """Measure ``claims`` by their families; family → its measurements, or the exception that measuring it raised.

    ``progress`` is told what is being measured. An untrained twin that is made of the subject itself comes last, once
    for all that is asked of it. Raises HarnessFault where an earlier one could not be undone.
    """
    return _Measuring(claims, subject, progress, known or Known()).families()


class _Measuring:
    """One subject's families, first as far as they go without its twin."""

    def __init__(
        self,
        claims: Mapping[str, Sequence[Claim]],
        subject: "Subject",
        progress: Callable[[str], None],
        known: Known,
    ) -> None:
        self.claims, self.subject, self.progress, self.known = claims, subject, progress, known
        self.begun: dict[str, Unfinished] = {}
        self.done = 0

    def families(self) -> dict[str, Found | Exception]:
        """Measure all families; those that lack something of the twin with it."""
        _check_trained(self.subject)
        found = {family: _caught(partial(self._begin, family)) for family in self.claims}
        begun = {family: of for family, of in found.items() if self._lacks(family) and not isinstance(of, Exception)}
        if not begun:
            return found
        try:
            with within_memory(self.subject.id, self.subject.device):
                self._prepare()
                with done_for(TWIN), _untrained(self.subject):
                    for family, measured in begun.items():
                        found[family] = _caught(partial(self._finish, family, measured))
        except Exception as error:
            # A twin that cannot be made or undone is no fault of families that need none.
            found |= dict.fromkeys(begun, error)
        return found

    def _lacks(self, family: str) -> bool:
        """Whether something of a family is left for the twin."""
        return any(claim.experiment in self.begun for claim in self.claims[family])

    def _begin(self, family: str) -> Found:
        """Measure a family's claims; those that lack the twin's arms are left to be finished."""
        measured: Found = {}
        total = sum(map(len, self.claims.values()))
        with done_for(family):
            for claim in self.claims[family]:
                self.done += 1
                name = claim.experiment
                if claim.dtype is not None and _rounds_otherwise(self.subject, claim.dtype):
                    measured[claim.key] = Untested(
                        f"the printed figure was made in {claim.dtype}, and rounding moves it by more than its last "
                        f"digit; use --claims-dtype {claim.dtype}"
                    )
                    continue
                if name in self.begun:
                    continue
                self.progress(f"{self.subject.id}: {claim.id} {name.replace('_', ' ')}, {self.done} of {total}")
                try:
                    measured[claim.key] = self._made(name, self.known.measured, partial(_begin, self.subject, name))
                except Unfinished as begun:
                    self.begun[name] = begun
        return measured

    def _prepare(self) -> None:
        """What is known of an earlier run was not prepared in this one: pairs are screened on the trained subject."""
        if self.subject.pairs is not None and reads_pairs(self.begun):
            from prolepsis.experiments.counterfactual_pairs import screened

            screened(self.subject)

    def _finish(self, family: str, measured: Found) -> Found:
        """Complete a family's measurements by what its subject's twin is asked."""
        made: dict[str, Measurement | Untested] = {}
        with done_for(family):
            for claim in self.claims[family]:
                name = claim.experiment
                if name not in self.begun or claim.key in measured:
                    continue
                if name not in made:
                    self.progress(f"{self.subject.id}, untrained: {claim.id} {name.replace('_', ' ')}")
                    made[name] = self._made(
                        name, self.known.finished, partial(_finished, self.subject, self.begun[name])
                    )
                measured[claim.key] = made[name]
        return measured

    def _made(
        self,
        name: str,
        known: Callable[["Subject", str, Callable[[], Measurement]], Measurement],
        measure: Callable[[], Measurement],
    ) -> Measurement | Untested:
        """What an experiment measures, or what is missing for it."""
        try:
            with within_memory(self.subject.id, self.subject.device):
                return known(self.subject, name, measure)
        except Untested as missing:
            let_go(missing)
            return missing


def _rounds_otherwise(subject: "Subject", dtype: Dtype) -> bool:
    """Whether the subject's states are rounded so much more or less that printed digits tell."""
    return (str(subject.dtype) == "torch.bfloat16") != (dtype == "bfloat16")


def _caught(measure: Callable[[], Found]) -> Found | Exception:
    """What is found, or the exception instead: other families are measured all the same."""
    try:
        return measure()
    except Exception as error:
        return error


def _begin(subject: "Subject", name: str) -> Measurement:
    from prolepsis.controls import but_the_twin

    return but_the_twin(subject, experiment(name))


def _finished(subject: "Subject", begun: Unfinished) -> Measurement:
    from prolepsis.controls import finished

    return finished(subject, begun)


def _check_trained(subject: "Subject") -> None:
    from prolepsis.subjects.twins import check_trained

    check_trained(subject)


def _untrained(subject: "Subject") -> AbstractContextManager[object]:
    from prolepsis.subjects.twins import untrained_in_place

    return untrained_in_place(subject)
