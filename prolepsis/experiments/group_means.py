"""The mean of a rhyme group's rows at a site: what the words of a group have in common, the tested ones left out."""

from collections import defaultdict

import torch

from prolepsis.experiments.rhyme_pairs import Pair, task_of
from prolepsis.experiments.sites import Place, find_sites
from prolepsis.running.hooks import Read
from prolepsis.running.prompt_batch import passes
from prolepsis.subject import Subject
from prolepsis.subjects.task import Prompt, Task, Template

Tensor = torch.Tensor


def mean_differences(subject: Subject) -> dict[str, Tensor]:
    """Pair id → mean resid_post of the donor's group less that of the recipient's at the pair's site, [d].

    The means are over the other words of either group, in the pair's template: with the rows of the tested words in
    them, the difference would hold a share of the very interchange it is compared with.
    """
    sites, task = subject.once(find_sites), task_of(subject)
    at: dict[tuple[Template, Place], list[Pair]] = defaultdict(list)
    for pair in sites.pairs:
        at[pair.recipient.template, sites.of(pair)].append(pair)
    found = {}
    for (template, place), pairs in at.items():
        ends = [end for pair in pairs for end in (pair.recipient, pair.donor)]
        words = list(dict.fromkeys(word for end in ends for word in other_words(task, end)))
        rows = dict(zip(words, _rows(subject, [task.prompt(template, word) for word in words], place), strict=True))
        for pair in pairs:
            donors, own = (
                torch.stack([rows[word] for word in other_words(task, end)]).mean(0)
                for end in (pair.donor, pair.recipient)
            )
            found[pair.id] = donors - own
    return found


def other_words(task: Task, prompt: Prompt) -> tuple[str, ...]:
    """The words of the prompt's rhyme group but its own."""
    return tuple(word for word in task.groups[prompt.group] if word != prompt.word)


def _rows(subject: Subject, prompts: list[Prompt], place: Place) -> Tensor:
    """resid_post of prompts of one length at ``place``, [prompts, d]."""
    layer, position = place
    states = passes(subject, [subject.encode(prompt.text) for prompt in prompts], Read(logits=(), resid_post=(layer,)))
    return torch.cat([state.resid_post[layer][:, position] for state in states])
