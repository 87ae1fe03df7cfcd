"""Turns rows of edits into what each layer has to do, and refuses rows that mean nothing on this model."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from prolepsis.edits import (
    Add,
    BlockEdge,
    Blocking,
    Edit,
    FreezePattern,
    HideKeys,
    ReplaceHeadOutput,
    ReplaceRow,
    ReplaceStream,
    Row,
    Skip,
    heads_of,
    layers_of,
)
from prolepsis.errors import UserError

if TYPE_CHECKING:
    from prolepsis.subject import Subject

Tensor = torch.Tensor


@dataclass
class LayerPlan:
    """The edits of one layer, each with the batch row it belongs to."""

    skip: list[int] = field(default_factory=list)
    stream: list[tuple[int, int, Tensor]] = field(default_factory=list)
    replace: list[tuple[int, int, Tensor]] = field(default_factory=list)
    add: dict[tuple[int, int], Tensor] = field(default_factory=dict)
    heads: dict[tuple[int, int, int], Tensor] = field(default_factory=dict)
    freeze: list[tuple[int, int]] = field(default_factory=list)
    block: list[tuple[int, int, int, int]] = field(default_factory=list)
    hide: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def inside(self) -> bool:
        """Whether the layer itself runs differently, rather than only its output being changed."""
        return bool(self.skip or self.heads or self.freeze or self.masked)

    @property
    def masked(self) -> bool:
        """Whether fewer keys are seen than in a run without edits."""
        return bool(self.block or self.hide)


@dataclass(frozen=True)
class Plan:
    """What every layer does in a batch of ``n_rows`` edited rows; layers without edits are absent."""

    n_rows: int
    layers: dict[int, LayerPlan]

    @property
    def start(self) -> int | None:
        """The first layer that has to be recomputed, None when nothing is edited.

        Where the first edits only change a layer's output, that is the layer above it.
        """
        if not self.layers:
            return None
        first = min(self.layers)
        return first if self.layers[first].inside else first + 1


def plan_rows(subject: "Subject", rows: Sequence[Row], n_positions: int) -> Plan:
    """Compile ``rows`` for ``subject`` on ``n_positions`` tokens.

    Raises UserError for an edit out of range or of the wrong width, a vector that is not finite, an edit on a skipped
    layer, and two replacements of one row.
    """
    layers: dict[int, LayerPlan] = {}
    for row, edits in enumerate(rows):
        skipped = {layer for edit in edits if isinstance(edit, Skip) for layer in edit.layers}
        for edit in edits:
            acted = layers_of(edit)
            _check_range(subject, edit, acted, n_positions)
            if skipped and not isinstance(edit, Skip) and skipped.intersection(acted):
                raise UserError(f"{_name(edit)}: its layer is skipped in the same row; drop one of the two")
            for layer in acted:
                _place(layers.setdefault(layer, LayerPlan()), layer, row, edit)
    _refuse_not_finite(rows)
    return Plan(len(rows), layers)


def _refuse_not_finite(rows: Sequence[Row]) -> None:
    """All vectors are looked at together: each look waits for the device."""
    written = {id(vector): (edit, vector) for edits in rows for edit in edits if (vector := _vector(edit)) is not None}
    alike: dict[tuple[object, ...], list[Tensor]] = {}
    for _, vector in written.values():
        alike.setdefault((vector.device, vector.dtype, len(vector)), []).append(vector)
    if all(bool(torch.stack(vectors).isfinite().all()) for vectors in alike.values()):
        return
    edit = next(edit for edit, vector in written.values() if not bool(vector.isfinite().all()))
    raise UserError(f"{_name(edit)}: the vector holds NaN or infinity; check where it comes from")


def _vector(edit: Edit) -> Tensor | None:
    """What an edit writes, [d] or [d_head]; None where it writes nothing."""
    match edit:
        case Add():
            return edit.vector
        case ReplaceRow() | ReplaceStream() | ReplaceHeadOutput():
            return edit.value
    return None


def _name(edit: Edit) -> str:
    heads = heads_of(edit)
    where = ", ".join(map(str, heads)) if heads else ", ".join(f"L{layer}" for layer in layers_of(edit))
    return f"{type(edit).__name__} at {where}"


def _check_range(subject: "Subject", edit: Edit, layers: Sequence[int], n_positions: int) -> None:
    for layer in layers:
        if not 0 <= layer < subject.n_layers:
            raise UserError(f"{_name(edit)}: layer {layer} is not among layers 0 to {subject.n_layers - 1}")
    for head in heads_of(edit):
        if not 0 <= head.index < subject.n_heads:
            raise UserError(f"{_name(edit)}: head {head} is not among heads 0 to {subject.n_heads - 1}")
    position = edit.query if isinstance(edit, Blocking) else getattr(edit, "position", 0)
    if position >= n_positions:
        raise UserError(f"{_name(edit)}: position {position} is not among positions 0 to {n_positions - 1}")
    vector, width = _vector(edit), subject.d_head if isinstance(edit, ReplaceHeadOutput) else subject.d_model
    if vector is not None and len(vector) != width:
        raise UserError(f"{_name(edit)}: the vector has width {len(vector)}, the model expects {width}")


def _place(plan: LayerPlan, layer: int, row: int, edit: Edit) -> None:
    # Hidden keys and blocked edges come first, being many.
    match edit:
        case HideKeys():
            plan.hide.extend((row, edit.query, key) for key in edit.keys)
        case BlockEdge():
            plan.block.append((row, edit.head.index, edit.query, edit.key))
        case Skip():
            plan.skip.append(row)
        case Add():
            key = (row, edit.position)
            before = plan.add.get(key)
            plan.add[key] = edit.vector if before is None else before + edit.vector.to(before.device)
        case ReplaceRow():
            _refuse_second(plan, row, edit)
            plan.replace.append((row, edit.position, edit.value))
        case ReplaceStream():
            _refuse_second(plan, row, edit)
            plan.stream.append((row, edit.position, edit.value))
        case ReplaceHeadOutput():
            place = (row, edit.head.index, edit.position)
            if place in plan.heads:
                raise UserError(f"{_name(edit)}@{edit.position}: replaced twice in one row; keep one")
            plan.heads[place] = edit.value
        case FreezePattern():
            plan.freeze.extend((row, head.index) for head in edit.heads if head.layer == layer)


def _refuse_second(plan: LayerPlan, row: int, edit: ReplaceRow | ReplaceStream) -> None:
    """A stream replacement sets every row of the layer, so it stands beside no other replacement."""
    rows = [(placed[0], placed[1]) for placed in plan.replace]
    streams = [placed[0] for placed in plan.stream]
    if (row, edit.position) in rows or row in streams or (isinstance(edit, ReplaceStream) and row in dict(rows)):
        raise UserError(f"{_name(edit)}@{edit.position}: this row is replaced already; keep one replacement")
