"""The rest of what the paper says of attention to the site: lesser heads, what suppression adds, and small strengths.

Built on :mod:`prolepsis.experiments.head_routing`, as the claims about the top head are.
"""

import math
import statistics
from collections.abc import Callable, Mapping

from prolepsis.experiments.head_routing import DETECTABLE, RANDOM, Routed, Routing, routing
from prolepsis.experiments.routing_claims import routed_measurement
from prolepsis.measurement import Measurement
from prolepsis.subject import Subject

Values = Mapping[str, float]

THIRD = range(2, 3)
LESSER = range(3, 10)
"""Places in the paper's list of top heads, from 0."""
SMALL = 1 / 3
"""The strength, in units of the main one, at which a basin would still hold."""


def third_head_change(subject: Subject) -> Measurement:
    """|Δattention| of the third head, ranked on the other half (App. E.1), with its control arms.

    Arms: ``matched random`` (ranked by itself), ``untrained twin``.
    """
    return _of_ranks(subject, "third_head_change", third_changes, THIRD)


def third_changes(subject: Subject) -> Values:
    """Pair id → |Δattention| of the head that is third on the other half."""
    return _changes(subject, THIRD)


def lesser_heads_change(subject: Subject) -> Measurement:
    """Mean |Δattention| of the heads ranked 4 to 10 on the other half (App. E.1); the same arms."""
    return _of_ranks(subject, "lesser_heads_change", lesser_changes, LESSER)


def lesser_changes(subject: Subject) -> Values:
    """Pair id → mean |Δattention| of the heads that are fourth to tenth on the other half."""
    return _changes(subject, LESSER)


def head_amplification(subject: Subject) -> Measurement:
    """By how much suppression raises the top head's |Δattention| under an injection, as a log ratio (section 6).

    The head is the top one of suppress + inject on the other half. Only pairs that the edit redirects count, and whose
    suppression and injection can each be read at all. Arms: ``suppress only`` (suppression by itself over the
    injection), ``random suppress`` (a matched random write in the suppression's place), ``untrained twin``.
    """
    found = subject.once(routing)
    arms = {
        arm: {one.pair.id: _head_ratio(found, one, of) for one in found.routed}
        for arm, of in (("suppress only", "suppress"), ("random suppress", "random suppress"))
    }
    able = tuple(one.pair.id for one in found.combined() if one.redirect > DETECTABLE)
    return routed_measurement(
        subject, "head_amplification", head_amplifications, unit="nats", arms=arms, detectable=able
    )


def head_amplifications(subject: Subject) -> Values:
    """Pair id → log of the top head's |Δattention| under both over inject alone, where each can be read."""
    found = subject.once(routing)
    return {one.pair.id: _head_ratio(found, one, "both") for one in found.combined()}


def suppression_gain(subject: Subject) -> Measurement:
    """Total |Δattention| of suppress + inject less that of inject alone (section 6), with its control arms.

    Only pairs whose suppression and injection can each be read at all count. Arms: ``suppress only`` (suppression in
    the place of both), ``random suppress``, ``untrained twin``.
    """
    found = subject.once(routing)
    arms = {
        arm: {one.pair.id: one.total(of) - one.total("inject") for one in found.routed}
        for arm, of in (("suppress only", "suppress"), ("random suppress", "random suppress"))
    }
    return routed_measurement(
        subject,
        "suppression_gain",
        suppression_gains,
        unit="attention",
        arms=arms,
        detail={
            "total |Δattention|": {
                arm: statistics.fmean(one.total(arm) for one in found.routed) for arm in ("both", "suppress", "inject")
            }
        },
    )


def suppression_gains(subject: Subject) -> Values:
    """Pair id → total |Δattention| of suppress + inject less that of inject alone, where each can be read."""
    return {one.pair.id: one.total("both") - one.total("inject") for one in subject.once(routing).combined()}


def superadditivity(subject: Subject) -> Measurement:
    """Total |Δattention| of suppress + inject beyond the sum of what either moves alone, with its control arms.

    Where attention answers in proportion this is at most 0. Only pairs whose suppression and injection can each be read
    at all count. Arms: ``random suppress`` (the same of a matched random write in the suppression's place), ``untrained
    twin``.
    """
    found = subject.once(routing)
    arms = {
        "random suppress": {
            one.pair.id: _beyond(one, "random suppress", "random suppress alone") for one in found.routed
        }
    }
    return routed_measurement(subject, "superadditivity", superadditivities, unit="attention", arms=arms)


def superadditivities(subject: Subject) -> Values:
    """Pair id → total |Δattention| of both less those of suppression and of injection, where each can be read."""
    return {one.pair.id: _beyond(one, "both", "suppress") for one in subject.once(routing).combined()}


def soft_response(subject: Subject) -> Measurement:
    """The top head's |Δattention| at a third of the main strength, over a third of that at the main strength.

    1 in proportion or beyond it, 0 where a basin holds small edits. Only pairs whose top head moves at the main
    strength count. Arms: ``hard basin`` (0), ``matched random`` (with a top head of its own), ``untrained twin``.
    """
    found = subject.once(routing)
    arms = {
        "hard basin": dict.fromkeys((one.pair.id for one in found.routed), 0.0),
        "matched random": {
            one.pair.id: statistics.fmean(_softness(found, one, arm) for arm in RANDOM) for one in found.routed
        },
    }
    able = tuple(one.pair.id for one in found.routed if one.redirect > DETECTABLE and found.top(one) > one.still)
    return routed_measurement(subject, "soft_response", soft_responses, unit="ratio", arms=arms, detectable=able)


def soft_responses(subject: Subject) -> Values:
    """Pair id → share of the proportional response at a third of the main strength."""
    found = subject.once(routing)
    return {one.pair.id: _softness(found, one, "both") for one in found.routed}


def _of_ranks(subject: Subject, name: str, measure: Callable[[Subject], Values], places: range) -> Measurement:
    found = subject.once(routing)
    arms = {
        "matched random": {
            one.pair.id: statistics.fmean(_change(found, one, arm, places) for arm in RANDOM) for one in found.routed
        }
    }
    ranked = {f"half {one.pair.half}": [str(head) for head in found.ranked(one)[:10]] for one in found.routed}
    return routed_measurement(subject, name, measure, unit="attention", arms=arms, detail={"ranked": ranked})


def _changes(subject: Subject, places: range) -> Values:
    found = subject.once(routing)
    return {one.pair.id: _change(found, one, "both", places) for one in found.routed}


def _change(found: Routing, one: Routed, arm: str, places: range) -> float:
    """Mean |Δattention| of the heads at ``places`` of the other half's ranking; 0 where the edit reaches none."""
    heads = found.ranked(one, arm)[places.start : places.stop]
    return statistics.fmean(abs(one.changes[arm].get(head, 0.0)) for head in heads) if heads else 0.0


def _head_ratio(found: Routing, one: Routed, arm: str) -> float:
    head = found.top_head(one)
    above, below = (abs(one.changes[of].get(head, 0.0)) for of in (arm, "inject"))
    return math.log((above + one.still) / (below + one.still))


def _beyond(one: Routed, both: str, suppress: str) -> float:
    return one.total(both) - one.total(suppress) - one.total("inject")


def _softness(found: Routing, one: Routed, arm: str) -> float:
    """1, as in proportion, for a head that does not move at all."""
    head = found.top_head(one, arm)
    small, main = (abs(one.changes[of].get(head, 0.0)) for of in (f"{arm} ×{SMALL:.3g}", arm))
    return min(small / (SMALL * main), 1.0) if main > one.still else 1.0
