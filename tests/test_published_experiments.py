"""The published prompts on tiny random models: every figure is what plain forward passes with hooks give."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch

from prolepsis import ledger
from prolepsis.experiments import families, published_pairs
from prolepsis.experiments.published_pairs import Groups, groups_of, pair_sweeps
from prolepsis.experiments.published_prompt import NULLS, noise
from prolepsis.experiments.published_routing import routed_prompts
from prolepsis.experiments.published_sweep import sweep_prompt
from prolepsis.judge import judge
from prolepsis.names import Feature, Head
from prolepsis.report.figures import draw_figures
from prolepsis.subject import Subject
from prolepsis.subjects.lexicon import spoken_endings
from prolepsis.subjects.swept_pairs import SweptPair, median_spread
from tests.published_subjects import (
    FAMILIES,
    INJECT,
    LAYERS,
    ON_A_GPU,
    OTHER,
    PLAIN,
    PROMPT,
    PUBLISHED,
    SUPPRESS,
    WORDS,
    attention,
    measured,
    plain_run,
    probability_of,
    published_subject,
    rows_of,
    value,
)


@pytest.fixture(scope="module", params=FAMILIES)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A tiny random model with the made-up protocol; what has been measured on it stays with it.

    With this seed some pairs localise and some do not, in either family.
    """
    return published_subject(request.param, tmp_path_factory.mktemp("clt"), seed=3)


def test_the_sweep_is_what_hooks_give_position_by_position(subject: Subject) -> None:
    """P(inject word) is that of a plain run with the rows added at each position in turn, a trailing space appended."""
    writes = rows_of(subject, SUPPRESS | INJECT)
    expected = [probability_of(subject, plain_run(subject, f"{PROMPT} ", writes, p), "around") for p in range(14)]
    found = subject.once(sweep_prompt)
    assert found.probabilities["measured"] == pytest.approx(expected, rel=1e-5)
    assert found.clean == pytest.approx(probability_of(subject, plain_run(subject, f"{PROMPT} ", {}, 0), "around"))
    assert measured(subject, "published_spike") == pytest.approx(expected[-1], rel=1e-5)
    baseline = families.experiment("published_baseline")(subject)
    assert value(baseline) == pytest.approx(max(expected[:-1], key=lambda p: abs(p - 5e-8)), rel=1e-5)
    assert baseline.detail["median P at other positions"] == pytest.approx(statistics.median(expected[:-1]), rel=1e-5)


def test_the_divergence_under_the_edit_is_recorded(subject: Subject) -> None:
    """KL(clean || edited) at the last position is that of two plain runs."""
    last, writes = 13, rows_of(subject, SUPPRESS | INJECT)
    p, q = (plain_run(subject, f"{PROMPT} ", each, last).logits[0, -1].softmax(-1) for each in ({}, writes))
    assert subject.once(sweep_prompt).kl == pytest.approx(float((p * (p / q).log()).sum()), rel=1e-4)


def test_null_writes_match_the_published_ones(subject: Subject) -> None:
    """A random write has the norm and the projection on the word of the published one, layer by layer."""
    place = subject.once(sweep_prompt).placed
    arms = place.arms(place.both)
    direction = arms["unembedding"][3] / arms["unembedding"][3].norm()
    for layer, vector in rows_of(subject, SUPPRESS | INJECT).items():
        assert torch.allclose(place.both[layer].double(), vector, atol=1e-5)
        for arm in ("matched random", "unembedding"):
            assert float(arms[arm][layer].norm()) == pytest.approx(float(vector.norm()), rel=1e-4)
        along = float(arms["matched random"][layer] @ direction)
        assert along == pytest.approx(float(vector.float() @ direction), abs=1e-4)


