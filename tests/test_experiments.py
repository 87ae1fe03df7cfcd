"""The Q2 experiments measure what is known of planted subjects."""

import math
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prolepsis import ledger
from prolepsis.directions import matched_random, unembedding_direction
from prolepsis.errors import Untested
from prolepsis.experiments import measuring
from prolepsis.experiments.divergences import off_target_kl
from prolepsis.experiments.interchange import interchange
from prolepsis.experiments.necessity import necessity, rows_of_groups
from prolepsis.experiments.position_sweep import gain, localises, strength_unit, sweeps
from prolepsis.experiments.regeneration import regeneration
from prolepsis.experiments.rhyme_pairs import SHIFTS, Runs, rhyme_pairs, task_of
from prolepsis.experiments.sites import find_sites
from prolepsis.experiments.vocabulary_scan import vocabulary_scan
from prolepsis.judge import judge_family
from prolepsis.names import Feature
from prolepsis.organisms.grammar import task as grammar_task
from prolepsis.subject import Subject
from prolepsis.subjects.loading import load_subject
from prolepsis.transcoder import Transcoder, write_transcoder
from tests.tiny import tiny_subject


@cache
def subject_of(variant: str) -> Subject:
    """A planted subject; what has been measured on it stays with it."""
    return load_subject(f"planted-llama-{variant}")


@pytest.fixture
def planner() -> Subject:
    """The planted planner whose plan nothing corrects."""
    return subject_of("irrevocable")


def test_each_group_is_source_and_target_as_often() -> None:
    """Every group stands twice on either side of the pairs, and a pair's groups lie in the same half."""
    task = grammar_task()
    pairs, groups = rhyme_pairs(task), list(task.groups)
    assert len(pairs) == len({pair.id for pair in pairs}) == 2 * len(groups) == 48
    assert set(Counter(pair.recipient.group for pair in pairs).values()) == {len(SHIFTS)}
    assert set(Counter(pair.donor.group for pair in pairs).values()) == {len(SHIFTS)}
    for pair in pairs:
        assert pair.half == groups.index(pair.donor.group) % 2 == groups.index(pair.recipient.group) % 2
        assert pair.mate.group == pair.recipient.group != pair.donor.group == pair.donor_mate.group
        assert pair.mate.word != pair.recipient.word
        assert pair.donor_mate.word != pair.donor.word


def test_every_template_is_used_in_both_halves() -> None:
    """A site can be chosen for every template on either half."""
    pairs = rhyme_pairs(grammar_task())
    assert len({(pair.half, pair.recipient.template.id) for pair in pairs}) == 2 * len(grammar_task().templates)


def test_the_site_is_found_at_the_line_break(planner: Subject) -> None:
    """Without being told, the planner's site is the newline, in every template and half."""
    sites, runs = planner.once(find_sites), planner.once(Runs)
    newline = planner.word_id("<nl>")
    for pair in sites.pairs:
        assert runs.clean(pair.recipient).tokens[sites.of(pair)[1]] == newline


