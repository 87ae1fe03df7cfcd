"""Cross-layer transcoders on disk, read lazily.

The layout is that of the ``mntss`` repositories on the Hugging Face hub: ``config.yaml``, and per layer ``l`` of ``L``
the files ``W_enc_{l}.safetensors`` (``W_enc_{l}`` [F, d], ``b_enc_{l}`` [F], ``b_dec_{l}`` [d] and, for a JumpReLU,
``threshold_{l}`` [F]) and ``W_dec_{l}.safetensors`` (``W_dec_{l}`` [F, L - l, d]; row ``j`` writes layer ``l + j``).
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from prolepsis.errors import UserError
from prolepsis.names import Feature

Activation = Literal["relu", "jumprelu"]

_FIXED = {
    "model_kind": "cross_layer_transcoder",
    "feature_input_hook": "hook_resid_mid",
    "feature_output_hook": "hook_mlp_out",
}
_DTYPES = ("F16", "BF16", "F32")
_WHOLE_BYTES = 16 << 20  # files up to this size enter the digest whole
_SAMPLES, _SAMPLE_BYTES = 64, 4096
_MAPPED_VALUES = 1 << 24  # of a decoder file, read through one mapping


@dataclass(frozen=True)
class Transcoder:
    """A cross-layer transcoder: L layers of F features that read ``resid_mid(l)`` and write ``resid_post(l … L-1)``.

    Nothing but headers is held in memory: each method reads the slices it needs and refuses NaN and infinities there.
    ``model_name`` is the model it says it was trained on; whether that is the subject is for the caller to record.
    Tensors come back in ``dtype`` on the CPU, or on the device of the tensor given.
    """

    folder: Path
    model_name: str
    n_layers: int
    n_features: int
    d_model: int
    activation: Activation
    dtype: torch.dtype = torch.float32

    @classmethod
    def open(
        cls,
        folder: str | Path,
        n_layers: int | None = None,
        d_model: int | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> "Transcoder":
        """Read and check every header in ``folder``; ``n_layers`` and ``d_model`` are those of the model it is for.

        Raises UserError for a missing or another kind of config.yaml, missing layers, unknown files or tensors, wrong
        shapes, files that are truncated, and a transcoder of another shape than the model.
        """
        folder = Path(folder)
        model_name = _model_name(folder)
        n_features, layers, d = _shape(folder)
        _check_files(folder, layers)
        for what, found, wanted in (("layers", layers, n_layers), ("dimensions", d, d_model)):
            if wanted is not None and found != wanted:
                raise UserError(
                    f"{folder}: this transcoder has {found} {what}, the model {wanted}; use one made for it"
                )
        activations = {layer: _check_layer(folder, layer, layers, n_features, d) for layer in range(layers)}
        for layer, activation in activations.items():
            if activation != activations[0]:
                raise UserError(f"{folder}: layer 0 is {activations[0]}, layer {layer} {activation}; they must agree")
        return cls(folder, model_name, layers, n_features, d, activations[0], dtype)

    @property
    def input_hook(self) -> str:
        """Where features read, in TransformerLens' words; the only one there is."""
        return _FIXED["feature_input_hook"]

    @cached_property
    def digest(self) -> str:
        """Identity of the content, wherever it lies: sha256 over the configuration and the files in layer order.

        Files up to 16 MiB enter whole. Larger ones enter with their header, size and 64 evenly spaced blocks of 4 KiB,
        so there the digest tells transcoders apart that were trained apart, but not a patch between the blocks.
        """
        digest = hashlib.sha256(json.dumps({"model_name": self.model_name, **_FIXED}).encode())
        for layer in range(self.n_layers):
            for path in _paths(self.folder, layer):
                _hash_file(digest, path)
        return digest.hexdigest()[:16]

    def encode(self, layer: int, x: Tensor) -> Tensor:
        """Give the feature activations [..., F] of the raw residual ``x`` [..., d] at ``resid_mid(layer)``.

        ReLU(W_enc x + b_enc), or with thresholds the value where it exceeds its threshold and 0 elsewhere.
        """
        self._check_range("layer", layer, self.n_layers)
        self._check_width(x, self.d_model, "residual")
        path = _paths(self.folder, layer)[0]
        with _opened(path) as file:
            weight = self._read(path, file, f"W_enc_{layer}").to(x.device)
            bias = self._read(path, file, f"b_enc_{layer}").to(x.device)
            pre = torch.nn.functional.linear(x.to(self.dtype), weight, bias)  # [..., F]
            if self.activation == "relu":
                return torch.relu(pre)
            threshold = self._read(path, file, f"threshold_{layer}").to(x.device)
        return pre * (pre > threshold)

    def decode(self, acts: Tensor) -> Tensor:
        """Reconstruct every layer's MLP output [L, ..., d] from ``acts`` [L, ..., F].

        Layer ``t`` receives the decoders of all layers up to ``t``, and ``b_dec`` of layer ``t`` once.
        """
        self._check_width(acts, self.n_features, "activations")
        if acts.shape[0] != self.n_layers:
            raise UserError(f"activations of {acts.shape[0]} layers, the transcoder has {self.n_layers}")
        acts = acts.to(self.dtype)
        out = []
        for target in range(self.n_layers):
            path = _paths(self.folder, target)[0]
            with _opened(path) as file:
                bias = self._read(path, file, f"b_dec_{target}").to(acts.device)
            parts = (acts[layer] @ self.decoder(layer, target).to(acts.device) for layer in range(target + 1))
            out.append(sum(parts, start=bias))  # [..., d]
        return torch.stack(out)

    def rows(self, feature: Feature) -> Tensor:
        """Read the decoder rows [L - l, d] of a feature at layer ``l``; row ``j`` is written to layer ``l + j``."""
        self._check_range("layer", feature.layer, self.n_layers, f"feature {feature}: ")
        self._check_range("index", feature.index, self.n_features, f"feature {feature}: ")
        path = _paths(self.folder, feature.layer)[1]
        with _opened(path) as file:
            return self._read(path, file, f"W_dec_{feature.layer}", feature.index)

    def decoder(self, layer: int, target: int) -> Tensor:
        """Read the decoder rows [F, d] that the features of ``layer`` write to layer ``target`` ≥ ``layer``."""
        self._check_range("layer", layer, self.n_layers)
        self._check_range("target layer", target, self.n_layers)
        if target < layer:
            raise UserError(f"features of layer {layer} write layer {layer} and later ones, not layer {target}")
        path = _paths(self.folder, layer)[1]
        out = torch.empty(self.n_features, self.d_model, dtype=self.dtype)
        step = max(1, _MAPPED_VALUES // ((self.n_layers - layer) * self.d_model))
        for start in range(0, self.n_features, step):
            # Opened anew for each part: a mapped page counts as memory until the file is closed.
            with _opened(path) as file:
                part = (slice(start, start + step), target - layer)
                out[start : start + step] = self._read(path, file, f"W_dec_{layer}", part)
        return out

    def writes(self, features: Iterable[Feature], strength: float) -> dict[int, Tensor]:
        """Sum what a steered feature set adds to ``resid_post`` of each layer: layer → vector [d].

        At every layer from a feature's own to the last, ``strength`` times the sum of the decoder rows; activations and
        ``b_dec`` play no part. Raises UserError for a feature named twice.
        """
        seen: set[Feature] = set()
        total: dict[int, Tensor] = {}
        for feature in features:
            if feature in seen:
                raise UserError(f"feature {feature} is named twice in one set; name it once")
            seen.add(feature)
            for layer, row in enumerate(self.rows(feature), start=feature.layer):
                total[layer] = total[layer] + row if layer in total else row
        return {layer: strength * total[layer] for layer in sorted(total)}

    def _read(self, path: Path, file: Any, name: str, index: Any = slice(None)) -> Tensor:
        # The copy keeps what is returned apart from the mapped file, which may be written anew.
        tensor: Tensor = file.get_slice(name)[index].to(self.dtype, copy=True)
        if not bool(torch.isfinite(tensor).all()):
            raise UserError(f"{path}: {name} holds NaN or infinite values; download it again")
        return tensor

    @staticmethod
    def _check_range(what: str, value: int, count: int, prefix: str = "") -> None:
        if not 0 <= value < count:
            raise UserError(f"{prefix}{what} {value} is out of range; the transcoder has 0 to {count - 1}")

    @staticmethod
    def _check_width(x: Tensor, width: int, what: str) -> None:
        if x.shape[-1] != width:
            raise UserError(f"{what} of width {x.shape[-1]}, the transcoder takes {width}")


def write_transcoder(
    folder: str | Path,
    encoders: Sequence[Tensor],
    biases: Sequence[Tensor],
    decoders: Sequence[Tensor],
    decoder_biases: Sequence[Tensor],
    *,
    thresholds: Sequence[Tensor] | None = None,
    model_name: str,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a transcoder of L layers to ``folder``, which is made if needed, and check what was written.

    Per layer ``l``: encoder [F, d], bias [F], decoder [F, L - l, d], decoder bias [d]; threshold [F] for a JumpReLU.
    Raises UserError for wrong shapes and for values that ``dtype`` on disk cannot hold.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"model_name": model_name, **_FIXED}, sort_keys=False))
    for layer in range(len(encoders)):
        encoder = {"W_enc": encoders[layer], "b_enc": biases[layer], "b_dec": decoder_biases[layer]}
        if thresholds is not None:
            encoder["threshold"] = thresholds[layer]
        for path, tensors in zip(_paths(folder, layer), (encoder, {"W_dec": decoders[layer]}), strict=True):
            stored = {f"{name}_{layer}": t.detach().cpu().to(dtype).contiguous() for name, t in tensors.items()}
            for name, tensor in stored.items():
                if not bool(torch.isfinite(tensor).all()):
                    raise UserError(f"{path}: {name} is not finite as {dtype}; nothing of this layer was written")
            save_file(stored, path)
    Transcoder.open(folder)


