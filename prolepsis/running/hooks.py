"""The one context manager that applies edits and mask rules to a model, and always takes its hooks off again."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import torch

from prolepsis.errors import UserError
from prolepsis.names import Head
from prolepsis.running.plan import LayerPlan, Plan

if TYPE_CHECKING:
    from prolepsis.subject import Subject

Tensor = torch.Tensor
Name = TypeVar("Name")


@dataclass(frozen=True)
class Read:
    """What to read from a run: logits at positions (negative ones count from the end), residuals and head parts."""

    logits: tuple[int, ...] = (-1,)
    resid_post: tuple[int, ...] = ()
    resid_mid: tuple[int, ...] = ()
    patterns: tuple[tuple[Head, int], ...] = ()
    values: tuple[Head, ...] = ()
    z: tuple[Head, ...] = ()

    @property
    def inside(self) -> set[int]:
        """The layers that have to be run for what is read inside them: resid_mid, patterns, values or z."""
        heads = [head for head, _ in self.patterns] + [*self.values, *self.z]
        return {*self.resid_mid, *(head.layer for head in heads)}

    def below(self, layer: int) -> "Read":
        """What is read inside layers below ``layer``."""
        return Read(
            logits=(),
            resid_mid=tuple(at for at in self.resid_mid if at < layer),
            patterns=tuple(asked for asked in self.patterns if asked[0].layer < layer),
            values=tuple(head for head in self.values if head.layer < layer),
            z=tuple(head for head in self.z if head.layer < layer),
        )


@dataclass
class Clean:
    """What edits take from the clean run: resid_post [T, d] of a layer, and by layer the patterns [H, T, T] to hold."""

    resid_post: Callable[[int], Tensor]
    patterns: dict[int, Tensor]


@dataclass
class Pass:
    """A forward pass in progress: which rows, which tokens are in the cache already, and what was read.

    ``tokens`` [rows, T] holds every token up to the end of this pass; ``offset`` counts those already in the cache.
    ``masks`` keeps the masks of the current offset by window, blocked edges and hidden keys.
    """

    plan: Plan
    tokens: Tensor
    clean: Clean | None = None
    read: Read = field(default_factory=lambda: Read(logits=()))
    offset: int = 0
    resid_post: dict[int, Tensor] = field(default_factory=dict)
    resid_mid: dict[int, Tensor] = field(default_factory=dict)
    patterns: dict[tuple[Head, int], Tensor] = field(default_factory=dict)
    values: dict[Head, Tensor] = field(default_factory=dict)
    z: dict[Head, Tensor] = field(default_factory=dict)
    masks: dict[tuple[object, ...], Tensor] = field(default_factory=dict)


def edit_output(state: Pass, plan: LayerPlan, layer: int, before: Tensor | None, after: Tensor) -> Tensor:
    """resid_post(``layer``) [B, T, d] with Skip, Replace and Add applied, in this order."""
    after = after.clone()
    if before is not None and plan.skip:
        after[plan.skip] = before[plan.skip]
    length = after.shape[1]

    def here(entries: Iterable[tuple[int, int, Tensor]]) -> tuple[list[int], list[int], list[Tensor]]:
        """Rows, positions in this pass, and vectors."""
        found = [(row, at - state.offset, v) for row, at, v in entries if 0 <= at - state.offset < length]
        return [row for row, _, _ in found], [at for _, at, _ in found], [vector for _, _, vector in found]

    streams, ats, values = here(plan.stream)
    if streams:
        if state.clean is None:
            raise UserError("ReplaceStream needs a clean run of the same tokens")
        after[streams] = state.clean.resid_post(layer)[state.offset :].to(after)
        after[streams, ats] = stacked(values, after)
    rows, ats, values = here(plan.replace)
    if rows:
        after[rows, ats] = stacked(values, after)
    rows, ats, values = here((row, at, vector) for (row, at), vector in plan.add.items())
    if rows:
        after[rows, ats] += stacked(values, after)
    return after


def stacked(vectors: Sequence[Tensor], like: Tensor) -> Tensor:
    """``vectors`` side by side [n, d], on the device and in the dtype of ``like``.

    They are moved there all at once, and one that is there many times only once: each move waits for the device.
    """
    distinct = {id(vector): vector for vector in vectors}
    if len({vector.device for vector in distinct.values()}) > 1:
        distinct = {of: vector.to(like) for of, vector in distinct.items()}
    table = torch.stack([vector.to(like.dtype) for vector in distinct.values()]).to(like.device)
    if len(distinct) == len(vectors):
        return table
    places = {of: place for place, of in enumerate(distinct)}
    return table[[places[id(vector)] for vector in vectors]]


def visible(subject: "Subject", state: Pass, layer: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which keys each query of this pass may see in ``layer``: bool [B, 1 or H, Q, K]."""
    rows = state.tokens.tolist()
    n_rows, total = state.tokens.shape
    # Without a mask rule the tokens play no part, and one row stands for all; rows of equal tokens see alike.
    asked = [tuple(row) for row in (rows[:1] if subject.mask_rule is None else rows)]
    views = {row: subject.wiring.visible(layer, row, state.offset) for row in dict.fromkeys(asked)}
    seen = np.stack([views[row] for row in asked])[:, None]
    plan = state.plan.layers.get(layer)
    if plan is None or not plan.masked:
        return seen
    # Keys that are hidden from all heads alike need no mask of their own for each head.
    n_heads = subject.n_heads if plan.block else 1
    seen = np.broadcast_to(seen, (n_rows, n_heads, *seen.shape[2:])).copy()
    hidden = [(row, head, at, key) for row, at, key in plan.hide for head in range(n_heads)]
    row, head, at, key = np.array([*hidden, *plan.block]).T
    here = (at >= state.offset) & (at < total)
    seen[row[here], head[here], at[here] - state.offset, key[here]] = False
    if not seen.any(-1).all():
        raise UserError(f"edits of L{layer}: a query would see no key at all; leave it at least one")
    return seen


