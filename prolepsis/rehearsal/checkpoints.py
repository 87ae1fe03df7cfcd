"""Random checkpoints and transcoders, in the files of the real ones.

Values are normal and say nothing, with one exception: as many features as the paper finds for words have a last row
that points at a word, or no experiment that steers by features would have any to steer with. Words are drawn without
regard to what rhymes, but for a few groups of the task that give two each, which experiments on rhyme pairs ask for.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors import safe_open
from torch.nn.functional import normalize

from prolepsis.errors import UserError
from prolepsis.layouts import cross_layer
from prolepsis.names import Feature
from prolepsis.rehearsal.shapes import VALUE_BYTES, Shape
from prolepsis.rehearsal.tensor_files import Fill, Stored, overwrite_row, write_tensors
from prolepsis.rehearsal.tokenizer import TASK, spoken_words, write_tokenizer
from prolepsis.subjects.checkpoint import INDEX
from prolepsis.watching import watched

Tensor = torch.Tensor

SHARE_OF_GROUPS = 0.75
"""Of the task's rhyme groups, two of whose words have a feature: less than half of the words, which is claimed."""
WORD_COSINE = 0.6
EMBEDDING = "model.embed_tokens.weight"
RARELY = 2.5
"""A feature is active where its input is this many standard deviations above the mean."""
STREAM = {"gemma": (1.9, 2.0), "llama": (0.2, 1.1)}
"""Mean square of resid_mid in a random model: at layer 0, and what each layer adds (measured at two widths)."""


def write_model(shape: Shape, folder: Path, device: str) -> None:
    """Write config.json, the tokenizer and the weights, in the shards that ``save_pretrained`` names."""
    from transformers import AutoConfig, AutoModelForCausalLM

    folder.mkdir(parents=True)
    plain = dict(shape.config)
    config = AutoConfig.for_model(plain.pop("model_type"), dtype=torch.bfloat16, **plain)
    config.save_pretrained(folder)
    write_tokenizer(shape, folder)
    with torch.device("meta"):
        auto: Any = AutoModelForCausalLM
        parameters = dict(auto.from_config(config).named_parameters())
    neutral = 0.0 if config.model_type.startswith("gemma") else 1.0
    tensors = {
        name: Stored(
            tuple(value.shape),
            _normal(f"{shape.preset} {name}", value.shape[1:], config.initializer_range, device)
            if value.dim() > 1
            else _constant(neutral),
        )
        for name, value in parameters.items()
    }
    _write_shards(folder, tensors, shape.shards)


def write_transcoder(
    shape: Shape, folder: Path, model: Path, device: str, published: Collection[int], *, thresholds: bool
) -> None:
    """Write a cross-layer transcoder of ``shape`` for the checkpoint in ``model``.

    ``published`` are the layers of the features the paper names, which a sparse transcoder has whole. ``thresholds``
    makes its features those of a JumpReLU, and of a ReLU otherwise: whether the real files hold any is disputed.
    """
    folder.mkdir(parents=True)
    hooks = {"feature_input_hook": "hook_resid_mid", "feature_output_hook": "hook_mlp_out"}
    config = {"model_name": shape.model, **cross_layer.KIND, **hooks}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    words = word_features(shape, model)
    whole = published if shape.sparse else range(shape.n_layers)
    for layer in watched(range(shape.n_layers), "layers of the transcoder written"):
        encoder, decoder = (folder / name for name in cross_layer.names(layer))
        write_tensors(encoder, _encoder(shape, layer, device, thresholds=thresholds))
        write_tensors(decoder, {f"W_dec_{layer}": _decoder(shape, layer, device, sparse=layer not in whole)})
    rows = _unembedding_rows(model, list(words))
    for (word, feature), towards in zip(words.items(), rows, strict=True):
        name, path = f"W_dec_{feature.layer}", folder / cross_layer.names(feature.layer)[1]
        noise = _normal(f"{shape.preset} {word}", (shape.width,), shape.width**-0.5, "cpu")
        row = noise(0, shape.n_layers - feature.layer)
        row[-1] = WORD_COSINE * normalize(towards, dim=0) + (1 - WORD_COSINE**2) ** 0.5 * normalize(row[-1], dim=0)
        overwrite_row(path, name, feature.index, row)


