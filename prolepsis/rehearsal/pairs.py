"""A data set of counterfactual pairs that a random model answers rightly: the answers are what it says itself.

On the real data set it would answer nothing rightly, and no experiment on facts would have a pair to run on.
"""

import gc
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from prolepsis.atomic import write_atomically
from prolepsis.experiments.counterfactual_pairs import first_words
from prolepsis.rehearsal.tokenizer import TASK
from prolepsis.subjects.counterfactual import FIELDS, SPLIT
from prolepsis.subjects.loading import load_subject
from prolepsis.subjects.task_file import read_task


def write_pairs(model: Path, folder: Path, device: str) -> None:
    """Ask the checkpoint in ``model`` the task's facts, and write pairs of prompts that it answers differently."""
    subject, rows = load_subject(str(model), device), list[dict[str, str]]()
    for relation in read_task(TASK).facts:
        for template in relation.templates:
            said = first_words(subject, [template.replace("{subject}", asked) for asked in relation.answers])
            rows += [
                dict(zip(FIELDS, (*pair, *(said[prompt] for prompt in pair)), strict=True)) for pair in _couples(said)
            ]
    folder.mkdir(parents=True)
    write_atomically(folder / f"{SPLIT}.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    del subject
    if torch.cuda.is_available():
        # The run that follows is a process of its own, and needs this one's memory. What is kept with a subject refers
        # to it.
        gc.collect()
        torch.cuda.empty_cache()


def _couples(said: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Pairs of prompts with different answers, none in two of them: pairs with one in common are no two clusters."""
    left = [prompt for prompt, answer in said.items() if answer]
    while left:
        first = left.pop(0)
        other = next((prompt for prompt in left if said[prompt] != said[first]), None)
        if other is not None:
            left.remove(other)
            yield first, other
