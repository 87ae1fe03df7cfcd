"""The head experiments measure what is known of planted subjects: who carries, by what, and for which task."""

import statistics
from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prolepsis import ledger
from prolepsis.edits import Add, ReplaceHeadOutput, Row
from prolepsis.engine import clean_run
from prolepsis.experiments import measuring
from prolepsis.experiments.attention_ranking import area_under_curve, attention_ranking
from prolepsis.experiments.carriers import find_carriers
from prolepsis.experiments.head_effects import head_outputs, head_sufficiency, leading_head_outputs, shares
from prolepsis.experiments.head_routing import lost_by_head, routing
from prolepsis.experiments.mediation import (
    Mediation,
    _Prompts,
    log_odds,
    moved_by_own_outputs,
    reached_heads,
)
from prolepsis.experiments.routing_claims import top_head_share
from prolepsis.judge import judge
from prolepsis.names import Head
from prolepsis.running.batching import AtOnce
from prolepsis.subject import Subject
from prolepsis.subjects.loading import load_subject
from tests.tiny import FAMILIES, rows_like, tiny_subject, tiny_tokens

torch.set_num_threads(1)
ROUTE, DECOY = Head(2, 1), Head(3, 3)


@cache
def subject_of(variant: str) -> Subject:
    """A planted subject; what has been measured on it stays with it."""
    return load_subject(f"planted-llama-{variant}")


def mediation_of(family: str, seed: int, layer: int, length: int = 6) -> Mediation:
    """A random edit of a tiny random model, below its last position."""
    return mediation_in(tiny_subject(family, seed), seed, layer, length)


def mediation_in(subject: Subject, seed: int, layer: int, length: int) -> Mediation:
    """A random edit of a random prompt."""
    clean = clean_run(subject, tiny_tokens(seed, length))
    edit = [Add(layer, length - 2, 3 * rows_like(subject, seed, 1)[0])]
    return Mediation(clean, edit, 7, reached_heads(clean, edit))


mediations = st.builds(mediation_of, st.sampled_from(FAMILIES), st.integers(0, 2**16), st.integers(0, 1))


@settings(deadline=None, max_examples=10)
@given(one=mediations, data=st.data())
def test_a_cached_prefix_gives_the_log_odds_of_whole_runs(one: Mediation, data: st.DataObject) -> None:
    """Outputs put in at the last token, from their first layer on, give the log-odds of running all under the edits."""
    sets = data.draw(st.lists(st.lists(st.sampled_from(one.heads), unique=True), max_size=4))
    outputs = [{head: one.edited_z[head] + 1 for head in heads} for heads in ([one.heads[-1]], *sets, [one.heads[0]])]
    puts = [[ReplaceHeadOutput(head, one.last, z) for head, z in each.items()] for each in outputs]
    at_once = data.draw(st.sampled_from([1, 1 << 30]))
    for edited, edit in ((True, one.edit), (False, [])):
        whole = one.clean.edit([edit, *([*edit, *each] for each in puts)]).log_odds(one.token)
        one.clean.subject.once(AtOnce).bytes = at_once
        (found,) = log_odds([(one, outputs)], edited=edited)
        del one.clean.subject.known[AtOnce]
        assert torch.allclose(torch.tensor(found, dtype=torch.float64), whole, atol=1e-9)


@settings(deadline=None, max_examples=10)
@given(one=mediations)
def test_all_heads_together_carry_everything(one: Mediation) -> None:
    """All clean outputs undo an edit further back entirely, and all edited ones make it entirely."""
    (edited, undone), (clean, made) = (
        log_odds([(one, [put])], edited=edited)[0] for edited, put in ((True, one.clean_z), (False, one.edited_z))
    )
    assert undone == pytest.approx(clean, abs=1e-9)
    assert made == pytest.approx(edited, abs=1e-9)


@settings(deadline=None, max_examples=10)
@given(one=mediations)
def test_pattern_and_values_make_up_the_output(one: Mediation) -> None:
    """Where the first reached layer's output differs, it is by its pattern, its values, and their joint change."""
    first = one.heads[0].layer
    for head in (head for head in one.heads if head.layer == first):
        patterns = one.pattern(1, head) - one.pattern(0, head)
        reads = one._reads.values[head]
        joint = patterns @ (reads[1] - reads[0])
        by_pattern, by_values = (
            one.edited_z[head] - one.clean_pattern[head],
            one.edited_z[head] - one.clean_values[head],
        )
        assert torch.allclose(one.edited_z[head] - one.clean_z[head], by_pattern + by_values - joint, atol=1e-12)