def _mask(subject: "Subject", state: Pass, layer: int) -> Tensor:
    """The additive mask eager attention takes, [B or 1, H or 1, Q, K]; layers that see and block alike share theirs."""
    plan = state.plan.layers.get(layer, LayerPlan())
    key = (subject.wiring.windows[layer], state.offset, tuple(plan.block), tuple(plan.hide))
    if key not in state.masks:
        state.masks = {at: mask for at, mask in state.masks.items() if at[1] == state.offset}
        state.masks[key] = _additive(subject, visible(subject, state, layer))
    return state.masks[key]


def _additive(subject: "Subject", seen: "np.ndarray[Any, np.dtype[np.bool_]]") -> Tensor:
    allowed = torch.from_numpy(seen).to(subject.device)
    mask = torch.zeros(allowed.shape, dtype=subject.dtype, device=subject.device)
    return mask.masked_fill(~allowed, torch.finfo(subject.dtype).min)


@contextmanager
def applied(subject: "Subject", state: Pass, own_masks: bool = True) -> Iterator[Pass]:
    """While active, forward passes of the subject's layers carry the edits of ``state`` and fill what it reads.

    with applied(subject, Pass(plan, tokens, clean, Read(resid_post=(3,)))) as state:
        subject.model(input_ids=tokens)
    state.resid_post[3]  # [B, T, d], after edits

    ``own_masks`` replaces the model's masks by ours, layer by layer; without mask rule, blocked edges or a cache the
    two are equal and the model's own can stay.
    """
    with ExitStack() as stack:
        for layer in range(subject.n_layers):
            for hooks in (_LayerHooks(subject, state, layer, own_masks), _HeadHooks(subject, state, layer)):
                for part, when, hook in hooks.wanted():
                    module = subject.layer(layer) if part == "layer" else subject.part(layer, part)
                    if when == "before":
                        handle = module.register_forward_pre_hook(hook, with_kwargs=True)
                    else:
                        handle = module.register_forward_hook(hook)
                    stack.callback(handle.remove)
        yield state


