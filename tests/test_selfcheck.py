"""The checks at load notice a model that is not wired as modelled."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from prolepsis import selfcheck
from prolepsis.errors import UserError
from prolepsis.masks import CoupletBarrier
from prolepsis.subject import Subject
from tests.tiny import FAMILIES, tiny_subject


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rule", [None, CoupletBarrier(newline=3)])
def test_every_family_passes(family: str, rule: CoupletBarrier | None) -> None:
    """Random models of every family pass, with and without a mask rule."""
    selfcheck.check(tiny_subject(family, mask_rule=rule, dtype=torch.float32))


def with_family(subject: Subject, **parts: str) -> Subject:
    """The subject with parts looked for in the wrong place."""
    object.__setattr__(subject, "family", replace(subject.family, **parts))
    return subject


def test_a_wrong_final_norm_is_noticed() -> None:
    """A lens that is not the model's own output is refused."""
    subject = tiny_subject("llama", dtype=torch.float32)
    subject.model.model.norm.weight.mul_(torch.linspace(0.5, 2, subject.d_model))
    wrong = with_family(subject, final_norm="model.layers.0.input_layernorm")
    with pytest.raises(UserError, match="lens of the last layer"):
        selfcheck.check(wrong)


def test_a_dead_unembedding_is_noticed() -> None:
    """A model whose logits do not depend on the residual stream is refused."""
    subject = tiny_subject("mistral", dtype=torch.float32)
    subject.unembedding.zero_()
    with pytest.raises(UserError, match="does not change the logits"):
        selfcheck.check(subject)


def test_a_wrong_output_matrix_is_noticed() -> None:
    """Attention that adds something else than z times its output matrix is refused."""
    subject = tiny_subject("llama", dtype=torch.float32)

    def also(_: Any, __: Any, output: tuple[Any, ...]) -> tuple[Any, ...]:
        return (output[0] + 1, *output[1:])

    subject.part(1, "attention").register_forward_hook(also)
    with pytest.raises(UserError, match="z times the output matrix"):
        selfcheck.check(subject)


def test_attention_that_leaks_is_noticed() -> None:
    """Attention rows that do not sum to one are refused."""
    subject = tiny_subject("gemma2", dtype=torch.float32)

    def half(_: Any, __: Any, output: tuple[Any, ...]) -> tuple[Any, ...]:
        return (output[0], output[1] / 2)

    subject.part(0, "attention").register_forward_hook(half)
    with pytest.raises(UserError, match="do not sum to 1"):
        selfcheck.check(subject)
