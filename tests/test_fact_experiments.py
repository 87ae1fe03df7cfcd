"""The Q5 experiments measure what the wiring and arithmetic say they must."""

import math
from collections import Counter
from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prolepsis import ledger
from prolepsis.controls import once
from prolepsis.edits import ReplaceStream
from prolepsis.engine import clean_run
from prolepsis.errors import Untested, UserError
from prolepsis.experiments import families
from prolepsis.experiments.fact_interchange import Curves, fact_hand_off, fact_held, interchanges, subject_rows
from prolepsis.experiments.fact_pairs import FactPair, FactRuns, align, fact_pairs, slot
from prolepsis.experiments.fact_routing import Routing, dominant, n_listed, routings
from prolepsis.experiments.facts_asked import facts_of
from prolepsis.experiments.patched_blocks import (
    Patch,
    blocks,
    changed_rate,
    decline,
    exact_share,
    fact_over_template,
    kl_from,
    patch_rows,
    separation,
    sources,
)
from prolepsis.hooks import Read
from prolepsis.judge import judge_family
from prolepsis.loading import load_subject
from prolepsis.masks import CoupletBarrier
from prolepsis.names import Head
from prolepsis.organisms.grammar import FIRST_NAMES
from prolepsis.organisms.grammar import task as grammar_task
from prolepsis.subject import Subject
from prolepsis.task import FactPrompt, Relation, Task
from tests.tiny import tiny_subject, tiny_tokens

torch.set_num_threads(1)


@cache
def subject_of(name: str) -> Subject:
    """A bundled subject; what has been measured on it stays with it."""
    return load_subject(name)


# ---------------------------------------------------------------- pairs


def test_a_subject_is_in_one_couple_and_its_halves_differ_in_nothing_else() -> None:
    """Pairs come both ways, answers differ, donors have the answer they stand for, and no subject is used twice."""
    pairs = fact_pairs(grammar_task())
    assert len(pairs) == len({pair.id for pair in pairs}) == 64
    assert set(Counter(pair.recipient.subject for pair in pairs).values()) == {1}
    assert set(Counter(pair.cluster for pair in pairs).values()) == {2}
    for pair in pairs:
        assert pair.recipient.relation == pair.donor.relation
        assert pair.recipient.template == pair.donor.template
        assert pair.same_answer is not None
        assert pair.mismatched is not None
        assert pair.same_answer.answer == pair.recipient.answer != pair.donor.answer
        assert pair.mismatched.answer not in (pair.recipient.answer, pair.donor.answer)
        assert len({p.subject for p in (pair.recipient, pair.donor, pair.same_answer, pair.mismatched)}) == 4
        assert not pair.answer_in_prompt


def test_both_halves_see_every_relation_and_template() -> None:
    """What is chosen on one half can be tested on the other in every wording, and couples do not cross."""
    pairs = fact_pairs(grammar_task())
    wordings = [{(p.recipient.relation.id, p.recipient.template) for p in pairs if p.half == half} for half in (0, 1)]
    assert wordings[0] == wordings[1] == {(r.id, i) for r in grammar_task().facts for i in range(len(r.templates))}
    assert len({(pair.cluster, pair.half) for pair in pairs}) == len({pair.cluster for pair in pairs})


QUESTION = "\n\nRespond with one of Paris or Rome or unknown and nothing else.\n\nResponse:"
COPIED = Relation("capital", (f"{{subject}}{QUESTION}",), ("Paris", "Rome", "unknown"), {})


@pytest.mark.parametrize(("donor", "copied"), [("a Rome burger of Ada", True), ("the romeo of Ada", False)])
def test_an_answer_that_stands_in_the_fact_is_marked(donor: str, copied: bool) -> None:
    """An answer that could be copied from either fact is marked; the instructions, which name every option, are not."""
    relation = replace(COPIED, answers={"the burger of Ada": "Paris", donor: "Rome"})
    pair = fact_pairs(Task({}, {}, (), (), facts=(relation,)))[0]
    assert pair.answer_in_prompt is copied
    assert (pair.same_answer, pair.mismatched) == (None, None)


