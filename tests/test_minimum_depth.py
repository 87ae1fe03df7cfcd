"""The Q4 experiments: layers left out, the logit lens, the feature census, and ladders of depths."""

import dataclasses
import math
from functools import cache
from statistics import fmean

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prolepsis import ledger
from prolepsis.controls import once
from prolepsis.edits import Skip
from prolepsis.engine import clean_run
from prolepsis.errors import Untested
from prolepsis.experiments import depth_ladder, feature_census, layer_skipping, logit_lens, measuring, skipped_couplets
from prolepsis.experiments.depth_ladder import Rung, depth_gain, ladder_prompts, reaches, receptive_field_error
from prolepsis.experiments.layer_skipping import blocks
from prolepsis.experiments.rhyme_pairs import Runs, rhyme_pairs, task_of
from prolepsis.experiments.skipped_couplets import (
    BEYOND_LATE,
    EARLY,
    LAST,
    LATE,
    MIDDLE,
    PAPER_DEPTH,
    PLANNING,
    WHOLE,
    line_1,
    scaled,
)
from prolepsis.hooks import Read
from prolepsis.judge import judge, judge_family
from prolepsis.lexicon import Lexicon
from prolepsis.loading import load_subject
from prolepsis.names import Feature
from prolepsis.report.subjects import ENGLISH
from prolepsis.subject import Subject
from prolepsis.task import Prompt
from prolepsis.task_file import read_task
from tests.live_bytes import LiveBytes
from tests.tiny import FAMILIES, tiny_subject, tiny_tokens


@cache
def subject_of(name: str) -> Subject:
    """A bundled subject; what has been measured on it stays with it."""
    return load_subject(name)


# ---------------------------------------------------------------- layers left out


@given(n_layers=st.integers(1, 100))
def test_blocks_scale_with_depth(n_layers: int) -> None:
    """Scaled blocks are unbroken runs of layers the model has; in the paper's depth they are the published ones."""
    for first, last in (EARLY, LATE, LAST, *MIDDLE, PLANNING, BEYOND_LATE):
        block = scaled((first, last), n_layers)
        assert block
        assert block == tuple(range(block[0], block[-1] + 1))
        assert 0 <= block[0] <= block[-1] < n_layers
        assert scaled((first, last), PAPER_DEPTH) == tuple(range(first, last + 1))


@given(n_layers=st.integers(1, 100))
def test_blocks_cut_the_whole_depth(n_layers: int) -> None:
    """Every layer is in exactly one block, and no block is larger than the early one."""
    cut = blocks(n_layers)
    assert [layer for block in cut for layer in block] == list(range(n_layers))
    assert max(map(len, cut)) == len(scaled(EARLY, n_layers))


@pytest.mark.parametrize(
    ("variant", "needed"),
    [("irrevocable", {0, 1, 2}), ("direct", {0, 1, 2}), ("no-plan", {3}), ("dormant", {3}), ("corrects", {0, 1, 2, 3})],
)
def test_harm_meets_its_closed_form(variant: str, needed: set[int]) -> None:
    """Without a layer of its circuit a planted subject loses what it adds to the answer's logit, else nothing."""
    subject = subject_of(f"planted-llama-{variant}")
    runs = once(subject, Runs)
    for pair in rhyme_pairs(task_of(subject)):
        attention = math.exp(7) / (math.exp(7) + len(runs.clean(pair.recipient).tokens) - 1)
        parts = {"corrects": (8 * attention, 12.0), "no-plan": (0.0, 8.0), "dormant": (0.0, 8.0)}
        route, reread = parts.get(variant, (8 * attention, 0.0))
        left = dict.fromkeys((0, 1, 2), reread) | {3: route}
        harm = once(subject, layer_skipping.harms)[pair.recipient.id]
        for layer in range(subject.n_layers):
            expected = (route + reread) - left[layer] if layer in needed else 0.0
            assert harm.rhyme[layer,] == pytest.approx(expected, abs=1e-4)


