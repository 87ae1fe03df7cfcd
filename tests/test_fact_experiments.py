"""The Q5 experiments measure what the wiring and arithmetic say they must."""

from dataclasses import replace
from functools import cache

import pytest
import torch

from prolepsis import ledger
from prolepsis.experiments import measuring
from prolepsis.experiments.fact_interchange import Curves, fact_hand_off, fact_held, interchanges, subject_rows
from prolepsis.experiments.fact_pairs import FactPair, FactRuns, fact_pairs
from prolepsis.experiments.fact_routing import Routing, dominant, fact_head_direction, n_listed, routings
from prolepsis.experiments.facts_asked import facts_of
from prolepsis.experiments.patched_blocks import (
    sources,
)
from prolepsis.judge import judge_family
from prolepsis.names import Head
from prolepsis.organisms.grammar import FIRST_NAMES
from prolepsis.organisms.grammar import task as grammar_task
from prolepsis.reachability.masks import CoupletBarrier
from prolepsis.running.hooks import Read
from prolepsis.subject import Subject
from prolepsis.subjects.loading import load_subject
from prolepsis.subjects.task import Relation, Task
from tests.tiny import tiny_subject

torch.set_num_threads(1)


@cache
def subject_of(name: str) -> Subject:
    """A bundled subject; what has been measured on it stays with it."""
    return load_subject(name)


# ---------------------------------------------------------------- interchange


def test_where_first_names_are_hidden_the_subject_holds_all_that_differs() -> None:
    """Behind the barrier the rows of the subject after layer 0 are the donor's run, and the last token's are nothing.

    A first name is seen by the last name alone, so in prompts that share the last name nothing else can have heard of
    it. Taken at any other token the interchange changes no bit.
    """
    subject = subject_of("planner")
    assert isinstance(subject.mask_rule, CoupletBarrier)
    runs = subject.once(FactRuns)
    shared = [pair for pair in facts_of(subject) if pair.recipient.subject.split()[1] == pair.donor.subject.split()[1]]
    assert len(shared) > 50
    for pair in shared:
        donors_own = runs.clean(pair.donor).read(Read()).last_logits
        out = runs.clean(pair.recipient).edit([subject_rows(runs, pair, pair.donor, 0)]).last_logits
        assert torch.allclose(out, donors_own, atol=1e-4)
        assert subject.once(interchanges)[pair.id].donor.last[0] == pytest.approx(0, abs=1e-6)


def test_without_a_barrier_the_last_token_has_it_at_once() -> None:
    """In the improviser the last token's row after layer 0 brings the donor's answer, and the subject's do not."""
    measured = subject_of("improviser").once(interchanges)
    assert max(found.donor.subject[0] for found in measured.values()) < 1
    assert min(found.donor.last[0] for found in measured.values()) > 5


@pytest.mark.parametrize("name", ["planner", "window-1"])
def test_controls_of_the_assay_hold(name: str) -> None:
    """The prompt's own rows change no bit, all positions together are the donor's run, and the last layer is unread."""
    subject = subject_of(name)
    measured = fact_held(subject)
    assert set(measured.arms["own rows"].values()) == {0.0}
    assert min(measured.arms["all positions"].values()) > 0.9999
    top = subject.n_layers - 1
    assert {found.donor.subject[top] for found in subject.once(interchanges).values()} == {0.0}


def test_curves_cross_where_the_last_token_catches_up() -> None:
    """The crossing is the first layer at which the last token is not behind; a hand-over needs both leads."""
    curves = Curves({0: 9.0, 1: 5.0, 2: 1.0}, {0: 0.0, 1: 5.0, 2: 8.0}, {0: True, 1: True, 2: False})
    assert curves.crossing() == 1
    assert curves.handed_over(0, 2) == 7
    assert curves.handed_over(0, 0) == -9
    assert replace(curves, last={0: 0.0, 1: 0.0, 2: 0.0}).crossing() == 3


def test_an_answer_that_could_be_copied_is_left_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs whose answer stands in the prompt are measured and reported apart, and take no part in the verdict."""
    subject = load_subject("window-1")
    marked = {pair.id for pair in facts_of(subject)[:10]}
    monkeypatch.setattr(FactPair, "answer_in_prompt", property(lambda pair: pair.id in marked))
    measured = fact_hand_off(subject)
    assert measured.detectable is not None
    assert set(measured.values) - set(measured.detectable) == marked
    assert measured.detail["answer in the fact"]["exact flips"]


# ---------------------------------------------------------------- routing


def test_heads_below_the_patch_do_not_shift() -> None:
    """Blocks that leave no layer above are not listed, and the others list the heads above their first layer alone."""
    found = subject_of("improviser").once(routings)
    for routing in found.values():
        assert [sorted({head.layer for head in shifts}) for shifts in routing.shifts] == [[1, 2, 3], [2, 3], [3]]
        assert [len(leaders) for leaders in routing.leaders] == [n_listed(subject_of("improviser"))] * 3


def test_shifts_are_summed_and_led_as_defined() -> None:
    """Totals, shares, the blocks led and the decline that equal layers would give are those counted by hand."""
    low, high = Head(1, 0), Head(2, 0)
    routing = Routing(({low: -0.4, high: 0.2}, {high: -0.1}), ((low,), (high,)))
    assert (routing.share(low), routing.share(Head(1, 1))) == (0.5, 0)
    assert (routing.total(0), routing.total(1), routing.total(2)) == pytest.approx((0.6, 0.1, 0))
    assert (routing.led(low), routing.led(high), routing.led(Head(1, 1))) == ([0], [1], [])
    assert Routing((), ()).share(low) == 0
    assert routing.evenly(3) == pytest.approx((0.6 + 0.1) / 3 * 2)


def test_a_half_has_no_part_in_its_own_heads() -> None:
    """Giving one half's pairs another leader leaves the heads that half is tested with unchanged."""
    subject = subject_of("improviser")
    found = subject.once(routings)
    other = Head(1, 3)
    spoiled = {
        pair.id: replace(found[pair.id], leaders=((other,),)) if pair.half == 0 else found[pair.id]
        for pair in facts_of(subject)
    }
    assert dominant(subject, spoiled)[0] == dominant(subject, found)[0]
    assert dominant(subject, spoiled)[1][0] == other


