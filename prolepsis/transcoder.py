"""Transcoders on disk, read lazily, whatever their layout (:mod:`prolepsis.layouts`)."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from prolepsis.errors import UserError
from prolepsis.layouts import cross_layer, open_layout
from prolepsis.layouts.files import Files, Folder
from prolepsis.layouts.layout import Activation, InputHook, Layout
from prolepsis.names import Feature
from prolepsis.subjects.families import Family
from prolepsis.watching import watched
from prolepsis.writes import summed

_WHOLE_BYTES = 16 << 20  # files up to this size enter the digest whole
_SAMPLES, _SAMPLE_BYTES = 64, 4096


@dataclass(frozen=True)
class Transcoder:
    """A transcoder: L layers of F features that read at ``input_hook`` of a layer and write ``resid_post`` of some.

    A cross-layer transcoder's features write their own layer and all later ones, a per-layer one's their own alone.
    Nothing but headers is held in memory: each method reads the slices it needs and refuses NaN and infinities there.
    ``model_name`` is the model it says it was trained on, empty where it does not say; whether that is the subject is
    for the caller to record. Tensors come back in ``dtype`` on the CPU, or on the device of the tensor given.
    """

    layout: Layout

    @classmethod
    def open(
        cls,
        source: str | Path | Files,
        n_layers: int | None = None,
        d_model: int | None = None,
        dtype: torch.dtype = torch.float32,
        input_hook: str | None = None,
    ) -> "Transcoder":
        """Read and check every header in a folder, or of the files of one that is only partly here.

        ``n_layers`` and ``d_model`` are those of the model it is for; ``input_hook`` overrules the one its files
        declare, for transcoders known to read elsewhere. Raises UserError for no known layout, another kind of
        config.yaml, missing layers, unknown files or tensors, wrong shapes, files that are truncated, and a transcoder
        of another shape than the model; Untested when too little is here to say what it is.
        """
        files = source if isinstance(source, Files) else Folder(Path(source))
        layout = open_layout(files, dtype, input_hook)
        for what, found, wanted in (("layers", layout.n_layers, n_layers), ("dimensions", layout.d_model, d_model)):
            if wanted is not None and found != wanted:
                raise UserError(f"{files}: this transcoder has {found} {what}, the model {wanted}; use one made for it")
        return cls(layout)

    @property
    def folder(self) -> Path:
        """Where its files lie, as far as they are here."""
        return self.layout.files.folder

    @property
    def revision(self) -> str | None:
        """The commit of the repository its files are from, None where they are from none."""
        return self.layout.files.revision

    @property
    def model_name(self) -> str:
        return self.layout.model_name

    @property
    def n_layers(self) -> int:
        return self.layout.n_layers

    @property
    def n_features(self) -> int:
        return self.layout.n_features

    @property
    def d_model(self) -> int:
        return self.layout.d_model

    @property
    def activation(self) -> Activation:
        return self.layout.activation

    @property
    def input_hook(self) -> InputHook:
        """Where features read, in TransformerLens' words; :meth:`Subject.features` takes resid_mid there."""
        return self.layout.input_hook

    def check_output(self, family: Family) -> None:
        """Raises UserError where a model's family norms what the features write before the residual stream has it."""
        if self.layout.output_hook == "mlp.hook_out" and family.mlp_out != "mlp":
            raise UserError(
                f"{self.layout.files}: its features write mlp.hook_out, which this model norms before it is added; "
                "use a transcoder that writes hook_mlp_out"
            )

    @cached_property
    def digest(self) -> str:
        """Identity of the content, wherever it lies: sha256 over what is declared and the files in layer order.

        Files up to 16 MiB enter whole. Larger ones enter with their header, size and 64 evenly spaced blocks of 4 KiB,
        so there the digest tells transcoders apart that were trained apart, but not a patch between the blocks. One
        that is from a repository is known by its commit, however much of it is here.
        """
        digest = hashlib.sha256(json.dumps([self.layout.name, self.model_name, self.input_hook]).encode())
        if self.revision is not None:
            digest.update(self.revision.encode())
        else:
            for path in watched(list(self.layout.paths()), "files hashed"):
                _hash_file(digest, path)
        return digest.hexdigest()[:16]

    def targets(self, layer: int) -> range:
        """The layers that the features of ``layer`` write."""
        self._check_range("layer", layer, self.n_layers)
        return self.layout.targets(layer)

    def encode(self, layer: int, x: Tensor) -> Tensor:
        """Give the feature activations [..., F] of the rows ``x`` [..., d] at ``input_hook`` of ``layer``.

        ReLU(W_enc x + b_enc), or with thresholds the value where it exceeds its threshold and 0 elsewhere. Raises
        UserError for a transcoder whose files do not say how its features are activated.
        """
        self._check_range("layer", layer, self.n_layers)
        self._check_width(x, self.d_model, "residual")
        weight, bias, threshold = (None if t is None else t.to(x.device) for t in self.layout.encoder(layer))
        assert weight is not None
        pre = torch.nn.functional.linear(x.to(self.layout.dtype), weight, bias)  # [..., F]
        return torch.relu(pre) if threshold is None else pre * (pre > threshold)

    def decode(self, acts: Tensor) -> Tensor:
        """What the features add to every layer's MLP output [L, ..., d], from ``acts`` [L, ..., F].

        Layer ``t`` receives the decoders of all layers that write it, and ``b_dec`` of layer ``t`` once.
        """
        self._check_width(acts, self.n_features, "activations")
        if acts.shape[0] != self.n_layers:
            raise UserError(f"activations of {acts.shape[0]} layers, the transcoder has {self.n_layers}")
        acts = acts.to(self.layout.dtype)
        out = []
        for target in range(self.n_layers):
            bias = self.layout.bias(target)
            start = acts.new_zeros(self.d_model) if bias is None else bias.to(acts.device)
            sources = (layer for layer in range(target + 1) if target in self.layout.targets(layer))
            parts = (acts[layer] @ self.decoder(layer, target).to(acts.device) for layer in sources)
            out.append(sum(parts, start=start))  # [..., d]
        return torch.stack(out)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Every layer's MLP output [L, ..., d] as the transcoder has it, from its inputs ``x`` [L, ..., d].

        The features' part, and what goes through the skip connection where there is one.
        """
        out = self.decode(torch.stack([self.encode(layer, x[layer]) for layer in range(self.n_layers)]))
        for layer in range(self.n_layers):
            skip = self.layout.skip(layer)
            if skip is not None:
                out[layer] += x[layer].to(out) @ skip.to(out).T
        return out

    def rows(self, feature: Feature) -> Tensor:
        """Read the decoder rows [targets, d] of a feature at layer ``l``; row ``j`` is written to layer ``l + j``."""
        return self.rows_of([feature])[feature]

    def rows_of(self, features: Iterable[Feature]) -> dict[Feature, Tensor]:
        """Read the decoder rows of many features, those of a layer at once: from a hub they come in few requests."""
        by_layer: dict[int, list[int]] = {}
        for feature in dict.fromkeys(features):
            self._check_range("layer", feature.layer, self.n_layers, f"feature {feature}: ")
            self._check_range("index", feature.index, self.n_features, f"feature {feature}: ")
            by_layer.setdefault(feature.layer, []).append(feature.index)
        return {
            Feature(layer, index): rows
            for layer, indices in by_layer.items()
            for index, rows in zip(indices, self.layout.rows(layer, indices), strict=True)
        }

    def decoder(self, layer: int, target: int) -> Tensor:
        """Read the decoder rows [F, d] that the features of ``layer`` write to layer ``target`` ≥ ``layer``."""
        self._check_range("layer", layer, self.n_layers)
        self._check_range("target layer", target, self.n_layers)
        written = self.layout.targets(layer)
        if target not in written:
            every = f"layer {layer}" + (" and later ones" if len(written) > 1 or target < layer else " alone")
            raise UserError(f"features of layer {layer} write {every}, not layer {target}")
        return self.layout.decoder(layer, target)

    def last_decoder(self, layer: int) -> Tensor:
        """Read the decoder rows [F, d] of the last layer that the features of ``layer`` write."""
        return self.decoder(layer, self.targets(layer)[-1])

    def writes(self, features: Iterable[Feature], strength: float) -> dict[int, Tensor]:
        """Sum what a steered feature set adds to ``resid_post`` of each layer: layer → vector [d].

        At every layer a feature writes, ``strength`` times the sum of the decoder rows; activations, ``b_dec`` and
        skips play no part. Raises UserError for a feature named twice.
        """
        chosen = list(features)
        for feature in chosen:
            if chosen.count(feature) > 1:
                raise UserError(f"feature {feature} is named twice in one set; name it once")
        rows = self.rows_of(chosen)
        total = summed(*(dict(enumerate(rows[feature], start=feature.layer)) for feature in chosen))
        return {layer: strength * vector for layer, vector in total.items()}

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
    """Write a cross-layer transcoder of L layers to ``folder``, which is made if needed, and check what was written.

    Per layer ``l``: encoder [F, d], bias [F], decoder [F, L - l, d], decoder bias [d]; threshold [F] for a JumpReLU.
    Raises UserError for wrong shapes and for values that ``dtype`` on disk cannot hold.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    hooks = {"feature_input_hook": "hook_resid_mid", "feature_output_hook": "hook_mlp_out"}
    config = {"model_name": model_name, **cross_layer.KIND, **hooks}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    for layer in range(len(encoders)):
        encoder = {"W_enc": encoders[layer], "b_enc": biases[layer], "b_dec": decoder_biases[layer]}
        if thresholds is not None:
            encoder["threshold"] = thresholds[layer]
        for file, tensors in zip(cross_layer.names(layer), (encoder, {"W_dec": decoders[layer]}), strict=True):
            stored = {f"{name}_{layer}": t.detach().cpu().to(dtype).contiguous() for name, t in tensors.items()}
            for name, tensor in stored.items():
                if not bool(torch.isfinite(tensor).all()):
                    raise UserError(
                        f"{folder / file}: {name} is not finite as {dtype}; nothing of this layer was written"
                    )
            save_file(stored, folder / file)
    Transcoder.open(folder)


def _hash_file(digest: "hashlib._Hash", path: Path) -> None:
    size = path.stat().st_size
    digest.update(f"{path.name} {size}".encode())
    with path.open("rb") as file:
        if size <= _WHOLE_BYTES:
            digest.update(file.read())
            return
        if path.suffix == ".safetensors":
            length = file.read(8)
            digest.update(length + file.read(int.from_bytes(length, "little")))
        for sample in range(_SAMPLES):
            file.seek((size - _SAMPLE_BYTES) * sample // (_SAMPLES - 1))
            digest.update(file.read(_SAMPLE_BYTES))
