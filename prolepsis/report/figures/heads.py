"""Heads: how far each one's attention moves, beside what it causes; and what parts of the edit move together."""

from statistics import fmean

from prolepsis.report.figures.chart import Series, bars, figure
from prolepsis.report.figures.kind import Kind, Measurement

SHOWN = 8


def draw_top_heads(subject: str, measurement: Measurement) -> str:
    """|Δattention| to the site beside the share of the redirect that is lost with the head's clean output."""
    detail = measurement["detail"]
    moved, lost = detail["mean |Δattention|"], detail["lost by each head"]
    carriers = {head for half in detail["carriers"].values() for head in half}
    ranked = sorted(moved, key=lambda head: (-moved[head], head))
    shown = list(dict.fromkeys([*ranked[:SHOWN], *sorted(carriers & set(moved))]))
    names = [f"{head}{' carrier' if head in carriers else ''}" for head in shown]
    first = (
        f"{ranked[0]} moves most ({moved[ranked[0]]:.2g}) and carries {lost.get(ranked[0], 0.0):.0%} of the redirect"
    )
    most = max(lost, key=lambda head: lost[head])
    words = f"Heads by mean |Δattention| to the site. {first}; {most} carries most, {lost[most]:.0%}."
    return figure(
        f"Top heads: {subject}",
        words,
        bars(names, [Series("", [moved[head] for head in shown])], x_label="mean |Δattention| to the site"),
        bars(names, [Series("", [lost.get(head) for head in shown])], x_label="share of the redirect lost without it"),
    )


ARMS = {"neither": "clean", "suppress": "suppress", "inject": "inject", "both": "both", "random write": "random 0"}


def draw_parts(subject: str, measurement: Measurement) -> str:
    """The truth table of the edit: neither part, each alone and both, by what is predicted and where heads look."""
    detail = measurement["detail"]
    odds = {
        name: fmean(of[arm] for of in detail["log-odds of the injected word"].values()) for name, arm in ARMS.items()
    }
    totals = detail["total |Δattention| by arm"]
    moved = {name: totals.get(arm, 0.0) for name, arm in ARMS.items()}
    said = "; ".join(f"{name} {odds[name]:.2g} nats, attention moved {moved[name]:.2g}" for name in ARMS)
    return figure(
        f"Suppression and injection, apart and together: {subject}",
        f"Truth table of the edit's two parts: {said}.",
        bars(list(ARMS), [Series("", list(odds.values()))], x_label="log-odds of the injected word (nats)"),
        bars(list(ARMS), [Series("", list(moved.values()))], x_label="total |Δattention|"),
    )


TOP_HEADS = Kind("top heads", ("mean |Δattention|", "lost by each head"), draw_top_heads, beside=("carriers",))
PARTS = Kind("truth table of the edit", ("total |Δattention| by arm", "log-odds of the injected word"), draw_parts)
