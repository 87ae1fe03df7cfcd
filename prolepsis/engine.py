"""One clean pass, then edits as batch rows resumed from the first edited layer.

    clean = clean_run(subject, tokens)
    out = clean.edit([[Add(3, 5, vector)], [Add(3, 6, vector)]])
    out.probabilities()  # [2, V]

Every row of a batch carries its own edits on the same tokens. A row equals the same row of a clean batch of the same
shape bit for bit wherever its edits cannot reach.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from transformers import DynamicCache

from prolepsis.edits import Blocking, Row
from prolepsis.errors import Untested, UserError
from prolepsis.names import Head
from prolepsis.running.batching import TOKENS_PER_BATCH, halving, row_bytes
from prolepsis.running.device_copies import on_device
from prolepsis.running.hooks import Clean, Pass, Read, applied, edit_output, rows_of
from prolepsis.running.plan import Plan, plan_rows
from prolepsis.running.prefix import (
    CACHES,
    KeysAndValues,
    call_from,
    first_positions,
    grouped,
    keys_and_values,
    worth_sparing,
)
from prolepsis.running.readings import INSIDE, Readings, joined
from prolepsis.subject import OWN_TASK, Subject
from prolepsis.watching import watched

Tensor = torch.Tensor


@dataclass(frozen=True, eq=False, repr=False)
class CleanRun:
    """An unedited run of ``tokens``: the residual stream per layer and what the layers were called with.

    Edges that are ``blocked`` in it are so under its edits too.
    ``kept`` [L + 1, T, d] holds resid_pre(0) and then resid_post of every layer, ``keys_and_values`` those of every
    layer, in main memory: hundreds of runs are held at a time. ``cache`` is what a layer calls the cache it may be
    given beside its ``calls``; ``tuples`` says that layers return tuples.
    """

    subject: Subject
    tokens: tuple[int, ...]
    kept: Tensor
    keys_and_values: tuple[KeysAndValues, ...]
    calls: tuple[dict[str, Any], ...]
    cache: str
    tuples: bool
    blocked: tuple[Blocking, ...] = ()
    _patterns: dict[int, Tensor] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"CleanRun({self.subject.id!r}, {len(self.tokens)} tokens)"

    def read(self, read: Read) -> Readings:
        """The readouts of :meth:`edit` on the unedited run; one row. Only layers that are read inside run again."""
        _check_read(self.subject, read, len(self.tokens))
        return self._run(Plan(1, {}), read, min(read.inside, default=self.subject.n_layers))

    def edit(self, rows: Sequence[Row], read: Read | None = None) -> Readings:
        """Run the tokens once per row with that row's edits.

        Layers below the first edited one are not recomputed, nor tokens before the first edited one of several rows.
        """
        return self._chunked(rows, read or Read(), keep_edits=True)

    def unedited(self, rows: Sequence[Row], read: Read | None = None) -> Readings:
        """A clean batch of the very shape :meth:`edit` runs ``rows`` in: what edits equal where they cannot reach."""
        return self._chunked(rows, read or Read(), keep_edits=False)

    @property
    def resid(self) -> Tensor:
        """resid_pre(0) and then resid_post of every layer [L + 1, T, d], on the subject's device."""
        return self.kept.to(self.subject.device)

    def resid_pre(self, layer: int, first: int = 0) -> Tensor:
        """resid_pre(``layer``) [T - first, d] from position ``first`` on."""
        return on_device(self.subject, self, ("resid_pre", layer), self.kept[layer])[first:]

    def resid_post(self, layer: int) -> Tensor:
        """resid_post(``layer``) [T, d]."""
        return self.resid_pre(layer + 1)

    def resid_post_at(self, position: int) -> Tensor:
        """resid_post of every layer at ``position``, [L, d]."""
        return self.kept[1:, position].to(self.subject.device)

    def patterns(self, layer: int) -> Tensor:
        """Attention patterns of all heads of ``layer``, [H, T, T]."""
        if layer not in self._patterns:
            asked = tuple((Head(layer, h), q) for h in range(self.subject.n_heads) for q in range(len(self.tokens)))
            read = self.read(Read(logits=(), patterns=asked)).patterns
            rows = torch.stack([read[key][0] for key in asked])
            self._patterns[layer] = rows.view(self.subject.n_heads, len(self.tokens), -1)
        return self._patterns[layer]

    def held_by(self, plan: Plan) -> Clean:
        """What ``plan`` takes from this run; to be called before its hooks are on the model."""
        return Clean(self.resid_post, {at: self.patterns(at) for at, layer in plan.layers.items() if layer.freeze})

    def _chunked(self, rows: Sequence[Row], read: Read, *, keep_edits: bool) -> Readings:
        """Run the rows in chunks that the device's memory holds, all from the same layer on.

        Rows that are run from about the same position on are run together.
        """
        _check_read(self.subject, read, len(self.tokens))
        if not rows:
            raise UserError("no rows of edits were given; give at least one, empty for a clean row")
        if self.blocked and any(isinstance(edit, Blocking) for row in rows for edit in row):
            # Masks are made anew for rows that block edges.
            rows = [[*self.blocked, *row] for row in rows]
        n_tokens, layers = len(self.tokens), self.subject.n_layers
        firsts = first_positions(rows, read, n_tokens)
        order = sorted(range(len(rows)), key=firsts.__getitem__)
        firsts.sort()

        def run(batches: list[range]) -> Readings:
            groups = [group for batch in batches for group in grouped(firsts, batch)]
            plans = [plan_rows(self.subject, [rows[order[at]] for at in group], n_tokens) for group in groups]
            start = min((plan.start for plan in plans if plan.start is not None), default=layers)
            made = [
                (plan if keep_edits else Plan(plan.n_rows, {}), worth_sparing(firsts[group.start], len(group)))
                for plan, group in zip(plans, groups, strict=True)
            ]
            parts = [self._run(plan, read, start, first) for plan, first in watched(made, "batches of edits")]
            return joined(parts, order, self.subject.device)

        n_streams = len(read.resid_post) + len(read.resid_mid)
        each = row_bytes(self.subject, n_tokens, n_logits=len(read.logits), n_streams=n_streams)
        most = max(1, TOKENS_PER_BATCH[self.subject.device.type] // n_tokens)
        return halving(self.subject, len(rows), each, run, most)

    @torch.no_grad()
    def _run(self, plan: Plan, read: Read, start: int, first: int = 0) -> Readings:
        """Run layers from ``start`` and positions from ``first`` on under ``plan``, up to the last layer that is read.

        What is read below and before these comes from the clean run.
        """
        subject, n_rows = self.subject, plan.n_rows
        last = subject.n_layers - 1 if read.logits else max([*read.inside, *read.resid_post], default=0)
        layers = range(start, last + 1)
        state = Pass(plan, rows_of(self.tokens, n_rows, subject.device), self.held_by(plan), read, offset=first)
        own_masks = any(layer.masked for layer in plan.layers.values())
        readings = self._below(read, start, n_rows)
        kept = keys_and_values(self, layers) if first else {}
        with applied(subject, state, own_masks):
            resid = self.resid_pre(start, first).expand(n_rows, -1, -1)  # [B, T - first, d]
            if start > 0:
                resid = self._output(state, start - 1, resid)
            for layer in layers:
                output = subject.layer(layer)(resid, **call_from(self, layer, first, n_rows, kept))
                resid = output[0] if isinstance(output, tuple) else output
        for layer, rows in state.resid_post.items():
            before = self.resid_post(layer)[:first].expand(n_rows, -1, -1)
            state.resid_post[layer] = torch.cat([before, rows], 1) if first else rows
        for name in INSIDE:
            getattr(readings, name).update(getattr(state, name))
        if read.logits:
            positions = [position % len(self.tokens) - first for position in read.logits]
            readings.logits = subject.unembed(resid[:, positions])
        return readings

    def _output(self, state: Pass, layer: int, resid: Tensor) -> Tensor:
        """Edit the output of the layer below the first recomputed one, whose inside is clean."""
        plan = state.plan.layers.get(layer)
        if plan is not None:
            resid = edit_output(state, plan, layer, None, resid)
            if layer in state.read.resid_post:
                state.resid_post[layer] = resid
        return resid

    def _below(self, read: Read, start: int, n_rows: int) -> Readings:
        """Readings of layers below ``start``, which are not recomputed, repeated for every row."""
        below = Readings(resid_post={at: self.resid_post(at)[None] for at in read.resid_post if at < start})
        inside = read.below(start)
        if inside.inside:
            below = replace(self.read(inside), resid_post=below.resid_post)
        for name in INSIDE:
            part = getattr(below, name)
            for key, value in part.items():
                part[key] = value.expand(n_rows, *value.shape[1:])
        return below


@torch.no_grad()
def clean_run(subject: Subject, tokens: Sequence[int], blocked: Sequence[Blocking] = ()) -> CleanRun:
    """Run ``tokens`` once, unedited but for edges that are ``blocked`` in this run and all its edits.

    Raises UserError for tokens the model does not have, Untested for more than it takes.
    """
    if not tokens:
        raise UserError(f"{subject.id}: the prompt is empty")
    limit = int(subject.config.max_position_embeddings)
    if len(tokens) > limit:
        raise Untested(
            f"{subject.id}: {len(tokens)} tokens are more than the model takes ({limit}); shorten the prompt, or "
            f"{OWN_TASK}"
        )
    unknown = [token for token in tokens if not 0 <= token < subject.n_vocab]
    if unknown:
        raise UserError(f"{subject.id}: token {unknown[0]} is not among tokens 0 to {subject.n_vocab - 1}")
    batch = rows_of(tokens, 1, subject.device)
    plan = plan_rows(subject, [blocked], len(tokens))
    state = Pass(plan, batch, read=Read(logits=(), resid_post=tuple(range(subject.n_layers))))
    calls: list[dict[str, Any]] = []
    first: list[Tensor] = []
    # A cache of the model's own making may crop layers with a window.
    cache, caches, tuples = DynamicCache(), set[str](), set[bool]()

    def keep_call(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        first.append(args[0] if args else kwargs["hidden_states"])
        caches.update(name for name in kwargs if name in CACHES)
        dropped = ("hidden_states", *CACHES, "use_cache")
        calls.append({name: value for name, value in kwargs.items() if name not in dropped})

    with applied(subject, state, own_masks=bool(blocked) or subject.mask_rule is not None):
        kept = [
            subject.layer(i).register_forward_pre_hook(keep_call, with_kwargs=True) for i in range(subject.n_layers)
        ]
        kept.append(subject.layer(0).register_forward_hook(lambda _, __, output: tuples.add(isinstance(output, tuple))))
        try:
            subject.backbone(input_ids=batch, past_key_values=cache, use_cache=True)
        finally:
            for hook in kept:
                hook.remove()
    resid = torch.cat([first[0], *(state.resid_post[layer] for layer in range(subject.n_layers))])
    (name,), (in_tuples,) = caches, tuples
    filled: list[Any] = cache.layers
    both = tuple((layer.keys.cpu(), layer.values.cpu()) for layer in filled)
    return CleanRun(subject, tuple(tokens), resid.cpu(), both, tuple(calls), name, in_tuples, tuple(blocked))


def _check_read(subject: Subject, read: Read, n_positions: int) -> None:
    for layer in {*read.inside, *read.resid_post}:
        if not 0 <= layer < subject.n_layers:
            raise UserError(f"reading layer {layer}: the model has layers 0 to {subject.n_layers - 1}")
    for head in [*read.values, *read.z, *(head for head, _ in read.patterns)]:
        if not 0 <= head.index < subject.n_heads:
            raise UserError(f"reading {head}: the model has heads 0 to {subject.n_heads - 1}")
    for position in [*read.logits, *(query for _, query in read.patterns)]:
        if not -n_positions <= position < n_positions:
            raise UserError(f"reading position {position}: the prompt has positions 0 to {n_positions - 1}")
