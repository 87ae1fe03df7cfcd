"""Per-layer transcoders, one safetensors file per layer.

``config.yaml``, and per layer ``l`` the file ``layer_{l}.safetensors`` with ``W_enc`` [F, d], ``W_dec`` [F, d],
``b_enc`` [F], ``b_dec`` [d], and where there is one ``W_skip`` [d, d], through which the input x of the layer goes to
its output as ``W_skip @ x``, and a JumpReLU's ``threshold`` [F]. A feature writes its own layer alone.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor

from prolepsis.errors import UserError
from prolepsis.layouts.files import check_layers, check_shapes, configuration, header, read
from prolepsis.layouts.layout import Activation, Encoder, Layout, agreed, checked_hook

FIXED = {"feature_output_hook": "hook_mlp_out"}


@dataclass(frozen=True)
class Bundles(Layout):
    """One file per layer; a feature writes the layer it reads."""

    name: ClassVar[str] = "per-layer bundles"
    files: ClassVar[str] = "config.yaml, layer_0.safetensors, …"

    skips: frozenset[int] = frozenset()

    @classmethod
    def lies_in(cls, folder: Path) -> bool:
        return bool(_layers(folder))

    @classmethod
    def open(cls, folder: Path, dtype: torch.dtype, input_hook: str | None) -> Self:
        config = configuration(folder, FIXED)
        hook = checked_hook(folder, config.get("feature_input_hook"), input_hook)
        layers = _layers(folder)
        check_layers(folder, layers)
        strangers = sorted({path.name for path in folder.glob("*.safetensors")} - {_name(layer) for layer in layers})
        if strangers:
            raise UserError(f"{folder}: {', '.join(strangers)} do not belong to a per-layer transcoder; remove them")
        shape = header(folder / _name(0)).get("W_enc", [])
        if len(shape) != 2 or 0 in shape:
            raise UserError(f"{folder / _name(0)}: has no tensor W_enc [features, width]; get it again")
        n_features, d = shape
        found, skips = {}, set()
        for layer in layers:
            shapes = header(folder / _name(layer))
            found[layer] = _check(folder / _name(layer), shapes, n_features, d)
            skips |= {layer} if "W_skip" in shapes else set()
        activation = agreed(folder, found)
        return cls(
            folder, str(config["model_name"]), len(layers), n_features, d, activation, hook, dtype, frozenset(skips)
        )

    def targets(self, layer: int) -> range:
        return range(layer, layer + 1)

    def paths(self) -> Iterator[Path]:
        return (self.folder / _name(layer) for layer in range(self.n_layers))

    def encoder(self, layer: int) -> Encoder:
        threshold = self._read(layer, "threshold") if self.activation == "jumprelu" else None
        return Encoder(self._read(layer, "W_enc"), self._read(layer, "b_enc"), threshold)

    def rows(self, layer: int, index: int) -> Tensor:
        return read(self.folder / _name(layer), "W_dec", self.dtype, index)[None]

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
        return read(self.folder / _name(layer), name, self.dtype)


def _name(layer: int) -> str:
    return f"layer_{layer}.safetensors"


def _layers(folder: Path) -> list[int]:
    found = (re.fullmatch(r"layer_(\d+)\.safetensors", path.name) for path in folder.glob("layer_*.safetensors"))
    return sorted(int(match[1]) for match in found if match)


def _check(path: Path, shapes: dict[str, list[int]], n_features: int, d: int) -> Activation:
    wanted = {"W_enc": [n_features, d], "W_dec": [n_features, d], "b_enc": [n_features], "b_dec": [d]}
    optional = {"W_skip": [d, d], "threshold": [n_features]}
    check_shapes(path, shapes, wanted | {name: shape for name, shape in optional.items() if name in shapes})
    return "jumprelu" if "threshold" in shapes else "relu"
