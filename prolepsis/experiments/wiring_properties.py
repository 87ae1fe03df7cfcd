"""The published protocols on random transformers, to see whether the published outcome needs anything but the wiring.

Prompts, features and counterfactual rows are random as well, so no task is done and nothing is planned or known. What
comes out all the same comes out of the wiring. Rows of reach name what it fixes, and each fixed readout is measured:
it has to be equal bit for bit.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch

from prolepsis.edits import Add, Row
from prolepsis.engine import CleanRun, clean_run
from prolepsis.experiments.patched_blocks import blocks, patch_rows
from prolepsis.experiments.routing_claims import is_late, late_share
from prolepsis.ledger import Claim
from prolepsis.measurement import Measurement
from prolepsis.names import Head
from prolepsis.organisms.random_transformers import N_VOCAB, random_transformers
from prolepsis.reachability.selection import Logits, Pattern, Readout
from prolepsis.running.hooks import Read
from prolepsis.shams import reach_row
from prolepsis.subject import Subject

Tensor = torch.Tensor
Rows = list[dict[str, object]]

SUBJECT = "random-transformers"
N_TOKENS = 12
SITE, LAST = N_TOKENS - 6, N_TOKENS - 1
SUPPRESSED, INJECTED, CORRECTED = 4, 5, 6
"""Lowest written layers of 8, in the order of the paper's: L16 and L22 of 26, and L23 for the correction."""


@dataclass(frozen=True)
class Case:
    """One random transformer on a random prompt, and another prompt of equal length."""

    seed: int
    clean: CleanRun
    other: CleanRun

    @property
    def subject(self) -> Subject:
        return self.clean.subject

    def feature(self, first: int, position: int, number: int = 0) -> list[Add]:
        """What a random feature of layer ``first`` writes: per layer from there on a row as long as the stream's."""
        generator = torch.Generator().manual_seed(1000 * self.seed + 10 * first + number)
        written = []
        for layer in range(first, self.subject.n_layers):
            row = torch.randn(self.subject.d_model, generator=generator)
            written.append(Add(layer, position, row * self.clean.resid_post(layer)[position].norm() / row.norm()))
        return written

    def attention(self, edits: Row, heads: Sequence[Head], key: int) -> Tensor:
        """The weight of ``key`` for the last query in each head, [heads]."""
        read = Read(logits=(), patterns=tuple((head, LAST) for head in heads))
        patterns = self.clean.edit([edits], read).patterns
        return torch.stack([patterns[head, LAST][0, key] for head in heads])

    def row(self, edits: Row, readout: Readout, *, given: Row = (), claimed: bool = True) -> dict[str, object]:
        """The row of reach of one edited run, named by the model."""
        found = reach_row(self.clean, edits, readout, given=given, claimed=claimed)
        return {**found, "name": f"{self.subject.id}: {found['name']}"}

    def heads(self, layers: range) -> list[Head]:
        """Every head of these layers."""
        return [Head(layer, index) for layer in layers for index in range(self.subject.n_heads)]


@cache
def cases() -> tuple[Case, ...]:
    """Every random transformer with its two prompts."""
    found = []
    for seed, subject in enumerate(random_transformers()):
        generator = torch.Generator().manual_seed(seed)
        prompts = torch.randint(1, N_VOCAB, (2, N_TOKENS), generator=generator).tolist()
        found.append(Case(seed, *(clean_run(subject, prompt) for prompt in prompts)))
    return tuple(found)


def last_block_effect() -> Measurement:
    """Share of the positions before the last at which a patch of the last block changes the prediction.

    Arms: ``first block``, the same patches there.
    """
    start = time.perf_counter()
    values, first = _changed(-1), _changed(0)
    rows = [_patch_row(case, -1, claimed=True) for case in cases()]
    return _measurement("last_block_effect", "proportion", values, rows, {"first block": first}, start=start)


def block_decline() -> Measurement:
    """How much less often such a patch changes the prediction in the last block than in the first."""
    start = time.perf_counter()
    first, last = _changed(0), _changed(-1)
    rows = [_patch_row(case, block, claimed=block == 0) for case in cases() for block in (0, -1)]
    values = {name: first[name] - last[name] for name in first}
    return _measurement("block_decline", "difference of proportions", values, rows, start=start)


def _changed(block: int) -> dict[str, float]:
    found = {}
    for case in cases():
        layers = blocks(case.subject.n_layers)[block]
        clean = int(case.clean.read(Read()).last_logits[0].argmax())
        patched = case.clean.edit([patch_rows(case.other, layers, p, p) for p in range(1, LAST)]).last_logits
        found[case.subject.id] = statistics.fmean(top != clean for top in patched.argmax(-1).tolist())
    return found


def _patch_row(case: Case, block: int, *, claimed: bool) -> dict[str, object]:
    edits = patch_rows(case.other, blocks(case.subject.n_layers)[block], SITE, SITE)
    return case.row(edits, Logits(LAST), claimed=claimed)


