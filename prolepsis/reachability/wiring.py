"""Who can see whom: layers, heads, sliding windows and a mask rule, without weights (imports no torch)."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from prolepsis.errors import UserError
from prolepsis.reachability.masks import BoolArray, MaskRule, mask_rule
from prolepsis.subjects.families import family_of

SIZES = ("num_hidden_layers", "num_attention_heads")
PAPER_WIRINGS = Path(__file__).with_name("wirings.toml")


@dataclass(frozen=True)
class Wiring:
    """The wiring of a decoder: in layer l a token sees itself and earlier tokens, at most ``windows[l]`` in all.

    ``windows`` has one entry per layer, None where attention is global. ``mask_rule`` hides further keys in every
    layer. In a ``parallel`` decoder attention and MLP of a layer both read resid_pre, so that resid_mid is resid_pre.
    With ``sinks`` a pattern is spread over its keys and a sink, so that even a single key's weight follows from what
    it holds. Keys shared between layers are not modelled.
    """

    n_layers: int
    n_heads: int
    windows: tuple[int | None, ...]
    mask_rule: MaskRule | None = None
    parallel: bool = False
    sinks: bool = False

    def __post_init__(self) -> None:
        """Raises UserError for counts below 1 and for windows that do not fit the layers."""
        if self.n_layers < 1 or self.n_heads < 1:
            raise UserError(f"a wiring of {self.n_layers} layers and {self.n_heads} heads: both must be at least 1")
        if len(self.windows) != self.n_layers:
            raise UserError(
                f"{len(self.windows)} windows for {self.n_layers} layers; give one per layer, None if global"
            )
        for layer, window in enumerate(self.windows):
            if window is not None and window < 1:
                raise UserError(f"layer {layer}: window {window} is below 1; a token always sees itself")

    def visible(self, layer: int, tokens: Sequence[int], offset: int = 0) -> BoolArray:
        """Which keys the queries from ``offset`` on may see in ``layer``: bool [T - offset, T]."""
        import numpy as np

        query, key = np.arange(offset, len(tokens))[:, None], np.arange(len(tokens))[None, :]
        seen = key <= query
        window = self.windows[layer]
        if window is not None:
            seen = seen & (key > query - window)
        if self.mask_rule is not None:
            seen = seen & self.mask_rule(query, key, np.asarray(tokens))
        return np.asarray(seen)


def wiring_from_config(config: Mapping[str, Any], rule: MaskRule | None = None) -> Wiring:
    """The wiring of a transformers configuration given as a dict, as its model class applies it.

    Raises UserError for a model type whose wiring is not modelled, and for a field that is missing or not understood.
    """
    family = family_of(SimpleNamespace(model_type=config.get("model_type")))
    config = config.get("text_config") or config
    if config.get("use_bidirectional_attention"):
        raise UserError("use_bidirectional_attention is set: only causal attention is modelled")
    for name in SIZES:
        if not isinstance(config.get(name), int):
            raise UserError(f"the configuration has no whole number {name}; give a complete transformers config.json")
    n_layers = config["num_hidden_layers"]
    # transformers takes residuals to be parallel where a configuration does not say.
    parallel = family.parallel is not None and config.get(family.parallel, True)
    return Wiring(n_layers, config["num_attention_heads"], _windows(config, n_layers), rule, parallel, family.sinks)


def _windows(config: Mapping[str, Any], n_layers: int) -> tuple[int | None, ...]:
    """Llama and GPT-NeoX have no window, Mistral slides in every layer, the others in those their layer types name.

    Without layer types Gemma 2 and GPT-OSS slide in every other layer, Gemma 3 in all but every sixth, and Qwen 3, if
    asked to slide at all, from layer ``max_window_layers`` on.
    """
    model_type = config["model_type"]
    if model_type in ("llama", "gpt_neox") or (model_type == "qwen3" and not config.get("use_sliding_window")):
        return (None,) * n_layers
    window = config.get("sliding_window", 128 if model_type == "gpt_oss" else 4096)
    if model_type == "mistral" or window is None:
        return (window,) * n_layers
    if model_type == "qwen3":
        slides = [layer >= config.get("max_window_layers", 28) for layer in range(n_layers)]
    else:
        every = config.get("sliding_window_pattern", 6) if model_type == "gemma3_text" else 2
        slides = [(layer + 1) % every != 0 for layer in range(n_layers)]
    types = config.get("layer_types") or [("full_attention", "sliding_attention")[slide] for slide in slides]
    unknown = sorted(set(types) - {"sliding_attention", "full_attention"})
    if unknown:
        raise UserError(f"layer type {unknown[0]!r} is not modelled; known: sliding_attention, full_attention")
    return tuple(window if kind == "sliding_attention" else None for kind in types)


@cache
def _paper_wirings() -> Mapping[str, Wiring]:
    """The paper's models by name; every edited run of the ledger asks for one."""
    return {
        name: wiring_from_config(config)
        for name, config in tomllib.loads(PAPER_WIRINGS.read_text(encoding="utf-8")).items()
    }


def open_wiring(name: str) -> Wiring:
    """The wiring of a model of the paper by name, or of a model folder or config.json by path.

    A subject.json beside the configuration gives the mask rule. Raises UserError naming what is missing or broken.
    """
    known = _paper_wirings()
    if name in known:
        return known[name]
    path = Path(name)
    if path.is_dir():
        path = path / "config.json"
    if not path.is_file():
        raise UserError(f"wiring {name!r} is neither {' nor '.join(known)} nor a model folder or config.json")
    subject = path.with_name("subject.json")
    about = _json_object(subject) if subject.is_file() else {}
    try:
        return wiring_from_config(_completed(_json_object(path)), mask_rule(about.get("mask_rule")))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _completed(config: dict[str, Any]) -> Mapping[str, Any]:
    """The configuration with what files of a model that sees pictures leave to its class, such as Gemma 3's heads."""
    if "text_config" not in config or all(name in config["text_config"] for name in SIZES):
        return config
    from transformers import CONFIG_MAPPING

    kind = str(config.get("model_type"))
    if kind not in CONFIG_MAPPING:
        return config
    completed: Mapping[str, Any] = CONFIG_MAPPING[kind].from_dict(config).to_dict()
    return completed


def _json_object(path: Path) -> dict[str, Any]:
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(plain, dict):
        raise UserError(f"{path}: holds no JSON object; give a transformers config.json")
    return plain
