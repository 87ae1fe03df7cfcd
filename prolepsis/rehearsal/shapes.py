"""Shapes of the paper's subjects, as they are and scaled down (imports no torch).

The models' configurations are as publicly documented, and were not checked against the repositories' files. Counts of
layers and features, the width and the layout of the transcoders are those the paper's author ran.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from prolepsis.errors import UserError

GIB = 2**30
VALUE_BYTES = 2
"""Everything is stored in bfloat16."""

LEAST_LAYERS = 14
"""Fewer make fewer than four blocks of four layers, and the claims about the third one could not be asked."""
LEAST_HEADS = 8
"""More than the paper's lists name in one layer."""
LEAST_WIDTH = 256
"""In fewer dimensions random rows pass the vocabulary scan's cut, a cosine of 0.3, and every feature has a word."""
LEAST_FEATURES = 64
LEAST_VOCABULARY = 6144
"""The words of the task and the prompts, and the published token ids."""


@dataclass(frozen=True)
class Shape:
    """What is written for one preset.

    ``config`` is the model's transformers configuration. ``sparse`` says that of the decoder files only those of the
    published features' layers are written whole: of the others the rows of the last target layer, which the vocabulary
    scan reads, and every row of the features that belong to a word. The rest of such a file is a hole, which takes no
    room on the disk and reads as zeros.
    """

    preset: str
    model: str
    transcoder: str
    tokenizer: Literal["gemma", "llama"]
    config: Mapping[str, Any]
    n_features: int
    shards: int
    n_words: int
    sparse: bool = False

    @property
    def n_layers(self) -> int:
        return int(self.config["num_hidden_layers"])

    @property
    def width(self) -> int:
        return int(self.config["hidden_size"])

    @property
    def n_vocab(self) -> int:
        return int(self.config["vocab_size"])

    def encoder_bytes(self) -> int:
        """Bytes of one layer's encoder file, the header and perhaps thresholds aside."""
        return VALUE_BYTES * (self.n_features * (self.width + 1) + self.width)

    def decoder_bytes(self, layer: int) -> int:
        """Bytes of one layer's decoder file, the header aside."""
        return VALUE_BYTES * self.n_features * (self.n_layers - layer) * self.width

    def transcoder_bytes(self) -> int:
        """Bytes of all transcoder files as they are read, holes included."""
        return sum(self.encoder_bytes() + self.decoder_bytes(layer) for layer in range(self.n_layers))


_GEMMA: dict[str, Any] = {
    "model_type": "gemma2",
    "architectures": ["Gemma2ForCausalLM"],
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "vocab_size": 256000,
    "max_position_embeddings": 8192,
    "sliding_window": 4096,
    "query_pre_attn_scalar": 256,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
    "hidden_activation": "gelu_pytorch_tanh",
    "rms_norm_eps": 1e-6,
    "initializer_range": 0.02,
    "tie_word_embeddings": True,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
}
_LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "rope_theta": 500000.0,
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "initializer_range": 0.02,
    "tie_word_embeddings": True,
    "bos_token_id": 128000,
    "eos_token_id": 128001,
}

SHAPES = {
    shape.preset: shape
    for shape in (
        Shape(
            preset="gemma-2-2b-426k",
            model="google/gemma-2-2b",
            transcoder="mntss/clt-gemma-2-2b-426k",
            tokenizer="gemma",
            config=_GEMMA,
            n_features=16384,
            shards=3,
            n_words=287,
        ),
        Shape(
            preset="gemma-2-2b-2.5m",
            model="google/gemma-2-2b",
            transcoder="mntss/clt-gemma-2-2b-2.5M",
            tokenizer="gemma",
            config=_GEMMA,
            n_features=98304,
            shards=3,
            n_words=209,
            sparse=True,
        ),
        Shape(
            preset="llama-3.2-1b-524k",
            model="meta-llama/Llama-3.2-1B",
            transcoder="mntss/clt-llama-3.2-1b-524k",
            tokenizer="llama",
            config=_LLAMA,
            n_features=32768,
            shards=1,
            n_words=79,
        ),
    )
}
"""Preset id → its real shape; ``n_words`` is how many words the paper says have a feature."""


def scaled(shape: Shape, scale: float) -> Shape:
    """The shape with layers, heads, width, features and vocabulary ``scale`` times as many, but enough for every claim.

    Raises UserError for a scale outside (0, 1].
    """
    if not 0 < scale <= 1:
        raise UserError(f"--scale {scale:g}: give a number above 0 and at most 1, which is the real shape")
    if scale == 1:
        return shape
    config = shape.config
    group = config["num_attention_heads"] // config["num_key_value_heads"]
    heads = _part(config["num_attention_heads"], scale, LEAST_HEADS) // group * group
    per_head = -(-_part(shape.width, scale, LEAST_WIDTH) // (2 * heads)) * 2
    width = per_head * heads
    n_vocab = _part(shape.n_vocab, scale, LEAST_VOCABULARY)
    changes = {
        "num_hidden_layers": _part(shape.n_layers, scale, LEAST_LAYERS),
        "num_attention_heads": heads,
        "num_key_value_heads": heads // group,
        "hidden_size": width,
        "head_dim": per_head,
        "intermediate_size": width * config["intermediate_size"] // shape.width,
        "vocab_size": n_vocab,
        # What a layer adds to the stream depends on this, and should not on the scale.
        "initializer_range": config["initializer_range"] * (shape.width / width) ** 0.5,
    }
    if "query_pre_attn_scalar" in config:
        changes["query_pre_attn_scalar"] = per_head
    for name in ("bos_token_id", "eos_token_id"):
        if config[name] >= n_vocab:
            changes[name] = config[name] - shape.n_vocab + n_vocab
    return replace(
        shape,
        config={**config, **changes},
        n_features=_part(shape.n_features, scale, LEAST_FEATURES),
        n_words=_part(shape.n_words, scale, min(shape.n_words, 80)),
    )


def _part(whole: int, scale: float, least: int) -> int:
    return max(least, round(whole * scale))