def test_a_half_has_no_part_in_its_own_sites(planner: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrecking one half's answers leaves the sites that half is tested at unchanged."""
    clean = planner.once(find_sites)
    answer = Runs.answer
    # The site lowers the recipient's own answer, so for these pairs any other place now looks better.
    spoiled = {pair.donor.id: pair.recipient for pair in clean.pairs if pair.half == 0}
    monkeypatch.setattr(Runs, "answer", lambda runs, prompt: answer(runs, spoiled.get(prompt.id, prompt)))
    wrecked = find_sites(planner)
    assert {key: at for key, at in wrecked.chosen.items() if key[0] == 0} == {
        key: at for key, at in clean.chosen.items() if key[0] == 0
    }
    assert wrecked.chosen != clean.chosen


def test_interchange_meets_its_closed_form(planner: Subject) -> None:
    """Putting the donor's plan at the site moves the donor's answer from logit 0 to the natural word's logit."""
    measured, runs = planner.once(interchange), planner.once(Runs)
    for pair in rhyme_pairs(task_of(planner)):
        attention = math.exp(7) / (math.exp(7) + len(runs.clean(pair.recipient).tokens) - 1)
        logit, others = 8 * attention, planner.n_vocab - 1
        expected = (logit - math.log(others)) + math.log(math.exp(logit) + others - 1)
        assert measured.values[pair.id] == pytest.approx(expected, rel=1e-4)
        assert measured.arms["other positions"][pair.id] == pytest.approx(0, abs=1e-4)
        assert measured.arms["all positions"][pair.id] == pytest.approx(1, abs=1e-5)


def test_shams_do_not_move_at_all(planner: Subject) -> None:
    """In one pair per template a row replaced by itself, or one that nothing reads, changes no bit of the log-odds."""
    moved, needed = planner.once(interchange).arms, necessity(planner).arms
    pairs = {pair.id: pair.recipient.template.id for pair in rhyme_pairs(task_of(planner))}
    for arm in (moved["own row"], moved["unreachable row"], needed["own row"]):
        assert sorted(pairs[pair] for pair in arm) == sorted(template.id for template in task_of(planner).templates)
        assert set(arm.values()) == {0.0}


@pytest.mark.parametrize(("variant", "rate"), [("irrevocable", 1.0), ("no-plan", 0.0), ("corrects", 0.0)])
def test_regenerated_lines_follow_the_plan_where_there_is_one(variant: str, rate: float) -> None:
    """With the donor's plan the planner writes the donor's word; without a plan, or overruled, never."""
    measured = regeneration(subject_of(variant))
    assert set(measured.values.values()) == {rate}
    assert min(measured.arms["all positions"].values()) > 0.999
    assert set(measured.arms["own row"].values()) == {0.0}


def test_one_layer_cannot_hold_a_plan() -> None:
    """In a one-layer model no site but the last position is read, and the wiring says so for every site."""
    subject = load_subject("window-1")
    measured = interchange(subject)
    assert set(measured.values.values()) == {0.0}
    assert measured.reach is not None
    assert not any(row["reachable"] for row in measured.reach["rows"])


def test_the_sweep_peaks_where_the_plan_is(planner: Subject) -> None:
    """In the planner the sweep peaks at the newline; where the unembedding reads the plan, at the last token."""
    newline, runs = planner.word_id("<nl>"), planner.once(Runs)
    for pair in rhyme_pairs(task_of(planner)):
        sweep = planner.once(sweeps)[pair.id].measured
        assert runs.clean(pair.recipient).tokens[sweep.index(max(sweep))] == newline
    assert all(localises(sweep.measured) for sweep in sweeps(subject_of("direct")).values())


def test_the_rows_of_groups_are_those_of_clean_runs(planner: Subject) -> None:
    """The rows whose mean replaces a site's, read side by side, are those of each prompt's own clean run."""
    task, runs = task_of(planner), planner.once(Runs)
    template, (name, words) = task.templates[2], list(task.groups.items())[5]
    read = planner.once(rows_of_groups)[template.id]
    assert list(task.groups)[5] == name
    for layer, rows in read.items():
        own = runs.clean(task.prompt(template, words[0])).resid_post(layer)
        assert torch.allclose(rows[5], own, rtol=1e-5, atol=1e-5)


def test_a_tie_does_not_localise() -> None:
    """The last position has to be the only maximum."""
    assert localises((0.0, 1.0, 2.0)) == 1
    assert localises((0.0, 2.0, 2.0)) == 0
    assert gain((1.0, 1.0, 4.0)) == 3


@settings(deadline=None)
@given(seed=st.integers(0, 2**16), layers=st.integers(1, 4))
def test_matched_random_vectors_match(seed: int, layers: int) -> None:
    """A matched random write has the norm and the projection on the word of the write it stands for."""
    generator = torch.Generator().manual_seed(seed)
    direction = torch.nn.functional.normalize(torch.randn(16, generator=generator), dim=0)
    writes = {layer: torch.randn(16, generator=generator) for layer in range(layers)}
    for layer, vector in matched_random(writes, direction, seed + 1).items():
        assert torch.isclose(vector.norm(), writes[layer].norm(), rtol=1e-4)
        assert torch.isclose(vector @ direction, writes[layer] @ direction, atol=1e-4)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**16))
