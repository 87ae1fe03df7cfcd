"""What the paper says of its routing heads: how much they move, whether they carry, where they lie, what moves them."""

import math
import statistics
import time
from collections.abc import Callable, Mapping

from prolepsis.controls import control_arms
from prolepsis.experiments.head_routing import (
    DETECTABLE,
    LISTED,
    RANDOM,
    STRENGTHS,
    Changes,
    Routed,
    Routing,
    lost_by_head,
    routing,
)
from prolepsis.experiments.prompt_bootstrap import bootstrap_over_prompts
from prolepsis.measurement import Measurement
from prolepsis.names import Head
from prolepsis.reachability.selection import Pattern, Support, supports
from prolepsis.shams import reach_row
from prolepsis.subject import Subject

Values = Mapping[str, float]
Asked = tuple[str, tuple[Support, ...], Pattern]
"""Template, edited places and readout."""

LAST_PART = 0.35
"""The part of the network the paper's top heads lie in."""
PROPORTIONAL = 0.75
"""Δattention at strength 15 over that at 20 where it grows in proportion to strength."""


def top_head_change(subject: Subject) -> Measurement:
    """|Δattention| of the top head, which is chosen on the other half, with its control arms.

    Arms: ``matched random`` (with a top head of its own), ``untrained twin``. ``detail`` has the injected word's
    log-odds under the very same edit, all heads' mean Δattention, the sweep of strengths, and a bootstrap over prompts.
    """
    found = subject.once(routing)
    bootstrap = {"bootstrap over prompts": bootstrap_over_prompts([one.changes["both"] for one in found.routed])}
    arms = {
        "matched random": {one.pair.id: statistics.fmean(found.top(one, arm) for arm in RANDOM) for one in found.routed}
    }
    return routed_measurement(
        subject, "top_head_change", top_changes, unit="attention", arms=arms, detail=_detail(found) | bootstrap
    )


def top_changes(subject: Subject) -> Values:
    """Pair id → |Δattention| of the top head."""
    found = subject.once(routing)
    return {one.pair.id: found.top(one) for one in found.routed}


def top_head_share(subject: Subject) -> Measurement:
    """Share of the paper's own redirect that is lost with the top head's clean output, with its control arms.

    Only pairs that the edit redirects count. Arms: ``strongest other head`` (the same for the one, of all others that
    the edit reaches, of which most is lost on the other half), ``untrained twin``.
    """
    found = subject.once(routing)
    others = {half: _strongest_other(subject, half) for half in (0, 1)}
    return routed_measurement(
        subject,
        "top_head_share",
        top_shares,
        unit="share",
        arms={
            "strongest other head": {one.pair.id: _share(subject, one, others[one.pair.half]) for one in found.routed}
        },
        detectable=found.detectable(),
        detail=_detail(found) | {"strongest other head": {f"half {half}": str(head) for half, head in others.items()}},
    )


def top_shares(subject: Subject) -> Values:
    """Pair id → share of the redirect (of 1 nat where there is less) lost with the top head's clean output."""
    found = subject.once(routing)
    return {one.pair.id: _share(subject, one, found.top_head(one)) for one in found.routed}


def _share(subject: Subject, one: Routed, head: Head | None) -> float:
    """Share of a pair's redirect lost with the clean output of ``head``; 0 where the edit does not reach it."""
    lost = subject.once(lost_by_head)[one.pair.id]
    return (lost.get(head, 0.0) if head else 0.0) / max(one.redirect, DETECTABLE)


def _strongest_other(subject: Subject, half: int) -> Head | None:
    """The head besides the top one with which most is lost of what the other half's pairs redirect, None without any.

    The mean of all others would be near 0 in a model of many heads, however many of them lose as much as the top one.
    """
    found, lost = subject.once(routing), subject.once(lost_by_head)
    others = [one for one in found.routed if one.pair.half != half]
    redirected = [one for one in others if one.redirect > DETECTABLE] or others
    heads = {head for one in others for head in lost[one.pair.id]} - {found.tops[half, "both"]}
    return max(
        sorted(heads, key=lambda head: (head.layer, head.index)),
        key=lambda head: statistics.fmean(_share(subject, one, head) for one in redirected),
        default=None,
    )


