"""Cross-layer transcoders as the ``mntss`` repositories of the Hugging Face hub hold them.

``config.yaml``, and per layer ``l`` of ``L`` the files ``W_enc_{l}.safetensors`` (``W_enc_{l}`` [F, d], ``b_enc_{l}``
[F], ``b_dec_{l}`` [d] and, for a JumpReLU, ``threshold_{l}`` [F]) and ``W_dec_{l}.safetensors`` (``W_dec_{l}``
[F, L - l, d]; row ``j`` writes layer ``l + j``).

A variant has no biases, and beside each decoder the norms ``W_dec_norm_{l}`` [F]. Its features compete for a top k over
all layers; the files do not say how the norms enter, so its decoders can be used and its encoders cannot.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor

from prolepsis.errors import UserError
from prolepsis.layouts.files import check_shapes, configuration, header, read
from prolepsis.layouts.layout import Activation, Encoder, Layout, agreed, checked_hook

FIXED = {"model_kind": "cross_layer_transcoder", "feature_output_hook": "hook_mlp_out"}
_MAPPED_VALUES = 1 << 24  # of a decoder file, read through one mapping


@dataclass(frozen=True)
class CrossLayer(Layout):
    """A file of encoders and one of decoders per layer; a feature writes its own layer and all later ones."""

    name: ClassVar[str] = "cross-layer files"
    files: ClassVar[str] = "config.yaml, W_enc_0.safetensors, W_dec_0.safetensors, …"

    @classmethod
    def lies_in(cls, folder: Path) -> bool:
        return any(folder.glob("W_*_*.safetensors"))

    @classmethod
    def open(cls, folder: Path, dtype: torch.dtype, input_hook: str | None) -> Self:
        config = configuration(folder, FIXED)
        hook = checked_hook(folder, config.get("feature_input_hook"), input_hook)
        n_features, layers, d = _shape(folder)
        _check_files(folder, layers)
        found = {layer: _check_layer(folder, layer, layers, n_features, d) for layer in range(layers)}
        activation = agreed(folder, found)
        return cls(folder, str(config["model_name"]), layers, n_features, d, activation, hook, dtype)

    def targets(self, layer: int) -> range:
        return range(layer, self.n_layers)

    def paths(self) -> Iterator[Path]:
        for layer in range(self.n_layers):
            yield from paths(self.folder, layer)

    def encoder(self, layer: int) -> Encoder:
        if self.activation == "top-k":
            raise UserError(
                f"{self.folder}: its features compete for a top k over all layers by a rule its files do not state; "
                "only its decoders can be used"
            )
        return Encoder(
            self._read(layer, "W_enc"),
            self._read(layer, "b_enc"),
            self._read(layer, "threshold") if self.activation == "jumprelu" else None,
        )

    def rows(self, layer: int, index: int) -> Tensor:
        return read(paths(self.folder, layer)[1], f"W_dec_{layer}", self.dtype, index)

    def decoder(self, layer: int, target: int) -> Tensor:
        out = torch.empty(self.n_features, self.d_model, dtype=self.dtype)
        step = max(1, _MAPPED_VALUES // ((self.n_layers - layer) * self.d_model))
        for start in range(0, self.n_features, step):
            # Opened anew for each part: a mapped page counts as memory until the file is closed.
            part = (slice(start, start + step), target - layer)
            out[start : start + step] = read(paths(self.folder, layer)[1], f"W_dec_{layer}", self.dtype, part)
        return out

    def bias(self, target: int) -> Tensor | None:
        return None if self.activation == "top-k" else self._read(target, "b_dec")

    def _read(self, layer: int, kind: str) -> Tensor:
        return read(paths(self.folder, layer)[0], f"{kind}_{layer}", self.dtype)


def paths(folder: Path, layer: int) -> tuple[Path, Path]:
    """The files of encoders and decoders of one layer."""
    return folder / f"W_enc_{layer}.safetensors", folder / f"W_dec_{layer}.safetensors"


def _shape(folder: Path) -> tuple[int, int, int]:
    """F, L and d as W_dec_0 says; the other files are checked against it."""
    shapes = header(paths(folder, 0)[1])
    shape = shapes.get("W_dec_0", [])
    if len(shape) != 3 or 0 in shape:
        raise UserError(f"{paths(folder, 0)[1]}: has no tensor W_dec_0 [features, layers, width]; found {shapes}")
    return shape[0], shape[1], shape[2]


def _check_files(folder: Path, layers: int) -> None:
    present = {path.name for path in folder.glob("*.safetensors")}
    wanted = {path.name for layer in range(layers) for path in paths(folder, layer)}
    by_layer = sorted(wanted - present, key=lambda name: (int(re.findall(r"\d+", name)[0]), name))
    if by_layer:
        raise UserError(f"{folder}: {', '.join(by_layer)} missing of {layers} layers; download them")
    if present - wanted:
        named = ", ".join(sorted(present - wanted))
        raise UserError(f"{folder}: {named} do not belong to a transcoder of {layers} layers; remove them")


def _check_layer(folder: Path, layer: int, layers: int, n_features: int, d: int) -> Activation:
    encoder, decoder = paths(folder, layer)
    shapes, of_decoder = header(encoder), header(decoder)
    wanted = {f"W_enc_{layer}": [n_features, d]}
    wanted_of_decoder = {f"W_dec_{layer}": [n_features, layers - layer, d]}
    activation: Activation = "relu"
    if f"W_dec_norm_{layer}" in shapes.keys() | of_decoder.keys():
        activation = "top-k"
        beside = wanted if f"W_dec_norm_{layer}" in shapes else wanted_of_decoder
        beside[f"W_dec_norm_{layer}"] = [n_features]
    else:
        wanted |= {f"b_enc_{layer}": [n_features], f"b_dec_{layer}": [d]}
    if f"threshold_{layer}" in shapes:
        activation = "jumprelu"
        wanted[f"threshold_{layer}"] = [n_features]
    check_shapes(encoder, shapes, wanted)
    check_shapes(decoder, of_decoder, wanted_of_decoder)
    return activation