def locked_attention() -> Measurement:
    """The largest change, under the correction, of attention in any head up to the lowest corrected layer."""
    start, values = time.perf_counter(), {}
    rows: Rows = []
    for case in cases():
        correction = case.feature(CORRECTED, LAST, 2)
        given = [*case.feature(SUPPRESSED, LAST), *case.feature(INJECTED, LAST, 1)]
        heads = case.heads(range(CORRECTED + 1))
        moved = case.attention([*given, *correction], heads, LAST) - case.attention(given, heads, LAST)
        values[case.subject.id] = float(moved.abs().max())
        # The paper's head is of the layer below the commitment's, L21 of 22.
        rows.append(case.row(correction, Pattern(Head(INJECTED - 1, 0), LAST, LAST), given=given))
    return _measurement("locked_attention", "attention", values, rows, start=start)


def late_heads() -> Measurement:
    """Share of the top heads, by the change of attention to the site under suppress + inject, that lie late."""
    start, values = time.perf_counter(), {}
    rows: Rows = []
    for case in cases():
        edits = [*case.feature(SUPPRESSED, SITE), *case.feature(INJECTED, SITE, 1)]
        heads = case.heads(range(case.subject.n_layers))
        moved = case.attention(edits, heads, SITE) - case.attention([], heads, SITE)
        values[case.subject.id] = late_share(case.subject, dict(zip(heads, moved.tolist(), strict=True)))
        for layer in range(case.subject.n_layers):
            late = is_late(case.subject, layer)
            rows.append(case.row(edits, Pattern(Head(layer, 0), LAST, SITE), claimed=late))
    return _measurement("late_heads", "proportion", values, rows, start=start)


def attention_below() -> Measurement:
    """The largest change, under injection alone, of attention to the site in any head up to the feature's layer."""
    return _injected("attention_below", INJECTED - 1, suppressed=False)


def attention_added_below() -> Measurement:
    """The largest change that injection adds to suppression, of attention to the site in any head up to its layer."""
    # Suppression writes below this head, as the paper's does below L21:H5, so that it does move.
    return _injected("attention_added_below", INJECTED, suppressed=True)


def _injected(name: str, layer: int, *, suppressed: bool) -> Measurement:
    """What injection changes where ``suppressed`` or not; reach is asked about a head of ``layer``."""
    start, values = time.perf_counter(), {}
    rows: Rows = []
    for case in cases():
        edits, heads = case.feature(INJECTED, SITE, 1), case.heads(range(INJECTED + 1))
        given = case.feature(SUPPRESSED, SITE) if suppressed else []
        moved = case.attention([*given, *edits], heads, SITE) - case.attention(given, heads, SITE)
        values[case.subject.id] = float(moved.abs().max())
        rows.append(case.row(edits, Pattern(Head(layer, 0), LAST, SITE), given=given))
    return _measurement(name, "attention", values, rows, start=start)


def last_layer_localisation() -> Measurement:
    """Whether a word injected at the last layer is likeliest with the injection at the last position: 1, else 0.

    The word is the one whose unembedding row points most along what the feature writes.
    """
    start, values = time.perf_counter(), {}
    rows: Rows = []
    for case in cases():
        at = case.subject.n_layers - 1
        sweep = [case.feature(at, position) for position in range(N_TOKENS)]
        word = int((case.subject.unembedding.float() @ sweep[LAST][0].vector).argmax())
        found = case.clean.edit(sweep).probabilities()[:, word]
        values[case.subject.id] = float(int(found.argmax()) == LAST)
        rows += [case.row(sweep[position], Logits(LAST), claimed=position == LAST) for position in (SITE, LAST)]
    return _measurement("last_layer_localisation", "proportion", values, rows, start=start)


EXPERIMENTS: Mapping[str, Callable[[], Measurement]] = {
    "last_block_effect": last_block_effect,
    "block_decline": block_decline,
    "locked_attention": locked_attention,
    "late_heads": late_heads,
    "attention_below": attention_below,
    "attention_added_below": attention_added_below,
    "last_layer_localisation": last_layer_localisation,
}
"""Experiment, as the ledger names it → how it is run on random transformers."""


def measure(claims: Sequence[Claim]) -> dict[tuple[str, str], Measurement]:
    """Measure ``claims`` on random transformers; (claim id, variant) → measurement."""
    return {claim.key: EXPERIMENTS[claim.experiment]() for claim in claims}


def _measurement(
    name: str,
    unit: str,
    values: Mapping[str, float],
    rows: Rows,
    arms: Mapping[str, Mapping[str, float]] | None = None,
    *,
    start: float,
) -> Measurement:
    return Measurement(
        experiment=name,
        subject=SUBJECT,
        unit=unit,
        design="one-way",
        parameters={"models": [case.subject.digest for case in cases()], "tokens": N_TOKENS, "site": SITE},
        values=values,
        clusters={model: (model,) for model in values},
        arms=arms or {},
        reach={"rows": rows},
        seconds=time.perf_counter() - start,
    )
