"""Tiny transformers with random weights, of every family that is modelled: what they show needs no training at all."""

from typing import Any

from transformers import Gemma2Config, LlamaConfig, MistralConfig, PretrainedConfig

from prolepsis.organisms.untrained import untrained_model
from prolepsis.subject import Subject

FAMILIES = ("llama", "gemma2", "mistral")
SEEDS = range(4)
N_LAYERS, N_HEADS, N_VOCAB = 8, 2, 23
WINDOW = 8
"""What a query of a sliding layer sees: Gemma 2 slides in every other layer, Mistral in all, Llama in none."""


def random_transformers() -> tuple[Subject, ...]:
    """Twelve subjects, float32, without tokenizer; the same on every machine."""
    return tuple(
        Subject(id=f"{family}-{seed}", model=untrained_model(_config(family), seed), tokenizer=None)
        for family in FAMILIES
        for seed in SEEDS
    )


def _config(family: str) -> PretrainedConfig:
    common: dict[str, Any] = {
        "vocab_size": N_VOCAB,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": N_LAYERS,
        "num_attention_heads": N_HEADS,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "max_position_embeddings": 64,
        # Large enough for attention to be far from uniform, as in a trained model.
        "initializer_range": 0.5,
        "pad_token_id": 0,
    }
    if family == "llama":
        return LlamaConfig(**common)
    if family == "mistral":
        return MistralConfig(**common, sliding_window=WINDOW)
    return Gemma2Config(**common, sliding_window=WINDOW, query_pre_attn_scalar=8, final_logit_softcapping=30.0)
