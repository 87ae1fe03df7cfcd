"""Where the parts of each model family are; a new family is one more row of ``FAMILIES``."""

from dataclasses import dataclass, replace
from typing import Any

from prolepsis.errors import UserError


@dataclass(frozen=True)
class Family:
    """Module names of one transformers architecture, as dotted paths.

    ``layers`` and ``final_norm`` start at the model, the others at one of its layers. The input of
    ``mid_norm`` is resid_mid; the output of ``mlp_out`` is what the MLP adds to the residual stream; the input of
    ``attention_out`` is z, the heads' outputs side by side; ``values`` gives each key-value head's values, or where
    they are ``fused`` each head's queries, keys and values in this order. ``parallel`` is the configuration's field
    that says whether attention and MLP both read resid_pre; resid_mid, what the MLP reads, is then resid_pre itself.
    A norm's weight of ``unit_gain`` leaves what it normalised as it is.
    Where there are ``sinks`` attention keeps a part of its weight to itself, so that its rows sum to less than 1;
    where there are ``experts`` the MLP is a mixture of them.
    """

    mid_norm: str
    mlp_out: str
    layers: str = "model.layers"
    attention: str = "self_attn"
    values: str = "self_attn.v_proj"
    attention_out: str = "self_attn.o_proj"
    final_norm: str = "model.norm"
    fused: bool = False
    parallel: str | None = None
    unit_gain: float = 1.0
    sinks: bool = False
    experts: bool = False


_LLAMA_LIKE = Family(mid_norm="post_attention_layernorm", mlp_out="mlp")
_GEMMA_LIKE = Family(mid_norm="pre_feedforward_layernorm", mlp_out="post_feedforward_layernorm", unit_gain=0.0)

FAMILIES = {
    "llama": _LLAMA_LIKE,
    "mistral": _LLAMA_LIKE,
    "qwen3": _LLAMA_LIKE,
    "gemma2": _GEMMA_LIKE,
    "gemma3_text": _GEMMA_LIKE,
    # The larger models of Gemma 3 see pictures too; what is modelled is their language model.
    "gemma3": replace(_GEMMA_LIKE, layers="model.language_model.layers", final_norm="model.language_model.norm"),
    "gpt_oss": replace(_LLAMA_LIKE, sinks=True, experts=True),
    "gpt_neox": Family(
        mid_norm="post_attention_layernorm",
        mlp_out="mlp",
        layers="gpt_neox.layers",
        attention="attention",
        values="attention.query_key_value",
        attention_out="attention.dense",
        final_norm="gpt_neox.final_layer_norm",
        fused=True,
        parallel="use_parallel_residual",
    ),
}


def family_of(config: Any) -> Family:
    """The family of a transformers config; raises UserError for an architecture whose wiring is not modelled."""
    try:
        return FAMILIES[config.model_type]
    except KeyError:
        known = ", ".join(sorted(FAMILIES))
        raise UserError(
            f"model type {config.model_type!r}: its wiring is not modelled; known: {known} (add a row to FAMILIES)"
        ) from None