def test_the_direction_is_a_share_of_all_appearances() -> None:
    """Every block in which the other half's head leads counts once, however many of them a pair has."""
    subject = subject_of("planner")
    found, measured = subject.once(routings), fact_head_direction(subject)
    chosen = {half: head for half, (head, _) in dominant(subject, found).items()}
    led = [
        (pair, shifts[chosen[pair.half]])
        for pair in facts_of(subject)
        for shifts, leaders in zip(found[pair.id].shifts, found[pair.id].leaders, strict=True)
        if chosen[pair.half] in leaders
    ]
    assert len({pair.id for pair, _ in led}) < len(led)
    assert list(measured.values.values()) == [float(shift < 0) for _, shift in led]
    assert list(measured.clusters.values()) == [(pair.cluster,) for pair, _ in led]
    shown = measured.detail["negative shifts of the dominant head, of its appearances"]
    assert shown == pytest.approx(sum(shift < 0 for _, shift in led) / len(led))
    assert measured.arms["random row"].keys() == measured.values.keys()
    assert measured.arms["random row"] != measured.values


# ---------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("planner", {"X40": "supported", "X41": "supported", "X42": "supported", "X43": "supported"}),
        ("window-1", {"X40": "contradicted", "X41": "contradicted", "X42": "contradicted", "X43": "vacuous"}),
    ],
)
def test_verdicts_on_subjects_with_known_answers(name: str, asked: dict[str, str]) -> None:
    """The fact is held and handed over where the barrier makes it so; what is published is forced."""
    claims = ledger.rows(family="q5", tier="organism")
    verdicts = judge_family(claims, measuring.measure(claims, subject_of(name)))
    assert {claim: found.verdict for (claim, which), found in verdicts.items() if which == "asked"} == asked
    assert verdicts["E08", "published"].verdict == "vacuous"
    assert verdicts["E10", "published"].verdict == "vacuous"
    assert verdicts["E07", "published"].verdict == ("contradicted" if name == "window-1" else "vacuous")


def test_people_have_names_that_the_barrier_hides() -> None:
    """The subjects of the facts begin with a name the barrier hides, which the truths above rest on."""
    assert {pair.recipient.subject.split()[0] for pair in fact_pairs(grammar_task())} == set(FIRST_NAMES)


# ---------------------------------------------------------------- prompts of another shape


class Words:
    """A tokenizer that gives every word, and every line break, a token of its own."""

    unk_token_id, bos_token_id = 0, 1

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        words = text.replace("\n", " <nl> ").split()
        ids = [self.ids.setdefault(word, len(self.ids) + 2) for word in words]
        return {"input_ids": [1, *ids] if add_special_tokens else ids}


def test_instructions_and_subjects_of_different_length_are_measured_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts that state a fact, leave a line blank and instruct are aligned, patched and judged like the others.

    There are no third subjects here: the arms that need one stay away.
    """
    monkeypatch.setattr("prolepsis.experiments.facts_asked.MIN_COUPLES", 2)
    facts = [{"the home of a b is": "Paris", "the home of c is": "Rome"}, {"d e f in": "Rome", "d in": "Paris"}]
    question = "\n\nPick Paris or Rome :"
    relations = tuple(
        Relation(f"r{i}", (f"{{subject}}{question}",), ("Paris", "Rome"), fact) for i, fact in enumerate(facts)
    )
    subject = replace(tiny_subject("llama", n_layers=4), tokenizer=Words(), task=Task({}, {}, (), (), facts=relations))
    assert subject.n_vocab > 2 + len({word for fact in facts for text in fact for word in text.split()}) + 5
    held = fact_held(subject)
    assert set(held.values) == {pair.id for pair in facts_of(subject)}
    assert held.arms["same-answer donor"] == held.arms["mismatched donor"] == {}
    runs = subject.once(FactRuns)
    for pair in facts_of(subject):
        places, fact = runs.align(pair, pair.donor), pair.recipient.subject.split()
        assert places.fact == tuple(range(1, 1 + len(fact)))
        assert set(sources(runs, pair).values()) <= set(range(len(runs.clean(pair.donor).tokens)))
    claims = [claim for claim in ledger.rows(family="q5", tier="gpu") if not claim.untested]
    assert set(judge_family(claims, measuring.measure(claims, subject))) == {claim.key for claim in claims}
