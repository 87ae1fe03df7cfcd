"""Per-layer transcoders as the Gemma Scope repositories hold them: numpy archives below a folder per layer.

``layer_{l}/…/params.npz`` with ``W_enc`` [d, F], ``W_dec`` [F, d], ``b_enc`` [F], ``b_dec`` [d] and a JumpReLU's
``threshold`` [F]. Features read the normalised stream before the weights of the MLP's norm, and write what the MLP adds
to the stream. A layer is there in several sparsities; a folder to be opened holds one of each layer. The archives do
not name their model.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from prolepsis.errors import UserError
from prolepsis.layouts.files import Files, check_shapes, finite, named_layers, one_of_each
from prolepsis.layouts.layout import Encoder, Layout, checked_hook

PARAMS = "params.npz"
ARCHIVE = rf"layer_(\d+)/(?:.*/)?{re.escape(PARAMS)}"
DTYPES = ("float16", "float32")
"""What the members are stored as: those of the other layouts that numpy has."""


@dataclass(frozen=True)
class GemmaScope(Layout):
    """One numpy archive per layer; a feature writes the layer it reads."""

    name: ClassVar[str] = "Gemma Scope archives"
    looks: ClassVar[str] = f"layer_0/…/{PARAMS}, …"

    archives: tuple[str, ...] = ()

    @classmethod
    def lies_in(cls, files: Files) -> bool:
        return bool(named_layers(files, ARCHIVE))

    @classmethod
    def open(cls, files: Files, dtype: torch.dtype, input_hook: str | None) -> Self:
        hook = checked_hook(files, "ln2.hook_normalized", input_hook)
        archives = one_of_each(files, named_layers(files, ARCHIVE))
        d, n_features = (_shapes(files.path(archives[0])).get("W_enc") or [0, 0])[:2]
        for name in archives:
            wanted = {"W_enc": [d, n_features], "W_dec": [n_features, d], "b_enc": [n_features], "b_dec": [d]}
            check_shapes(files.at(name), _shapes(files.path(name)), wanted | {"threshold": [n_features]})
        return cls(files, "", len(archives), n_features, d, "jumprelu", hook, "hook_mlp_out", dtype, archives)

    def targets(self, layer: int) -> range:
        return range(layer, layer + 1)

    def names(self) -> Iterator[str]:
        return iter(self.archives)

    def encoder(self, layer: int) -> Encoder:
        return Encoder(self._read(layer, "W_enc").T, self._read(layer, "b_enc"), self._read(layer, "threshold"))

    def rows(self, layer: int, indices: Sequence[int]) -> Tensor:
        return self._read(layer, "W_dec")[list(indices), None]

    def decoder(self, layer: int, target: int) -> Tensor:  # noqa: ARG002
        return self._read(layer, "W_dec")

    def bias(self, target: int) -> Tensor | None:
        return self._read(target, "b_dec")

    def _read(self, layer: int, name: str) -> Tensor:
        """A whole member: an archive cannot be read by rows."""
        path = self.files.path(self.archives[layer])
        with _archive(path) as archive:
            return finite(path, name, torch.from_numpy(archive[name]).to(self.dtype))


@contextmanager
def _archive(path: Path) -> "Iterator[np.lib.npyio.NpzFile]":
    # numpy would leave a file open that it opens itself and then finds to be no archive.
    with path.open("rb") as file:
        try:
            archive: np.lib.npyio.NpzFile = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError, BadZipFile) as error:
            raise UserError(f"{path}: truncated or no numpy archive ({error}); download it again") from None
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise UserError(f"{path}: a single array, where an archive of several belongs; download it again")
        yield archive


def _shapes(path: Path) -> dict[str, list[int]]:
    """Shape of every member, from the members' headers alone; raises UserError for a stored type that is not read."""
    shapes = {}
    with _archive(path) as archive:
        for member in archive.zip.namelist():  # type: ignore[union-attr]
            with archive.zip.open(member) as file:  # type: ignore[union-attr]
                version = np.lib.format.read_magic(file)
                reader = (
                    np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                )
                shape, _, dtype = reader(file)
                name = member.removesuffix(".npy")
                if str(dtype) not in DTYPES:
                    raise UserError(f"{path}: {name} is stored as {dtype}; supported: {', '.join(DTYPES)}")
                shapes[name] = list(shape)
    return shapes