def test_off_target_kl_ignores_the_target_words(seed: int) -> None:
    """Moving probability among the target words alone costs nothing; moving it elsewhere costs something."""
    generator = torch.Generator().manual_seed(seed)
    clean = torch.rand(9, generator=generator, dtype=torch.float64).softmax(-1)
    within = clean.clone()
    within[0], within[1] = clean[1], clean[0]
    elsewhere = clean.clone()
    elsewhere[5] *= 3
    assert off_target_kl(clean, within, [0, 1]) == pytest.approx(0, abs=1e-12)
    assert off_target_kl(clean, elsewhere / elsewhere.sum(), [0, 1]) > 0


def test_the_scan_finds_planted_features(tmp_path: Path) -> None:
    """A feature whose last-layer row points at a word is that word's; one that points at nothing is no word's."""
    subject = tiny_subject("llama", dtype=torch.float32, d_head=16)
    n_layers, width = subject.n_layers, subject.d_model
    decoders = [torch.full((4, n_layers - layer, width), 1e-3) for layer in range(n_layers)]
    decoders[0][2, -1] = subject.unembedding[7]
    decoders[2][1, -1] = 5 * subject.unembedding[9]
    shape = [torch.zeros(4, width)] * n_layers, [torch.zeros(4)] * n_layers, decoders, [torch.zeros(width)] * n_layers
    write_transcoder(tmp_path, *shape, model_name="tiny")
    with_transcoder = Subject("tiny", subject.model, None, transcoder=Transcoder.open(tmp_path))
    found = vocabulary_scan(with_transcoder, {"seven": 7, "nine": 9, "eleven": 11})
    assert found["seven"] == Feature(0, 2)
    assert found["nine"] == Feature(2, 1)


def test_a_subject_without_word_features_is_untested() -> None:
    """Where no feature writes a word of the task nothing can be injected, and the reason says so."""
    subject = load_subject("planted-llama-irrevocable")
    assert subject.task is not None
    with pytest.raises(Untested, match="no word feature was found in its transcoder; name some in its task file"):
        strength_unit(replace(subject, task=replace(subject.task, features={})))


def test_the_unembedding_direction_raises_its_word_most() -> None:
    """Of all unit rows the unembedding direction raises the word's logit most against the vocabulary's mean."""
    subject = tiny_subject("llama", dtype=torch.float32)
    direction = unembedding_direction(subject, 5)
    effect = subject.unembedding @ direction
    assert torch.isclose(direction.norm(), torch.ones(()))
    centred = subject.unembedding[5] - subject.unembedding.mean(0)
    assert torch.isclose(effect[5] - effect.mean(), centred.norm(), rtol=1e-4)


@pytest.mark.parametrize(
    ("variant", "verdict"),
    [("irrevocable", "supported"), ("direct", "supported"), ("no-plan", "contradicted"), ("untrained", "contradicted")],
)
def test_asked_verdicts_on_subjects_with_known_answers(variant: str, verdict: str) -> None:
    """What is asked is supported where a plan was planted and contradicted where none was, judged as in a real run."""
    claims = ledger.rows(family="q2", tier="organism")
    verdicts = judge_family(claims, measuring.measure(claims, subject_of(variant)))
    asked = {claim: found.verdict for (claim, which), found in verdicts.items() if which == "asked"}
    assert asked == dict.fromkeys(("X01", "X02", "X03", "X04"), verdict)
