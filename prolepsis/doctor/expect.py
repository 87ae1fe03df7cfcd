"""What each family of claims is expected to take, from counted work and closed forms of memory."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prolepsis.doctor.machine import Machine, rates_of
from prolepsis.doctor.work import LOADING, Work, total
from prolepsis.experiments.nearest_tokens import BLOCK, HALVES_ON, ROWS_AT_ONCE, computed_again
from prolepsis.experiments.vocabulary_scan import COSINES_AT_ONCE
from prolepsis.running.batching import MOST_BYTES, OF_FREE, TOKENS_PER_BATCH
from prolepsis.running.readings import DOUBLES_AT_ONCE
from prolepsis.subjects.model_size import ModelSize

if TYPE_CHECKING:
    from prolepsis.subject import Subject

COUNTED = Path(__file__).with_name("counted.json")
ANY = Work(layer_tokens=1, keys=32, logits=1, encoded=1, scans=1)
"""Some of everything, on prompts of 32 tokens: what decides the peak, whichever families are asked."""
DOUBLE_COPIES = 3
"""A row of logits in float64, the row without one token, and the exponentials of that one."""


@dataclass(frozen=True)
class Expected:
    """Peak memory on the device and the least time of a family."""

    family: str
    peak_bytes: int
    seconds: float


@dataclass(frozen=True)
class Sizes:
    """A subject's model, and the features per layer of its transcoder (0 without one); ``width`` bytes a number.

    ``documented`` says that they are those publicly documented for the model, not read from its files.
    """

    model: ModelSize
    n_features: int
    width: int
    documented: bool

    @property
    def weight_bytes(self) -> int:
        return self.model.weights * self.width


def works_of(subject: str) -> dict[str, Work]:
    """Family → what was counted for it on ``subject``; empty for a subject that was not counted."""
    counted: Mapping[str, Mapping[str, Mapping[str, int]]] = json.loads(COUNTED.read_text())
    return {family: Work(**counts) for family, counts in counted.get(subject, {}).items()}


def expectations(sizes: Sizes, works: Mapping[str, Work], machine: Machine) -> list[Expected]:
    """One for each family in ``works``, loading first where it is among them."""
    return [
        Expected(
            family,
            peak_bytes(sizes, work, machine),
            work.seconds(sizes.model, sizes.n_features, sizes.width, machine.rates),
        )
        for family, work in sorted(works.items(), key=lambda named: (named[0] != LOADING, named[0]))
    ]


def slowness(subject: "Subject", families: Collection[str]) -> str | None:
    """How long ``families`` take at least on this CPU, in a line; None where nothing was counted for the subject."""
    works = {family: work for family, work in works_of(subject.id).items() if family in families}
    if not works:
        return None
    features = 0 if subject.transcoder is None else subject.transcoder.n_features
    rates = rates_of("cpu", str(subject.dtype).removeprefix("torch."))
    seconds = total(works).seconds(subject.size, features, subject.dtype.itemsize, rates)
    return (
        f"{subject.id}: at least {in_time(seconds)} on this CPU, by counted operations and {rates.products / 1e9:.3g} "
        "GFLOP/s; `prolepsis doctor` says it by family"
    )


def in_time(seconds: float) -> str:
    """A duration as a person says it."""
    # Two digits of 99.5 and more would be written as a power of ten.
    if seconds < 99.5:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def peak_bytes(sizes: Sizes, work: Work, machine: Machine) -> int:
    """The weights, and the largest of: a batch with what is made of its logits, the vocabulary scan, an encoder."""
    device = machine.device.partition(":")[0]
    model, width = sizes.model, sizes.width
    room = max(0, machine.free_bytes - sizes.weight_bytes)
    plan = min(MOST_BYTES[device], int(OF_FREE * room)) if device == "cuda" else MOST_BYTES[device]
    n_tokens = max(1, round(work.keys / work.layer_tokens)) if work.layer_tokens else 1
    row = model.row_bytes(n_tokens, 1, width)
    batch = max(min(plan, TOKENS_PER_BATCH[device] // n_tokens * row), row) if work.layer_tokens else 0
    doubles = DOUBLE_COPIES * 8 * DOUBLES_AT_ONCE if work.logits else 0
    features = 4 * sizes.n_features * model.d_model
    scan = features + looking_bytes(model, sizes.n_features, halves=device in HALVES_ON) if work.scans else 0
    return sizes.weight_bytes + max(batch + doubles, scan, features if work.encoded else 0)


def looking_bytes(model: ModelSize, n_features: int, *, halves: bool) -> int:
    """What looking for the nearest tokens of features takes: unit rows, a block of them in the making, and cosines.

    Of the cosines that are computed again blocks are sorted, by places of eight bytes, and rows are brought to length.
    """
    directions = min(n_features, max(1, COSINES_AT_ONCE // model.n_vocab))
    units = (2 if halves else 4) * (model.unembedding_weights + directions * model.n_vocab)
    block = 8 * min(ROWS_AT_ONCE, model.n_vocab) * model.d_model
    near = directions * min(model.n_vocab, computed_again(1))
    return units + max(block, near * max(8 * model.d_model, 24 * BLOCK) if halves else 0)


def sizes_of(subject: str, folder: Path | None, transcoder: Path | None, dtype: str) -> Sizes | None:
    """The sizes of a subject from the files in its folders, else as documented; None where neither is known."""
    import torch

    width = int(getattr(torch, dtype).itemsize)
    model, documented = _read(folder), None
    if model is None or transcoder is None:
        from prolepsis.rehearsal.shapes import SHAPES

        documented = SHAPES.get(subject)
    if model is None and documented is None:
        return None
    features = _features(transcoder)
    if features is None:
        features = 0 if documented is None else documented.n_features
    size = ModelSize.of(documented.config) if model is None and documented is not None else model
    assert size is not None
    return Sizes(size, features, width, documented=model is None)


def _read(folder: Path | None) -> ModelSize | None:
    """The size of the model in a folder; None where its configuration is not here, or no run could use it."""
    from prolepsis.errors import UserError
    from prolepsis.subjects.loading import config_in

    if folder is None:
        return None
    try:
        return ModelSize.of(config_in(folder).get_text_config().to_dict())
    except UserError:
        return None


def _features(folder: Path | None) -> int | None:
    from prolepsis.errors import UserError
    from prolepsis.transcoder import Transcoder

    if folder is None:
        return None
    try:
        return Transcoder.open(folder).n_features
    except UserError:
        return None
