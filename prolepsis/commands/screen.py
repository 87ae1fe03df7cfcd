"""``prolepsis screen``: which words and facts of a task a subject can be asked."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from prolepsis.commands.experiment import Answer, experiment_command, open_asked, source_of
from prolepsis.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from prolepsis.subject import Subject
    from prolepsis.subjects.task import Task

EXAMPLE = r"""example, on a bundled organism:

    $ prolepsis screen --subject planner

A template can be asked when the tokenizer knows its words and the model takes its length, a word when it is one token,
in every such template too, and a rhyme group when it has two such words. A prompt goes on with a rhyme when its most
likely next token is another word of the group. A pair of facts can be asked when both prompts go on with their answer,
as the paper's 89 pairs do.
"""


@dataclass(frozen=True)
class Group:
    """A rhyme group: its words that are one token in every template, the others, and those with a rhyme after them."""

    words: Sequence[str]
    lost: Sequence[str]
    rhymed: Sequence[str]


@dataclass(frozen=True)
class Fact:
    """Whether both prompts of a pair go on with their answer, and whether an answer stands in either prompt."""

    completed: bool
    answer_in_prompt: bool


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", type=Path, metavar="FILE", help="a task file (default: the subject's own)")


def _open(chosen: argparse.Namespace) -> "Subject":
    """The subject with the task as it was written, before anything is left out of it."""
    from prolepsis.subjects.task_file import read_task

    source = source_of(chosen)
    own = None if source.task is None else source.base / source.task
    path: Path | None = chosen.task or own
    task = None if path is None else read_task(path)
    subject = open_asked(chosen, task=None)
    beside = None if subject.folder is None else subject.folder / "task.json"
    if task is None and beside is not None and beside.exists():
        task = read_task(beside)
    subject = subject if task is None else replace(subject, task=task)
    if subject.task is None:
        raise UserError(f"{subject.id}: it has no task to screen; give one with --task")
    return subject


def _ask(subject: "Subject", _: argparse.Namespace) -> Answer:
    from prolepsis.experiments.facts_asked import askable_facts
    from prolepsis.subjects.screening import LEAST_GROUPS, askable_templates

    task = subject.task
    assert task is not None
    templates, refused = askable_templates(subject, task)
    groups = _groups(subject, replace(task, templates=templates))
    relations, left_out = subject.once(askable_facts)
    facts = _facts(subject, replace(task, facts=relations))
    completed = sum(fact.completed for fact in facts.values())
    kept = [group for group in groups.values() if len(group.words) > 1]
    asked = sum(len(group.words) for group in kept)
    return Answer(
        title=f"{subject.id}: {len(kept)} of {len(groups)} rhyme groups can be asked, {LEAST_GROUPS} are needed",
        columns=("group", "words of one token", "others", "go on with a rhyme"),
        rows=[
            (
                name,
                ", ".join(group.words),
                ", ".join(group.lost),
                f"{len(group.rhymed)} of {len(group.words)}" if len(group.words) > 1 else "–",
            )
            for name, group in groups.items()
        ],
        notes=[
            f"{sum(len(group.rhymed) for group in kept)} of {asked} prompts go on with a rhyme",
            *(f"template {name!r} cannot be asked: {why}" for name, why in refused.items()),
            f"{completed} of {len(facts)} pairs of facts are completed rightly on both sides",
            *(f"of facts cannot be asked: {what}" for what in left_out),
        ],
        plain={
            "groups": {name: vars(group) for name, group in groups.items()},
            "facts": {name: vars(fact) for name, fact in facts.items()},
        },
        draw=lambda figure: _draw(figure, groups),
    )


def _groups(subject: "Subject", task: "Task") -> dict[str, Group]:
    from prolepsis.engine import clean_run
    from prolepsis.running.hooks import Read
    from prolepsis.subjects.screening import one_token_words
    from prolepsis.watching import watched

    found = {}
    askable: Mapping[str, Sequence[str]] = dict.fromkeys(task.groups, ())
    if task.templates:
        askable = one_token_words(subject, task)
    for name in watched(list(askable), "rhyme groups"):
        words = askable[name]
        rhymed = []
        for turn, word in enumerate(words if len(words) > 1 else ()):
            text = task.templates[turn % len(task.templates)].text.replace("{word}", word)
            top = int(clean_run(subject, subject.encode(text)).read(Read()).last_logits[0].argmax())
            if top in {subject.word_id(mate) for mate in words if mate != word}:
                rhymed.append(word)
        found[name] = Group(words, [word for word in task.groups[name] if word not in words], rhymed)
    return found


def _facts(subject: "Subject", task: "Task") -> "dict[str, Fact]":
    from prolepsis.experiments.fact_pairs import FactRuns, completes, fact_pairs
    from prolepsis.watching import watched

    runs = subject.once(FactRuns)
    return {
        pair.id: Fact(completes(runs, pair.recipient) and completes(runs, pair.donor), pair.answer_in_prompt)
        for pair in watched(fact_pairs(task), "pairs of facts")
    }


def _draw(figure: "Figure", groups: Mapping[str, Group]) -> None:
    axes = figure.subplots()
    places = range(len(groups))
    axes.bar(places, [len(group.words) for group in groups.values()], label="words of one token")
    axes.bar(places, [len(group.rhymed) for group in groups.values()], width=0.4, label="go on with a rhyme")
    axes.set_xticks(places, list(groups), rotation=90, fontsize=7)
    axes.legend()


SCREEN = experiment_command(
    "screen", "Say which words and facts of a task a subject can be asked.", EXAMPLE, _arguments, _ask, opened=_open
)
