"""The planted subjects as tests take them."""

from functools import cache

import pytest
import torch

from prolepsis.organisms.planted import planted
from prolepsis.organisms.planted_weights import FAMILIES
from prolepsis.subject import Subject

every_family = pytest.mark.parametrize("family", FAMILIES)


@cache
def subject_of(family: str, variant: str) -> Subject:
    """Build each planted subject once."""
    torch.set_num_threads(1)
    parts = planted(family, variant)
    return Subject(f"planted-{family}-{variant}", parts.model, parts.tokenizer, parts.transcoder, task=parts.task)
