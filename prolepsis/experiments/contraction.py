"""Is there an attractor? Whether contrastive deviations shrink, and whether their dose curve has an edge (§4, §6).

A stream that carries a deviation unchanged keeps its length, whatever else is added, so its length needs no norm to be
compared with: passive dilution has no part in it, and it stays defined where a constant channel hides every cosine.
"""

import time
from itertools import islice

import numpy as np

from prolepsis.edits import Add
from prolepsis.experiments.absorption import STRENGTHS, dosed
from prolepsis.experiments.convergence import (
    ARMS,
    WITHIN,
    Convergence,
    contrast_of,
    converge,
    filled,
    last_rows,
    measurement_of,
    shrunk,
)
from prolepsis.experiments.rhyme_pairs import Pair
from prolepsis.judging.kinks import kink_gain
from prolepsis.measurement import Measurement
from prolepsis.running.hooks import Read
from prolepsis.subject import Subject
from prolepsis.watching import watched

SHAMS = 4
"""In how many pairs it is tried whether what cannot move does not."""


def contraction(subject: Subject) -> Measurement:
    """How far the contrast written at strength 1 has shrunk two layers on, in e-foldings, with its control arms.

    The layer is the one where it shrinks most in the other half. A deviation carried unchanged gives 0: passive
    dilution has no part in it. Arms: ``random direction`` and ``covariance-matched noise`` of equal norm; positive
    ``absorber set in`` (at the next layer nine tenths of the deviation are taken back by hand); shams ``zero
    strength`` and ``earlier tokens`` (which cannot see the last one).
    """
    start = time.perf_counter()
    found = subject.once(converge)
    values: dict[str, float] = {}
    arms: dict[str, dict[str, float]] = {arm: {} for arm in (*ARMS[1:], "absorber set in")}
    shams: dict[str, dict[str, float]] = {"zero strength": {}, "earlier tokens": {}}
    for pair, layer in found.tested(found.most_contracting):
        values[pair.id] = found.contraction(pair, layer)
        for arm in ARMS[1:]:
            arms[arm][pair.id] = found.contraction(pair, layer, arm)
        arms["absorber set in"][pair.id] = _set_in(found, pair, layer)
    for pair, layer in islice(found.tested(found.most_contracting), SHAMS):
        for name, moved in _shams(found, pair, layer).items():
            shams[name][pair.id] = moved
    return measurement_of(
        found,
        "contraction",
        "e-foldings",
        filled(found, values),
        {name: filled(found, arm) for name, arm in (arms | shams).items()},
        start=start,
        detectable=tuple(values),
        parameters={"strength": 1, "layers on": WITHIN, "layer": "most contracting one of the other half"},
        detail={
            "layers": {f"half {half}": layer for half, layer in found.most_contracting.items()},
            "lengths": {pair.id: dict(found.returns[pair.id].lengths["contrast"]) for pair in found.pairs},
        },
    )


def _set_in(found: Convergence, pair: Pair, layer: int) -> float:
    """Contraction where nine tenths of the deviation are taken back by hand at the next layer."""
    clean, v, at = found.runs.clean(pair.recipient), contrast_of(found.runs, pair, layer), found.read_at(layer)
    last = len(clean.tokens) - 1
    absorber = Add(layer + 1, last, -0.9 * found.returns[pair.id].after[layer])
    helped = last_rows(clean, [[Add(layer, last, v), absorber], []])[at]
    return shrunk(float((helped[0] - helped[1]).norm() / v.norm()))


def _shams(found: Convergence, pair: Pair, layer: int) -> dict[str, float]:
    """How far rows move that cannot: under a write of strength 0, and at tokens that do not see the last one."""
    clean, at = found.runs.clean(pair.recipient), found.read_at(layer)
    v, last = contrast_of(found.runs, pair, layer), len(clean.tokens) - 1
    rows, read = [[Add(layer, last, v)], [Add(layer, last, 0 * v)]], Read(logits=(), resid_post=(at,))
    moved = (clean.edit(rows, read).resid_post[at] - clean.unedited(rows, read).resid_post[at]).norm(dim=-1)  # [2, T]
    return {"earlier tokens": float(moved[0, :-1].max()), "zero strength": float(moved[1].max())}


def kinked_dose_curve(subject: Subject) -> Measurement:
    """How much better a kinked line predicts left-out doses than a straight one, with its control arms.

    The curve is the length of the deviation two layers on over strength, from 0 to 6 contrastive distances, at the
    layer where deviations shrink most in the other half. Arms: ``smooth curve`` (what a parabola gains on the same
    curve) and ``random direction``.
    """
    start = time.perf_counter()
    found = subject.once(converge)
    tested = list(found.tested(found.most_contracting))
    curves: dict[str, list[list[float]]] = {"contrast": [], "random direction": []}
    for pair, layer in watched(tested, "pairs"):
        clean, written, at = found.runs.clean(pair.recipient), found.deviations(pair, layer), found.read_at(layer)
        rows = [row for arm in curves for row in dosed(clean, layer, written[arm])]
        edited = last_rows(clean, [*rows, []])[at]  # [arms · strengths + 1, d]
        lengths = ((edited[:-1] - edited[-1]).norm(dim=-1) / written["contrast"].norm()).view(len(curves), -1)
        for seen, curve in zip(curves.values(), lengths.tolist(), strict=True):
            seen.append([0.0, *curve])
    columns: dict[str, dict[str, float]] = {"value": {}, "smooth curve": {}, "random direction": {}}
    if tested:
        gains = {arm: kink_gain((0.0, *STRENGTHS), np.array(seen)) for arm, seen in curves.items()}
        for index, (pair, _) in enumerate(tested):
            columns["value"][pair.id] = float(gains["contrast"][0][index])
            columns["smooth curve"][pair.id] = float(gains["contrast"][1][index])
            columns["random direction"][pair.id] = float(gains["random direction"][0][index])
    values = columns.pop("value")
    return measurement_of(
        found,
        "kinked_dose_curve",
        "ln error ratio",
        filled(found, values),
        {name: filled(found, arm) for name, arm in columns.items()},
        start=start,
        detectable=tuple(values),
        parameters={"strengths": list(STRENGTHS), "layer": "most contracting one of the other half"},
        detail={"curves": {pair.id: curve for (pair, _), curve in zip(tested, curves["contrast"], strict=True)}},
    )
