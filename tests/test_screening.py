"""A task is cut to what a subject can be asked, and its answers are the subject's own where the task names none."""

from dataclasses import replace
from pathlib import Path

import pronouncing
import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from prolepsis.errors import Untested
from prolepsis.experiments.facts_asked import askable_facts, own_facts
from prolepsis.report.subjects import read_presets
from prolepsis.subject import Subject
from prolepsis.subjects.loading import load_subject
from prolepsis.subjects.published import PRESETS
from prolepsis.subjects.screening import one_token_words, screened
from prolepsis.subjects.task import Task, Template
from prolepsis.subjects.task_file import read_task
from tests.tiny import tiny_subject

ENGLISH = PRESETS.parent / "tasks" / "english.json"


@pytest.fixture(scope="module")
def planner() -> Subject:
    """A subject that rhymes."""
    return load_subject("planner")


def unanswered(subject: Subject, **changes: object) -> Task:
    """The subject's own task without its answers."""
    assert subject.task is not None
    return replace(subject.task, answers={}, **changes)


def test_the_answers_are_what_the_subject_itself_would_write(planner: Subject) -> None:
    """On a subject trained with a partner for each word, the partners are found again."""
    assert planner.task is not None
    found = screened(planner, unanswered(planner))
    assert found.groups == planner.task.groups
    agree = sum(found.answers[word] == answer for word, answer in planner.task.answers.items())
    assert agree >= 0.9 * len(planner.task.answers)
    for group in found.groups.values():
        assert all(found.answers[word] in group and found.answers[word] != word for word in group)


def test_answers_that_are_given_stay(planner: Subject) -> None:
    """A task with answers of its own is asked as it stands."""
    assert planner.task is not None
    assert screened(planner, planner.task) == planner.task


def test_words_that_are_not_one_token_are_left_out(planner: Subject) -> None:
    """Such words, groups left with one, and the last of an odd number of groups are not asked."""
    assert planner.task is not None
    groups = dict(planner.task.groups)
    first, second, *_ = groups
    groups[first] = (*groups[first], "quetzalcoatlus")
    groups[second] = (groups[second][0], "quetzalcoatlus")
    found = screened(planner, unanswered(planner, groups=groups))
    assert found.groups[first] == planner.task.groups[first]
    assert second not in found.groups
    assert len(found.groups) == len(groups) - 2


def test_a_word_is_one_token_in_the_templates_too() -> None:
    """A word that is one token at the beginning of a text alone, and one that takes in what follows, are not asked."""
    merges = [("c", "a"), ("ca", "t"), ("Ġ", "cat"), ("b", "a"), ("ba", "t"), ("Ġ", "bat"), ("a", "r"), ("ar", "t")]
    merges += [("p", "i"), ("pi", "g"), ("Ġ", "pig"), ("Ġpig", ",")]
    pieces = dict.fromkeys(["<bos>", *"abcgiprt,Ġ", *("".join(merge) for merge in merges)])
    model = Tokenizer(BPE({piece: i for i, piece in enumerate(pieces)}, merges))
    model.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    made = PreTrainedTokenizerFast(tokenizer_object=model, bos_token="<bos>")
    subject = replace(tiny_subject("llama", n_vocab=len(pieces)), tokenizer=made)
    words = ("cat", "bat", "art", "pig", "crab")
    assert [subject.is_one_token(word) for word in words] == [True, True, True, True, False]
    templates = tuple(Template(text, text, text) for text in ("a {word},a", "{word},", "a {word}"))
    task = Task({"at": words}, {}, templates[:1], ())
    assert one_token_words(subject, task) == {"at": ("cat", "bat")}
    assert one_token_words(subject, replace(task, templates=templates[2:])) == {"at": ("cat", "bat", "pig")}
    assert one_token_words(subject, replace(task, templates=templates[1:])) == {"at": ()}


def test_templates_that_cannot_be_asked_are_left_out(planner: Subject) -> None:
    """Such as hold what the tokenizer does not know, or are too long; with none left, that is why nothing is asked."""
    assert planner.task is not None
    first, *others = planner.task.templates
    unread, long = (replace(first, id=name, text=f"{name} {first.text}") for name in ("quagga", "the " * 64))
    found = screened(planner, replace(planner.task, templates=(unread, *others, long)))
    assert found == replace(planner.task, templates=tuple(others))
    refused = r"does not know 'quagga'; \d+ tokens are more than the model takes \(\d+\); name a task of your own"
    with pytest.raises(Untested, match=refused):
        screened(planner, replace(planner.task, templates=(unread, long)))


