"""What every layout of transcoder files answers."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, Self

import torch
from torch import Tensor

from prolepsis.errors import Untested, UserError
from prolepsis.layouts.files import Files

Activation = Literal["relu", "jumprelu", "top-k"]
InputHook = Literal["hook_resid_mid", "ln2.hook_normalized", "mlp.hook_in"]
INPUT_HOOKS: tuple[InputHook, ...] = ("hook_resid_mid", "ln2.hook_normalized", "mlp.hook_in")
"""Where features read, in TransformerLens' words: the raw residual stream before the norm of the MLP, that stream
normalised but without the norm's weights, or with them, as the MLP reads it."""
OutputHook = Literal["hook_mlp_out", "mlp.hook_out"]
OUTPUT_HOOKS: tuple[OutputHook, ...] = ("hook_mlp_out", "mlp.hook_out")
"""Where features write: what the MLP adds to the residual stream, or what it gives before a norm behind it."""


class Encoder(NamedTuple):
    """One layer's encoder: weight [F, d], bias [F] where there is one, threshold [F] for a JumpReLU."""

    weight: Tensor
    bias: Tensor | None
    threshold: Tensor | None


@dataclass(frozen=True)
class Layout(ABC):
    """A transcoder of L layers of F features on disk; nothing but headers is held in memory.

    ``targets`` of a layer are the layers its features write. Tensors come back in ``dtype``; NaN and infinities are
    refused where they are read.
    """

    name: ClassVar[str]
    looks: ClassVar[str]

    files: Files
    model_name: str
    n_layers: int
    n_features: int
    d_model: int
    activation: Activation
    input_hook: InputHook
    output_hook: OutputHook
    dtype: torch.dtype

    @classmethod
    @abstractmethod
    def lies_in(cls, files: Files) -> bool:
        """Whether the names of ``files`` are those of this layout."""

    @classmethod
    @abstractmethod
    def open(cls, files: Files, dtype: torch.dtype, input_hook: str | None) -> Self:
        """Read and check every header; raises UserError naming the file and what is wrong with it."""

    @abstractmethod
    def targets(self, layer: int) -> range:
        """The layers that the features of ``layer`` write."""

    @abstractmethod
    def names(self) -> Iterator[str]:
        """The name of every file, in layer order."""

    def paths(self) -> Iterator[Path]:
        """Every file on this machine, in layer order; raises Untested for one that has to be fetched first."""
        return map(self.files.path, self.names())

    @abstractmethod
    def encoder(self, layer: int) -> Encoder:
        """Read the encoder of ``layer``."""

    @abstractmethod
    def rows(self, layer: int, indices: Sequence[int]) -> Tensor:
        """Read the decoder rows of some features of ``layer``, [n, targets, d]."""

    @abstractmethod
    def decoder(self, layer: int, target: int) -> Tensor:
        """Read the rows [F, d] that the features of ``layer`` write to ``target``."""

    @abstractmethod
    def bias(self, target: int) -> Tensor | None:
        """Read what is added once to the output of ``target``, [d]."""

    @property
    def has_skip(self) -> bool:
        """Whether some input goes to its layer's output past the features."""
        return False

    def skip(self, layer: int) -> Tensor | None:  # noqa: ARG002
        """Read the matrix [d, d] through which the input x of ``layer`` goes to its output as ``skip @ x``."""
        return None


def checked_hook(files: Files, declared: object, wanted: str | None) -> InputHook:
    """The input hook asked for, else the declared one; raises UserError when it is none of :data:`INPUT_HOOKS`."""
    hook = declared if wanted is None else wanted
    for known in INPUT_HOOKS:
        if hook == known:
            return known
    raise UserError(f"{files}: feature_input_hook is {hook!r}; supported: {', '.join(map(repr, INPUT_HOOKS))}")


def checked_output(files: Files, declared: object) -> OutputHook:
    """The declared output hook; raises UserError when it is none of :data:`OUTPUT_HOOKS`."""
    for known in OUTPUT_HOOKS:
        if declared == known:
            return known
    raise UserError(f"{files}: feature_output_hook is {declared!r}; supported: {' and '.join(map(repr, OUTPUT_HOOKS))}")


def agreed(files: Files, by_layer: dict[int, Activation]) -> Activation:
    """The activation all known layers share; raises UserError when they differ, Untested when none is known."""
    if not by_layer:
        raise Untested(f"{files}: no file of encoders is here; fetch one")
    first = by_layer[min(by_layer)]
    for layer, found in by_layer.items():
        if found != first:
            raise UserError(f"{files}: layer {min(by_layer)} is {first}, layer {layer} {found}; they must agree")
    return first
