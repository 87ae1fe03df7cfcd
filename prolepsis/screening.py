"""What of a task a subject can be asked, by its own tokenizer and its own habits."""

from collections.abc import Mapping
from dataclasses import replace

import torch

from prolepsis.engine import clean_run
from prolepsis.errors import Untested
from prolepsis.hooks import Read
from prolepsis.subject import Subject
from prolepsis.task import Task

LEAST_GROUPS = 12


def screened(subject: Subject, task: Task) -> Task:
    """The task without the words that are not one token, and with an answer to each word where it names none.

    The answer is the rhyme-mate that the subject itself finds likeliest after the prompts with the word, by its mean
    log-odds over the templates. Groups of fewer than two words are left out, and the last one where their number is
    odd. Raises Untested when fewer than twelve groups are left, naming the words that are several tokens.
    """
    groups = {group: words for group, words in one_token_words(subject, task).items() if len(words) > 1}
    if len(groups) % 2:
        groups.popitem()
    if len(groups) < LEAST_GROUPS:
        lost = sorted({w for words in task.groups.values() for w in words} - {w for ws in groups.values() for w in ws})
        raise Untested(
            f"{subject.id}: {len(groups)} rhyme groups of its task have two words of one token, {LEAST_GROUPS} are "
            f"needed; not of one token, or alone: {', '.join(lost)}"
        )
    kept = replace(task, groups=groups)
    return kept if task.answers else replace(kept, answers=_answers(subject, kept))


def one_token_words(subject: Subject, task: Task) -> dict[str, tuple[str, ...]]:
    """Rhyme group → its words that are one token of the subject."""
    return {group: tuple(w for w in words if subject.is_one_token(w)) for group, words in task.groups.items()}


@torch.no_grad()
def _answers(subject: Subject, task: Task) -> Mapping[str, str]:
    answers = {}
    for words in task.groups.values():
        for word in words:
            mates = [mate for mate in words if mate != word]
            odds = torch.zeros(len(mates), dtype=torch.float64)
            for template in task.templates:
                read = clean_run(subject, subject.encode(template.text.replace("{word}", word))).read(Read())
                odds += torch.stack([read.log_odds(subject.word_id(mate))[0] for mate in mates]).cpu()
            answers[word] = mates[int(odds.argmax())]
    return answers
