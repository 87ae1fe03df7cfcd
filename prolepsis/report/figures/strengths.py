"""Strength sweeps: what an edit gives as it is made stronger, and what it costs."""

from collections.abc import Mapping
from typing import Any

from prolepsis.report.figures.chart import Series, curves, figure
from prolepsis.report.figures.kind import Kind, Measurement

MOST = 5
"""Methods in one figure: as many as there are colours."""


def draw_doses(subject: str, measurement: Measurement) -> str:
    """Gain by dose of each method, in its variant of largest gain, and its cost off target."""
    methods: Mapping[str, Mapping[str, Any]] = measurement["detail"]["by dose"]
    best = {name: max(of.values(), key=lambda curve: max(curve["gain"])) for name, of in list(methods.items())[:MOST]}
    doses = measurement["parameters"]["doses"]
    axes: Mapping[str, Any] = {"x_label": "dose", "x_names": ["none", *(f"{dose:g}" for dose in doses)]}
    gains = [Series(name, curve["gain"]) for name, curve in best.items()]
    costs = [Series(name, curve["cost"]) for name, curve in best.items()]
    said = "; ".join(f"{name}: at most {max(curve['gain']):.2g} nats" for name, curve in best.items())
    return figure(
        f"Strength sweep: {subject}",
        f"Mean gain of the target's log-odds by dose, and the KL off target that it costs. {said}.",
        curves(gains, y_label="gain of the target (nats)", **axes),
        curves(costs, y_label="off-target KL (nats)", legend=False, **axes),
    )


def draw_methods(subject: str, measurement: Measurement) -> str:
    """Gain of the target by strength, of the methods that steer at the last token."""
    found = {name: of["gains"] for name, of in measurement["detail"]["methods"].items() if len(of["gains"]) > 1}
    shown = sorted(found, key=lambda name: -max(found[name]))[:MOST]
    strengths = measurement["parameters"]["strengths"]
    said = "; ".join(f"{name}: at most {max(found[name]):.2g}" for name in shown)
    return figure(
        f"Steering methods by strength: {subject}",
        f"Mean gain of the target's log-odds in nats: the {len(shown)} methods of {len(found)} that gain most. {said}.",
        curves(
            [Series(name, found[name]) for name in shown],
            y_label="gain of the target (nats)",
            x_label="strength",
            x_names=[f"{strength:g}" for strength in strengths],
        ),
    )


def draw_attention(subject: str, measurement: Measurement) -> str:
    """Total |Δattention| by strength, as a multiple of the main one, beside random writes of equal norm."""
    sweep = measurement["detail"]["total |Δattention| by strength"]
    multiples = measurement["detail"]["strengths"]
    straight = [sweep[0] / multiples[0] * multiple for multiple in multiples]
    series = [Series("suppress + inject", sweep), Series("in proportion to the first", straight)]
    return figure(
        f"Attention moved by strength: {subject}",
        f"Mean total |Δattention| over all heads: {sweep[0]:.2g} at {multiples[0]:.2g} times the main strength, "
        f"{sweep[-1]:.2g} at {multiples[-1]:.2g} times.",
        curves(series, y_label="total |Δattention|", x_label="multiple of the main strength", x_values=multiples),
    )


DOSES = Kind("strength sweep", ("by dose",), draw_doses, parameters=("doses",))
METHODS = Kind("steering methods", ("methods",), draw_methods, parameters=("strengths",))
ATTENTION = Kind("attention by strength", ("total |Δattention| by strength", "strengths"), draw_attention)
