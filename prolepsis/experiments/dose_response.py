"""Does a commitment withstand a correction that would carry without it? Dose curves of one lever, with and without.

A model that has committed to one word needs some evidence to say another; that alone is not irrevocable. So the same
lever is written at the same place into the prompt as it is (committed) and into the run in which nobody sees the
rhyme word (not committed), and two doses are compared: the one at which the committed model is at 50/50 between the
two words, and the *equal dose*, at which without the commitment the lever is worth as many nats as that took. Where
evidence is merely weighed the two are equal, and the ln of their ratio is 0; a model that ignores evidence once it has
committed needs more.

The lever is written at the reading position, in the layer in which the commitment has arrived there, which leaves
the model all later layers to resist in. Layer and doses are found on the other half of the groups. There are two
levers: what the corrected word's *feature* writes, as in the paper, and the corrected word's own *row*, which is what a
commitment to it would have put there.
"""

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import torch

from prolepsis.directions import random_row
from prolepsis.edits import Add
from prolepsis.experiments.commitment import SEARCHED, Prepared, arrivals, with_features, with_rows
from prolepsis.experiments.rhyme_pairs import clusters_of
from prolepsis.experiments.sites import find_sites
from prolepsis.measurement import Measurement
from prolepsis.reachability.selection import Logits
from prolepsis.shams import reach_row
from prolepsis.subject import Subject
from prolepsis.watching import watched

Tensor = torch.Tensor

COARSE = tuple(4.0**power for power in range(-3, 3))
"""Doses that look for the lever's scale; dose 1 is as long as what the commitment has put at the reading position."""
FINE = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0)
"""Doses of the tested curves, in units of the other half's median equal dose."""
COMMITTED = 2.3
"""A prompt is committed when seeing its rhyme word is worth tenfold odds, in nats, between the two words."""
STAND_INS, SHAMS, SHOWN = 4, 4, 6
"""How many random writes stand in for a commitment, in how many pairs it is tried that what cannot move does not, and
in how many every layer is shown."""


@dataclass(frozen=True)
class Curve:
    """One dose curve: how far each dose has moved the odds of the corrected against the committed word, in nats."""

    doses: tuple[float, ...]
    moved: tuple[float, ...]

    def crossing(self, target: float) -> float | None:
        """The least dose that moves the odds by ``target`` nats, by straight lines between doses; None if none does."""
        for (low, before), (high, after) in pairwise([(0.0, 0.0), *zip(self.doses, self.moved, strict=True)]):
            if before < target <= after:
                return low + (high - low) * (target - before) / (after - before)
        return None


def curve_of(prepared: Prepared, doses: Sequence[float], logits: Tensor) -> Curve:
    """The curve of rows [1 + doses, V], the first of them without the lever."""
    lead = prepared.lead(logits)
    return Curve(tuple(doses), tuple((lead[1:] - lead[0]).tolist()))


@dataclass(frozen=True)
class Response:
    """The tested curves of one pair.

    ``margin`` is by how many nats the committed word leads the corrected one, ``worth`` how many of these are lost when
    nobody sees the rhyme word. ``alone`` is the curve without the commitment, ``random`` the same with random writes
    of the commitment's length in its place; a dead lever has only the former. ``p_alone`` is P(corrected word) without
    the commitment, by dose.
    """

    margin: float
    worth: float
    committed: Curve | None
    alone: Curve
    random: tuple[Curve, ...]
    p_alone: tuple[float, ...]

    @property
    def is_committed(self) -> bool:
        return self.worth >= COMMITTED and self.margin > 0

    @property
    def equal_dose(self) -> float | None:
        """The dose at which the lever without the commitment is worth the margin."""
        return self.alone.crossing(self.margin)

    @property
    def committed_ratio(self) -> float:
        """ln(dose that brings the committed model to 50/50 / equal dose); 0 where the lever has no equal dose."""
        return 0.0 if self.committed is None else self._ratio(self.committed)

    @property
    def random_ratio(self) -> float:
        """The same with random writes in the place of the commitment, on average."""
        return statistics.fmean(map(self._ratio, self.random)) if self.random else 0.0

    def _ratio(self, curve: Curve) -> float:
        """Where the curve never reaches the margin, the last dose stands in: the ratio is that at least."""
        if self.equal_dose is None:
            return 0.0
        return math.log((curve.crossing(self.margin) or curve.doses[-1]) / self.equal_dose)

    @property
    def lever_alone(self) -> float:
        """P(corrected word) without the commitment, at the first dose that is worth the margin, or else at its best."""
        reached = [p for p, moved in zip(self.p_alone, self.alone.moved, strict=True) if moved >= self.margin]
        return reached[0] if reached else max(self.p_alone)


