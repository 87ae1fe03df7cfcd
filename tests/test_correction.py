"""The published correction test measures what is known of planted subjects."""

import dataclasses
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

from prolepsis import ledger
from prolepsis.errors import Untested
from prolepsis.experiments import families
from prolepsis.experiments.correction import (
    STEPS,
    committed_word_falls,
    correction_takes_over,
    later_writes,
    locked_attention,
    outcomes,
    protocols,
)
from prolepsis.experiments.correction_routing import total_shift_rises
from prolepsis.experiments.dose_response import dose_ratio
from prolepsis.experiments.position_sweep import sweeps
from prolepsis.experiments.rhyme_pairs import first_turn, task_of
from prolepsis.judge import judge
from prolepsis.measurement import Measurement
from prolepsis.names import Feature
from prolepsis.subject import Subject
from prolepsis.subjects.loading import load_subject
from prolepsis.transcoder import Transcoder, write_transcoder
from tests.tiny import tiny_subject


@cache
def subject_of(name: str) -> Subject:
    """A planted Llama; what has been measured on it stays with it."""
    torch.set_num_threads(1)
    return load_subject(f"planted-llama-{name}")


def with_transcoder(folder: Path, *, across: bool) -> Subject:
    """A tiny subject whose transcoder writes all later layers, or each feature's own alone."""
    subject = tiny_subject("llama", dtype=torch.float32)
    n_layers, width = subject.n_layers, subject.d_model
    generator = torch.Generator().manual_seed(1)
    decoders = [torch.randn(4, n_layers - layer, width, generator=generator) for layer in range(n_layers)]
    for decoder in decoders:
        decoder[:, 1:] *= float(across)
    shape = [torch.zeros(4, width)] * n_layers, [torch.zeros(4)] * n_layers, decoders, [torch.zeros(width)] * n_layers
    write_transcoder(folder, *shape, model_name="tiny")
    return Subject("tiny", subject.model, None, transcoder=Transcoder.open(folder))


@pytest.mark.parametrize("first", [1, 2])
def test_a_correction_writes_its_rows_for_later_layers_only(tmp_path: Path, first: int) -> None:
    """What is written from a layer on are the feature's decoder rows for these layers, at the strength asked for."""
    subject = with_transcoder(tmp_path, across=True)
    assert subject.transcoder is not None
    rows = subject.transcoder.rows(Feature(0, 3))
    written = later_writes(subject, Feature(0, 3), 2.0, first)
    assert sorted(written) == list(range(first, subject.n_layers))
    for layer, vector in written.items():
        assert torch.allclose(vector, 2 * rows[layer])


def test_a_feature_of_one_layer_is_written_at_the_first(tmp_path: Path) -> None:
    """A per-layer feature's own row stands in for the rows it does not have."""
    subject = with_transcoder(tmp_path, across=False)
    assert subject.transcoder is not None
    (layer, vector), *others = later_writes(subject, Feature(0, 3), 2.0, 2).items()
    assert not others
    assert layer == 2
    assert torch.allclose(vector, 2 * subject.transcoder.rows(Feature(0, 3))[0])


def test_the_third_group_is_a_third_one() -> None:
    """Suppression, commitment and correction concern three rhyme groups, of one half."""
    task = subject_of("direct").task
    assert task is not None
    for made in subject_of("direct").once(protocols):
        (third,) = [group for group, words in task.groups.items() if made.correct_word in words]
        assert len({made.pair.recipient.group, made.pair.donor.group, third}) == 3
        assert list(task.groups).index(third) % 2 == made.pair.half


def with_features_of(groups: slice) -> Subject:
    """The planted subject whose task names features for the words of some rhyme groups alone."""
    direct = subject_of("direct")
    assert direct.task is not None
    words = {word for group in list(direct.task.groups)[groups] for word in direct.task.groups[group]}
    named = {word: feature for word, feature in (direct.task.features or {}).items() if word in words}
    return dataclasses.replace(direct, task=dataclasses.replace(direct.task, features=named))


def test_pairs_that_no_third_group_can_contradict_are_left_aside() -> None:
    """Where features are of one group in one half and several in the other, only the other half's pairs are asked."""
    few = with_features_of(slice(0, 3))
    assert len({pair.half for pair in first_turn(task_of(few)) if pair.id in few.once(sweeps)}) == 2
    assert {made.pair.half for made in few.once(protocols)} == {0}


@pytest.mark.parametrize(
    ("experiment", "groups"),
    [
        *((experiment, slice(1)) for experiment in (committed_word_falls, total_shift_rises)),
        *((experiment, slice(0, 3, 2)) for experiment in (locked_attention, dose_ratio)),
    ],
)
def test_features_of_too_few_groups_leave_a_commitment_untested(
    experiment: Callable[[Subject], Measurement], groups: slice
) -> None:
    """What needs a third group, or features in both halves, says so where the features are of too few groups."""
    with pytest.raises(Untested, match=r"too few (word features|rhyme groups) .*; name more in task\.json"):
        experiment(with_features_of(groups))


def test_the_commitment_is_what_the_sweep_wrote() -> None:
    """Suppression and injection of the correction test are those of the position sweep, layer by layer."""
    planner = load_subject("planner")
    swept = planner.once(sweeps)
    for made in planner.once(protocols):
        writes = swept[made.pair.id].writes
        assert made.commit.keys() == writes.keys()
        assert all(torch.equal(made.commit[layer], vector) for layer, vector in writes.items())


def test_added_evidence_meets_its_closed_form() -> None:
    """Where the unembedding reads the plan, the larger of two doses of 8 nats per unit wins, and 16 units tie."""
    for outcome in subject_of("direct").once(outcomes).values():
        margins = [8 * 16 * (1 - step) for step in STEPS]
        for margin, p in zip(margins, outcome.correct, strict=True):
            assert p == pytest.approx(float(torch.tensor(-margin).sigmoid()), abs=1e-3)
        assert outcome.correct_without[-1] == pytest.approx(1)


def test_a_correction_nobody_reads_does_nothing_with_or_without() -> None:
    """Where nothing reads a plan at the last token, no commitment takes hold there, so no pair can tell."""
    measured = committed_word_falls(subject_of("irrevocable"))
    assert measured.detectable == ()
    assert max(correction_takes_over(subject_of("irrevocable")).arms["correction alone"].values()) < 0.05


@pytest.mark.parametrize("name", ["direct", "untrained"])
def test_the_locked_head_cannot_move(name: str) -> None:
    """The named head lies below what is corrected: the wiring says so, and its attention is the same to the bit."""
    measured = locked_attention(subject_of(name))
    assert set(measured.values.values()) == {0.0}
    assert measured.reach is not None
    for row in measured.reach["rows"]:
        assert not row["reachable"]
        assert not row["moved"]


@pytest.mark.parametrize(
    ("name", "verdicts"),
    [
        ("direct", {"F04": "contradicted", "F05": "contradicted", "F06": "vacuous"}),
        ("irrevocable", {"F04": "inconclusive", "F05": "inconclusive", "F06": "vacuous"}),
    ],
)
def test_verdicts_on_subjects_with_known_answers(name: str, verdicts: dict[str, str]) -> None:
    """A commitment that is outweighed contradicts, a void correction tells nothing, a locked head could not move."""
    claims = [row for row in ledger.rows(family="irrevocability") if row.id in verdicts]
    found = {claim.id: judge(claim, families.experiment(claim.experiment)(subject_of(name))) for claim in claims}
    assert {claim: verdict.verdict for claim, verdict in found.items()} == verdicts
