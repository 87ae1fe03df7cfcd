"""Cross-layer transcoders as the ``mntss`` repositories of the Hugging Face hub hold them.

``config.yaml``, and per layer ``l`` of ``L`` the files ``W_enc_{l}.safetensors`` (``W_enc_{l}`` [F, d], ``b_enc_{l}``
[F], ``b_dec_{l}`` [d] and, for a JumpReLU, ``threshold_{l}`` [F]) and ``W_dec_{l}.safetensors`` (``W_dec_{l}``
[F, L - l, d]; row ``j`` writes layer ``l + j``).

A variant has no biases, and beside each decoder the norms ``W_dec_norm_{l}`` [F]. Its features compete for a top k over
all layers; the files say neither k nor how the norms enter, so its decoders can be used and its encoders cannot.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from prolepsis.errors import Untested, UserError
from prolepsis.layouts.files import Files, check_shapes, configuration
from prolepsis.layouts.layout import Activation, Encoder, Layout, agreed, checked_hook, checked_output

KIND = {"model_kind": "cross_layer_transcoder"}
_MAPPED_VALUES = 1 << 24  # of a decoder file, read through one mapping


@dataclass(frozen=True)
class CrossLayer(Layout):
    """A file of encoders and one of decoders per layer; a feature writes its own layer and all later ones."""

    name: ClassVar[str] = "cross-layer files"
    looks: ClassVar[str] = "config.yaml, W_enc_0.safetensors, W_dec_0.safetensors, …"

    @classmethod
    def lies_in(cls, files: Files) -> bool:
        return any(re.fullmatch(r"W_.*_.*\.safetensors", name) for name in files.names())

    @classmethod
    def open(cls, files: Files, dtype: torch.dtype, input_hook: str | None) -> Self:
        config = configuration(files, KIND)
        hook = checked_hook(files, config.get("feature_input_hook"), input_hook)
        output = checked_output(files, config.get("feature_output_hook"))
        n_features, layers, d = _shape(files)
        _check_files(files, layers)
        found = {layer: _check_layer(files, layer, layers, n_features, d) for layer in range(layers)}
        activation = agreed(files, {layer: each for layer, each in found.items() if each is not None})
        return cls(files, str(config["model_name"]), layers, n_features, d, activation, hook, output, dtype)

    def targets(self, layer: int) -> range:
        return range(layer, self.n_layers)

    def names(self) -> Iterator[str]:
        for layer in range(self.n_layers):
            yield from names(layer)

    def encoder(self, layer: int) -> Encoder:
        if self.activation == "top-k":
            raise UserError(
                f"{self.files}: its features compete for a top k over all layers, and its files say neither k nor how "
                "decoder norms enter; only its decoders can be used"
            )
        return Encoder(
            self._read(layer, "W_enc"),
            self._read(layer, "b_enc"),
            self._read(layer, "threshold") if self.activation == "jumprelu" else None,
        )

    def rows(self, layer: int, indices: Sequence[int]) -> Tensor:
        return self.files.rows(names(layer)[1], f"W_dec_{layer}", self.dtype, indices)

    def decoder(self, layer: int, target: int) -> Tensor:
        out = torch.empty(self.n_features, self.d_model, dtype=self.dtype)
        step = max(1, _MAPPED_VALUES // ((self.n_layers - layer) * self.d_model))
        for start in range(0, self.n_features, step):
            # Opened anew for each part: a mapped page counts as memory until the file is closed.
            part = (slice(start, start + step), target - layer)
            out[start : start + step] = self.files.read(names(layer)[1], f"W_dec_{layer}", self.dtype, part)
        return out

    def bias(self, target: int) -> Tensor | None:
        return None if self.activation == "top-k" else self._read(target, "b_dec")

    def _read(self, layer: int, kind: str) -> Tensor:
        return self.files.read(names(layer)[0], f"{kind}_{layer}", self.dtype)


def names(layer: int) -> tuple[str, str]:
    """The files of encoders and decoders of one layer."""
    return f"W_enc_{layer}.safetensors", f"W_dec_{layer}.safetensors"


def _shape(files: Files) -> tuple[int, int, int]:
    """F, L and d as the first decoders that are known say; the other files are checked against them."""
    for layer in _layers(files):
        name = names(layer)[1]
        shapes = files.header(name)
        shape = [] if shapes is None else shapes.get(f"W_dec_{layer}", [])
        if shapes is not None and (len(shape) != 3 or 0 in shape):
            raise UserError(f"{files.at(name)}: has no tensor W_dec_{layer} [features, layers, width]; found {shapes}")
        if shapes is not None:
            return shape[0], layer + shape[1], shape[2]
    raise Untested(f"{files}: no file of decoders is here; fetch one")


def _layers(files: Files) -> list[int]:
    """The layers whose decoders might be here, all from 0 on in a folder that has to be whole."""
    if files.whole:
        return [0]
    found = (re.fullmatch(r"W_dec_(\d+)\.safetensors", name) for name in files.names())
    return sorted(int(match[1]) for match in found if match)


def _check_files(files: Files, layers: int) -> None:
    present = {name for name in files.names() if re.fullmatch(r"[^/]*\.safetensors", name)}
    wanted = {name for layer in range(layers) for name in names(layer)}
    by_layer = sorted(wanted - present, key=lambda name: (int(re.findall(r"\d+", name)[0]), name))
    if by_layer and files.whole:
        raise UserError(f"{files}: {', '.join(by_layer)} missing of {layers} layers; download them")
    if present - wanted:
        named = ", ".join(sorted(present - wanted))
        raise UserError(f"{files}: {named} do not belong to a transcoder of {layers} layers; remove them")


def _check_layer(files: Files, layer: int, layers: int, n_features: int, d: int) -> Activation | None:
    """What activates the features of a layer, as far as its headers are known; raises UserError for another shape."""
    encoder, decoder = names(layer)
    shapes, of_decoder = files.header(encoder), files.header(decoder)
    if shapes is None and of_decoder is None:
        return None
    wanted = {f"W_enc_{layer}": [n_features, d]}
    wanted_of_decoder = {f"W_dec_{layer}": [n_features, layers - layer, d]}
    activation: Activation = "relu"
    norm = f"W_dec_norm_{layer}"
    if norm in (shapes or {}) or norm in (of_decoder or {}):
        activation = "top-k"
        beside = wanted if norm in (shapes or {}) else wanted_of_decoder
        beside[norm] = [n_features]
    else:
        wanted |= {f"b_enc_{layer}": [n_features], f"b_dec_{layer}": [d]}
    if f"threshold_{layer}" in (shapes or {}):
        activation = "jumprelu"
        wanted[f"threshold_{layer}"] = [n_features]
    if of_decoder is not None:
        check_shapes(files.at(decoder), of_decoder, wanted_of_decoder)
    if shapes is None:
        return None
    check_shapes(files.at(encoder), shapes, wanted)
    return activation
