"""Tiny random models in the real transformers classes, for properties that hold whatever the weights."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from prolepsis.reachability.masks import MaskRule
from prolepsis.subject import Subject

FAMILIES = ("llama", "gemma2", "mistral", "qwen3", "gemma3", "gpt_neox", "gpt_oss")
MODEL_TYPES = {"gemma3": "gemma3_text"}
N_VOCAB = 23
EXPERTS: dict[str, Any] = {
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    # Positions are scaled for the length the model is made for, which is longer in the default configuration.
    "rope_scaling": {
        "rope_type": "yarn", "factor": 2.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False,
        "original_max_position_embeddings": 32,
    },
}  # fmt: skip


def tiny_subject(
    family: str,
    seed: int = 0,
    *,
    n_layers: int = 3,
    n_heads: int = 2,
    d_head: int = 4,
    window: int = 3,
    d_mlp: int = 12,
    n_vocab: int = N_VOCAB,
    mask_rule: MaskRule | None = None,
    dtype: torch.dtype = torch.float64,
) -> Subject:
    """A random subject; Mistral slides everywhere, Llama and GPT-NeoX nowhere, the others in every other layer."""
    common: dict[str, Any] = {
        "vocab_size": n_vocab,
        "hidden_size": n_heads * d_head,
        "intermediate_size": d_mlp,
        "num_hidden_layers": n_layers,
        "num_attention_heads": n_heads,
        "num_key_value_heads": max(1, n_heads // 2),
        "head_dim": d_head,
        "max_position_embeddings": 64,
        "initializer_range": 0.5,
        "attn_implementation": "eager",
        "pad_token_id": 0,
    }
    every_other = [("sliding_attention", "full_attention")[layer % 2] for layer in range(n_layers)]
    of_family: dict[str, dict[str, Any]] = {
        "llama": {},
        "mistral": {"sliding_window": window},
        "qwen3": {"sliding_window": window, "use_sliding_window": True, "layer_types": every_other},
        "gemma2": {"sliding_window": window, "query_pre_attn_scalar": d_head, "final_logit_softcapping": 30.0},
        "gemma3": {"sliding_window": window, "query_pre_attn_scalar": d_head, "layer_types": every_other},
        "gpt_neox": {},
        "gpt_oss": {"sliding_window": window, "layer_types": every_other, **EXPERTS},
    }
    torch.manual_seed(seed)
    config = AutoConfig.for_model(MODEL_TYPES.get(family, family), **common, **of_family[family])
    model: Any = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    return Subject(id=f"tiny-{family}-{seed}", model=model.to(dtype), tokenizer=None, mask_rule=mask_rule)


def tiny_tokens(seed: int, length: int) -> list[int]:
    """Random token ids."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, N_VOCAB, (length,), generator=generator).tolist()


def rows_like(subject: Subject, seed: int, n_rows: int, scale: float = 1.0) -> torch.Tensor:
    """Random residual rows [n_rows, d] in the subject's dtype."""
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n_rows, subject.d_model, generator=generator, dtype=torch.float64).to(subject.dtype)