def word_features(shape: Shape, model: Path) -> dict[int, Feature]:
    """Token id → the feature whose last row points at that word, by the tokenizer in ``model``."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(model, local_files_only=True)
    chance = np.random.default_rng(0)
    groups: list[list[str]] = list(json.loads(TASK.read_text())["groups"].values())
    chosen = chance.permutation(len(groups))[: int(SHARE_OF_GROUPS * len(groups))]
    pairs = [groups[group][i] for group in chosen for i in chance.permutation(len(groups[group]))[:2]]
    others = [word for word in spoken_words() if not any(word in group for group in groups)]
    places = chance.choice(shape.n_layers * shape.n_features, shape.n_words, replace=False).tolist()
    ids: dict[int, Feature] = {}
    for word in chain(pairs, others):
        found = tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
        if len(found) == 1 and found[0] not in ids:
            ids[found[0]] = Feature(*divmod(places[len(ids)], shape.n_features))
        if len(ids) == shape.n_words:
            break
    return ids


def _unembedding_rows(model: Path, ids: Collection[int]) -> Tensor:
    """Rows [n, d] of the embedding, which is the unembedding too, read by themselves."""
    for path in sorted(model.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            if EMBEDDING in file.keys():  # noqa: SIM118
                rows = file.get_slice(EMBEDDING)
                return torch.stack([rows[i] for i in ids]).float()
    raise UserError(f"{model}: no file holds {EMBEDDING}; write it again")


def _write_shards(folder: Path, tensors: Mapping[str, Stored], count: int) -> None:
    """One file, or ``count`` of about the same size and their index."""
    if count == 1:
        write_tensors(folder / "model.safetensors", tensors)
        return
    total, before = sum(prod(t.shape) for t in tensors.values()), 0
    shards: list[dict[str, Stored]] = [{} for _ in range(count)]
    for name, tensor in tensors.items():
        shards[before * count // total][name] = tensor
        before += prod(tensor.shape)
    names = {f"model-{i:05}-of-{count:05}.safetensors": shard for i, shard in enumerate(shards, 1)}
    for name, shard in names.items():
        write_tensors(folder / name, shard)
    where = {tensor: name for name, shard in names.items() for tensor in shard}
    index = {"metadata": {"total_size": total * VALUE_BYTES}, "weight_map": where}
    (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True))


def _normal(seed: str, rest: Sequence[int], deviation: float, device: str) -> Fill:
    """Normal rows of shape ``rest``, another draw at each call and the same ones for the same ``seed`` and device."""
    generator = torch.Generator(device).manual_seed(int(hashlib.sha256(seed.encode()).hexdigest()[:15], 16))

    def fill(start: int, stop: int) -> Tensor:
        return deviation * torch.randn(stop - start, *rest, generator=generator, device=device)

    return fill


def _constant(value: float) -> Fill:
    return lambda start, stop: torch.full((stop - start,), value)


def _encoder(shape: Shape, layer: int, device: str, *, thresholds: bool) -> dict[str, Stored]:
    seed, n, d = f"{shape.preset} encoder {layer}", shape.n_features, shape.width
    first, more = STREAM[shape.tokenizer]
    # Rows are of unit length, so that what a feature reads is as large as the stream.
    cut = RARELY * (first + more * layer) ** 0.5
    tensors = {
        f"W_enc_{layer}": Stored((n, d), _normal(seed, (d,), d**-0.5, device)),
        f"b_enc_{layer}": Stored((n,), _constant(0.0 if thresholds else -cut)),
        f"b_dec_{layer}": Stored((d,), _constant(0.0)),
    }
    return tensors | ({f"threshold_{layer}": Stored((n,), _constant(cut))} if thresholds else {})


def _decoder(shape: Shape, layer: int, device: str, *, sparse: bool) -> Stored:
    seed, d, targets = f"{shape.preset} decoder {layer}", shape.width, shape.n_layers - layer
    drawn = 1 if sparse else targets
    fill = _normal(seed, (drawn, d), d**-0.5, device)
    return Stored((shape.n_features, targets, d), fill, last=1 if sparse and targets > 1 else None)