def test_attention_changes_are_those_of_plain_runs(subject: Subject) -> None:
    """Δattention of every head and P(inject word) under the same edit are those of plain runs, without the space."""
    first, second, *_ = subject.once(routed_prompts)
    for one, text, features, site in (
        (first, PROMPT, SUPPRESS | INJECT, 6),
        (second, OTHER, {"L0:4": 2.0}, 5),
    ):
        writes = rows_of(subject, features)
        expected = attention(subject, text, writes, site)
        assert one.changes["both"] == pytest.approx(expected, abs=1e-6)
        p = probability_of(subject, plain_run(subject, text, writes, site), one.steering.word)
        assert one.probabilities["both"] == pytest.approx(p, rel=1e-5)
        assert one.total("both") == pytest.approx(sum(map(abs, expected.values())), abs=1e-5)
    assert first.changes["inject"] == pytest.approx(attention(subject, PROMPT, rows_of(subject, INJECT), 6), abs=1e-6)


def test_figures_of_heads_are_those_of_the_listed_heads(subject: Subject) -> None:
    """Each rank's change, the heads found again, and the least of the top changes follow from the changes alone."""
    changes = [
        attention(subject, PROMPT, rows_of(subject, SUPPRESS | INJECT), 6),
        attention(subject, OTHER, rows_of(subject, {"L0:4": 2.0}), 5),
        attention(subject, PROMPT, rows_of(subject, {"L1:0": 3.0}), 3),
        attention(subject, OTHER, rows_of(subject, {"L0:4": -2.0, "L2:5": 2.0}), 4),
    ]
    ranked = [sorted(each, key=lambda head: -abs(each[head])) for each in changes]
    listed = [Head(2, 1), Head(3, 0), Head(2, 0)]
    for name, head in zip(("first", "second", "third"), listed, strict=True):
        assert measured(subject, f"published_{name}_head") == pytest.approx(changes[0][head], abs=1e-6)
    assert measured(subject, "published_head_list") == len(set(listed) & set(ranked[0][:3]))
    firsts = [Head(2, 1), Head(1, 0), Head(3, 1), Head(3, 0)]
    tops = [heads[0] == head for heads, head in zip(ranked, firsts, strict=True)]
    assert measured(subject, "published_top_heads") == sum(tops)
    for name, change, head in list(zip(("first", "second", "third", "fourth"), changes, firsts, strict=True))[1:]:
        assert measured(subject, f"published_{name}_prompt") == pytest.approx(change[head], abs=1e-6)
    least = min(max(map(abs, each.values())) for each in changes)
    assert measured(subject, "published_least_top_change") == pytest.approx(least, abs=1e-6)
    # Of eight heads all are among the top ten of every prompt.
    assert measured(subject, "published_recurring_heads") == 5
    assert measured(subject, "published_total_shift") == sum(sum(map(abs, e.values())) > 0.191 for e in changes)


@pytest.mark.parametrize(
    ("name", "head", "prompts"),
    [("second", "L3:H1", (0, 1)), ("third", "L2:H0", (0, 1, 3)), ("fourth", "L1:H1", (0,)), ("fifth", "L0:H1", (1,))],
)
def test_a_recurring_head_is_averaged_over_the_prompts_it_recurs_on(
    subject: Subject, name: str, head: str, prompts: tuple[int, ...]
) -> None:
    """The mean is of absolute changes, over the prompts whose lists the head is said to be in and no others."""
    routed = subject.once(routed_prompts)
    expected = statistics.fmean(abs(routed[prompt].changes["both"][Head.parse(head)]) for prompt in prompts)
    assert measured(subject, f"published_{name}_recurring") == pytest.approx(expected)