def _paths(folder: Path, layer: int) -> tuple[Path, Path]:
    return folder / f"W_enc_{layer}.safetensors", folder / f"W_dec_{layer}.safetensors"


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; download it") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: truncated or no safetensors file ({error}); download it again") from None


def _model_name(folder: Path) -> str:
    path = folder / "config.yaml"
    try:
        config = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; a transcoder folder needs it, download it") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read as YAML ({type(error).__name__}); download it again") from None
    if not isinstance(config, dict) or not isinstance(config.get("model_name"), str):
        raise UserError(f"{path}: names no model_name; download it again")
    for key, wanted in _FIXED.items():
        if config.get(key) != wanted:
            raise UserError(f"{path}: {key} is {config.get(key)!r}; only {wanted!r} is supported")
    return str(config["model_name"])


def _shape(folder: Path) -> tuple[int, int, int]:
    """F, L and d as W_dec_0 says; the other files are checked against it."""
    shapes = _header(_paths(folder, 0)[1])
    shape = shapes.get("W_dec_0", [])
    if len(shape) != 3 or 0 in shape:
        raise UserError(f"{_paths(folder, 0)[1]}: has no tensor W_dec_0 [features, layers, width]; found {shapes}")
    return shape[0], shape[1], shape[2]


def _check_files(folder: Path, layers: int) -> None:
    present = {path.name for path in folder.glob("*.safetensors")}
    wanted = {path.name for layer in range(layers) for path in _paths(folder, layer)}
    by_layer = sorted(wanted - present, key=lambda name: (int(re.findall(r"\d+", name)[0]), name))
    if by_layer:
        raise UserError(f"{folder}: {', '.join(by_layer)} missing of {layers} layers; download them")
    if present - wanted:
        named = ", ".join(sorted(present - wanted))
        raise UserError(f"{folder}: {named} do not belong to a transcoder of {layers} layers; remove them")


