"""What of a task a subject can be asked, by its own tokenizer and its own habits."""

from collections.abc import Mapping
from dataclasses import replace

import torch

from prolepsis.errors import Untested
from prolepsis.prompt_batch import last_states
from prolepsis.readings import Readings
from prolepsis.subject import Subject
from prolepsis.task import Task
from prolepsis.watching import watched

LEAST_GROUPS = 12


def screened(subject: Subject, task: Task) -> Task:
    """The task without the words that are not one token, and with an answer to each word where it names none.

    The answer is the rhyme-mate that the subject itself finds likeliest after the prompts with the word, by its mean
    log-odds over the templates. Groups of fewer than two words are left out, and the last one where their number is
    odd. Raises Untested when fewer than twelve groups are left, naming the words that are several tokens.
    """
    groups = {group: words for group, words in one_token_words(subject, task).items() if len(words) > 1}
    lost = sorted({w for words in task.groups.values() for w in words} - {w for ws in groups.values() for w in ws})
    if len(groups) % 2:
        groups.popitem()
    if len(groups) < LEAST_GROUPS:
        raise Untested(
            f"{len(groups)} rhyme groups of its task have two words of one token, {LEAST_GROUPS} are "
            f"needed; not of one token, or alone: {', '.join(lost)}"
        )
    kept = replace(task, groups=groups)
    return kept if task.answers else replace(kept, answers=_answers(subject, kept))


def one_token_words(subject: Subject, task: Task) -> dict[str, tuple[str, ...]]:
    """Rhyme group → its words that are one token of the subject."""
    return {group: tuple(w for w in words if subject.is_one_token(w)) for group, words in task.groups.items()}


@torch.no_grad()
def _answers(subject: Subject, task: Task) -> Mapping[str, str]:
    words = [word for group in task.groups.values() for word in group]
    texts = [template.text.replace("{word}", word) for word in words for template in task.templates]
    states = last_states(subject, [subject.encode(text) for text in texts]).view(len(words), len(task.templates), -1)
    after = dict(zip(words, states, strict=True))
    answers = {}
    asked = [(word, group) for group in task.groups.values() for word in group]
    for word, group in watched(asked, "words screened"):
        read = Readings(logits=subject.unembed(after[word])[:, None])
        mates = [mate for mate in group if mate != word]
        odds = [float(read.log_odds(subject.word_id(mate)).sum()) for mate in mates]
        answers[word] = mates[odds.index(max(odds))]
    return answers