def test_facts_that_cannot_be_asked_are_left_out(planner: Subject) -> None:
    """An option that is not known, the facts it answers, a subject and a template that are not; too few are named."""
    assert planner.task is not None
    relation, *_ = planner.task.facts
    (lost, answer), *others = relation.answers.items()
    changed = replace(
        relation,
        options=("Atlantis", *relation.options, f"{relation.options[0]} again"),
        answers={lost: "Atlantis", f"quagga {lost}": answer, **dict(others)},
        templates=("okapi {subject}", *relation.templates),
    )
    subject = replace(planner, task=replace(planner.task, facts=(changed,)))
    kept, refused = askable_facts(subject)
    assert kept == (replace(relation, answers=dict(others)),)
    alike, *left_out = [f"'{relation.options[0]} again'", "'Atlantis'", "'okapi {subject}'", f"'quagga {lost}'"]
    assert {what.partition(" (")[0] for what in refused} == {alike, *left_out}
    assert any(f"begins with the same token as '{relation.options[0]}'" in what for what in refused)
    none = replace(planner, task=replace(planner.task, facts=(replace(changed, templates=changed.templates[:1]),)))
    with pytest.raises(
        Untested, match=r"0 pairs of facts.*'okapi \{subject\}' \(its tokenizer does not know 'okapi'\)"
    ):
        own_facts(none)


def test_too_few_groups_are_no_task(planner: Subject) -> None:
    """With fewer than twelve groups left the subject is untested, and the words that were lost are named."""
    assert planner.task is not None
    groups = {
        name: words if i < 11 else ("quagga", "quokka") for i, (name, words) in enumerate(planner.task.groups.items())
    }
    with pytest.raises(Untested, match=r"10 rhyme groups.*quagga, quokka"):
        screened(planner, unanswered(planner, groups=groups))


def test_the_english_task_rhymes_and_is_large_enough() -> None:
    """Words of a group rhyme by the dictionary, no two groups do, and prompts differ in the rhyme word alone."""
    task = read_task(ENGLISH)
    assert len(task.groups) >= 24
    endings = [
        {group: {pronouncing.rhyming_part(p) for word in words for p in pronouncing.phones_for_word(word)[:1]}}
        for group, words in task.groups.items()
    ]
    parts = [next(iter(found.values())) for found in endings]
    assert [len(found) for found in parts] == [1] * len(parts), endings
    assert len(set.union(*parts)) == len(parts)
    primed = {word.strip(",.") for line in task.templates[0].text.split("\n")[:2] for word in line.lower().split()[-1:]}
    assert not primed & {word for words in task.groups.values() for word in words}
    for template in task.templates:
        assert template.text.startswith(template.stem)
        assert template.text.count("{word}") == template.stem.count("{word}") == 1
    assert len({subject for relation in task.facts for subject in relation.answers}) >= 24


PRINTED = {
    "B.3": "we be free he she me three|so grow go know slow though snow|to who do too two new|upon on con|"
    "found round around ground|can an than|please these chinese|come from become|straight great weight|your or for|"
    "will still until|require fire entire|about out|black back|at that|kind find",
    "B.4": "he be we|for or more|to new|that sat|is his|are|were her|an can|the|will|they|addition nutrition",
}
"""Words that the paper's appendix B says a feature was found for, in groups that rhyme."""


@pytest.mark.parametrize(("section", "least"), [("B.3", 12), ("B.4", 10)])
def test_groups_hold_words_that_transcoders_have_features_of(section: str, least: int) -> None:
    """Enough groups hold a word that one of the paper's transcoders has a feature of, so that it can be injected."""
    groups = read_task(ENGLISH).groups
    printed = set(PRINTED[section].replace("|", " ").split())
    assert sum(not printed.isdisjoint(words) for words in groups.values()) >= least


def test_every_preset_has_a_task_that_loads() -> None:
    """What a real model is asked is there for each preset."""
    for source in read_presets(PRESETS):
        assert source.task is not None
        assert read_task(source.base / Path(source.task)).templates