def test_a_half_has_no_part_in_its_own_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrecking one half's answers leaves the block that half is tested with unchanged, and changes the other's."""
    subject = subject_of("planted-llama-no-plan")
    most, _ = once(subject, layer_skipping.chosen_blocks)
    found = once(subject, layer_skipping.harms)
    spoiled = {
        name: harm
        if harm.half
        else layer_skipping.Harm(0, {b: -v for b, v in harm.rhyme.items()}, dict.fromkeys(harm.rest, 0.0))
        for name, harm in found.items()
    }
    monkeypatch.setitem(subject.memo, "prolepsis.experiments.layer_skipping.harms", spoiled)
    wrecked, _ = layer_skipping.chosen_blocks(subject)
    assert wrecked[0] == most[0] == (3,)
    assert wrecked[1] != most[1]


def test_a_block_that_breaks_everything_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the rest of the couplet does not stay natural without a block, the next one is taken."""
    subject = subject_of("planted-llama-no-plan")
    broken = {
        name: layer_skipping.Harm(harm.half, harm.rhyme | {(1,): 1.0}, harm.rest | {(3,): 2.0})
        for name, harm in once(subject, layer_skipping.harms).items()
    }
    monkeypatch.setitem(subject.memo, "prolepsis.experiments.layer_skipping.harms", broken)
    most, least = layer_skipping.chosen_blocks(subject)
    assert set(most.values()) == {(1,)}
    assert least[0] in {(0,), (2,)}


