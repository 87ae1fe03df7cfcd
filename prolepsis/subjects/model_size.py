"""How large a decoder is, and what running it takes in operations and bytes, from its configuration (imports no torch).

Closed forms, held in the tests against counted operations, counted weights and measured peaks of small models.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prolepsis.errors import UserError


@dataclass(frozen=True)
class ModelSize:
    """The sizes of a decoder: ``d_mlp`` is the width inside an MLP, ``gated`` ones have a third matrix.

    ``tied`` embeddings serve as the unembedding; all of ``n_experts`` MLPs see each token,
    one after the other (:mod:`prolepsis.subjects.experts`).
    """

    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_mlp: int
    n_vocab: int
    tied: bool = True
    gated: bool = True
    n_experts: int = 1

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "ModelSize":
        """The sizes of a transformers configuration given as a dict; raises UserError naming a field it lacks."""
        try:
            n_heads, plain = config["num_attention_heads"], config.get("model_type") == "gpt_neox"
            return cls(
                n_layers=config["num_hidden_layers"],
                d_model=config["hidden_size"],
                n_heads=n_heads,
                n_kv_heads=n_heads if plain else config.get("num_key_value_heads") or n_heads,
                d_head=config.get("head_dim") or config["hidden_size"] // n_heads,
                d_mlp=config["intermediate_size"],
                n_vocab=config["vocab_size"],
                tied=config.get("tie_word_embeddings", True),
                gated=not plain,
                n_experts=config.get("num_local_experts", 1),
            )
        except KeyError as missing:
            raise UserError(f"the configuration has no {missing.args[0]}; give a complete config.json") from None

    @property
    def attention_weights(self) -> int:
        """Weights of one layer's attention: queries and output of all heads, keys and values of some."""
        return 2 * self.d_model * self.d_head * (self.n_heads + self.n_kv_heads)

    @property
    def mlp_weights(self) -> int:
        """Weights of one MLP."""
        return (3 if self.gated else 2) * self.d_model * self.d_mlp

    @property
    def mixture_weights(self) -> int:
        """Weights of one layer's MLPs, and of the router where there are several."""
        return self.mlp_weights if self.n_experts == 1 else self.n_experts * (self.mlp_weights + self.d_model)

    @property
    def layer_weights(self) -> int:
        """Weights of one layer's matrices; norms and biases are a few thousandths of them and are left out."""
        return self.attention_weights + self.mixture_weights

    @property
    def unembedding_weights(self) -> int:
        return self.n_vocab * self.d_model

    @property
    def weights(self) -> int:
        """Weights of the whole model."""
        return self.n_layers * self.layer_weights + (1 if self.tied else 2) * self.unembedding_weights

    def layer_operations(self, n_keys: int) -> int:
        """Floating-point operations of one token in one layer that sees ``n_keys`` keys; eager attention hides none."""
        return 2 * self.layer_weights + 4 * self.n_heads * self.d_head * n_keys

    def cache_bytes(self, width: int) -> int:
        """Bytes that one token's keys and values take in all layers, at ``width`` bytes a number."""
        return 2 * self.n_layers * self.n_kv_heads * self.d_head * width

    def row_bytes(self, n_tokens: int, n_logits: int, width: int) -> int:
        """Bytes that one row of ``n_tokens`` takes at most while it is run, its ``n_logits`` rows of logits included.

        The largest of: a layer inside its MLP, a layer inside eager attention, and the unembedding.
        """
        streams = 4 * self.d_model
        inside = max(
            (3 if self.n_experts == 1 else 8) * self.d_mlp,
            (3 * self.n_heads + 2 * self.n_kv_heads) * self.d_head + 3 * self.n_heads * n_tokens,
        )
        return width * max(n_tokens * (streams + inside), n_tokens * streams + 2 * n_logits * self.n_vocab)
