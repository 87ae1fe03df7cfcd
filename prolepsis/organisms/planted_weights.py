"""A circuit of heads and neurons, written into the weights of a real Llama or Gemma 2 of transformers.

Norms are undone: one residual slot holds a constant that dwarfs the rest, so that every RMS norm divides by the same
number (to a part in 10⁷) and its gain multiplies it back; behind the norm the constant serves as the bias. Heads use
the slowest rotary pair only, which turns by 3e-8 per token. Gates are so steep that SwiGLU and GeGLU are a ReLU. Gemma
2's norms after sublayers are given the same constant in a slot of their own, which they drop; its softcaps stay on. All
this holds in float32.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM

FAMILIES = ("llama", "gemma2")
WIDTH, HEADS, HEAD_WIDTH, LAYERS, NEURONS = 176, 4, 44, 4, 48
CONSTANT = 0
"""The residual slot that holds the constant; heads and neurons read it as 1."""
SCALE = WIDTH - 1
"""The slot every sublayer of Gemma 2 writes the constant to, for the norm after it to drop."""

_CONSTANT = 1e5
_STEEPNESS = 8192.0
_ONE = 1 / math.sqrt(WIDTH)  # weight that reads 1 from the constant: behind a norm of gain 1 it is √d

Row = Mapping[int, float]
"""Residual slot → weight."""


@dataclass(frozen=True)
class PlantedHead:
    """A head whose score is ``query`` times ``key``; it copies slots (source, target, gain), at most d_head of them."""

    layer: int
    index: int
    query: Row
    key: Row
    copies: tuple[tuple[int, int, float], ...] = ()


@dataclass(frozen=True)
class Neuron:
    """Adds ``gain`` · ReLU(``reads`` · x + ``bias``) to slot ``target``; a layer takes :data:`NEURONS` of them.

    In Gemma 2 it takes one less.
    """

    layer: int
    reads: Row
    bias: float
    target: int
    gain: float


@dataclass(frozen=True)
class Circuit:
    """What is planted: per token what its embedding writes and its unembedding reads, heads, and neurons."""

    embedding: Mapping[int, Row]
    unembedding: Mapping[int, Row]
    heads: tuple[PlantedHead, ...]
    neurons: tuple[Neuron, ...]

    def neurons_of(self, layer: int) -> list[Neuron]:
        """The neurons of one layer, in the order they are numbered."""
        return [neuron for neuron in self.neurons if neuron.layer == layer]


def new_model(family: str, n_vocab: int) -> Any:
    """A float32 model of ``family`` whose weights are still to be set."""
    shape: dict[str, Any] = {
        "vocab_size": n_vocab,
        "hidden_size": WIDTH,
        "intermediate_size": NEURONS,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "head_dim": HEAD_WIDTH,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-12,
        "rope_theta": 1e8,
        "tie_word_embeddings": False,
        "bos_token_id": 0,
        "eos_token_id": None,
        "pad_token_id": None,
        "attn_implementation": "eager",
    }
    model: Any
    if family == "llama":
        model = LlamaForCausalLM(LlamaConfig(**shape))
    else:
        shape |= {"query_pre_attn_scalar": HEAD_WIDTH, "sliding_window": 64}
        shape |= {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
        model = Gemma2ForCausalLM(Gemma2Config(**shape))
    return model.float().eval().requires_grad_(requires_grad=False)


def plant(model: Any, circuit: Circuit) -> None:
    """Set every weight of ``model`` so that it computes ``circuit`` and nothing else."""
    for parameter in model.parameters():
        parameter.zero_()
    _undo_norms(model)
    embedding, unembedding = model.model.embed_tokens.weight, model.lm_head.weight
    embedding[:, CONSTANT] = _CONSTANT
    _fill(embedding, circuit.embedding)
    _fill(unembedding, circuit.unembedding)
    if _has_norms_after(model):
        embedding /= math.sqrt(WIDTH)  # Gemma multiplies embeddings by this
        for layer in model.model.layers:
            _write_scale(layer)
    for head in circuit.heads:
        _plant_head(model.model.layers[head.layer].self_attn, head)
    for layer in range(LAYERS):
        for index, neuron in enumerate(circuit.neurons_of(layer)):
            _plant_neuron(model.model.layers[layer].mlp, index, neuron)


def _has_norms_after(model: Any) -> bool:
    return bool(model.config.model_type == "gemma2")


def _fill(matrix: torch.Tensor, rows: Mapping[int, Row]) -> None:
    for token, row in rows.items():
        for slot, weight in row.items():
            matrix[token, slot] = weight


def _undo_norms(model: Any) -> None:
    """Give every norm the gain that makes it the identity, but for the constant.

    That one has gain 1, which Gemma can store exactly as 1 + 0.
    """
    before = torch.full((WIDTH,), _CONSTANT / math.sqrt(WIDTH))
    after = before.clone()
    before[CONSTANT] = 1.0
    after[SCALE] = 0.0
    offset = 1 if _has_norms_after(model) else 0  # Gemma multiplies by 1 + weight
    model.model.norm.weight.copy_(before - offset)
    for layer in model.model.layers:
        layer.input_layernorm.weight.copy_(before - offset)
        if _has_norms_after(model):
            layer.pre_feedforward_layernorm.weight.copy_(before - offset)
            layer.post_attention_layernorm.weight.copy_(after - offset)
            layer.post_feedforward_layernorm.weight.copy_(after - offset)
        else:
            layer.post_attention_layernorm.weight.copy_(before)


def _write_scale(layer: Any) -> None:
    """Let attention (last value of head 2, which is 1 at every key) and MLP (last neuron) write the constant."""
    value, neuron = 3 * HEAD_WIDTH - 1, NEURONS - 1
    layer.self_attn.v_proj.weight[value, CONSTANT] = _ONE
    layer.self_attn.o_proj.weight[SCALE, value] = _CONSTANT
    layer.mlp.gate_proj.weight[neuron, CONSTANT] = _STEEPNESS * _ONE
    layer.mlp.up_proj.weight[neuron, CONSTANT] = _ONE
    layer.mlp.down_proj.weight[SCALE, neuron] = _CONSTANT / _STEEPNESS


def _unit(slot: int) -> float:
    return _ONE if slot == CONSTANT else 1.0


def _plant_head(attention: Any, head: PlantedHead) -> None:
    first = head.index * HEAD_WIDTH
    slowest = first + HEAD_WIDTH // 2 - 1
    for slot, weight in head.query.items():
        attention.q_proj.weight[slowest, slot] = weight * _unit(slot) * math.sqrt(HEAD_WIDTH)
    for slot, weight in head.key.items():
        attention.k_proj.weight[slowest, slot] = weight * _unit(slot)
    for i, (source, target, gain) in enumerate(head.copies):
        attention.v_proj.weight[first + i, source] = 1.0
        attention.o_proj.weight[target, first + i] = gain


def _plant_neuron(mlp: Any, index: int, neuron: Neuron) -> None:
    for slot, weight in neuron.reads.items():
        mlp.gate_proj.weight[index, slot] = _STEEPNESS * weight
    mlp.gate_proj.weight[index, CONSTANT] = _STEEPNESS * neuron.bias * _ONE
    mlp.up_proj.weight[index, CONSTANT] = _ONE
    mlp.down_proj.weight[neuron.target, index] = neuron.gain / _STEEPNESS