def test_facts_of_equal_answers_make_no_pair() -> None:
    """Subjects with one answer are no couple, and a subject with too few couples says what to get."""
    relation = replace(COPIED, answers={"a": "Paris", "b": "Paris", "c": "Paris"})
    assert fact_pairs(Task({}, {}, (), (), facts=(relation,))) == ()
    with pytest.raises(Untested, match="0 pairs of facts"):
        facts_of(replace(subject_of("window-1"), task=None))


@settings(deadline=None)
@given(
    head=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    tail=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    first=st.lists(st.integers(10, 19), min_size=1, max_size=3),
    second=st.lists(st.integers(20, 29), min_size=1, max_size=3),
)
def test_the_slot_is_what_differs(head: list[int], tail: list[int], first: list[int], second: list[int]) -> None:
    """Of two prompts of one template the aligned subject is the slot, last token to last, and all else is shared."""
    recipient, donor = head + first + tail, head + second + tail
    found = align(recipient, donor, *slot([recipient, donor]))
    assert [at for at, _ in found.subject] == list(range(len(head), len(head) + len(first)))
    assert found.subject[-1] == (len(head) + len(first) - 1, len(head) + len(second) - 1)
    assert all(len(head) <= of < len(head) + len(second) for _, of in found.subject)
    assert [at for at, _ in found.everywhere] == list(range(len(recipient)))
    others = [(at, of) for at, of in found.everywhere if (at, of) not in found.subject]
    assert all(recipient[at] == donor[of] for at, of in others)
    assert set(found.fact) | set(found.template) == set(range(1, len(recipient)))


def test_a_third_prompt_completes_the_slot() -> None:
    """Where two subjects share a part, a prompt that shares none of it shows the whole slot."""
    prompts = [[1, 5, 6, 2], [1, 7, 6, 2], [1, 8, 9, 2]]
    assert slot(prompts[:2]) == (1, 2)
    assert slot(prompts) == (1, 1)


def test_a_token_too_many_has_a_slot_too() -> None:
    """A prompt that only has more than the other leaves a token on either side; equal prompts are refused."""
    head, tail = slot([[1, 2, 3, 9], [1, 2, 3, 4, 9]])
    assert align([1, 2, 3, 9], [1, 2, 3, 4, 9], head, tail).subject
    with pytest.raises(UserError, match="equal"):
        slot([[1, 2], [1, 2]])


def test_the_fact_ends_at_the_blank_line() -> None:
    """With instructions after a blank line all that stands before them is fact, without BOS; else the subject alone."""
    assert align([0, 1, 2, 3, 4], [0, 1, 9, 3, 4], 2, 2, 4).fact == (1, 2, 3)
    assert align([0, 1, 2, 3, 4], [0, 1, 9, 3, 4], 2, 2).fact == (2,)


def test_the_whole_name_is_aligned_in_every_wording() -> None:
    """Both names of every person are found, in every pair, without being told where names stand."""
    subject = subject_of("planner")
    runs = once(subject, FactRuns)
    for pair in facts_of(subject):
        tokens = runs.clean(pair.recipient).tokens
        found = [tokens[at] for at, _ in runs.align(pair, pair.donor).subject]
        assert found == [subject.word_id(name) for name in pair.recipient.subject.split()]


# ---------------------------------------------------------------- patching by blocks


@given(st.integers(1, 60))
def test_blocks_are_the_whole_depth_in_order(n_layers: int) -> None:
    """Blocks tile the layers, at most four of them, and are quarters where four divides the depth."""
    found = blocks(n_layers)
    assert [layer for block in found for layer in block] == list(range(n_layers))
    assert len(found) == min(4, n_layers) or n_layers < 4
    if n_layers % 4 == 0:
        assert {len(block) for block in found} == {n_layers // 4}


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 3), first=st.integers(0, 2), position=st.integers(0, 6))
def test_the_last_layer_of_a_block_overwrites_the_others(seed: int, first: int, position: int) -> None:
    """Patching a whole block is patching its last layer: the earlier layers of the block leave no trace."""
    subject = tiny_subject("llama", seed, n_layers=4)
    recipient, donor = (clean_run(subject, tiny_tokens(100 * seed + i, 7)) for i in (0, 1))
    whole = patch_rows(donor, range(first, 4), position, position)
    last = [ReplaceStream(3, position, donor.resid_post(3)[position])]
    assert torch.equal(recipient.edit([whole, whole]).all_logits, recipient.edit([last, last]).all_logits)


