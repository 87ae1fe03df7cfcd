"""The published share of layers that absorb an edit, and the strength from which none does (section 4, section 6)."""

import time

import torch

from prolepsis.edits import Add, Row
from prolepsis.engine import CleanRun
from prolepsis.experiments.convergence import (
    ABSORBED,
    ARMS,
    WITHIN,
    absorbed,
    converge,
    cosines_of,
    filled,
    last_rows,
    measurement_of,
)
from prolepsis.measurement import Measurement
from prolepsis.subject import Subject

Tensor = torch.Tensor

STEP = 0.5
STRENGTHS = tuple(STEP * step for step in range(1, 13))
"""The published strengths, in contrastive distances."""


def quick_absorption(subject: Subject) -> Measurement:
    """Share of layers, the last one counted, where the contrast is absorbed within two layers, with its control arms.

    Arms: ``right after the edit`` (the same cosine before any layer has run), ``passive dilution`` (the deviation
    carried unchanged), ``random direction`` and ``covariance-matched noise`` of equal norm.
    """
    return _absorption(subject, "quick_absorption", WITHIN)


def absorption(subject: Subject) -> Measurement:
    """The same at any later layer, as the published shares were counted."""
    return _absorption(subject, "absorption", None)


def _absorption(subject: Subject, name: str, within: int | None) -> Measurement:
    start = time.perf_counter()
    found = subject.once(converge)
    arms = {"right after the edit": {pair.id: found.returns[pair.id].at_once() for pair in found.pairs}}
    for arm in (*ARMS[1:], "passive dilution"):
        arms[arm] = {pair.id: found.returns[pair.id].absorbed(arm, within) for pair in found.pairs}
    return measurement_of(
        found,
        name,
        "share of layers",
        {pair.id: found.returns[pair.id].absorbed("contrast", within) for pair in found.pairs},
        arms,
        start=start,
        detectable=tuple(pair.id for pair in found.pairs if found.returns[pair.id].layers),
        parameters={"threshold": ABSORBED, "layers on": "any" if within is None else within},
        detail={"cosines": {pair.id: dict(found.returns[pair.id].cosines["contrast"]) for pair in found.pairs}},
    )


def critical_strength(subject: Subject) -> Measurement:
    """The published critical strength, up to which the contrast is absorbed, with its control arms.

    It is written at the deepest layer that absorbs in most pairs of the other half. The value is halfway between two
    steps, of which the upper one is the first not absorbed, or one more than the largest where all are. Arms:
    ``passive dilution`` (the same where the contrast is carried unchanged), ``random direction`` and
    ``covariance-matched noise`` of equal norm, at the same layer.
    """
    start = time.perf_counter()
    found = subject.once(converge)
    values: dict[str, dict[str, float]] = {arm: {} for arm in (*ARMS, "passive dilution")}
    for pair, layer in found.tested(found.deepest_absorbing):
        clean, deviations = found.runs.clean(pair.recipient), found.deviations(pair, layer)
        rows = [row for vector in deviations.values() for row in dosed(clean, layer, vector)]
        edited = last_rows(clean, [*rows, []])[layer:]
        base, doses = edited[:, -1], edited[:, :-1].reshape(len(edited), len(deviations), len(STRENGTHS), -1)
        for arm, row in zip(deviations, doses.unbind(1), strict=True):
            values[arm][pair.id] = _critical(row, base)
        shifted = torch.stack([base + s * deviations["contrast"] for s in STRENGTHS], dim=1)  # [o, strengths, d]
        values["passive dilution"][pair.id] = _critical(shifted, base)
    return measurement_of(
        found,
        "critical_strength",
        "contrastive distances",
        filled(found, values["contrast"]),
        {arm: filled(found, values[arm]) for arm in ("passive dilution", *ARMS[1:])},
        start=start,
        detectable=tuple(values["contrast"]),
        parameters={"strengths": list(STRENGTHS), "layer": "deepest absorbing one of the other half"},
        detail={"layers": {f"half {half}": layer for half, layer in found.deepest_absorbing.items()}},
    )


def dosed(clean: CleanRun, layer: int, vector: Tensor) -> list[Row]:
    """One row per published strength of ``vector`` [d], written at the last token of ``layer``."""
    return [[Add(layer, len(clean.tokens) - 1, s * vector)] for s in STRENGTHS]


def _critical(edited: Tensor, clean: Tensor) -> float:
    """Half a step below the least strength whose row [o, strengths, d] no later layer brings back to clean [o, d]."""
    for index, strength in enumerate(STRENGTHS):
        if not absorbed(cosines_of(edited[:, index], clean)):
            return strength - STEP / 2
    return STRENGTHS[-1] + STEP / 2
