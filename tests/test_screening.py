"""A task is cut to what a subject can be asked, and its answers are the subject's own where the task names none."""

from dataclasses import replace
from pathlib import Path

import pronouncing
import pytest

from prolepsis.errors import Untested
from prolepsis.loading import load_subject
from prolepsis.published import PRESETS
from prolepsis.report.subjects import read_presets
from prolepsis.screening import screened
from prolepsis.subject import Subject
from prolepsis.task import Task
from prolepsis.task_file import read_task

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