def _check_layer(folder: Path, layer: int, layers: int, n_features: int, d: int) -> Activation:
    encoder, decoder = _paths(folder, layer)
    shapes = _header(encoder)
    wanted = {f"W_enc_{layer}": [n_features, d], f"b_enc_{layer}": [n_features], f"b_dec_{layer}": [d]}
    activation: Activation = "relu"
    if f"threshold_{layer}" in shapes:
        activation = "jumprelu"
        wanted[f"threshold_{layer}"] = [n_features]
    _check_shapes(encoder, shapes, wanted)
    _check_shapes(decoder, _header(decoder), {f"W_dec_{layer}": [n_features, layers - layer, d]})
    return activation


def _check_shapes(path: Path, found: dict[str, list[int]], wanted: dict[str, list[int]]) -> None:
    for name in sorted(found.keys() | wanted.keys()):
        if name not in wanted:
            raise UserError(f"{path}: unknown tensor {name}; this layout has {', '.join(wanted)}")
        if name not in found:
            raise UserError(f"{path}: tensor {name} is missing; download it again")
        if found[name] != wanted[name]:
            raise UserError(f"{path}: {name} has shape {found[name]}, expected {wanted[name]}")


def _header(path: Path) -> dict[str, list[int]]:
    """Shape of every tensor in a file; raises UserError for a stored type that is not read."""
    with _opened(path) as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        for name, part in slices.items():
            if part.get_dtype() not in _DTYPES:
                raise UserError(f"{path}: {name} is stored as {part.get_dtype()}; supported: {', '.join(_DTYPES)}")
        return {name: part.get_shape() for name, part in slices.items()}


def _hash_file(digest: "hashlib._Hash", path: Path) -> None:
    size = path.stat().st_size
    digest.update(f"{path.name} {size}".encode())
    with path.open("rb") as file:
        if size <= _WHOLE_BYTES:
            digest.update(file.read())
            return
        length = file.read(8)
        digest.update(length + file.read(int.from_bytes(length, "little")))
        for sample in range(_SAMPLES):
            file.seek((size - _SAMPLE_BYTES) * sample // (_SAMPLES - 1))
            digest.update(file.read(_SAMPLE_BYTES))
