"""Does the residual stream return to where it was? Contrastive deviations at the last token, layer by layer (§4, §6).

For two prompts that differ in one rhyme word, v = resid_post(i)(prompt) − resid_post(i)(other prompt) at the last
token is added to resid_post(i) there. As run, an edit is *absorbed* when the edited row at any later layer has a cosine
of 0.95 with the clean one; as printed, at one of the next two. But a cosine also rises where the stream grows and the
deviation merely stays, and it starts near 1 where one channel dominates the norm: hence the arms that are absorbed
without an attractor.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch.nn.functional import cosine_similarity

from prolepsis.directions import random_row
from prolepsis.edits import Add, Row
from prolepsis.engine import CleanRun
from prolepsis.experiments.rhyme_pairs import Pair, Runs, clusters_of, rhyme_pairs, task_of
from prolepsis.measurement import Measurement
from prolepsis.reachability.selection import ResidPost
from prolepsis.running.hooks import Read
from prolepsis.shams import reach_row
from prolepsis.subject import Subject
from prolepsis.watching import watched

Tensor = torch.Tensor

ABSORBED = 0.95
"""The published cosine from which an edit counts as absorbed."""
WITHIN = 2
"""The paper says within 1-2 layers: where the deviation is read, after the edited layer."""
LEAST_CONTRAST = 1e-3
"""Two prompts differ at a layer when their rows do by this share of their largest difference at any layer."""
LEAST_LENGTH = 1e-2
"""A deviation shorter than this share of what was written counts as this long: it is gone."""
ARMS = ("contrast", "random direction", "covariance-matched noise")


@dataclass(frozen=True)
class Returns:
    """What became of deviations written at the last token of one pair's prompt, with strength 1.

    By layer written, for the layers below the last at which the two prompts differ. ``lengths`` maps arm → layer
    written → layer read → length over the length written. ``cosines`` maps arm → layer written → cosines of the edited
    with the clean row, from the layer written on; its arm "passive dilution" has the deviation carried unchanged.
    ``after`` is what the contrast has become one layer above the layer written, [d].
    """

    lengths: Mapping[str, Mapping[int, Mapping[int, float]]]
    cosines: Mapping[str, Mapping[int, tuple[float, ...]]]
    after: Mapping[int, Tensor]

    @property
    def layers(self) -> tuple[int, ...]:
        return tuple(self.lengths["contrast"])

    def absorbed(self, arm: str, within: int | None = None) -> float:
        """Share of layers whose edit is absorbed ``within`` so many layers, or at any later one where that is None."""
        return self._share(absorbed(seen, within) for seen in self.cosines[arm].values())

    def at_once(self) -> float:
        """Share of layers whose edit has a cosine that counts as absorbed before any layer has run."""
        return self._share(cosines[0] >= ABSORBED for cosines in self.cosines["contrast"].values())

    def _share(self, absorbing: Iterable[bool]) -> float:
        """Of the layers and the last one: the published shares count it, though no layer is left to absorb its edit."""
        return sum(absorbing) / (len(self.layers) + 1)


@dataclass(frozen=True, eq=False)
class Convergence:
    """The returns of every pair of one subject, and the layers that half of the groups choose for the other half."""

    subject: Subject
    pairs: tuple[Pair, ...]
    returns: Mapping[str, Returns]

    @property
    def runs(self) -> Runs:
        return self.subject.once(Runs)

    def read_at(self, layer: int) -> int:
        """Where a deviation written at ``layer`` is read."""
        return min(layer + WITHIN, self.subject.n_layers - 1)

    def contraction(self, pair: Pair, layer: int, arm: str = "contrast") -> float:
        """How many e-foldings a deviation written at ``layer`` has shrunk by; negative where it has grown."""
        return shrunk(self.returns[pair.id].lengths[arm][layer][self.read_at(layer)])

    @cached_property
    def most_contracting(self) -> dict[int, int | None]:
        """Half tested → the layer where the other half's deviations shrink most; None where nothing is to be seen."""
        return {half: self._best(half, self.contraction) for half in (0, 1)}

    @cached_property
    def deepest_absorbing(self) -> dict[int, int | None]:
        """Half tested → the deepest layer that absorbs, as published, in most of the other half's pairs."""

        def depth(pair: Pair, layer: int) -> float:
            return float(absorbed(self.returns[pair.id].cosines["contrast"][layer]))

        found: dict[int, int | None] = {}
        for half in (0, 1):
            shares = self._means(half, depth)
            found[half] = max((layer for layer, share in shares.items() if share > 0.5), default=None)
        return found

    def _means(self, half: int, of: Callable[[Pair, int], float]) -> dict[int, float]:
        """Means by layer over the half that is not tested, for layers at which most of its pairs differ."""
        seen = [pair for pair in self.pairs if pair.half != half]
        by_layer = {
            layer: [of(pair, layer) for pair in seen if layer in self.returns[pair.id].layers]
            for layer in range(self.subject.n_layers - 1)
        }
        return {layer: statistics.fmean(x) for layer, x in by_layer.items() if 2 * len(x) > len(seen)}

    def _best(self, half: int, of: Callable[[Pair, int], float]) -> int | None:
        means = self._means(half, of)
        return max(means, key=means.__getitem__, default=None)

    def tested(self, chosen: Mapping[int, int | None]) -> Iterator[tuple[Pair, int]]:
        """The pairs that differ at the layer the other half chose, with that layer."""
        for pair in self.pairs:
            layer = chosen[pair.half]
            if layer is not None and layer in self.returns[pair.id].layers:
                yield pair, layer

    def deviations(self, pair: Pair, layer: int) -> dict[str, Tensor]:
        """What is written at ``layer``, by arm; all [d], and as long as the contrast."""
        contrast = contrast_of(self.runs, pair, layer)
        seed = self.pairs.index(pair)
        return {
            "contrast": contrast,
            "random direction": random_row(contrast, seed),
            "covariance-matched noise": covariance_matched(contrast, self._rows_seen[pair.half][:, layer], seed),
        }

    @cached_property
    def _rows_seen(self) -> dict[int, Tensor]:
        """Half tested → the last token's rows of the other half's prompts, [n, L, d]."""
        return {
            half: torch.stack(
                [self.runs.clean(pair.recipient).resid_post_at(-1) for pair in self.pairs if pair.half != half]
            )
            for half in {pair.half for pair in self.pairs}
        }