def test_only_reached_heads_are_asked() -> None:
    """Heads at or below the edit's layer, and those that cannot see the edited position, are no candidates."""
    subject = tiny_subject("mistral", n_layers=3, window=2)
    clean = clean_run(subject, tiny_tokens(0, 6))
    row = rows_like(subject, 0, 1)[0]
    assert {head.layer for head in reached_heads(clean, [Add(0, 4, row)])} == {1, 2}
    assert {head.layer for head in reached_heads(clean, [Add(0, 3, row)])} == {2}
    assert reached_heads(clean, [Add(0, 2, row)]) == ()


@pytest.mark.parametrize(
    ("variant", "carrier", "by_pattern", "by_values"),
    [
        ("irrevocable", ROUTE, 0, 1),
        ("corrects", ROUTE, 0, 1),
        ("values-only", ROUTE, 0, 1),
        ("pattern-only", Head(3, 1), 1, 0),
    ],
)
def test_the_planted_carrier_is_found(variant: str, carrier: Head, by_pattern: float, by_values: float) -> None:
    """One head carries the whole redirect, by the part it was planted to carry it by; every other carries nothing."""
    subject = subject_of(variant)
    found = subject.once(find_carriers)
    assert set(found.chosen.values()) == {(carrier,)}
    for pair in found.pairs:
        for head, nats in found.lost[pair.id].items():
            assert found.share(pair, nats) == pytest.approx(float(head == carrier), abs=1e-4)
    expected = {"output": 1.0, "sufficiency": 1.0, "pattern": by_pattern, "values": by_values}
    for what, arms in subject.once(shares).items():
        assert statistics.fmean(arms["carriers"].values()) == pytest.approx(expected[what], abs=1e-4)


def test_a_half_has_no_part_in_its_own_carriers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrecking one half's effects leaves the carriers that half is tested with unchanged."""
    subject = subject_of("irrevocable")
    clean = subject.once(find_carriers)
    module = find_carriers.__globals__
    alone = module["alone"]

    def wrecked(asked: list[Mediation]) -> object:
        effects, lost, made = alone(asked)
        for index, pair in enumerate(clean.pairs):
            if pair.half == 0:
                lost[index] = made[index] = {head: float(head == DECOY) for head in lost[index]}
        return effects, lost, made

    monkeypatch.setitem(module, "alone", wrecked)
    spoiled = find_carriers(subject)
    assert spoiled.chosen[0] == clean.chosen[0]
    assert spoiled.chosen[1] != clean.chosen[1]


def test_five_leading_heads_are_taken_whatever_they_lose() -> None:
    """The set has five heads, the carrier first, as the other half ranks them, and loses what these five lose."""
    subject = subject_of("irrevocable")
    found = subject.once(find_carriers)
    few, measured = found.leading(), leading_head_outputs(subject)
    assert {half: (len(heads), heads[0]) for half, heads in few.chosen.items()} == {0: (5, ROUTE), 1: (5, ROUTE)}
    assert measured.parameters["carriers"] == "5 leading heads of the other half"
    for pair in found.pairs[:4]:
        one = found.mediations[pair.id]
        put = {head: one.clean_z[head] for head in found.ranked[pair.half][:5]}
        ((top, without),) = log_odds([(one, [put])], edited=True)
        assert measured.values[pair.id] == pytest.approx((top - without) / found.redirects[pair.id])
    assert set(measured.arms) >= {"other heads", "random heads", "random edit", "untrained twin", "all heads"}


def test_where_nothing_is_redirected_nothing_is_detectable() -> None:
    """Without a plan at the site there is no redirect, and no pair counts."""
    assert head_outputs(subject_of("no-plan")).detectable == ()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_neox"])
def test_own_outputs_move_nothing_in_any_dtype(family: str, dtype: torch.dtype) -> None:
    """They change no bit of the clean run where they were read, in a model wide enough for products to round by shape.

    What was read in a pass of two whole prompts does, so that the test could tell.
    """
    subject = tiny_subject(family, n_heads=12, d_head=64, d_mlp=512, dtype=dtype)
    asked = [mediation_in(subject, seed, 0, length) for seed, length in enumerate((12, 12, 9, 12))]
    assert moved_by_own_outputs(asked) == [0.0] * len(asked)
    odds = log_odds([(one, [one.clean_z]) for one in asked], edited=False)
    assert any(put_back != plain for plain, put_back in odds)


def test_outputs_of_another_prompt_are_no_own_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sham shows where outputs are put back: into another prompt's row they move."""
    subject = tiny_subject("llama")
    asked = [mediation_in(subject, seed, 0, 6) for seed in range(3)]
    odds = _Prompts.odds

    def swapped(self: _Prompts, owners: list[int], rows: list[Row], start: int) -> list[float]:
        return odds(self, owners, [rows[-1], *rows[:-1]], start)

    monkeypatch.setattr(_Prompts, "odds", swapped)
    assert all(abs(nats) > 1e-3 for nats in moved_by_own_outputs(asked))