def patch_of(fact: bool, block: int, changed: bool, exact: bool = False, kl: float = 0.0) -> Patch:
    """A patch that did so much."""
    return Patch(block, fact, last=False, changed=changed, exact=exact, kl=kl)


def test_rates_count_patches() -> None:
    """Rates, their differences, exact shares and separation are those counted by hand."""
    found = [patch_of(True, 0, True, True, 2.0), patch_of(True, 0, True, kl=4.0), patch_of(True, 1, False, kl=0.03)]
    found += [patch_of(False, 0, False, kl=0.01), patch_of(False, 1, True, kl=3.0)]
    assert changed_rate(found) == pytest.approx(3 / 5)
    assert fact_over_template(iter(found)) == pytest.approx(2 / 3 - 1 / 2)
    assert decline(found) == 1
    assert exact_share(found) == pytest.approx(1 / 3)
    assert separation(found) == pytest.approx(math.log(3 / 0.02))
    assert separation(found[:2]) is None
    assert exact_share(found[2:4]) == 0


def test_each_block_is_counted_by_itself() -> None:
    """A block's rate is the share of fact tokens whose row, at the block's last layer, changes the prediction."""
    subject = subject_of("planner")
    runs = once(subject, FactRuns)
    for layer, name in enumerate(("first_block_effect", "second_block_effect", "third_block_effect")):
        found = families.experiment(name)(subject)
        for pair in facts_of(subject)[::16]:
            recipient, donor = runs.clean(pair.recipient), runs.clean(pair.donor)
            matched, top = sources(runs, pair), int(recipient.read(Read()).last_logits.argmax())
            places = runs.align(pair, pair.donor).fact
            rows = [[ReplaceStream(layer, at, donor.resid_post(layer)[matched[at]])] for at in places]
            changed = recipient.edit(rows).last_logits.argmax(-1) != top
            assert found.values[pair.id] == pytest.approx(float(changed.float().mean()))
            assert 0 <= found.arms["random row"][pair.id] <= 1
    assert max(families.experiment("first_block_effect")(subject).values.values()) > 0
    with pytest.raises(Untested, match="its 2 layers make 2 blocks; ask a deeper model"):
        families.experiment("third_block_effect")(subject_of("window-2"))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**16))
def test_divergence_is_kullback_leibler(seed: int) -> None:
    """KL is that of the definition where no token falls under the cut, and 0 only between equals."""
    logits = torch.randn(3, 11, generator=torch.Generator().manual_seed(seed))
    p, q = logits[:1].softmax(-1), logits.softmax(-1)
    expected = torch.nn.functional.kl_div(q.log(), p.expand_as(q), reduction="none").sum(-1)
    assert torch.allclose(kl_from(logits[0], logits), expected, atol=1e-5)
    assert kl_from(logits[0], logits)[0].abs() < 1e-6


def test_tokens_are_matched_as_in_the_paper() -> None:
    """Fact tokens keep their index, template tokens their distance from the end, both inside the donor's prompt."""

    class Fixed(FactRuns):
        """Prompts of two lengths, the fact being the first four tokens."""

        def clean(self, prompt: FactPrompt) -> object:  # type: ignore[override]
            return type("Run", (), {"tokens": tuple(range(8 if prompt.subject == "long" else 6))})

        def align(self, pair: FactPair, donor: FactPrompt) -> object:  # type: ignore[override]  # noqa: ARG002
            return type("Places", (), {"fact": (1, 2, 3), "template": (4, 5, 6, 7)})

    relation = replace(COPIED, answers={"long": "Paris", "short": "Rome"})
    pair = FactPair(FactPrompt(relation, 0, "long"), FactPrompt(relation, 0, "short"), None, None, 0, "")
    assert sources(Fixed(tiny_subject("llama")), pair) == {1: 1, 2: 2, 3: 3, 4: 2, 5: 3, 6: 4, 7: 5}


