"""All families of a subject together: its twin comes last and once, and what is begun is not begun again."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from prolepsis.controls import control_arms
from prolepsis.engine import clean_run
from prolepsis.errors import HarnessFault, NoMemory, Untested
from prolepsis.experiments import counterfactual_pairs, measuring
from prolepsis.experiments.measuring import TWIN, Known, measure_families
from prolepsis.measurement import Measurement
from prolepsis.report.store import BEGUN, Store
from prolepsis.subject import Subject
from prolepsis.subjects import twins
from prolepsis.subjects.checkpoint import Checkpoint
from prolepsis.subjects.twins import IN_PLACE, untrained_in_place
from prolepsis.unfinished import Unfinished, name_of, named
from tests.tiny import tiny_subject, tiny_tokens

CLAIMS = {"one": ("first", "plain", "first"), "two": ("second",), "three": ("first", "plain")}
"""Family → the experiments of its claims."""
BOTH = ["first", "second"]
"""Those that ask the twin."""


def largest_logit(subject: Subject) -> dict[str, float]:
    """The largest next-token logit of one prompt."""
    return {"prompt": float(clean_run(subject, tiny_tokens(1, 6)).edit([[]]).last_logits.max())}


def least_logit(subject: Subject) -> dict[str, float]:
    """The least next-token logit of one prompt."""
    return {"prompt": float(clean_run(subject, tiny_tokens(1, 6)).edit([[]]).last_logits.min())}


class Experiments:
    """Three experiments, two of which ask the twin; ``log`` holds what was run, weights drawn, and families."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.raising: dict[str, BaseException] = {}
        draw, done_for = twins._draw, measuring.done_for

        def logged(family: str) -> Any:
            self.log.append(family)
            return done_for(family)

        def drawn(*given: Any) -> None:
            if "drawing" in self.raising:
                raise self.raising["drawing"]
            self.log.append("drawn")
            draw(*given)

        patch.setattr(measuring, "experiment", self.experiment)
        patch.setattr(measuring, "done_for", logged)
        patch.setattr(twins, "_draw", drawn)

    def experiment(self, name: str) -> Callable[[Subject], Measurement]:
        """The experiment of this name."""
        asked: Mapping[str, Callable[[Subject], Mapping[str, float]]]
        asked = {"first": largest_logit, "second": least_logit}

        def run(subject: Subject) -> Measurement:
            self.log.append(f"{name}.")
            if name in self.raising:
                raise self.raising[name]
            arms = control_arms(subject, asked[name], {"untrained twin": subject.twin}) if name in asked else {}
            return Measurement(name, "s", "nats", "one-way", {}, {"prompt": 0.0}, {"prompt": ("a",)}, arms)

        return run

    def measured(
        self,
        subject: Subject,
        known: Known | None = None,
        families: Mapping[str, tuple[str, ...]] = CLAIMS,
        dtypes: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Family → what was measured; the log begins anew. ``dtypes`` are those that claims are held to, by id."""
        self.log.clear()
        claims: Any = {
            family: [
                SimpleNamespace(
                    id=f"{family}{i}",
                    key=(f"{family}{i}", "asked"),
                    experiment=name,
                    dtype=(dtypes or {}).get(f"{family}{i}"),
                )
                for i, name in enumerate(names)
            ]
            for family, names in families.items()
        }
        return measure_families(claims, subject, known=known)

    @property
    def run(self) -> list[str]:
        """The experiments that were run."""
        return [entry[:-1] for entry in self.log if entry.endswith(".")]


@pytest.fixture
def experiments(monkeypatch: pytest.MonkeyPatch) -> Experiments:
    """Those that this file measures."""
    return Experiments(monkeypatch)


def subject_with_twin(seed: int = 5) -> Subject:
    """A tiny model whose twin is made in place."""
    return replace(tiny_subject("llama", seed), twin=IN_PLACE)


def arms_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """Claim → the arms of its measurement."""
    return {key[0]: measurement.arms for family in found.values() for key, measurement in family.items()}


def expected_arms(subject: Subject) -> dict[str, Any]:
    """What the twin says when it is asked by itself."""
    with untrained_in_place(subject) as twin:
        said = {"first": {"untrained twin": largest_logit(twin)}, "second": {"untrained twin": least_logit(twin)}}
    return {f"{family}{i}": said.get(name, {}) for family, names in CLAIMS.items() for i, name in enumerate(names)}


def test_the_twin_comes_last_and_once_for_all_families(experiments: Experiments) -> None:
    """After every family's other claims; the arms are those the twin gives by itself, and the weights come back."""
    subject = subject_with_twin()
    trained = {name: weight.clone() for name, weight in subject.model.named_parameters()}
    found = experiments.measured(subject)
    plain = ["one", "first.", "plain.", "two", "second.", "three", "plain."]
    assert experiments.log == [*plain, TWIN, "drawn", "one", "two", "three"]
    assert all(torch.equal(weight, trained[name]) for name, weight in subject.model.named_parameters())
    assert arms_of(found) == expected_arms(subject)
    assert not measuring.measure([], subject)


@pytest.mark.parametrize(
    ("dtype", "made_in", "measured"),
    [
        (torch.float64, "float32", True),
        (torch.float32, "bfloat16", False),
        (torch.bfloat16, "bfloat16", True),
        (torch.bfloat16, "float32", False),
    ],
)
def test_a_figure_is_not_held_against_one_that_was_rounded_otherwise(
    experiments: Experiments, dtype: torch.dtype, made_in: str, measured: bool
) -> None:
    """A claim that names another dtype is untested, with the option it takes; others on the experiment are measured."""
    subject = replace(tiny_subject("llama", 5, dtype=dtype), twin=IN_PLACE)
    found = experiments.measured(subject, dtypes={"one0": made_in, "one1": made_in})["one"]
    assert isinstance(found["one2", "asked"], Measurement)
    for name in ("one0", "one1"):
        one = found[name, "asked"]
        assert isinstance(one, Measurement) == measured
        assert measured or str(one).endswith(f"its last digit; use --claims-dtype {made_in}")


@pytest.mark.parametrize("name", ["plain", "second"])
def test_what_an_experiment_raises_is_its_families_alone(experiments: Experiments, name: str) -> None:
    """The other families are measured all the same, with the arms of the twin."""
    subject = subject_with_twin()
    experiments.raising[name] = ZeroDivisionError("a bug")
    found = experiments.measured(subject)
    failed = {family for family, names in CLAIMS.items() if name in names}
    assert {family for family, of in found.items() if isinstance(of, ZeroDivisionError)} == failed
    left = {family: of for family, of in found.items() if family not in failed}
    expected = expected_arms(subject)
    assert arms_of(left) == {claim: arms for claim, arms in expected.items() if claim[:-1] not in failed}


def test_a_twin_that_cannot_be_made_fails_what_asks_it(experiments: Experiments) -> None:
    """Families that need none are measured."""
    experiments.raising["drawing"] = ZeroDivisionError("no twin")
    found = experiments.measured(subject_with_twin(), families={"without": ("plain",), **CLAIMS})
    assert {family: type(of) for family, of in found.items()} == {
        "without": dict,
        **dict.fromkeys(CLAIMS, ZeroDivisionError),
    }


@pytest.mark.parametrize("at", ["drawing", "preparing"])
def test_a_twin_that_has_no_room_is_untested(
    experiments: Experiments, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Where memory is full when it is made, what asks it is untested, and the others are measured."""
    if at == "drawing":
        experiments.raising["drawing"] = torch.OutOfMemoryError()
    else:
        monkeypatch.setattr(measuring._Measuring, "_prepare", raising(torch.OutOfMemoryError()))
    found = experiments.measured(subject_with_twin(), families={"without": ("plain",), **CLAIMS})
    assert {family: type(of) for family, of in found.items()} == {"without": dict, **dict.fromkeys(CLAIMS, NoMemory)}
    assert "no memory" in str(found["one"])


def test_nothing_is_measured_on_weights_that_could_not_be_put_back(
    experiments: Experiments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What asks the twin fails, and so does whatever is asked later, in a line that says why."""
    subject = subject_with_twin()
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "restore", raising(OSError("gone")))
        found = experiments.measured(subject, families={"without": ("plain",), **CLAIMS})
    assert {family: type(of) for family, of in found.items()} == {"without": dict, **dict.fromkeys(CLAIMS, OSError)}
    with pytest.raises(HarnessFault, match="trained weights could not be put back"):
        experiments.measured(subject, families={"without": ("plain",)})
    assert experiments.run == []


def raising(error: Exception) -> Callable[..., None]:
    """What raises ``error`` whatever it is given."""

    def fails(*_: object) -> None:
        raise error

    return fails


@pytest.mark.parametrize("missing", [Untested("3 GiB"), torch.OutOfMemoryError()])
def test_what_is_missing_leaves_one_claim_untested(experiments: Experiments, missing: Exception) -> None:
    """The other claims of its family are measured, and the twin is asked for those that want it."""
    experiments.raising["first"] = missing
    found = experiments.measured(subject_with_twin())
    kinds = [[type(measured) for measured in of.values()] for of in found.values()]
    kind = Untested if isinstance(missing, Untested) else NoMemory
    assert kinds == [[kind, Measurement, kind], [Measurement], [kind, Measurement]]


def stopped(experiments: Experiments, subject: Subject, folder: Path, at: str) -> None:
    """A run that is interrupted, in an experiment or while the twin is made."""
    experiments.raising[at] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        experiments.measured(subject, Store(folder, "here"))
    experiments.raising.clear()


@pytest.mark.parametrize(("at", "left"), [("drawing", []), ("second", ["second"])])
def test_a_run_that_was_cut_short_begins_nothing_again(
    experiments: Experiments, tmp_path: Path, at: str, left: list[str]
) -> None:
    """What lacks only the twin is kept too; the next run ends with the same, and then all of it is known."""
    stopped(experiments, subject_with_twin(), tmp_path, at)
    assert len(list(tmp_path.rglob(f"*{BEGUN}"))) == len(BOTH) - len(left)
    subject, store = subject_with_twin(), Store(tmp_path, "here")
    found = experiments.measured(subject, store)
    assert experiments.run == left
    assert arms_of(found) == expected_arms(subject)
    assert not list(tmp_path.rglob(f"*{BEGUN}"))
    again = experiments.measured(subject_with_twin(), Store(tmp_path, "here"))
    assert (experiments.run, "drawn" in experiments.log) == ([], False)
    assert arms_of(again) == arms_of(found)


@pytest.mark.parametrize(("seed", "conditions", "fresh"), [(5, "here", True), (5, "there", False), (6, "here", False)])
def test_what_was_begun_is_begun_anew_where_that_is_asked_for(
    experiments: Experiments, tmp_path: Path, seed: int, conditions: str, fresh: bool
) -> None:
    """By ``fresh``, under other conditions, and for another subject."""
    stopped(experiments, subject_with_twin(), tmp_path, "drawing")
    experiments.measured(subject_with_twin(seed), Store(tmp_path, conditions, fresh=fresh))
    assert set(BOTH) <= set(experiments.run)


def test_a_damaged_file_is_named_and_begun_anew(experiments: Experiments, tmp_path: Path) -> None:
    """What was begun has a checksum, as what is finished has."""
    stopped(experiments, subject_with_twin(), tmp_path, "drawing")
    for path in tmp_path.rglob(f"*{BEGUN}"):
        path.write_text(path.read_text().replace("0.0", "0.5"))
    store = Store(tmp_path, "here")
    experiments.measured(subject_with_twin(), store)
    assert set(BOTH) <= set(experiments.run)
    assert len(store.damaged) == len(BOTH)


def test_pairs_are_screened_before_the_twin_is_asked_of_what_was_begun_earlier(
    experiments: Experiments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trained subject says which pairs its twin is asked, also in a run that does not ask it anything else."""
    pairs: Any = SimpleNamespace(digest="d")
    monkeypatch.setattr(measuring, "reads_pairs", lambda names: set(names) == set(BOTH))
    monkeypatch.setattr(counterfactual_pairs, "screened", lambda _: experiments.log.append("screened"))
    stopped(experiments, replace(subject_with_twin(), pairs=pairs), tmp_path, "drawing")
    experiments.measured(replace(subject_with_twin(), pairs=pairs), Store(tmp_path, "here"))
    assert experiments.log.index("screened") < experiments.log.index("drawn")


def test_what_is_unfinished_can_be_written_down() -> None:
    """Read again it is the same, and its functions are found by their names."""
    made = Measurement("first", "s", "nats", "one-way", {}, {"a": 0.5}, {"a": ("b",)}, {"sham": {"a": 0.0}})
    begun = Unfinished(made, {"untrained twin": name_of(least_logit)})
    read = Unfinished.from_json(begun.to_json())
    assert (read.made, read.asked) == (made, begun.asked)
    assert named(read.asked["untrained twin"]) is least_logit
