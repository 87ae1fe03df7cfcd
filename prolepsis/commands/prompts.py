"""The prompts of commands that need no transcoder: the user's own, or those of the task's first pair."""

import argparse
from typing import TYPE_CHECKING

from prolepsis.commands.experiment import prompt_text
from prolepsis.errors import UserError

if TYPE_CHECKING:
    from prolepsis.engine import CleanRun
    from prolepsis.experiments.rhyme_pairs import Pair
    from prolepsis.subject import Subject

PROMPT = r"the prompt; \n breaks the line (default: the first of the subject's task)"


def prompt_argument(parser: argparse.ArgumentParser) -> None:
    """The option of a single prompt."""
    parser.add_argument("--prompt", type=prompt_text, metavar="TEXT", help=PROMPT)


def pair_arguments(parser: argparse.ArgumentParser, other: str, meaning: str) -> None:
    """The options of two prompts, the second called ``other``."""
    prompt_argument(parser)
    parser.add_argument(f"--{other}", type=prompt_text, dest="other", metavar="TEXT", help=meaning)


def first_pair(subject: "Subject") -> "Pair":
    """The task's first pair of prompts; raises UserError where the subject has no task."""
    from prolepsis.experiments.rhyme_pairs import rhyme_pairs, task_of

    if subject.task is None:
        raise UserError(f"{subject.id}: no task says what to ask it; give the prompt, and the other one if any")
    return rhyme_pairs(task_of(subject))[0]


def two_runs(subject: "Subject", chosen: argparse.Namespace) -> "tuple[CleanRun, CleanRun]":
    """Clean runs of the prompt and the other one; both have to be given, or neither."""
    from prolepsis.engine import clean_run

    if (chosen.prompt is None) != (chosen.other is None):
        raise UserError("two prompts are compared; give both, or neither for those of the subject's task")
    if chosen.prompt is None:
        pair = first_pair(subject)
        texts = (pair.recipient.text, pair.donor.text)
    else:
        texts = (chosen.prompt, chosen.other)
    first, second = (clean_run(subject, subject.encode(text)) for text in texts)
    if first.tokens == second.tokens:
        raise UserError(f"{subject.id}: the two prompts are the same to its tokenizer; give two that differ")
    return first, second
