"""A data set of counterfactual pairs that a random model answers rightly: the answers are what it says itself.

On the real data set it would answer nothing rightly, and no experiment on facts would have a pair to run on.
"""

import json
from itertools import chain
from pathlib import Path

import torch

from prolepsis.atomic import write_atomically
from prolepsis.counterfactual import FIELDS, SPLIT
from prolepsis.experiments.counterfactual_pairs import first_words
from prolepsis.loading import load_subject
from prolepsis.rehearsal.tokenizer import TASK
from prolepsis.task import Task

APART = (1, 2)
"""How far apart in the list subjects of a pair are: about as many pairs come out as the paper has."""


def write_pairs(model: Path, folder: Path, device: str) -> None:
    """Ask the checkpoint in ``model`` the task's facts, and write pairs of them that it answers differently."""
    subject, rows = load_subject(str(model), device), list[dict[str, str]]()
    for relation in Task.load(TASK).facts:
        for template in relation.templates:
            prompts = [template.replace("{subject}", asked) for asked in relation.answers]
            said = first_words(subject, prompts)
            for pair in chain(*(zip(prompts, prompts[apart:], strict=False) for apart in APART)):
                first, second = (said[prompt] for prompt in pair)
                if first and second and first != second:
                    rows.append(dict(zip(FIELDS, (*pair, first, second), strict=True)))
    folder.mkdir(parents=True)
    write_atomically(folder / f"{SPLIT}.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    del subject
    if torch.cuda.is_available():
        # The run that follows is a process of its own, and needs this one's memory.
        torch.cuda.empty_cache()