def late_heads(subject: Subject) -> Measurement:
    """Share of each pair's top heads by |Δattention| that lie in the last 35 % of the layers, with its control arms.

    Arms: ``reached heads`` (of all heads that the edit reaches, the share that lies there), ``matched random`` (the top
    heads of that edit), ``untrained twin``.
    """
    found = subject.once(routing)
    arms = {
        "reached heads": {
            one.pair.id: late_share(subject, dict.fromkeys(one.main.heads, 1.0), everything=True)
            for one in found.routed
        },
        "matched random": {
            one.pair.id: statistics.fmean(late_share(subject, one.changes[arm]) for arm in RANDOM)
            for one in found.routed
        },
    }
    return routed_measurement(
        subject, "late_heads", late_shares, unit="proportion", arms=arms, reach=_late_rows(subject, found)
    )


def late_shares(subject: Subject) -> Values:
    """Pair id → share of its top heads that lie late."""
    return {one.pair.id: late_share(subject, one.changes["both"]) for one in subject.once(routing).routed}


def amplification(subject: Subject) -> Measurement:
    """By how much suppression raises the total |Δattention| of an injection, as a log ratio, with its control arms.

    Only pairs that the edit redirects count, and whose suppression and injection can each be read at all.
    Arms: ``suppress only`` (the total of suppression by itself over that of the injection), ``random suppress`` (a
    matched random write in the suppression's place), ``reached layers`` (the ratio of how many layers the two edits
    reach at all), ``untrained twin``.
    """
    found = subject.once(routing)
    arms = {
        "suppress only": {one.pair.id: _log_ratio(one, "suppress") for one in found.routed},
        "random suppress": {one.pair.id: _log_ratio(one, "random suppress") for one in found.routed},
        "reached layers": {
            one.pair.id: math.log(max(one.reached["both"], 1) / max(one.reached["inject"], 1)) for one in found.routed
        },
    }
    able = tuple(one.pair.id for one in found.combined() if one.redirect > DETECTABLE)
    return routed_measurement(subject, "amplification", amplifications, unit="nats", arms=arms, detectable=able)


def amplifications(subject: Subject) -> Values:
    """Pair id → log of the total |Δattention| of suppress + inject over inject alone, where each can be read."""
    return {one.pair.id: _log_ratio(one, "both") for one in subject.once(routing).combined()}


def saturation(subject: Subject) -> Measurement:
    """The top head's |Δattention| at strength 15 over that at 20: 0.75 in proportion, 1 when saturated; with its arms.

    Arms: ``proportional`` (0.75), ``matched random`` (with a top head of its own), ``untrained twin``.
    """
    found = subject.once(routing)
    arms = {
        "proportional": {one.pair.id: PROPORTIONAL for one in found.routed},
        "matched random": {
            one.pair.id: statistics.fmean(_level(found, one, arm) for arm in RANDOM) for one in found.routed
        },
    }
    able = tuple(
        one.pair.id
        for one in found.routed
        if one.redirect > DETECTABLE and abs(one.changes["both ×2"].get(found.top_head(one), 0.0)) > one.still
    )
    return routed_measurement(
        subject, "saturation", saturations, unit="ratio", arms=arms, detectable=able, detail=_detail(found)
    )


def saturations(subject: Subject) -> Values:
    """Pair id → |Δattention| of the top head at 1.5 times the main strength over that at twice, at most 1."""
    found = subject.once(routing)
    return {one.pair.id: _level(found, one, "both") for one in found.routed}


def _level(found: Routing, one: Routed, arm: str) -> float:
    head = found.top_head(one, arm)
    below, above = (abs(one.changes[f"{arm} ×{k}"].get(head, 0.0)) for k in ("1.5", "2"))
    return min(below / above, 1.0) if above > one.still else PROPORTIONAL


def _log_ratio(one: Routed, arm: str) -> float:
    """The arm's total over that of the injection; totals that do not rise above noise count as noise."""
    return math.log((one.total(arm) + one.still) / (one.total("inject") + one.still))


def is_late(subject: Subject, layer: int) -> bool:
    """Whether a layer is in the last 35 % of the layers."""
    return layer >= subject.n_layers - max(1, round(LAST_PART * subject.n_layers))


def late_share(subject: Subject, changes: Changes, *, everything: bool = False) -> float:
    """Share of the top heads (of all of them with ``everything``) that lie late; 0 where no head is reached."""
    n = len(changes) if everything else max(1, round(LISTED * subject.n_layers * subject.n_heads))
    top = sorted(changes, key=lambda head: -abs(changes[head]))[:n]
    return statistics.fmean(is_late(subject, head.layer) for head in top) if top else 0.0