def test_line_one_s_own_word_is_no_true_rhyme(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published count takes line 1's own word for a rhyme; the count of true rhymes does not."""
    subject = subject_of("planted-llama-no-plan")

    def own_words(_: Subject, pairs: tuple, __: object) -> dict:
        return {
            pair.recipient.id: {WHOLE: pair.recipient.word, (3,): pair.recipient.answer, (2,): "then", (1,): ""}
            for pair in pairs
        }

    monkeypatch.setattr(skipped_couplets, "_last_words", own_words)
    for couplet in skipped_couplets.couplets(subject).values():
        assert couplet.published == {WHOLE: True, (3,): True, (2,): False, (1,): False}
        assert couplet.true == {WHOLE: False, (3,): True, (2,): False, (1,): False}


def test_a_couplet_is_asked_for_by_one_line_as_published() -> None:
    """English prompts are their line 1 and its break, without couplet and opening; organisms' are their stems."""
    task = read_task(ENGLISH)
    for template in task.templates:
        line = line_1(Prompt(template, "ay", "day", "way"))
        assert line.count("\n") == 1
        assert line.endswith(" day,\n")
        assert line in template.text.replace("{word}", "day")
    for pair in rhyme_pairs(task_of(subject_of("planner"))):
        assert line_1(pair.recipient) == pair.recipient.stem


def test_a_rhyme_outside_the_listed_group_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a natural language any word with the ending of line 1's is a rhyme, listed or not."""
    subject = subject_of("planted-llama-no-plan")
    pair = next(iter(rhyme_pairs(task_of(subject))))
    name = pair.recipient.id
    recipient = dataclasses.replace(pair.recipient, word="night")
    monkeypatch.setattr(skipped_couplets, "rhyme_pairs", lambda _: (dataclasses.replace(pair, recipient=recipient),))
    monkeypatch.setitem(subject.memo, "prolepsis.lexicon.listed_endings", {})
    written = {WHOLE: "bright", (3,): "night", (2,): "star"}
    monkeypatch.setattr(skipped_couplets, "_last_words", lambda *_: {recipient.id: written})
    (couplet,) = skipped_couplets.couplets(subject).values()
    assert name != recipient.id
    assert couplet.true == {WHOLE: True, (3,): False, (2,): False}
    assert couplet.published == {WHOLE: True, (3,): True, (2,): False}


def test_layers_elsewhere_are_outside_of_what_is_skipped() -> None:
    """As many layers are drawn as are skipped, none of them in the block, nor for a part of a stage in the stage."""
    for seed in range(20):
        drawn = skipped_couplets._elsewhere(PAPER_DEPTH, seed)
        for ends in (EARLY, LATE, LAST, *MIDDLE, BEYOND_LATE):
            first, last = PLANNING if ends in MIDDLE else ends
            assert len(drawn[ends]) == ends[1] - ends[0] + 1
            assert not set(drawn[ends]) & set(range(first, last + 1))


def test_a_published_block_that_breaks_everything_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the rest of the couplet does not stay natural without the block, what was lost with it is inconclusive."""
    subject = subject_of("planted-llama-no-plan")
    (claim,) = (claim for claim in ledger.rows(family="q4") if claim.id == "D06")
    assert judge(claim, layer_skipping.late_block_loss(subject)).verdict == "supported"
    broken = {
        name: dataclasses.replace(harm, rest=harm.rest | {(3,): 2.0})
        for name, harm in once(subject, layer_skipping.harms).items()
    }
    monkeypatch.setitem(subject.memo, "prolepsis.experiments.layer_skipping.harms", broken)
    found = judge(claim, layer_skipping.late_block_loss(subject))
    assert found.verdict == "inconclusive"
    assert "off-target damage" in found.reason


@pytest.mark.parametrize(
    ("variant", "expected"), [("no-plan", "supported"), ("irrevocable", "contradicted"), ("spoiled-early", "vacuous")]
)
def test_skipping_more_than_a_needed_block_leaves_no_rhyme(variant: str, expected: str) -> None:
    """Rhymes that need the late block are gone without more than it, others are not; where none were, none can go."""
    (claim,) = (claim for claim in ledger.rows(family="q4") if claim.id == "X200")
    found = judge(claim, layer_skipping.rhymes_beyond_late_block(subject_of(f"planted-llama-{variant}")))
    assert found.verdict == expected, found.reason


def test_losses_without_both_parts_of_a_stage_are_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A couplet that ceases to rhyme without one part of the planning stage and not without the other loses half."""
    subject = subject_of("planted-llama-no-plan")
    first, second = (1,), (2,)
    monkeypatch.setattr(layer_skipping, "scaled", lambda ends, _: first if ends == MIDDLE[0] else second)
    rhymes = {WHOLE: True, first: False, second: True, (0,): True}
    found = {
        name: skipped_couplets.Couplet(rhymes, rhymes, dict.fromkeys(MIDDLE, (0,)))
        for name in once(subject, layer_skipping.harms)
    }
    monkeypatch.setitem(subject.memo, "prolepsis.experiments.skipped_couplets.couplets", found)
    measured = layer_skipping.middle_block_loss(subject)
    assert set(measured.values.values()) == {0.5}
    assert set(measured.arms["other layers"].values()) == {0.0}


def test_rhymes_written_without_a_layer() -> None:
    """Without the layer that reads the word nothing rhymes any more; without any other, everything does."""
    subject = subject_of("planted-llama-no-plan")
    for couplet in once(subject, skipped_couplets.couplets).values():
        assert couplet.true == {block: block != (3,) for block in couplet.true}
    assert fmean(layer_skipping.late_block_loss(subject).values.values()) == 1
    gains = layer_skipping.last_block_gain(subject_of("planted-llama-irrevocable"))
    assert gains.detectable == ()
    assert set(gains.values.values()) == {0.0}


@pytest.mark.parametrize(("when", "layer", "alone"), [("early", 1, 8.0), ("late", 3, None)])
def test_a_spoiled_planner_rhymes_without_the_spoiling_layer(when: str, layer: int, alone: float | None) -> None:
    """The spoiling head writes a word of another group at logit 12; without its layer the right word is left alone."""
    subject = subject_of(f"planted-llama-spoiled-{when}")
    for name, couplet in once(subject, skipped_couplets.couplets).items():
        assert couplet.true == {block: block == (layer,) for block in couplet.true}, name
    for pair in rhyme_pairs(task_of(subject))[:6]:
        clean = once(subject, Runs).clean(pair.recipient)
        attention = math.exp(7) / (math.exp(7) + len(clean.tokens) - 1)
        rows = clean.edit([[], [Skip((layer,))]]).last_logits
        answer = once(subject, Runs).answer(pair.recipient)
        assert rows[0].max().item() == pytest.approx(12, abs=1e-3)
        assert rows[1].argmax().item() == answer
        assert rows[1, answer].item() == pytest.approx(alone or 8 * attention, abs=1e-3)


# ---------------------------------------------------------------- logit lens


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**16), family=st.sampled_from(FAMILIES), layer=st.integers(0, 2))
def test_the_lens_is_the_model_without_later_layers(seed: int, family: str, layer: int) -> None:
    """What the lens shows of a layer is what the model says with all later layers left out."""
    subject = tiny_subject(family, seed)
    clean = clean_run(subject, tiny_tokens(seed, 7))
    later = tuple(range(layer + 1, subject.n_layers))
    without = clean.edit([[Skip(later)] if later else []], Read(logits=(-1,))).last_logits[0]
    assert torch.allclose(subject.unembed(clean.resid_post(layer)[-1:])[0], without, atol=1e-9)


