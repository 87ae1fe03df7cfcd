"""Figures by layer or depth: block gradients, the depth ladder, layer skipping, the logit lens, a fact's place."""

from collections.abc import Mapping, Sequence
from typing import Any

from prolepsis.report.figures.chart import Bounds, Series, bars, curves, figure
from prolepsis.report.figures.kind import Kind, Measurement


def draw_attention_gradient(subject: str, measurement: Measurement) -> str:
    """Attention moved by a patch of each block, in total and per layer that the patch can reach."""
    detail = measurement["detail"]
    total, each = detail["total shift by block"], detail["total shift per layer above"]
    above = detail["layers above"]
    names = [f"block {i + 1}, {n} above" for i, n in enumerate(above)]
    per_layer = [value if n else None for value, n in zip(each, above, strict=True)]
    said = "; ".join(f"{name}: {value:.2g}" for name, value in zip(names, total, strict=True))
    return figure(
        f"Attention moved by a patch of each block: {subject}",
        f"Mean total |Δattention|, and per layer above the block, which alone can move. Total: {said}.",
        bars(names, [Series("", total)], x_label="total |Δattention|"),
        bars(names, [Series("", per_layer)], x_label="|Δattention| per layer that can move"),
    )


def draw_change_gradient(subject: str, measurement: Measurement) -> str:
    """Share of predictions changed by patching fact tokens, by block, and of the tokens beside them."""
    detail = measurement["detail"]
    rates: Sequence[float] = detail["fact tokens changed, by block"]
    beside = detail["template tokens changed, the last left out"]
    names = [
        *(f"fact tokens, {block}" for block in measurement["parameters"]["blocks"]),
        "template tokens",
        "last token",
    ]
    values = [*rates, beside, detail["last token changed"]]
    said = "; ".join(f"{name} {value:.0%}" for name, value in zip(names, values, strict=True))
    return figure(
        f"Predictions changed by a patch of each block: {subject}",
        f"Share of predictions that change: {said}.",
        bars(names, [Series("", values)], x_label="share of predictions changed"),
    )


def draw_depth_ladder(subject: str, measurement: Measurement) -> str:
    """Rhymes and facts by depth, beside what the receptive field lets through."""
    rungs: Sequence[tuple[str, Mapping[str, float]]] = sorted(
        measurement["detail"]["rungs"].items(), key=lambda rung: (rung[1]["width"], rung[1]["depth"], rung[0])
    )
    names = [f"{rung['depth']} layers, width {rung['width']}" for _, rung in rungs]
    kinds = {"predicted by the wiring": "predicted", "rhymes": "rhymes", "facts": "facts"}
    series = [Series(name, [rung[of] for _, rung in rungs]) for name, of in kinds.items()]
    said = "; ".join(f"{name}: {rung['rhymes']:.0%}" for name, (_, rung) in zip(names, rungs, strict=True))
    return figure(
        f"Depth ladder: {subject}",
        f"Share right by depth. Rhymes: {said}.",
        bars(names, series, x_label="share of prompts"),
    )


def draw_skipped_losses(subject: str, measurement: Measurement) -> str:
    """What leaving out each block costs the rhyme, with 95 % intervals over groups, and every other token."""
    detail = measurement["detail"]
    names = list(detail["rhyme"])
    spans = [_span(detail["rhyme, interval"][name]) for name in names]
    most = max(names, key=lambda name: detail["rhyme"][name])
    return figure(
        f"Layers left out: {subject}",
        f"Loss of the answer's log-odds by block; most without {most}: {detail['rhyme'][most]:.2g} nats.",
        bars(names, [Series("", list(detail["rhyme"].values()), spans)], x_label="loss of the answer (nats)"),
        bars(names, [Series("", list(detail["rest"].values()))], x_label="loss per other token (nats)"),
    )


def draw_skipped_rhymes(subject: str, measurement: Measurement) -> str:
    """How many couplets rhyme with all layers and without a block, with exact 95 % intervals."""
    rates: Mapping[str, Mapping[str, Any]] = measurement["detail"]["couplets that rhyme"]
    names = ["all layers" if name == "none" else f"without {name}" for name in rates]
    shares = [of["true rhymes"] / of["couplets"] for of in rates.values()]
    spans = [_span(of["interval"]) for of in rates.values()]
    said = "; ".join(
        f"{name}: {of['true rhymes']} of {of['couplets']}" for name, of in zip(names, rates.values(), strict=True)
    )
    return figure(
        f"Rhymes without layers: {subject}",
        f"Couplets that truly rhyme. {said}.",
        bars(names, [Series("", shares, spans)], x_label="share of couplets that rhyme"),
    )


def draw_logit_lens(subject: str, measurement: Measurement) -> str:
    """Lead of rhyme words by the lens, layer by layer, beside another line 1 and another position."""
    detail = measurement["detail"]
    kinds = {"after line 1": "rhymes", "after another line 1": "another_line", "mid-line": "mid_line"}
    series = [Series(name, detail[of]) for name, of in kinds.items()]
    said = "; ".join(f"{one.name} {one.values[0]:.2g} to {one.values[-1]:.2g}" for one in series)
    return figure(
        f"Logit lens: {subject}",
        f"Mean lead in nats of words that rhyme with line 1, from the first layer to the last: {said}.",
        curves(
            series, y_label="lead of rhymes by the lens (nats)", x_label="layer", x_names=_layers(len(series[0].values))
        ),
    )


def draw_fact(subject: str, measurement: Measurement) -> str:
    """Interchange effects of the fact's subject and of the last token, layer by layer."""
    found = measurement["detail"]["answer recalled"]
    kinds = {"subject's rows": "subject's rows, nats", "last token's row": "last token's row, nats"}
    series = [Series(name, list(found[of].values())) for name, of in kinds.items()]
    said = "; ".join(f"{one.name} {one.values[0]:.2g} to {one.values[-1]:.2g}" for one in series)
    return figure(
        f"Where is the fact? {subject}",
        f"Mean interchange effect in nats from the first layer to the last: {said}.",
        curves(series, y_label="interchange effect (nats)", x_label="layer", x_names=_layers(len(series[0].values))),
    )


def _span(interval: Sequence[float | None]) -> Bounds:
    low, high = interval
    return None if low is None or high is None else (low, high)


def _layers(n: int) -> list[str]:
    return [str(layer) for layer in range(n)]


ATTENTION_GRADIENT = Kind(
    "block gradient of attention",
    ("total shift by block", "layers above", "total shift per layer above"),
    draw_attention_gradient,
)
CHANGE_GRADIENT = Kind(
    "block gradient of predictions",
    ("fact tokens changed, by block",),
    draw_change_gradient,
    beside=("template tokens changed, the last left out", "last token changed"),
    parameters=("blocks",),
)
DEPTH_LADDER = Kind("depth ladder", ("rungs",), draw_depth_ladder)
SKIPPED_LOSSES = Kind("layer skipping", ("rhyme", "rest", "rhyme, interval"), draw_skipped_losses)
SKIPPED_RHYMES = Kind("rhymes without layers", ("couplets that rhyme",), draw_skipped_rhymes)
LOGIT_LENS = Kind("logit lens", ("rhymes", "another_line", "mid_line"), draw_logit_lens)
FACT = Kind("fact by layer", ("answer recalled",), draw_fact)