def _late_rows(subject: Subject, found: Routing) -> list[dict[str, object]]:
    """Per pair and layer, whether the edit reaches that layer's attention to the site; late layers are claimed."""
    known: dict[Asked, dict[str, object]] = {}
    rows = []
    for one in found.routed:
        for layer in range(subject.n_layers):
            key, readout = _asked(one, layer)
            if key not in known:
                known[key] = reach_row(one.main.clean, one.main.edit, readout, claimed=is_late(subject, layer))
            rows.append({**known[key], "item": one.pair.id})
    return rows


def routed_rows(subject: Subject) -> list[dict[str, object]]:
    """Per template and edit, whether it reaches the last layer's attention to the site: then it reaches some."""
    rows: dict[Asked, dict[str, object]] = {}
    for one in subject.once(routing).routed:
        key, readout = _asked(one, subject.n_layers - 1)
        if key not in rows:
            rows[key] = reach_row(one.main.clean, one.main.edit, readout)
    return list(rows.values())


def _asked(one: Routed, layer: int) -> tuple[Asked, Pattern]:
    """All that the reach of a pair's edit to a layer's attention to the site depends on, and that attention.

    The site is chosen by half, and what is written by pair: pairs of one template need not have either in common.
    """
    readout = Pattern(Head(layer, 0), one.main.last, one.site)
    return (one.pair.recipient.template.id, supports(one.main.edit), readout), readout


def _detail(found: Routing) -> dict[str, object]:
    """What a reader wants to see besides."""
    heads: dict[str, list[float]] = {}
    for one in found.routed:
        for head, change in one.changes["both"].items():
            heads.setdefault(str(head), []).append(change)
    sweep = [f"both ×{k:.3g}" for k in STRENGTHS]
    return {
        "main strength": {f"half {half}": dose for half, dose in found.doses.items()},
        "top head": {f"half {half}": str(found.tops[half, "both"]) for half in (0, 1)},
        "Δattention by head": {head: statistics.fmean(each) for head, each in heads.items()},
        "strengths": list(STRENGTHS),
        "total |Δattention| by strength": [statistics.fmean(one.total(arm) for one in found.routed) for arm in sweep],
        "total |Δattention| by arm": {
            arm: statistics.fmean(one.total(arm) for one in found.routed)
            for arm in ("both", "suppress", "inject", "random suppress", RANDOM[0])
        },
        "log-odds of the injected word": {
            one.pair.id: {arm: one.odds[arm] for arm in ("clean", "both", "suppress", "inject", RANDOM[0])}
            for one in found.routed
        },
    }


def routed_measurement(
    subject: Subject,
    name: str,
    measure: Callable[[Subject], Values],
    *,
    unit: str,
    arms: Mapping[str, Values],
    detectable: tuple[str, ...] | None = None,
    detail: Mapping[str, object] | None = None,
    reach: list[dict[str, object]] | None = None,
) -> Measurement:
    """A measurement on the routed pairs; ``measure`` gives its values, and those of the untrained twin.

    Pairs that ``measure`` says nothing of are set aside; so are those that are not ``detectable``, where it is given.
    ``reach`` says per template and edit whether it moves any attention, unless given.
    """
    start = time.perf_counter()
    found, values = subject.once(routing), measure(subject)
    halves = [sorted({one.pair.recipient.group for one in found.routed if one.pair.half == half}) for half in (0, 1)]
    return Measurement(
        experiment=name,
        subject=subject.digest,
        unit=unit,
        design="pairs-of-groups",
        parameters={
            "pairs": [one.pair.id for one in found.routed],
            "folds": [{"discovery": halves[1 - half], "tested": halves[half]} for half in (0, 1)],
            "main strength": "the weakest that redirects the other half, in units of typical activation",
            "top head": "largest mean |Δattention| on the other half",
        },
        values=dict.fromkeys((one.pair.id for one in found.routed), 0.0) | dict(values),
        clusters={one.pair.id: one.pair.clusters for one in found.routed},
        arms={**arms, **control_arms(subject, measure, {"untrained twin": subject.twin})},
        detectable=tuple(values) if detectable is None else detectable,
        reach={"rows": routed_rows(subject) if reach is None else reach},
        detail=detail or {},
        seconds=time.perf_counter() - start,
    )
