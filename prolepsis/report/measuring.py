"""Measures each family of claims once per subject, however many of its tests are selected."""

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from prolepsis import archive, audit
from prolepsis.errors import Untested, UserError, let_go
from prolepsis.experiments.measuring import Found
from prolepsis.measurement import Measurement
from prolepsis.report.rows import subject_row
from prolepsis.subjects.source import SubjectSource

if TYPE_CHECKING:
    from prolepsis.judge import ClaimKey, Verdict
    from prolepsis.ledger import Claim
    from prolepsis.subject import Subject

LoadSubject = Callable[[SubjectSource], "Subject"]
MeasureFamilies = Callable[[Mapping[str, Sequence["Claim"]], "Subject"], Mapping[str, Found | Exception]]
MeasureFamily = Callable[[Sequence["Claim"], "Subject"], Mapping["ClaimKey", Measurement | Untested]]


@dataclass(frozen=True)
class Outcome:
    """What became of one claim on one subject."""

    verdict: "Verdict"
    measurement: Measurement | None
    subject: Mapping[str, Any]


class Failure:
    """An exception kept with its traceback, to be raised in each test it concerns.

    One that says what is missing or mistaken needs no traceback, and any is kept only while its subject is.
    """

    def __init__(self, error: Exception) -> None:
        if isinstance(error, UserError | Untested):
            let_go(error)
        self.error = error
        self.traceback: TracebackType | None = error.__traceback__

    def again(self) -> Exception:
        return self.error.with_traceback(self.traceback)

    def let_go(self) -> None:
        let_go(self.error)
        self.traceback = None


class Together:
    """Measures a family of claims on a subject; ``asked`` gives all families that a run asks of it.

    Where its untrained twin is made of the subject itself all of them are measured when the first is asked for, so that
    the twin comes after all else.
    """

    def __init__(self, measure: MeasureFamilies, asked: Callable[[str], Mapping[str, Sequence["Claim"]]]) -> None:
        self._measure, self._asked = measure, asked
        self._held: dict[tuple[str, str], Found | Exception] = {}

    def __call__(self, claims: Sequence["Claim"], subject: "Subject") -> Found:
        """What was measured; raises what measuring this family raised."""
        from prolepsis.subjects.twins import IN_PLACE

        if not claims:
            return {}
        family = claims[0].family
        if (subject.id, family) not in self._held:
            together = self._asked(subject.id) if subject.twin == IN_PLACE else {family: claims}
            self._held = {(subject.id, name): found for name, found in self._measure(together, subject).items()}
        found = self._held[subject.id, family]
        if isinstance(found, Exception):
            raise found
        return found


class Measuring:
    """Loads a subject when its first claim asks for it, and lets it go when another subject's turn comes.

    A verdict takes its family's multiplicity into account, so all rows of the family are measured and judged together
    and a selection of tests cannot change it.
    """

    def __init__(self, load: LoadSubject, measure: MeasureFamily) -> None:
        self._load = load
        self._measure = measure
        self._held: tuple[str, Subject | Failure] | None = None
        self._done: dict[tuple[str, str], Mapping[ClaimKey, Outcome] | Failure] = {}

    def outcome(self, claim: "Claim", source: SubjectSource, family: Sequence["Claim"]) -> Outcome:
        """The outcome of ``claim``; ``family`` are all rows judged with it. Raises what loading or measuring raised."""
        key = source.id, claim.family
        if key not in self._done:
            try:
                self._done[key] = self._run(source, family)
            except Exception as error:
                self._done[key] = Failure(error)
        done = self._done[key]
        if isinstance(done, Failure):
            raise done.again()
        return done[claim.key]

    def _run(self, source: SubjectSource, family: Sequence["Claim"]) -> Mapping["ClaimKey", Outcome]:
        """Measure and judge every row of a family on one subject; only organisms and real models are loaded.

        Rows that nothing can execute are not judged with the others, whose level they would lower for nothing.
        """
        # Judging needs scipy, which takes longer to import than a run that only collects takes altogether.
        from prolepsis.judge import judge_family, untested

        subject = None
        executable = tuple(claim for claim in family if not claim.untested)
        measured: Mapping[ClaimKey, Measurement | Untested]
        try:
            if source.tier == "arithmetic":
                measured = audit.measure(executable)
            elif source.tier == "property":
                measured = _on_random_transformers(executable)
            elif source.recording is not None:
                measured = archive.measure(executable, source.recording)
            else:
                subject = self._subject(source)
                measured = self._measure(executable, subject)
        except Untested as missing:
            about = subject_row(source, subject)
            return {
                claim.key: Outcome(untested(claim, claim.untested or str(missing)), None, about) for claim in family
            }
        verdicts = judge_family(executable, measured)
        verdicts |= {claim.key: untested(claim, claim.untested) for claim in family if claim.untested}
        about = subject_row(source, subject)
        found = {key: value for key, value in measured.items() if isinstance(value, Measurement)}
        return {claim.key: Outcome(verdicts[claim.key], found.get(claim.key), about) for claim in family}

    def _subject(self, source: SubjectSource) -> "Subject":
        """The loaded subject; the one before it is let go first, so that two never share the memory."""
        if self._held is None or self._held[0] != source.id:
            self._let_go()
            try:
                self._held = source.id, self._load(source)
            except Exception as error:
                self._held = source.id, Failure(error)
        held = self._held[1]
        if isinstance(held, Failure):
            raise held.again()
        return held

    def _let_go(self) -> None:
        """Keep nothing of the subject that is held."""
        self._held = None
        for done in self._done.values():
            if isinstance(done, Failure):
                done.let_go()
        # What is kept with a subject refers to it, and a GPU that runs out of memory collects no garbage.
        gc.collect()


def _on_random_transformers(family: Sequence["Claim"]) -> Mapping["ClaimKey", Measurement]:
    # It imports torch, which a run about the paper alone does without.
    from prolepsis.experiments import wiring_properties

    return wiring_properties.measure(family)