def test_a_mediation_that_reaches_no_head_has_no_outputs_to_put_back() -> None:
    """Then nothing moves, beside others or alone."""
    one = mediation_of("llama", 0, 0)
    none = replace(one, heads=())
    assert moved_by_own_outputs([none]) == [0.0]
    assert moved_by_own_outputs([one, none]) == [0.0, 0.0]


def test_the_sham_of_sufficiency_is_of_every_pair() -> None:
    """The own outputs of each pair are put back, and none moves."""
    measured = head_sufficiency(subject_of("irrevocable"))
    assert measured.arms["own outputs"] == dict.fromkeys(measured.values, 0.0)


def test_attention_ranks_the_decoy_first_and_it_carries_nothing() -> None:
    """Under the paper's own edit the decoy is the top head, and the route carries what it gives the injected word."""
    subject = subject_of("irrevocable")
    found, lost = subject.once(routing), subject.once(lost_by_head)
    for one in found.routed:
        assert found.top_head(one) == DECOY
        assert one.redirect > 10
        assert lost[one.pair.id][DECOY] == pytest.approx(0, abs=1e-3)
        assert lost[one.pair.id][ROUTE] == pytest.approx(one.redirect, abs=1e-3)


@pytest.mark.parametrize(("of_another", "verdict"), [(0.6, "vacuous"), (0.2, "supported")])
def test_a_head_that_does_no_more_than_another_is_not_the_one_that_carries(of_another: float, verdict: str) -> None:
    """The top head is held against the strongest other one, however many there are that do nothing."""
    subject = load_subject("planted-llama-pattern-only")
    found = subject.once(routing)
    heads = [Head(layer, index) for layer in range(8) for index in range(9)]
    subject.known[lost_by_head] = {
        one.pair.id: dict.fromkeys(heads, 0.0)
        | {DECOY: of_another * one.redirect, found.top_head(one): 0.6 * one.redirect}
        for one in found.routed
    }
    measured = top_head_share(subject)
    arm = measured.arms["strongest other head"]
    assert list(arm.values()) == pytest.approx([of_another] * len(arm))
    (claim,) = [claim for claim in ledger.rows(family="q3", variant="published") if claim.id == "C03"]
    assert judge(claim, measured).verdict == verdict


def test_the_strongest_other_head_is_chosen_without_its_own_half() -> None:
    """Heads that carry a redirect on one half alone are none that the other half chose."""
    subject = load_subject("planted-llama-pattern-only")
    found, each = subject.once(routing), (DECOY, ROUTE)
    subject.known[lost_by_head] = {
        one.pair.id: dict.fromkeys(each, 0.0) | {each[one.pair.half]: one.redirect} for one in found.routed
    }
    measured = top_head_share(subject)
    assert set(measured.arms["strongest other head"].values()) == {0.0}
    assert measured.detail["strongest other head"] == {"half 0": str(each[1]), "half 1": str(each[0])}


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=12))
def test_the_area_under_the_curve_is_the_chance_to_rank_right(drawn: list[tuple[float, bool]]) -> None:
    """It is the share of (positive, other) pairs in which the positive scores higher, ties counting half."""
    scores = {Head(0, i): score for i, (score, _) in enumerate(drawn)}
    positives = [Head(0, i) for i, (_, positive) in enumerate(drawn) if positive]
    others = [head for head in scores if head not in positives]
    wins = [0.5 * (1 + (scores[a] > scores[b]) - (scores[a] < scores[b])) for a in positives for b in others]
    assert area_under_curve(scores, positives) == pytest.approx(statistics.fmean(wins) if wins else 0.5)


def test_attention_tells_nothing_where_values_carry() -> None:
    """With equal attention to every plan the ranking is a coin's; where the pattern carries it is perfect."""
    assert set(attention_ranking(subject_of("values-only")).values.values()) == {0.5}
    assert set(attention_ranking(subject_of("pattern-only")).values.values()) == {1.0}


@pytest.mark.parametrize(
    ("variant", "pattern", "values"),
    [("irrevocable", "contradicted", "supported"), ("pattern-only", "supported", "contradicted")],
)
def test_asked_verdicts_on_subjects_with_known_answers(variant: str, pattern: str, values: str) -> None:
    """Judged one by one: heads carry in either subject, by their patterns in one and by their values in the other."""
    claims = [claim for claim in ledger.rows(family="q3", variant="asked", tier="organism") if claim.suite == "routing"]
    measured = measuring.measure(claims, subject_of(variant))
    found = {claim.id: judge(claim, measured[claim.key]).verdict for claim in claims}
    assert found == {"X10": "supported", "X11": "supported", "X12": pattern, "X13": values, "X14": pattern}