def test_every_other_group_is_injected_into_every_prompt(subject: Subject) -> None:
    """Groups are those of the scan; a pair suppresses its prompt's whole group and injects the earliest feature."""
    groups = subject.once(groups_of)
    for word, (layer, index) in WORDS.items():
        assert groups.features[word] == Feature(layer, index)
    assert subject.transcoder is not None
    cosines = {}
    for word, feature in groups.features.items():
        row = subject.transcoder.decoder(feature.layer, LAYERS - 1)[feature.index].float()
        cosines[word] = float(torch.cosine_similarity(row, subject.unembedding.float(), dim=-1).max())
    assert groups.cosines == pytest.approx(cosines, abs=1e-5)
    members = [set(words) for words in groups.words.values()]
    for mates in ({"about", "out"}, {"around", "ground"}, {"who", "too"}):
        assert sum(mates <= words for words in members) == 1
    pairs = subject.once(pair_sweeps)["measured"]
    # Of the groups of a prompt the natural one is left out, and the one whose words are no tokens as they are written.
    assert len(pairs) == 2 * (len(groups.words) - 2)
    assert {"sky", "fly"} in members
    assert families.experiment("published_best_redirect")(subject).detail["groups without a word of one token"] == [
        "AY1"
    ]
    natural = {PROMPT: next(m for m in members if "about" in m), OTHER: next(m for m in members if "who" in m)}
    for pair in pairs:
        tokens = [word for word in groups.words[pair.group] if f" {word}" in subject.tokenizer.get_vocab()]
        assert pair.word == sorted(tokens, key=lambda word: (groups.features[word].layer, -cosines[word]))[0]
        suppressed = {str(groups.features[word]): -0.3 for word in natural[pair.prompt]}
        writes = rows_of(subject, suppressed | {pair.feature: 0.3})
        last = len(pair.probabilities) - 1
        for position in (0, last):
            out = plain_run(subject, f"{pair.prompt} ", writes, position)
            assert pair.probabilities[position] == pytest.approx(probability_of(subject, out, pair.word), rel=1e-5)


@pytest.mark.parametrize(
    ("group", "injected"),
    [
        ({"are": ("L25:10682", 0.473), "far": ("L25:16107", 0.474)}, "far"),
        ({"but": ("L25:12938", 0.640), "cut": ("L25:11236", 0.461)}, "but"),
        ({"cut": ("L25:11236", 0.461), "but": ("L25:12938", 0.640)}, "but"),
        ({"ing": ("L24:5818", 0.479), "bring": ("L24:8835", 0.377), "thing": ("L25:9", 0.9)}, "ing"),
        ({"be": ("L25:12680", 0.578), "free": ("L20:12510", 0.541), "she": ("L24:714", 0.464)}, "free"),
    ],
)
def test_of_equal_source_layers_the_largest_cosine_is_injected(
    group: dict[str, tuple[str, float]], injected: str
) -> None:
    """The smallest source layer counts first, then the cosine, and never the number of a feature or the order."""
    features = {word: Feature.parse(name) for word, (name, _) in group.items()}
    groups = Groups({"an ending": list(group)}, features, {word: cosine for word, (_, cosine) in group.items()})
    assert groups.earliest(group) == injected


def test_the_scan_counts_the_words_that_have_a_feature(subject: Subject) -> None:
    """A word counts when it is the best token, with a cosine of at least 0.3, of some row at the last layer."""
    assert subject.transcoder is not None
    unit = torch.nn.functional.normalize(subject.unembedding.float(), dim=-1)
    rows = torch.cat([subject.transcoder.decoder(layer, LAYERS - 1) for layer in range(LAYERS)])
    best, tokens = (torch.nn.functional.normalize(rows, dim=-1) @ unit.T).max(-1)
    words = {subject.decode([int(t)]).strip().lower() for c, t in zip(best, tokens, strict=True) if c >= 0.3}
    clean = {word for word in words if word.isascii() and word.isalpha() and len(word) >= 2}
    assert measured(subject, "clean_word_features") == len(clean)
    assert measured(subject, "published_vocabulary") == len(subject.tokenizer)


def test_the_scan_counts_its_groups_and_their_words(subject: Subject) -> None:
    """Groups are those of two found words or more that rhyme, and each of their words counts once."""
    found, endings = set(subject.once(groups_of).features), spoken_endings(subject.once(groups_of).features)
    rhymed = {word for word in found if any(endings[word][0] == endings[other][0] for other in found - {word})}
    assert set(WORDS) <= rhymed
    assert measured(subject, "found_rhyme_words") == len(rhymed)
    assert measured(subject, "found_rhyme_groups") == len({endings[word][0] for word in rhymed})


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name != ON_A_GPU])
def test_what_an_edit_cannot_reach_does_not_move(subject: Subject, name: str) -> None:
    """Readouts out of an edit's reach are equal bit for bit, and what is measured is judged, and never supported."""
    found = families.experiment(name)(subject)
    for row in (found.reach or {}).get("rows", ()):
        assert row["reachable"] or row["moved"] is False
    claims = [claim for claim in ledger.rows(tier="gpu") if claim.experiment == name]
    assert claims
    for claim in claims:
        assert judge(claim, found).verdict in ("contradicted", "vacuous", "inconclusive")


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name != ON_A_GPU])
def test_what_is_stored_can_be_drawn(subject: Subject, name: str, tmp_path: Path) -> None:
    """Sweeps, pairs and corrections have their figures, with every curve that was measured."""
    stored = json.loads(families.experiment(name)(subject).to_json())
    drawn = {Path(path).name: (tmp_path / path).read_text() for path in draw_figures(tmp_path, "tiny", stored)}
    for kind, field in (("published-position-sweep", "P by position"), ("position-sweep", "by position")):
        if field in stored["detail"]:
            by_arm = stored["detail"][field].get("P", stored["detail"][field])
            assert set(by_arm) == {"measured", *NULLS}
            assert all(arm in drawn[f"{kind}-tiny.svg"] for arm in ("suppress + inject", *NULLS))
    assert ("published-correction-sweep-tiny.svg" in drawn) == ("with the commitment" in stored["detail"])