def absorbed(cosines: Sequence[float], within: int | None = None) -> bool:
    """Whether one of the ``within`` layers after the first of ``cosines``, or any, reaches the published threshold."""
    return any(cosine >= ABSORBED for cosine in cosines[1:][:within])


def shrunk(length: float) -> float:
    """−ln of a deviation's length over the length written; more than a hundredfold counts as a hundredfold."""
    return -math.log(max(length, LEAST_LENGTH))


def contrast_of(runs: Runs, pair: Pair, layer: int) -> Tensor:
    """resid_post(``layer``) of the prompt minus that of the other prompt, at the last token, [d]."""
    return contrast_at(runs.clean(pair.recipient), runs.clean(pair.donor), layer)


def contrast_at(clean: CleanRun, other: CleanRun, layer: int) -> Tensor:
    """The same of two runs."""
    row: Tensor = clean.resid_post(layer)[-1] - other.resid_post(layer)[-1]
    return row


def differing_layers(clean: CleanRun, other: CleanRun) -> list[int]:
    """The layers, the last left out, at which two prompts differ at the last token."""
    sizes = (clean.resid_post_at(-1) - other.resid_post_at(-1)).norm(dim=-1).tolist()
    return [layer for layer, size in enumerate(sizes[:-1]) if size > LEAST_CONTRAST * max(sizes)]


def covariance_matched(like: Tensor, rows: Tensor, seed: int) -> Tensor:
    """A random row [d] with the norm of ``like`` and the covariance of ``rows`` [n, d]; zero where rows are equal."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(len(rows), generator=generator).to(rows)
    noise = weights @ (rows - rows.mean(0))
    scaled: Tensor = like.norm() * noise / noise.norm().clamp(min=1e-30)
    return scaled


def converge(subject: Subject) -> Convergence:
    """Write every pair's contrast, and what it is compared with, at every layer, and see what returns."""
    runs, pairs = subject.once(Runs), rhyme_pairs(task_of(subject))
    found = Convergence(subject, pairs, {})
    return Convergence(subject, pairs, {pair.id: _returns(found, runs, pair) for pair in watched(pairs, "pairs")})