def test_the_lens_meets_its_closed_form() -> None:
    """Before the route rhymes lead nothing in a planted planner's lens; from it on they do by the planted logit."""
    subject = subject_of("planted-llama-irrevocable")
    for pair in rhyme_pairs(task_of(subject)):
        length = len(once(subject, Runs).clean(pair.recipient).tokens)
        attention = math.exp(7) / (math.exp(7) + length - 1)
        shown = once(subject, logit_lens.lenses)[pair.recipient.id]
        assert shown.rhymes == pytest.approx([0, 0, *[8 * attention] * 2], abs=1e-3)
        assert shown.another_line == pytest.approx([0, 0, *[-8 * attention] * 2], abs=1e-3)


def test_the_last_layer_s_lens_is_the_output() -> None:
    """At the last layer rhymes lead by what the model itself gives a rhyme over what it gives another word."""
    subject = subject_of("planner")
    for pair in rhyme_pairs(task_of(subject))[:6]:
        given = once(subject, Runs).clean(pair.recipient).read(Read()).probabilities()[0]
        rhyme, other = (
            fmean(given[subject.word_id(word)].item() for word in task_of(subject).groups[p.group] if word != p.word)
            for p in (pair.recipient, pair.donor)
        )
        shown = once(subject, logit_lens.lenses)[pair.recipient.id].rhymes[-1]
        assert shown == pytest.approx(math.log(rhyme / other), abs=1e-4)


def test_the_lens_looks_for_rhymes_of_the_whole_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    """A word that is one token and rhymes counts though no group lists it; the prompt's own word does not count."""
    subject = subject_of("planner")
    (prompt, *_) = (pair.recipient for pair in rhyme_pairs(task_of(subject)))
    listed = task_of(subject).groups[prompt.group]
    endings = {prompt.word: ("X",), "she": ("X", "Y"), "then": ("Y", "X"), "notaword": ("X",)}
    monkeypatch.setitem(subject.memo, "prolepsis.lexicon.lexicon_of", Lexicon({}, endings))
    monkeypatch.delitem(subject.memo, "prolepsis.experiments.logit_lens.words_by_ending", raising=False)
    expected = {subject.word_id(word) for word in (*listed, "she") if word != prompt.word}
    assert set(logit_lens.rhyming_tokens(subject, prompt)) == expected
    del subject.memo["prolepsis.experiments.logit_lens.words_by_ending"]


