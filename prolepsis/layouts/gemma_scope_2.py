"""Transcoders as the Gemma Scope 2 repositories hold them: one safetensors file per layer, encoders transposed.

Per layer ``l`` a file whose name ends on ``layer_{l}.safetensors``, or ``params.safetensors`` in a folder whose name
begins with ``layer_{l}``, with ``w_enc`` [d, F], ``b_enc`` [F], ``threshold``
[F], ``b_dec`` [d], and ``w_dec``: [F, d] where features write their own layer, or [F, L, d] with a dense axis of target
layers where they write later ones as well. ``affine_skip_connection`` [d, d], where there is one, takes the input x of
the layer to its output as ``x @ affine_skip_connection``. Features read the input of the MLP behind its norm.

No file of this layout was at hand: names and orientation are as described, and every shape is checked.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from prolepsis.errors import UserError
from prolepsis.layouts.files import (
    Files,
    Shapes,
    check_shapes,
    check_strangers,
    known_headers,
    named_layers,
    one_of_each,
)
from prolepsis.layouts.layout import Encoder, Layout, checked_hook

LAYER = r"(?:.*/)?[^/]*layer_(\d+)(?:[^/]*/params)?\.safetensors"
SKIP = "affine_skip_connection"


@dataclass(frozen=True)
class GemmaScope2(Layout):
    """One file per layer with lower-case names; ``dense`` says that features write all layers from their own on."""

    name: ClassVar[str] = "Gemma Scope 2 files"
    looks: ClassVar[str] = "…layer_0.safetensors with w_enc, …"

    by_layer: tuple[str, ...] = ()
    dense: bool = False
    skips: bool = False

    @classmethod
    def lies_in(cls, files: Files) -> bool:
        layers = [name for names in named_layers(files, LAYER).values() for name in names]
        return bool(layers) and any("w_enc" in shapes for shapes in known_headers(files, layers).values())

    @classmethod
    def open(cls, files: Files, dtype: torch.dtype, input_hook: str | None) -> Self:
        hook, by_layer = checked_hook(files, "mlp.hook_in", input_hook), one_of_each(files, named_layers(files, LAYER))
        check_strangers(files, by_layer)
        headers = known_headers(files, by_layer)
        name = next(iter(headers))
        first = headers[name]
        shape, dense, skips = first.get("w_enc", []), len(first.get("w_dec", [])) == 3, SKIP in first
        if len(shape) != 2 or 0 in shape:
            raise UserError(f"{files.at(name)}: has no tensor w_enc [width, features]; download it again")
        for name, shapes in headers.items():
            check_shapes(files.at(name), shapes, _wanted(shape, len(by_layer) if dense else None, skips))
        return cls(
            files, "", len(by_layer), shape[1], shape[0], "jumprelu", hook, "hook_mlp_out", dtype,
            by_layer, dense, skips,
        )  # fmt: skip

    def targets(self, layer: int) -> range:
        return range(layer, self.n_layers if self.dense else layer + 1)

    def names(self) -> Iterator[str]:
        return iter(self.by_layer)

    def encoder(self, layer: int) -> Encoder:
        return Encoder(self._read(layer, "w_enc").T, self._read(layer, "b_enc"), self._read(layer, "threshold"))

    def rows(self, layer: int, indices: Sequence[int]) -> Tensor:
        rows = self.files.rows(self.by_layer[layer], "w_dec", self.dtype, indices)
        return rows[:, layer:] if self.dense else rows[:, None]

    def decoder(self, layer: int, target: int) -> Tensor:
        return self._read(layer, "w_dec", (slice(None), target) if self.dense else slice(None))

    def bias(self, target: int) -> Tensor | None:
        return self._read(target, "b_dec")

    @property
    def has_skip(self) -> bool:
        return self.skips

    def skip(self, layer: int) -> Tensor | None:
        return self._read(layer, SKIP).T if self.skips else None

    def _read(self, layer: int, name: str, index: object = slice(None)) -> Tensor:
        return self.files.read(self.by_layer[layer], name, self.dtype, index)


def _wanted(shape: list[int], n_targets: int | None, skips: bool) -> Shapes:
    d, n_features = shape
    return {
        "w_enc": shape,
        "b_enc": [n_features],
        "threshold": [n_features],
        "w_dec": [n_features, d] if n_targets is None else [n_features, n_targets, d],
        "b_dec": [d],
        **({SKIP: [d, d]} if skips else {}),
    }