def _returns(found: Convergence, runs: Runs, pair: Pair) -> Returns:
    clean = runs.clean(pair.recipient)
    layers = differing_layers(clean, runs.clean(pair.donor))
    return returns_of(clean, {layer: found.deviations(pair, layer) for layer in layers})


def returns_of(clean: CleanRun, deviations: Mapping[int, Mapping[str, Tensor]]) -> Returns:
    """Write ``deviations``, layer → arm → row [d], at the last token of ``clean``, and see what returns."""
    top = clean.subject.n_layers - 1
    written = [(arm, layer, v) for layer, arms in deviations.items() for arm, v in arms.items()]
    lengths: dict[str, dict[int, dict[int, float]]] = {arm: {} for arm in ARMS}
    cosines: dict[str, dict[int, tuple[float, ...]]] = {arm: {} for arm in (*ARMS, "passive dilution")}
    if not written:
        return Returns(lengths, cosines, {})
    rows = [[Add(layer, len(clean.tokens) - 1, v)] for _, layer, v in written]
    edited = last_rows(clean, [*rows, []])  # [L, B, d]
    base = edited[:, -1]
    after = {}
    for row, (arm, layer, v) in enumerate(written):
        left = (edited[layer:, row] - base[layer:]).norm(dim=-1) / v.norm()
        lengths[arm][layer] = dict(zip(range(layer, top + 1), left.tolist(), strict=True))
        cosines[arm][layer] = cosines_of(edited[layer:, row], base[layer:])
        if arm == "contrast":
            cosines["passive dilution"][layer] = cosines_of(base[layer:] + v, base[layer:])
            after[layer] = edited[layer + 1, row] - base[layer + 1]
    return Returns(lengths, cosines, after)


def last_rows(clean: CleanRun, rows: Sequence[Row]) -> Tensor:
    """resid_post of every layer at the last token under each row of edits, [L, B, d]."""
    layers = tuple(range(clean.subject.n_layers))
    out = clean.edit(rows, Read(logits=(), resid_post=layers)).resid_post
    return torch.stack([out[layer][:, -1] for layer in layers])


def cosines_of(edited: Tensor, clean: Tensor) -> tuple[float, ...]:
    """Cosines in float64 of each edited row with its clean one, [rows, d] each."""
    return tuple(cosine_similarity(edited.double(), clean.double(), dim=-1).tolist())


def filled(found: Convergence, values: Mapping[str, float]) -> dict[str, float]:
    """``values`` with 0 for the pairs in which nothing could be seen; those are not detectable and never judged."""
    return {pair.id: values.get(pair.id, 0.0) for pair in found.pairs}


def measurement_of(
    found: Convergence,
    name: str,
    unit: str,
    values: Mapping[str, float],
    arms: Mapping[str, Mapping[str, float]],
    *,
    start: float,
    detectable: tuple[str, ...],
    parameters: Mapping[str, object],
    detail: Mapping[str, object],
) -> Measurement:
    """The measurement of one experiment on these pairs, whose layers were chosen on the other half."""
    groups = [sorted({pair.recipient.group for pair in found.pairs if pair.half == half}) for half in (0, 1)]
    folds = [{"discovery": groups[1 - half], "tested": groups[half]} for half in (0, 1)]
    return Measurement(
        experiment=name,
        subject=found.subject.digest,
        unit=unit,
        design="pairs-of-groups",
        parameters={"pairs": [pair.id for pair in found.pairs], "folds": folds, **parameters},
        values=values,
        clusters=clusters_of(found.pairs),
        arms=arms,
        detectable=detectable,
        reach={"rows": found.subject.once(_reach_rows)},
        detail=detail,
        seconds=time.perf_counter() - start,
    )


def _reach_rows(subject: Subject) -> list[dict[str, object]]:
    """Whether a write at the last token of each layer below the last reaches that token's row in the layer above."""
    found = subject.once(converge)
    clean, rows = found.runs.clean(found.pairs[0].recipient), []
    last = len(clean.tokens) - 1
    for layer in range(subject.n_layers - 1):
        write = [Add(layer, last, contrast_of(found.runs, found.pairs[0], layer))]
        rows.append(reach_row(clean, write, ResidPost(layer + 1, last)))
    return rows