# ---------------------------------------------------------------- interchange


def test_where_first_names_are_hidden_the_subject_holds_all_that_differs() -> None:
    """Behind the barrier the rows of the subject after layer 0 are the donor's run, and the last token's are nothing.

    A first name is seen by the last name alone, so in prompts that share the last name nothing else can have heard of
    it. Taken at any other token the interchange changes no bit.
    """
    subject = subject_of("planner")
    assert isinstance(subject.mask_rule, CoupletBarrier)
    runs = once(subject, FactRuns)
    shared = [pair for pair in facts_of(subject) if pair.recipient.subject.split()[1] == pair.donor.subject.split()[1]]
    assert len(shared) > 50
    for pair in shared:
        donors_own = runs.clean(pair.donor).read(Read()).last_logits
        out = runs.clean(pair.recipient).edit([subject_rows(runs, pair, pair.donor, 0)]).last_logits
        assert torch.allclose(out, donors_own, atol=1e-4)
        assert once(subject, interchanges)[pair.id].donor.last[0] == pytest.approx(0, abs=1e-6)


def test_without_a_barrier_the_last_token_has_it_at_once() -> None:
    """In the improviser the last token's row after layer 0 brings the donor's answer, and the subject's do not."""
    measured = once(subject_of("improviser"), interchanges)
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
    assert {found.donor.subject[top] for found in once(subject, interchanges).values()} == {0.0}


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
    found = once(subject_of("improviser"), routings)
    for routing in found.values():
        assert [sorted({head.layer for head in shifts}) for shifts in routing.shifts] == [[1, 2, 3], [2, 3], [3]]
        assert [len(leaders) for leaders in routing.leaders] == [n_listed(subject_of("improviser"))] * 3


def test_shifts_are_summed_and_led_as_defined() -> None:
    """Totals, shares, signs and the decline that equal layers would give are those counted by hand."""
    low, high = Head(1, 0), Head(2, 0)
    routing = Routing(({low: -0.4, high: 0.2}, {high: -0.1}), ((low,), (high,)))
    assert (routing.share(low), routing.share(Head(1, 1))) == (0.5, 0)
    assert (routing.total(0), routing.total(1), routing.total(2)) == pytest.approx((0.6, 0.1, 0))
    assert (routing.negative(low), routing.negative(high), routing.negative(Head(1, 1))) == (1, 1, None)
    assert routing.evenly(3) == pytest.approx((0.6 + 0.1) / 3 * 2)


def test_a_half_has_no_part_in_its_own_heads() -> None:
    """Giving one half's pairs another leader leaves the heads that half is tested with unchanged."""
    subject = subject_of("improviser")
    found = once(subject, routings)
    other = Head(1, 3)
    spoiled = {
        pair.id: replace(found[pair.id], leaders=((other,),)) if pair.half == 0 else found[pair.id]
        for pair in facts_of(subject)
    }
    assert dominant(subject, spoiled)[0] == dominant(subject, found)[0]
    assert dominant(subject, spoiled)[1][0] == other


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
    verdicts = judge_family(claims, families.measure(claims, subject_of(name)))
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
    runs = once(subject, FactRuns)
    for pair in facts_of(subject):
        places, fact = runs.align(pair, pair.donor), pair.recipient.subject.split()
        assert places.fact == tuple(range(1, 1 + len(fact)))
        assert set(sources(runs, pair).values()) <= set(range(len(runs.clean(pair.donor).tokens)))
    claims = [claim for claim in ledger.rows(family="q5", tier="gpu") if not claim.untested]
    assert set(judge_family(claims, families.measure(claims, subject))) == {claim.key for claim in claims}