def test_a_feature_of_the_last_layer_acts_at_its_own_position_alone(tmp_path: Path) -> None:
    """Injected from the last layer, a word can only spike: the wiring says so at every other position."""
    changes: dict[str, Any] = {"sweep": {**PLAIN["sweep"], "inject": "L3:3", "word": "ground"}}
    subject = published_subject("llama", tmp_path, **changes)
    reach = families.experiment("published_spike")(subject).reach
    assert reach is not None
    alone = [row["reachable"] for row in reach["rows"] if row["name"].startswith("injection alone")]
    assert alone == [False] * 13 + [True]


def test_a_median_that_is_run_is_open_between_the_middle_pairs(subject: Subject) -> None:
    """The stored tolerance of the median holds half the distance of the two middle pairs, and rounding beside it."""
    pairs = subject.once(pair_sweeps)["measured"]
    assert len(pairs) % 2 == 0
    found = families.experiment("published_median_redirect")(subject)
    rounding = noise(subject) * value(found) * (1 - value(found))
    assert found.parameters["numerical_tolerance"] == pytest.approx(median_spread(pairs, 0.0) + rounding)
    assert median_spread(pairs, 0.0) > rounding


def test_strong_redirects_are_held_against_the_same_pairs(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """The share that localises is of pairs redirected to 0.1 or more, and under other writes of the same pairs."""
    curves = {
        "measured": {"a": (0.1, 0.2), "b": (0.3, 0.2), "c": (0.01, 0.02), "d": (0.2, 0.01)},
        "matched random": {"a": (0.01, 0.02), "b": (0.01, 0.02), "c": (0.2, 0.1), "d": (0.02, 0.01)},
        "unembedding": {"a": (0.02, 0.01), "b": (0.02, 0.01), "c": (0.1, 0.2), "d": (0.1, 0.2)},
    }

    def sweeps(_subject: Subject) -> dict[str, tuple[SweptPair, ...]]:
        return {
            arm: tuple(SweptPair(name, "", "", "", "L0:0", curve) for name, curve in each.items())
            for arm, each in curves.items()
        }

    monkeypatch.setattr(published_pairs, "pair_sweeps", sweeps)
    found = families.experiment("published_strong_localisation")(subject)
    assert value(found) == pytest.approx(1 / 3)
    assert {arm: list(values.values()) for arm, values in found.arms.items()} == {
        "matched random": [pytest.approx(2 / 3)],
        "unembedding": [pytest.approx(1 / 3)],
    }


@pytest.mark.parametrize("name", ["published_spike", "published_best_redirect", "published_commitment"])
def test_rounding_moves_log_odds_and_no_probability_beyond_0_and_1(tmp_path: Path, name: str) -> None:
    """In bfloat16 a probability is known to the rounding of its logits, which is little where it is near 0 or 1."""
    subject = published_subject("llama", tmp_path, seed=3, dtype=torch.bfloat16)
    found = families.experiment(name)(subject)
    p, open_by = value(found), found.parameters["numerical_tolerance"]
    assert 0 < p - open_by < p + open_by < 1
    assert open_by == pytest.approx(4 * 30 * 2**-7 * p * (1 - p))