Hook = tuple[str, Literal["before", "after"], Callable[..., Any]]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def _stream(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The hidden states a module was called with, however they were passed."""
    hidden: Tensor = args[0] if args else kwargs["hidden_states"]
    return hidden


class _LayerHooks:
    """Edits and readouts around one layer: masks, skips, the residual stream."""

    def __init__(self, subject: "Subject", state: Pass, layer: int, own_masks: bool) -> None:
        self.subject, self.state, self.layer, self.own_masks = subject, state, layer, own_masks
        self.plan = state.plan.layers.get(layer)
        self.resid_pre: Tensor | None = None

    def wanted(self) -> Iterator[Hook]:
        """The hooks these edits and readouts need, as (part, when, hook)."""
        if self.own_masks or (self.plan is not None and self.plan.skip):
            yield "layer", "before", self.enter
        if self.layer in self.state.read.resid_mid:
            yield "mid_norm", "before", self.keep_mid
        if self.plan is not None or self.layer in self.state.read.resid_post:
            yield "layer", "after", self.leave

    def enter(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        self.resid_pre = _stream(args, kwargs)
        if self.own_masks:
            kwargs = {**kwargs, "attention_mask": _mask(self.subject, self.state, self.layer)}
        return args, kwargs

    def keep_mid(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.state.resid_mid[self.layer] = _stream(args, kwargs)

    def leave(self, _: Any, __: tuple[Any, ...], output: Any) -> Any:
        after = output[0] if isinstance(output, tuple) else output
        if self.plan is not None:
            after = edit_output(self.state, self.plan, self.layer, self.resid_pre, after)
        if self.layer in self.state.read.resid_post:
            self.state.resid_post[self.layer] = after
        return (after, *output[1:]) if isinstance(output, tuple) else after


class _HeadHooks:
    """Edits and readouts inside one layer's attention: frozen patterns, replaced head outputs, patterns, values, z."""

    def __init__(self, subject: "Subject", state: Pass, layer: int) -> None:
        self.subject, self.state, self.layer = subject, state, layer
        self.plan = state.plan.layers.get(layer, LayerPlan())
        self.frozen = self.plan.freeze if state.offset == 0 else []
        self.asked_patterns = [(head, query) for head, query in state.read.patterns if head.layer == layer]
        self.asked_values = [head for head in state.read.values if head.layer == layer]
        self.asked_z = [head for head in state.read.z if head.layer == layer]
        self.values: Tensor | None = None

    def wanted(self) -> Iterator[Hook]:
        """The hooks these edits and readouts need, as (part, when, hook)."""
        if self.frozen or self.asked_values:
            yield "values", "after", self.keep_values
        if self.asked_patterns:
            yield "attention", "after", self.keep_patterns
        if self.frozen or self.asked_z or self.plan.heads:
            yield "attention_out", "before", self.edit_z

    def _frozen_patterns(self) -> Tensor:
        if self.state.clean is None:
            raise UserError("FreezePattern needs a clean run of the same tokens")
        return self.state.clean.patterns[self.layer]  # [H, T, T]

    def keep_values(self, _: Any, __: tuple[Any, ...], output: Tensor) -> None:
        rows, length, width = output.shape
        parts = 3 if self.subject.family.fused else 1
        per_head = output.view(rows, length, width // (parts * self.subject.d_head), parts, self.subject.d_head)
        values = per_head[..., -1, :].transpose(1, 2)
        self.values = values.repeat_interleave(self.subject.n_heads // values.shape[1], dim=1)  # [B, H, T, dh]
        self.state.values.update(copies(self.asked_values, [self.values[:, head.index] for head in self.asked_values]))

    def edit_z(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        """Runs before the output projection: its input is z of all heads side by side, [B, T, H·dh]."""
        rows, length, _width = args[0].shape
        z = args[0].clone().view(rows, length, self.subject.n_heads, self.subject.d_head)
        if self.frozen and self.values is not None:
            held = (self._frozen_patterns() @ self.values).transpose(1, 2)  # [B, T, H, dh]
            rows_held, heads_held = (list(part) for part in zip(*self.frozen, strict=True))
            z[rows_held, :, heads_held] = held[rows_held, :, heads_held]
        written = [
            (row, at - self.state.offset, index, value)
            for (row, index, at), value in self.plan.heads.items()
            if 0 <= at - self.state.offset < length
        ]
        if written:
            *places, values = zip(*written, strict=True)
            z[tuple(map(list, places))] = stacked(values, z)
        self.state.z.update(copies(self.asked_z, [z[:, :, head.index] for head in self.asked_z]))
        return (z.view(rows, length, -1), *args[1:]), kwargs

    def keep_patterns(self, _: Any, __: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        patterns = output[1]
        if patterns is None:
            raise UserError(f"{self.subject.id}: attention returns no patterns; load it with eager attention")
        rows = [patterns[:, head.index, query - self.state.offset] for head, query in self.asked_patterns]
        kept = copies(self.asked_patterns, rows)  # each [B, T]
        for (head, query), (row, frozen) in product(kept, self.frozen):
            if frozen == head.index:
                kept[head, query][row] = self._frozen_patterns()[frozen, query]
        self.state.patterns.update(kept)


def copies(names: Iterable[Name], parts: list[Tensor]) -> dict[Name, Tensor]:
    """Parts of larger tensors by name, copied all at once: there may be thousands of them."""
    return dict(zip(names, torch.stack(parts), strict=True)) if parts else {}


def rows_of(tokens: Sequence[int], n_rows: int, device: Any) -> Tensor:
    """``tokens`` as a batch of equal rows, [n_rows, T]."""
    return torch.tensor([list(tokens)], device=device).expand(n_rows, -1)
