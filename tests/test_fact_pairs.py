"""Pairs of facts: which there are, what of their prompts differs, and how their tokens are aligned."""

from collections import Counter
from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prolepsis.errors import Untested, UserError
from prolepsis.experiments.fact_pairs import FactRuns, align, fact_pairs, slot
from prolepsis.experiments.facts_asked import facts_of
from prolepsis.organisms.grammar import task as grammar_task
from prolepsis.subject import Subject
from prolepsis.subjects.loading import load_subject
from prolepsis.subjects.task import Relation, Task

torch.set_num_threads(1)


@cache
def subject_of(name: str) -> Subject:
    """A bundled subject; what has been measured on it stays with it."""
    return load_subject(name)


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
    runs = subject.once(FactRuns)
    for pair in facts_of(subject):
        tokens = runs.clean(pair.recipient).tokens
        found = [tokens[at] for at, _ in runs.align(pair, pair.donor).subject]
        assert found == [subject.word_id(name) for name in pair.recipient.subject.split()]