@dataclass(frozen=True)
class Place:
    """Where a half is tested: layer and equal dose, as the other half found; no dose where the lever is dead."""

    layer: int
    dose: float | None


def _places(subject: Subject, pairs: Sequence[Prepared]) -> dict[int, Place]:
    """Half tested → the arrival of the commitment and the lever's median equal dose there, both from the other half."""
    chosen = {}
    for half, layer in subject.once(arrivals).items():
        doses = []
        for prepared in islice((p for p in pairs if p.pair.half != half), SEARCHED):
            logits = prepared.without_word(prepared.doses(layer, COARSE))
            crossing = curve_of(prepared, COARSE, logits).crossing(prepared.margin)
            doses.append(math.inf if crossing is None else crossing)
        median = statistics.median_low(doses)
        chosen[half] = Place(layer, median if math.isfinite(median) else None)
    return chosen


def _response(prepared: Prepared, place: Place, seed: int) -> Response:
    """The curves of one pair; of a dead lever only the coarse one without the commitment, which shows that it is."""
    if place.dose is None:
        doses, stand_ins = COARSE, []
    else:
        doses = tuple(place.dose * step for step in FINE)
        content = prepared.commitment(place.layer)
        stand_ins = [random_row(content, STAND_INS * seed + i) for i in range(STAND_INS)]
    rows = prepared.doses(place.layer, doses)
    replaced = [[Add(place.layer, prepared.last, vector), *row] for vector in stand_ins for row in rows]
    alone, *random = prepared.without_word([*rows, *replaced]).chunk(1 + len(stand_ins))
    return Response(
        margin=prepared.margin,
        worth=prepared.margin + float(prepared.lead(alone)[0]),
        committed=curve_of(prepared, doses, prepared.with_word(rows)) if stand_ins else None,
        alone=curve_of(prepared, doses, alone),
        random=tuple(curve_of(prepared, doses, logits) for logits in random),
        p_alone=tuple(alone[1:].softmax(-1)[:, prepared.words[1]].tolist()),
    )


def dose_ratio(subject: Subject) -> Measurement:
    """How many times the equal dose of a word's feature brings a committed model to 50/50, as ln, with its arms.

    0 where evidence is merely weighed. Arms: ``random commitment`` (random writes of equal length in the place of
    the commitment); positive ``lever alone`` (P(corrected word) without the commitment, at the equal dose); shams
    ``zero dose`` and ``unread place`` (the lever in the last layer, beside the reading position).
    """
    return _measured(subject, "dose_ratio", subject.once(with_features))


def row_dose_ratio(subject: Subject) -> Measurement:
    """The same with the corrected word's own row for a lever."""
    return _measured(subject, "row_dose_ratio", subject.once(with_rows))


