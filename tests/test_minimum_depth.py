"""Ladders of depths, and what Q4 asks of subjects whose answers are known."""

import dataclasses
from functools import cache
from statistics import fmean

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prolepsis import ledger
from prolepsis.engine import clean_run
from prolepsis.errors import Untested
from prolepsis.experiments import depth_ladder, measuring
from prolepsis.experiments.depth_ladder import Rung, depth_gain, ladder_prompts, reaches, receptive_field_error
from prolepsis.experiments.rhyme_pairs import task_of
from prolepsis.judge import judge_family
from prolepsis.running.hooks import Read
from prolepsis.subject import Subject
from prolepsis.subjects.loading import load_subject
from tests.tiny import tiny_subject, tiny_tokens


@cache
def subject_of(name: str) -> Subject:
    """A bundled subject; what has been measured on it stays with it."""
    return load_subject(name)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**16),
    n_layers=st.integers(1, 4),
    window=st.integers(2, 4),
    length=st.integers(2, 12),
    data=st.data(),
)
def test_reach_is_depth_times_window(seed: int, n_layers: int, window: int, length: int, data: st.DataObject) -> None:
    """A token reaches the last position if depth × (window - 1) tokens lie between at most; no other moves it."""
    source = data.draw(st.integers(0, length - 1))
    subject = tiny_subject("mistral", seed, n_layers=n_layers, window=window)
    tokens = tiny_tokens(seed, length)
    reached = reaches(subject.wiring, tokens, source)
    assert reached == (length - 1 - source <= n_layers * (window - 1))
    changed = [*tokens[:source], tokens[source] % 22 + 1, *tokens[source + 1 :]]
    logits = [clean_run(subject, row).read(Read()).last_logits for row in (tokens, changed)]
    assert torch.equal(*logits) == (not reached)


def ladder(rhymes: dict[str, tuple[int, int, bool]]) -> tuple[Rung, ...]:
    """Rungs by name: depth, width and whether they rhyme always or never; all but depth 1 reach the word."""
    prompts = [prompt.id for prompt in ladder_prompts(task_of(subject_of("narrow-window-4")))]
    return tuple(
        Rung(
            name,
            depth,
            (width, frozenset({5})),
            rhymes=dict.fromkeys(prompts, rhyming),
            reached=dict.fromkeys(prompts, depth > 1),
            facts=(True,) * len(prompts),
            reach_rows=(),
        )
        for name, (depth, width, rhyming) in rhymes.items()
    )


@pytest.mark.parametrize(
    ("rhymes", "expected"),
    [
        ({"a": (1, 8, False), "b": (2, 8, True), "c": (3, 8, True)}, (1, 0, {0}, 0)),
        ({"a": (1, 8, True), "b": (2, 8, True), "c": (3, 8, True)}, (0, 0, {0}, 1 / 2)),
        ({"a": (1, 8, True), "b": (2, 8, False), "c": (3, 8, True)}, (0, 1 / 2, {1}, 3 / 4)),
        ({"a": (1, 8, False), "b": (2, 8, True), "c": (1, 9, False), "d": (2, 9, False)}, (1 / 2, 0, set(), 1 / 4)),
        ({"a": (1, 8, False), "b": (2, 8, True), "alone": (2, 9, False)}, (1, 0, set(), 1 / 4)),
    ],
)
def test_ladders_are_summed_up_by_hand(
    monkeypatch: pytest.MonkeyPatch,
    rhymes: dict[str, tuple[int, int, bool]],
    expected: tuple[float, float, set[float], float],
) -> None:
    """Gains are against the shallowest of a line, lines count alike, and errors are balanced over reached and not."""
    top = subject_of("narrow-window-4")
    gain, back, later, error = expected
    monkeypatch.setattr(depth_ladder, "control_arms", lambda *_: {})
    monkeypatch.setitem(top.known, depth_ladder.rungs, ladder(rhymes))
    measured = depth_gain(top)
    assert set(measured.values.values()) == {gain}
    assert set(measured.arms["the other way round"].values()) == {back}
    assert set(measured.arms["later layers"].values()) == later
    assert set(receptive_field_error(top).values.values()) == {error}


def test_width_is_seen_at_equal_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rhymes by width are told where models of one depth and window differ in width, and nowhere else."""
    top = subject_of("narrow-window-4")
    made = ladder({"a": (1, 8, False), "b": (1, 9, True), "c": (1, 9, False), "d": (2, 8, True), "e": (3, 9, True)})
    other = dataclasses.replace(made[0], id="f", line=(9, frozenset({4, None})))
    monkeypatch.setattr(depth_ladder, "control_arms", lambda *_: {})
    monkeypatch.setitem(top.known, depth_ladder.rungs, (*made, other))
    told = [{"depth": 1, "windows": [5], "rhymes": {"8": 0.0, "9": 0.5}}]
    assert depth_gain(top).detail["widths"] == told
    assert receptive_field_error(top).detail["widths"] == told


def test_a_subject_on_no_ladder_is_untested() -> None:
    """A subject that names no other depths, or none that differ in depth alone, cannot be compared."""
    with pytest.raises(Untested, match="is on no ladder"):
        depth_gain(subject_of("planner"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("narrow-window-4", {"D11": "inconclusive", "X31": "supported", "X32": "supported"}),
        ("free-4", {"D11": "inconclusive", "X31": "contradicted", "X32": "vacuous"}),
        ("planted-llama-no-plan", {"D06": "supported", "X30": "supported", "D01": "contradicted"}),
        ("planted-llama-irrevocable", {"D06": "contradicted", "X30": "supported", "D01": "supported"}),
    ],
)
def test_verdicts_on_subjects_with_known_answers(name: str, expected: dict[str, str]) -> None:
    """Depth matters where a window hides the word, not where attention is free; layers where they were planted."""
    claims = [claim for claim in ledger.rows(family="q4", tier="organism") if claim.id in expected]
    verdicts = judge_family(claims, measuring.measure(claims, subject_of(name)))
    assert {claim: found.verdict for (claim, _), found in verdicts.items()} == expected


def test_rungs_do_what_they_were_made_for() -> None:
    """In the ladder of windows a rung's rhymes follow its reach, template by template, and each knows its facts."""
    rungs = subject_of("narrow-window-4").once(depth_ladder.rungs)
    assert [rung.depth for rung in rungs] == [1, 1, 2, 2, 2, 3, 4]
    (short,) = [rung for rung in rungs if rung.id == "short-window-2"]
    assert 0 < fmean(short.reached.values()) < 1
    for rung in rungs:
        assert fmean(rung.facts) > 0.95
        assert not any(row.get("moved", False) for row in rung.reach_rows)
        for prompt in ladder_prompts(task_of(subject_of("narrow-window-4")))[::24]:
            ids = [p for p in rung.rhymes if p.startswith(f"{prompt.template.id}/")]
            assert fmean(rung.rhymes[p] for p in ids) == pytest.approx(float(rung.reached[ids[0]]), abs=0.2)
