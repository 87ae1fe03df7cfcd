"""What of a task a subject can be asked, by its own tokenizer and its own habits."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from prolepsis.errors import Untested
from prolepsis.running.prompt_batch import last_states
from prolepsis.running.readings import Readings
from prolepsis.subject import OWN_TASK, Subject
from prolepsis.subjects.task import Task, Template
from prolepsis.watching import watched

LEAST_GROUPS = 12


def screened(subject: Subject, task: Task) -> Task:
    """The task with what the subject can be asked of it, and with an answer to each word where it names none.

    The answer is the rhyme-mate that the subject itself finds likeliest after the prompts with the word, by its mean
    log-odds over the templates. Groups of fewer than two words are left out, and the last one where their number is
    odd. Raises Untested when no template or fewer than twelve groups are left, naming what cannot be asked and why.
    """
    templates, refused = askable_templates(subject, task)
    if not templates:
        why = "; ".join(dict.fromkeys(refused.values()))
        raise Untested(f"it can be asked none of the templates of its task: {why}; {OWN_TASK}")
    asked = replace(task, templates=templates)
    groups = {group: words for group, words in one_token_words(subject, asked).items() if len(words) > 1}
    lost = sorted({w for words in task.groups.values() for w in words} - {w for ws in groups.values() for w in ws})
    if len(groups) % 2:
        groups.popitem()
    if len(groups) < LEAST_GROUPS:
        raise Untested(
            f"{len(groups)} rhyme groups of its task have two words of one token, {LEAST_GROUPS} are "
            f"needed; not of one token, or alone: {', '.join(lost)}"
        )
    kept = replace(asked, groups=groups)
    return kept if task.answers else replace(kept, answers=_answers(subject, kept))


def obstacle(subject: Subject, text: str) -> str | None:
    """Why the subject cannot be asked ``text``: a word its tokenizer does not know, or its length; None if it can."""
    unknown = subject.unknown(text)
    if unknown is not None:
        return f"its tokenizer does not know {unknown!r}"
    length, limit = len(subject.encode(text)), int(subject.config.max_position_embeddings)
    return f"{length} tokens are more than the model takes ({limit})" if length > limit else None


def askable_templates(subject: Subject, task: Task) -> tuple[tuple[Template, ...], Mapping[str, str]]:
    """The templates that the subject can be asked, and template → why it cannot be asked it for the others."""
    word = next((word for words in task.groups.values() for word in words if subject.is_one_token(word)), "")
    found = {template: obstacle(subject, template.text.replace("{word}", word)) for template in task.templates}
    askable = tuple(template for template, why in found.items() if why is None)
    return askable, {template.id: why for template, why in found.items() if why is not None}


def one_token_words(subject: Subject, task: Task) -> dict[str, tuple[str, ...]]:
    """Rhyme group → its words that are one token of the subject, the same by themselves and in every template."""
    words = [word for of_group in task.groups.values() for word in of_group if subject.is_one_token(word)]
    for template in task.templates:
        words = _one_token_in(subject, template, words)
    return {group: tuple(word for word in of_group if word in words) for group, of_group in task.groups.items()}


def _one_token_in(subject: Subject, template: Template, words: Sequence[str]) -> list[str]:
    """The words that add their one token to a template, and leave what follows as most words do."""
    before = subject.encode(template.text.partition("{word}")[0].rstrip(" "))
    after = {}
    for word in words:
        text = template.text.replace("{word}", word)
        tokens = subject.encode(text) if subject.unknown(text) is None else []
        if tokens[: len(before) + 1] == [*before, subject.word_id(word)]:
            after[word] = tuple(tokens[len(before) + 1 :])
    common = Counter(after.values()).most_common(1)
    return [word for word, rest in after.items() if rest == common[0][0]]


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