def _measured(subject: Subject, name: str, prepared: tuple[Prepared, ...]) -> Measurement:
    start = time.perf_counter()
    places, pairs = _places(subject, prepared), tuple(p.pair for p in prepared)
    turns = enumerate(watched(prepared, "pairs"))
    found = {p.pair.id: _response(p, places[p.pair.half], seed) for seed, p in turns}
    groups = [sorted({pair.recipient.group for pair in pairs if pair.half == half}) for half in (0, 1)]
    return Measurement(
        experiment=name,
        subject=subject.digest,
        unit="ln dose ratio",
        design="pairs-of-groups",
        parameters={
            "pairs": [pair.id for pair in pairs],
            "folds": [{"discovery": groups[1 - half], "tested": groups[half]} for half in (0, 1)],
            "doses": list(FINE),
            "place": "reading position, layer in which the commitment has arrived there on the other half",
        },
        values={pair: r.committed_ratio for pair, r in found.items()},
        clusters=clusters_of(pairs),
        arms={
            "random commitment": {pair: r.random_ratio for pair, r in found.items()},
            "lever alone": {pair: r.lever_alone for pair, r in found.items()},
            **_shams(subject, prepared, places),
        },
        detectable=_telling(found),
        reach={"rows": _reach_rows(prepared, places)},
        detail={
            "places": {f"half {half}": f"L{place.layer}" for half, place in places.items()},
            "beyond the sweep": [p for p, r in found.items() if r.committed and r.committed.crossing(r.margin) is None],
            "curves": {
                pair: {
                    "margin": r.margin,
                    "doses": r.alone.doses,
                    "committed": r.committed and r.committed.moved,
                    "alone": r.alone.moved,
                }
                for pair, r in found.items()
            },
            "everywhere": _everywhere(subject, prepared, places),
        },
        seconds=time.perf_counter() - start,
    )


def _telling(found: Mapping[str, Response]) -> tuple[str, ...]:
    """The pairs with a commitment to undo and a lever that could.

    Where the lever could in fewer than half of those with a commitment, all of them: then the lever is what fails.
    """
    committed = tuple(pair for pair, response in found.items() if response.is_committed)
    able = tuple(pair for pair in committed if found[pair].committed is not None and found[pair].equal_dose is not None)
    return able if 2 * len(able) >= len(committed) else committed


def _shams(subject: Subject, pairs: Sequence[Prepared], places: Mapping[int, Place]) -> dict[str, dict[str, float]]:
    """By how much the lead moves under writes that cannot move it, in a few pairs."""
    shams: dict[str, dict[str, float]] = {"zero dose": {}, "unread place": {}}
    for prepared in pairs[:SHAMS]:
        layer = places[prepared.pair.half].layer
        unit = prepared.unit(layer)
        rows = [[Add(layer, prepared.last, 0 * unit)], [Add(subject.n_layers - 1, prepared.last - 1, unit)]]
        clean = prepared.committed.unedited(rows).last_logits.double()
        moved = prepared.lead(prepared.with_word(rows)) - prepared.lead(clean)
        shams["zero dose"][prepared.pair.id], shams["unread place"][prepared.pair.id] = moved.tolist()
    return shams


def _everywhere(
    subject: Subject, pairs: Sequence[Prepared], places: Mapping[int, Place]
) -> dict[str, dict[str, float]]:
    """P(corrected word) with and without the commitment at twice the equal dose, at every layer of two positions.

    These are the site and the reading position; means over a few pairs. They show where a commitment could be undone.
    """
    sites, seen = subject.once(find_sites), dict[str, list[tuple[float, float]]]()
    for prepared in pairs[:SHOWN]:
        place, site = places[prepared.pair.half], sites.of(prepared.pair)[1]
        write = 2 * (place.dose or 1.0) * prepared.unit(place.layer)
        spots = [(at, position) for position in (site, prepared.last) for at in range(subject.n_layers)]
        rows = [[Add(at, position, write)] for at, position in spots]
        both = (prepared.without_word(rows), prepared.with_word(rows))
        alone, committed = (logits.softmax(-1)[:, prepared.words[1]].tolist() for logits in both)
        for (at, position), *found in zip(spots, alone, committed, strict=True):
            name = f"L{at} at the {'reading position' if position == prepared.last else 'site'}"
            seen.setdefault(name, []).append((found[0], found[1]))
    return {
        name: {"alone": statistics.fmean(a for a, _ in p), "committed": statistics.fmean(c for _, c in p)}
        for name, p in seen.items()
    }


def _reach_rows(pairs: Sequence[Prepared], places: Mapping[int, Place]) -> list[dict[str, object]]:
    """Whether the lever reaches the last logits from where each half is tested."""
    rows = []
    for half, place in places.items():
        prepared = next(p for p in pairs if p.pair.half == half)
        write = [Add(place.layer, prepared.last, prepared.unit(place.layer))]
        rows.append(reach_row(prepared.committed, write, Logits(prepared.last)))
    return rows
