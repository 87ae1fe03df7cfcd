import gc
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from prolepsis import ledger
from prolepsis.errors import HarnessFault, Untested
from prolepsis.ledger import Claim
from prolepsis.report.measuring import Measuring, Together
from prolepsis.subjects.source import SubjectSource
from prolepsis.subjects.twins import IN_PLACE
from tests.claims_project import ROW

PLANNER, IMPROVISER = (SubjectSource(id=name, tier="organism") for name in ("planner", "improviser"))


class Subject(SimpleNamespace):
    """What a report says of a subject, and nothing to measure."""

    transcoder = revision = digest = None
    n_layers = n_heads = d_model = 1


@pytest.fixture
def claims(tmp_path: Path) -> tuple[Claim, Claim]:
    """One claim of each of two families."""
    path = tmp_path / "ledger.toml"
    toy = ROW.format(id="X01", variant="asked")
    path.write_text(toy + toy.replace("X01", "X02").replace('"toy"', '"other"'))
    first, second = ledger.load(path)
    return first, second


def _nothing_measured(_family: object, _subject: object) -> Any:
    return {}


def _raised_while_measuring(_family: object, _subject: object) -> Any:
    raise ZeroDivisionError("a bug")


def _raised_from_out_of_memory(_family: object, subject: object) -> Any:
    try:
        raise MemoryError(subject)
    except MemoryError:
        raise Untested("no memory") from None


@pytest.mark.parametrize("measure", [_nothing_measured, _raised_while_measuring, _raised_from_out_of_memory])
@pytest.mark.parametrize("loads", [True, False])
def test_a_subject_is_let_go_before_the_next_is_loaded(claims: tuple[Claim, Claim], measure: Any, loads: bool) -> None:
    """Two families share one loaded subject, and it is gone by the time another one is loaded.

    So it is where what is kept with it refers to it, where measuring it raised, and where loading it raised.
    """
    alive: list[weakref.ref[Subject]] = []
    seen: list[tuple[str, int]] = []

    def load(source: SubjectSource) -> Any:
        subject = Subject(id=source.id)
        subject.known = {"runs": subject}
        seen.append((source.id, sum(ref() is not None for ref in alive)))
        alive.append(weakref.ref(subject))
        if not loads:
            raise Untested("no memory for its weights")
        return subject

    measuring = Measuring(load, measure)
    gc.disable()
    try:
        for source in (PLANNER, IMPROVISER):
            for claim in (*claims, *claims):
                with suppress(ZeroDivisionError):
                    assert measuring.outcome(claim, source, [claim]).verdict.verdict == "untested"
    finally:
        gc.enable()
    assert seen == [("planner", 0), ("improviser", 0)]


@pytest.mark.parametrize("where", ["load", "measure"])
def test_untested_is_a_verdict_wherever_it_is_found_out(claims: tuple[Claim, Claim], where: str) -> None:
    """Untested raised by loading or by measuring becomes the verdict of every row, with its reason."""

    def missing(*_: object) -> Any:
        raise Untested("the corpus is missing, 3 GiB")

    load = missing if where == "load" else lambda source: Subject(id=source.id)
    outcome = Measuring(load, missing).outcome(claims[0], PLANNER, claims)
    assert (outcome.verdict.verdict, outcome.verdict.reason) == ("untested", "the corpus is missing, 3 GiB")
    assert outcome.measurement is None
    assert outcome.subject["layers"] == (None if where == "load" else 1)


@pytest.mark.parametrize("loads", [True, False])
def test_a_row_that_nothing_can_execute_is_untested_for_its_own_reason(tmp_path: Path, loads: bool) -> None:
    """Such a row is never measured, and keeps its reason whether or not its subject can be loaded."""
    path = tmp_path / "ledger.toml"
    toy = ROW.format(id="X01", variant="asked")
    never = toy.replace("X01", "X02").replace('experiment = "X02 asked"', 'untested = "not published"')
    path.write_text(toy + never.replace('"organism", ', ""))
    family = ledger.load(path)
    asked: list[str] = []

    def load(_source: SubjectSource) -> Any:
        if not loads:
            raise Untested("no weights")
        return Subject(id="real")

    def measure(claims: Any, _subject: object) -> Any:
        asked.extend(claim.id for claim in claims)
        return {}

    measuring = Measuring(load, measure)
    reasons = [measuring.outcome(claim, SubjectSource(id="real", tier="gpu"), family).verdict for claim in family]
    assert [found.verdict for found in reasons] == ["untested", "untested"]
    assert [found.reason for found in reasons] == ["was not measured" if loads else "no weights", "not published"]
    assert asked == (["X01"] if loads else [])


@pytest.mark.parametrize("twin", [IN_PLACE, "planner-untrained", None])
def test_families_are_measured_together_where_their_twin_is_made_of_the_subject(
    claims: tuple[Claim, Claim], twin: str | None
) -> None:
    """All that the run asks of it with the first, once; a family that raised does so when it is asked for."""
    asked = {claim.family: [claim] for claim in claims}
    measured: list[list[str]] = []

    def measure(families: Mapping[str, Sequence[Claim]], _: Any) -> dict[str, Any]:
        measured.append(list(families))
        return {family: ZeroDivisionError("a bug") if family == "other" else {} for family in families}

    together = Together(measure, {"planner": asked}.__getitem__)
    subject: Any = Subject(id="planner", twin=twin)
    assert together([], subject) == {}
    for _ in range(2):
        assert together(asked["toy"], subject) == {}
        with pytest.raises(ZeroDivisionError, match="a bug"):
            together(asked["other"], subject)
    assert measured == ([["toy", "other"]] if twin == IN_PLACE else [["toy"], ["other"]] * 2)


def test_a_fault_is_raised_in_every_test_it_concerns(claims: tuple[Claim, Claim]) -> None:
    """What measuring raised once is raised again for each claim of the family, without measuring again."""
    calls: list[object] = []

    def measure(family: object, _subject: object) -> Any:
        calls.append(family)
        raise HarnessFault("the sham arm moved")

    measuring = Measuring(lambda source: Subject(id=source.id), measure)  # type: ignore[arg-type]
    depths = set()
    for _ in range(3):
        with pytest.raises(HarnessFault, match="the sham arm moved") as caught:
            measuring.outcome(claims[0], PLANNER, claims)
        depths.add(len(caught.traceback))
    assert calls == [claims]
    assert len(depths) == 1