@pytest.mark.parametrize(
    ("leads", "expected"),
    [
        ((0.0, 0.0, 4.0, 0.1), "supported"),
        ((0.0, 0.0, 4.0, 3.0), "contradicted"),
        ((0.0, 0.0, 0.2, 0.1), "vacuous"),
    ],
)
def test_rhymes_fade_where_they_were(leads: tuple[float, ...], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words dissipate that lead in the layers before the last and no longer in it; what was never there cannot."""
    subject = subject_of("planted-llama-no-plan")
    names = [pair.recipient.id for pair in rhyme_pairs(task_of(subject))]
    shown = {
        name: logit_lens.Lens([lead + 0.01 * (i % 3) for lead in leads], leads, leads) for i, name in enumerate(names)
    }
    monkeypatch.setitem(subject.memo, "prolepsis.experiments.logit_lens.lenses", shown)
    (claim,) = (claim for claim in ledger.rows(family="q4") if claim.id == "D02")
    found = judge(claim, logit_lens.lens_dissipation(subject))
    assert found.verdict == expected, found.reason


@given(n_layers=st.integers(2, 100))
def test_rhymes_fade_before_the_last_layer(n_layers: int) -> None:
    """The layers in which rhymes are there for a while end before the last; in Llama's depth they are L11 to L14."""
    middle = logit_lens.fading_layers(n_layers)
    assert middle
    assert middle[0] >= 0
    assert middle[-1] == n_layers - 2
    assert logit_lens.fading_layers(16) == range(11, 15)


# ---------------------------------------------------------------- feature census


@given(n_layers=st.integers(1, 100))
def test_ends_are_symmetric(n_layers: int) -> None:
    """As many layers are counted at one end as at the other; in the paper's depth two."""
    first, last = feature_census.ends(n_layers)
    assert set(last) == {n_layers - 1 - layer for layer in first}
    assert first[0] == 0
    assert tuple(map(list, feature_census.ends(26))) == ([0, 1], [24, 25])


@pytest.mark.parametrize(
    ("shares", "smaller", "last"),
    [
        ({25: 1.0}, 0.0, 1.0),
        ({0: 0.5, 1: 0.5}, 0.0, 0.0),
        ({0: 0.25, 1: 0.25, 12: 0.125, 24: 0.125, 25: 0.25}, 0.375, 0.25),
    ],
)
def test_features_at_one_end_are_not_at_both(shares: dict[int, float], smaller: float, last: float) -> None:
    """What is at both ends is as much as the end with fewer has; the last layer counts alone as well."""
    assert feature_census._at_each_end(shares, 26) == smaller
    assert feature_census._in_last_layer(shares, 26) == last


def test_the_census_holds_one_layer_of_the_transcoder_at_a_time() -> None:
    """Looking up features of all layers takes no more memory than those of the first, whose decoder is largest."""
    subject = subject_of("planner")

    def peak(layers: range) -> int:
        features = {Feature(layer, 0) for layer in layers}
        with LiveBytes() as live:
            assert set(feature_census._cosines(subject, features, [1, 2])) == features
        return live.peak

    assert peak(range(subject.n_layers)) <= 1.05 * peak(range(1))


def test_the_census_counts_active_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares are of all features active at the last position, and the chosen ones point at the answer most."""
    monkeypatch.setattr(feature_census, "TOP", 3)
    subject = subject_of("window-2")
    transcoder, runs = subject.transcoder, once(subject, Runs)
    assert transcoder is not None
    censuses = feature_census.censuses(subject)
    for pair in rhyme_pairs(task_of(subject))[:5]:
        mid = runs.clean(pair.recipient).read(Read(logits=(), resid_mid=(0, 1))).resid_mid
        active = [
            Feature(layer, int(index))
            for layer in (0, 1)
            for index in transcoder.encode(layer, mid[layer][0, -1]).nonzero()
        ]
        target = subject.unembedding[runs.answer(pair.recipient)]
        cosines = [torch.cosine_similarity(transcoder.rows(f)[-1], target, dim=0).item() for f in active]
        order = sorted(range(len(active)), key=lambda i: -cosines[i])[:3]
        found = censuses[pair.recipient.id]
        for shares, features in ((found.active, active), (found.target, [active[i] for i in order])):
            assert sum(shares.values()) == pytest.approx(1)
            assert shares.get(0, 0) == pytest.approx(fmean(feature.layer == 0 for feature in features))


def test_no_active_feature_is_no_census() -> None:
    """A planted planner's features are silent at the last position, and that is said rather than counted as nothing."""
    with pytest.raises(Untested, match="no transcoder feature is active"):
        feature_census.end_share(subject_of("planted-llama-irrevocable"))


# ---------------------------------------------------------------- ladders of depths


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
    monkeypatch.setitem(top.memo, "prolepsis.experiments.depth_ladder.rungs", ladder(rhymes))
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
    monkeypatch.setitem(top.memo, "prolepsis.experiments.depth_ladder.rungs", (*made, other))
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
        ("planted-llama-irrevocable", {"D06": "contradicted", "X30": "supported", "D01": "vacuous"}),
    ],
)
def test_verdicts_on_subjects_with_known_answers(name: str, expected: dict[str, str]) -> None:
    """Depth matters where a window hides the word, not where attention is free; layers where they were planted."""
    claims = [claim for claim in ledger.rows(family="q4", tier="organism") if claim.id in expected]
    verdicts = judge_family(claims, measuring.measure(claims, subject_of(name)))
    assert {claim: found.verdict for (claim, _), found in verdicts.items()} == expected


def test_rungs_do_what_they_were_made_for() -> None:
    """In the ladder of windows a rung's rhymes follow its reach, template by template, and each knows its facts."""
    rungs = once(subject_of("narrow-window-4"), depth_ladder.rungs)
    assert [rung.depth for rung in rungs] == [1, 1, 2, 2, 2, 3, 4]
    (short,) = [rung for rung in rungs if rung.id == "short-window-2"]
    assert 0 < fmean(short.reached.values()) < 1
    for rung in rungs:
        assert fmean(rung.facts) > 0.95
        assert not any(row.get("moved", False) for row in rung.reach_rows)
        for prompt in ladder_prompts(task_of(subject_of("narrow-window-4")))[::24]:
            ids = [p for p in rung.rhymes if p.startswith(f"{prompt.template.id}/")]
            assert fmean(rung.rhymes[p] for p in ids) == pytest.approx(float(rung.reached[ids[0]]), abs=0.2)
