"""Per-layer transcoders, one safetensors file per layer.

``config.yaml``, and per layer ``l`` the file ``layer_{l}.safetensors`` with ``W_enc`` [F, d], ``W_dec`` [F, d],
``b_enc`` [F], ``b_dec`` [d], and where there is one ``W_skip`` [d, d], through which the input x of the layer goes to
its output as ``W_skip @ x``, and a JumpReLU's ``threshold`` [F], which may be called
``activation_function.threshold``. A feature writes its own layer alone.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from prolepsis.errors import UserError
from prolepsis.layouts.files import Files, check_layers, check_shapes, check_strangers, configuration, known_headers
from prolepsis.layouts.layout import Activation, Encoder, Layout, agreed, checked_hook, checked_output

THRESHOLDS = ("threshold", "activation_function.threshold")
"""What the threshold of a JumpReLU is called: the latter where the layer was saved with its activation function."""


@dataclass(frozen=True)
class Bundles(Layout):
    """One file per layer; a feature writes the layer it reads."""

    name: ClassVar[str] = "per-layer bundles"
    looks: ClassVar[str] = "config.yaml, layer_0.safetensors, …"

    skips: frozenset[int] = frozenset()
    threshold: str | None = None

    @classmethod
    def lies_in(cls, files: Files) -> bool:
        return bool(_layers(files))

    @classmethod
    def open(cls, files: Files, dtype: torch.dtype, input_hook: str | None) -> Self:
        config = configuration(files)
        hook = checked_hook(files, config.get("feature_input_hook"), input_hook)
        output = checked_output(files, config.get("feature_output_hook"))
        layers = _layers(files)
        check_layers(files, layers)
        check_strangers(files, list(map(_name, layers)))
        headers = known_headers(files, map(_name, layers))
        first = next(iter(headers))
        shape = headers[first].get("W_enc", [])
        if len(shape) != 2 or 0 in shape:
            raise UserError(f"{files.at(first)}: has no tensor W_enc [features, width]; get it again")
        n_features, d = shape
        threshold = next((name for name in THRESHOLDS if name in headers[first]), None)
        found, skips = {}, set()
        for layer in layers:
            shapes = headers.get(_name(layer))
            if shapes is not None:
                found[layer] = _check(files.at(_name(layer)), shapes, n_features, d, threshold)
                skips |= {layer} if "W_skip" in shapes else set()
        activation = agreed(files, found)
        return cls(
            files, str(config["model_name"]), len(layers), n_features, d, activation, hook, output, dtype,
            frozenset(skips), threshold,
        )  # fmt: skip

    def targets(self, layer: int) -> range:
        return range(layer, layer + 1)

    def names(self) -> Iterator[str]:
        return map(_name, range(self.n_layers))

    def encoder(self, layer: int) -> Encoder:
        threshold = None if self.threshold is None else self._read(layer, self.threshold)
        return Encoder(self._read(layer, "W_enc"), self._read(layer, "b_enc"), threshold)

    def rows(self, layer: int, indices: Sequence[int]) -> Tensor:
        return self.files.rows(_name(layer), "W_dec", self.dtype, indices)[:, None]

    def decoder(self, layer: int, target: int) -> Tensor:  # noqa: ARG002
        return self._read(layer, "W_dec")

    def bias(self, target: int) -> Tensor | None:
        return self._read(target, "b_dec")

    @property
    def has_skip(self) -> bool:
        return bool(self.skips)

    def skip(self, layer: int) -> Tensor | None:
        return self._read(layer, "W_skip") if layer in self.skips else None

    def _read(self, layer: int, name: str) -> Tensor:
        return self.files.read(_name(layer), name, self.dtype)


def _name(layer: int) -> str:
    return f"layer_{layer}.safetensors"


def _layers(files: Files) -> list[int]:
    found = (re.fullmatch(r"layer_(\d+)\.safetensors", name) for name in files.names())
    return sorted(int(match[1]) for match in found if match)


def _check(path: str, shapes: dict[str, list[int]], n_features: int, d: int, threshold: str | None) -> Activation:
    wanted = {"W_enc": [n_features, d], "W_dec": [n_features, d], "b_enc": [n_features], "b_dec": [d]}
    named = threshold or THRESHOLDS[0]
    optional = {"W_skip": [d, d], named: [n_features]}
    check_shapes(path, shapes, wanted | {name: shape for name, shape in optional.items() if name in shapes})
    return "jumprelu" if named in shapes else "relu"
