"""The checks at load notice a model that is not wired as modelled."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from prolepsis.errors import UserError
from prolepsis.reachability.masks import CoupletBarrier
from prolepsis.subject import Subject
from prolepsis.subjects import selfcheck
from tests.tiny import FAMILIES, tiny_subject


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rule", [None, CoupletBarrier(newline=3)])
def test_every_family_passes(family: str, rule: CoupletBarrier | None) -> None:
    """Random models of every family pass, with and without a mask rule."""
    selfcheck.check(tiny_subject(family, mask_rule=rule, dtype=torch.float32))


def test_the_language_model_of_one_that_sees_is_checked() -> None:
    """Of a Gemma 3 with a vision tower the language model is the subject, wired like one that stands alone."""
    text = {
        "vocab_size": 23, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 3, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 4, "max_position_embeddings": 64, "initializer_range": 0.5,
        "pad_token_id": 0, "sliding_window": 3, "query_pre_attn_scalar": 4,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    }  # fmt: skip
    vision = {
        "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 8,
        "patch_size": 4,
    }  # fmt: skip
    config = AutoConfig.for_model("gemma3", text_config=text, vision_config=vision, mm_tokens_per_image=4)
    subject = Subject("sees", AutoModelForCausalLM.from_config(config, attn_implementation="eager"), None)
    selfcheck.check(subject)
    assert (subject.n_layers, subject.n_heads, subject.d_model, subject.n_vocab) == (3, 2, 8, 23)
    assert subject.wiring == tiny_subject("gemma3").wiring


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
    with pytest.raises(UserError, match="do not sum to 1;"):
        selfcheck.check(subject)


def test_sinks_take_and_do_not_give() -> None:
    """Where sinks keep a part of every row, rows that sum to more than one are refused."""
    subject = tiny_subject("gpt_oss", dtype=torch.float32)

    def double(_: Any, __: Any, output: tuple[Any, ...]) -> tuple[Any, ...]:
        return (output[0], output[1] * 2)

    subject.part(0, "attention").register_forward_hook(double)
    with pytest.raises(UserError, match="do not sum to 1 or less;"):
        selfcheck.check(subject)
