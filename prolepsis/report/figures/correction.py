"""Corrections: what later evidence does to a commitment, and what the same evidence does alone."""

from collections.abc import Mapping, Sequence
from math import exp
from statistics import fmean
from typing import Any

from prolepsis.report.figures.chart import Series, curves, figure
from prolepsis.report.figures.kind import Kind, Measurement


def draw_sweep(subject: str, measurement: Measurement) -> str:
    """P of the committed and of the correct word by the strength of the correction, with the commitment and without."""
    outcomes: Sequence[Mapping[str, Any]] = list(measurement["detail"]["outcomes"].values())
    steps = measurement["parameters"]["steps"]

    def mean(of: str) -> list[float | None]:
        return [fmean(outcome[of][i] for outcome in outcomes) for i in range(len(steps))]

    def probability(of: str) -> list[float | None]:
        return [fmean(1 / (1 + exp(-outcome[of][i])) for outcome in outcomes) for i in range(len(steps))]

    return _figure(
        f"Correction sweep: {subject}",
        [
            Series("committed word", probability("committed")),
            Series("correct word", mean("correct")),
            Series("correct word, correction alone", mean("correct_without")),
        ],
        [f"{step:g}" for step in steps],
        f"Means over {len(outcomes)} pairs.",
    )


def draw_published(subject: str, measurement: Measurement) -> str:
    """The same on the paper's prompt."""
    committed, alone = (measurement["detail"][f"{word} the commitment"] for word in ("with", "without"))
    return _figure(
        f"Published correction sweep: {subject}",
        [
            Series("committed word", [step["committed"] for step in committed]),
            Series("correct word", [step["correct"] for step in committed]),
            Series("correct word, correction alone", [step["correct"] for step in alone]),
        ],
        [f"{strength:g}" for strength in measurement["parameters"]["strengths"]],
        "The paper's prompt.",
    )


def _figure(title: str, series: Sequence[Series], steps: Sequence[str], words: str) -> str:
    ends = "; ".join(f"{one.name} {one.values[0]:.2g} to {one.values[-1]:.2g}" for one in series)
    plot = curves(series, y_label="probability", x_label="strength of the correction", x_names=steps)
    return figure(title, f"From no correction to the strongest: {ends}. {words}", plot)


def draw_doses(subject: str, measurement: Measurement) -> str:
    """How far a dose of evidence moves the lead with the commitment and without; the place is where it has arrived."""
    curves_of: Sequence[Mapping[str, Any]] = list(measurement["detail"]["curves"].values())
    steps = measurement["parameters"]["doses"]
    # Where the evidence alone can do it, doses are multiples of the one that does, which pairs need not share.
    able = [one for one in curves_of if len(one["doses"]) == len(steps)]
    every, doses = (able, steps) if able else (curves_of, curves_of[0]["doses"])

    def mean(of: str) -> list[float | None]:
        known = [one[of] for one in every if one[of]]
        return [fmean(column) for column in zip(*known, strict=True)] if known else [None] * len(doses)

    series = [Series("with the commitment", mean("committed")), Series("evidence alone", mean("alone"))]
    margin = fmean(one["margin"] for one in every)
    return figure(
        f"Dose of evidence: {subject}",
        f"Mean nats by which a dose moves the corrected word's lead, over {len(every)} of {len(curves_of)} pairs; "
        f"{margin:.2g} nats have to be made up.",
        curves(
            [*series, Series("to be made up", [margin] * len(doses))],
            y_label="moved (nats)",
            x_label="dose, in multiples of the equal dose" if able else "dose (typical activations)",
            x_names=[f"{dose:.2g}" for dose in doses],
        ),
    )


SWEEP = Kind("correction sweep", ("outcomes",), draw_sweep, parameters=("steps",))
PUBLISHED_SWEEP = Kind(
    "published correction sweep",
    ("with the commitment", "without the commitment"),
    draw_published,
    parameters=("strengths",),
)
DOSES = Kind("dose of evidence", ("curves", "everywhere"), draw_doses, parameters=("doses",))
