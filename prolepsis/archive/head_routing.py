"""The recorded head routing of one prompt (section 6, appendix E): each head's attention to the site, clean and edited.

A file names the injected feature; which features were suppressed is printed in appendices E and F alone. An edit that
writes from layer l on cannot change attention in layer l or below. All heads of a layer are wired alike, so reach is
asked of one per layer, with global attention everywhere: a sliding window only reaches less.
"""

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from prolepsis.archive.files import Recording
from prolepsis.archive.numbers import finite, whole
from prolepsis.archive.printed import check_injected, suppressed
from prolepsis.archive.single import single
from prolepsis.errors import Untested
from prolepsis.measurement import Measurement
from prolepsis.names import Feature, Head
from prolepsis.reach import Reach, reach
from prolepsis.reachability.selection import Added, Pattern
from prolepsis.reachability.wiring import Wiring

KIND = "head routing run"
LISTED = 10
LAST_PART = 0.35
"""The paper's "last 35 % of the network", which the heads it lists lie in."""
SATURATED, FULL = 1.5, 2.0
"""Where the paper sees saturation, and where its sweep ends, in multiples of the main strength."""
PROPORTIONAL = SATURATED / FULL
FLOAT32 = 1e-6
"""What a float32 sum of all heads' changes may be off by."""


@dataclass(frozen=True)
class Routing:
    """``clean`` and ``edited`` attention from ``output`` to ``site``; ``sweep`` maps strength → (top Δ, total |Δ|)."""

    injected: Feature
    strength: float
    site: int
    output: int
    n_layers: int
    n_heads: int
    clean: Mapping[Head, float]
    edited: Mapping[Head, float]
    changes: Mapping[Head, float]
    sweep: Mapping[float, tuple[float, float]]

    @property
    def ranked(self) -> list[Head]:
        """The heads that changed, the largest change of attention first."""
        return sorted(filter(self.changes.get, self.changes), key=lambda head: (-abs(self.changes[head]), head))

    @property
    def injects_alone(self) -> bool:
        """Whether no head moved that the injected feature cannot reach, as if nothing had been suppressed."""
        return not any(change for head, change in self.changes.items() if head.layer <= self.injected.layer)

    def reached(self, features: Iterable[Feature], head: Head) -> Reach:
        """Whether features written at the site, each from its layer on, can change the head's attention to it."""
        first = min(feature.layer for feature in features)
        wiring = Wiring(self.n_layers, self.n_heads, (None,) * self.n_layers)
        return _reached(wiring, first, Pattern(head, self.output, self.site))


@cache
def _reached(wiring: Wiring, first: int, pattern: Pattern) -> Reach:
    written = [Added(above, pattern.key) for above in range(first, wiring.n_layers)]
    return reach(wiring, written, pattern, tokens=pattern.query + 1)


def parse(contents: Any) -> Routing:
    """A run in which every head was read, and changes are what they are said to be."""
    n_layers, n_heads = whole(contents["n_layers"]), whole(contents["n_heads"])
    entries = {
        Head(whole(entry["layer"]), whole(entry["head"])): entry for row in contents["head_deltas"] for entry in row
    }
    if set(entries) != {Head(layer, index) for layer in range(n_layers) for index in range(n_heads)}:
        raise ValueError(f"{len(entries)} heads are there, {n_layers} layers of {n_heads} are announced")
    site, output = whole(contents["planning_site"]), whole(contents["output_position"])
    if site > output:
        raise ValueError(f"the site {site} comes after the output position {output}")
    clean, edited, changes = (
        {head: finite(entry[name]) for head, entry in entries.items()}
        for name in ("baseline_attn", "steered_attn", "delta")
    )
    for head, change in changes.items():
        if abs(edited[head] - clean[head] - change) > FLOAT32:
            raise ValueError(f"the delta of {head} is not steered_attn − baseline_attn")
    sweep = {
        finite(point["strength"]): (finite(point["top_head_delta"]), finite(point["total_routing_shift"]))
        for point in contents.get("strength_sweep", ())
    }
    feature, strength = Feature.parse(contents["feature"]), finite(contents["strength"])
    return Routing(feature, strength, site, output, n_layers, n_heads, clean, edited, changes, sweep)


def first_head_clean(recording: Recording) -> Measurement:
    """Clean attention of the head that changes most."""
    return _ranked(recording, "first_head_clean", 0, "clean")


def first_head_edited(recording: Recording) -> Measurement:
    """Edited attention of the head that changes most."""
    return _ranked(recording, "first_head_edited", 0, "edited")


def second_head_clean(recording: Recording) -> Measurement:
    """Clean attention of the head that changes second most."""
    return _ranked(recording, "second_head_clean", 1, "clean")


def second_head_edited(recording: Recording) -> Measurement:
    """Edited attention of the head that changes second most."""
    return _ranked(recording, "second_head_edited", 1, "edited")


def third_head_clean(recording: Recording) -> Measurement:
    """Clean attention of the head that changes third most."""
    return _ranked(recording, "third_head_clean", 2, "clean")


def third_head_edited(recording: Recording) -> Measurement:
    """Edited attention of the head that changes third most."""
    return _ranked(recording, "third_head_edited", 2, "edited")


def first_head_change(recording: Recording) -> Measurement:
    """The largest change of attention, with its sign."""
    return _ranked(recording, "first_head_change", 0, "changes")


def second_head_change(recording: Recording) -> Measurement:
    """The second largest change of attention."""
    return _ranked(recording, "second_head_change", 1, "changes")


def third_head_change(recording: Recording) -> Measurement:
    """The third largest change of attention."""
    return _ranked(recording, "third_head_change", 2, "changes")


def next_head_changes(recording: Recording) -> Measurement:
    """Mean |change| of the heads ranked fourth to tenth."""
    found = _printed(recording)
    changes = [found.changes[head] for head in found.ranked[3:LISTED]]
    if not changes:
        raise Untested(f"no fourth head of {recording.id} changed its attention")
    return _attention(recording, "next_head_changes", statistics.fmean(map(abs, changes)), {"changes": changes})


def total_change(recording: Recording) -> Measurement:
    """Sum of |change| over all heads."""
    found = recording.read(KIND, parse)
    return _attention(recording, "total_change", math.fsum(map(abs, found.changes.values())))


def printed_total_change(recording: Recording) -> Measurement:
    """The same, of the run whose figure is printed."""
    _printed(recording)
    return total_change(recording)


def injection_total(recording: Recording) -> Measurement:
    """The same, of a run in which nothing was suppressed."""
    found = recording.read(KIND, parse)
    if not found.injects_alone:
        raise Untested(f"{recording.id} suppresses too; a run of {found.injected} with nothing suppressed would tell")
    return _attention(recording, "injection_total", math.fsum(map(abs, found.changes.values())))


def lowest_listed_layer(recording: Recording) -> Measurement:
    """The lowest layer among the ten heads that change most."""
    found = _printed(recording)
    value = min(head.layer for head in found.ranked[:LISTED])
    return single(recording, "lowest_listed_layer", "layer", value)


def early_listed_heads(recording: Recording) -> Measurement:
    """Share of the ten heads that change most which lie before the last 35 % of the layers; reach by layer."""
    found = _printed(recording)
    edit = _edit(recording, found)
    late = round((1 - LAST_PART) * found.n_layers)
    value = statistics.fmean(head.layer < late for head in found.ranked[:LISTED])
    rows = [_row(f"heads of layer {layer}", found.reached(edit, Head(layer, 0))) for layer in range(late)]
    return single(recording, "early_listed_heads", "share", value, reach={"rows": rows})


def injection_reaches_first_head(recording: Recording) -> Measurement:
    """Whether injection without suppression can reach the head that changes most; what it did was not recorded."""
    return _injection_reaches(recording, "injection_reaches_first_head", 0)


def injection_reaches_second_head(recording: Recording) -> Measurement:
    """Whether the injected signal can reach the head that changes second most."""
    return _injection_reaches(recording, "injection_reaches_second_head", 1)


def recorded_saturation(recording: Recording) -> Measurement:
    """The top head's |change| at 1.5 times the main strength over that at twice; 0.75 in proportion, 1 saturated."""
    found = _printed(recording)
    at = {round(strength / found.strength, 4): abs(top) for strength, (top, _) in found.sweep.items()}
    if not at.get(FULL) or SATURATED not in at:
        raise Untested(f"the strength sweep of {recording.id} does not reach {SATURATED:g} and {FULL:g} times its dose")
    value = at[SATURATED] / at[FULL]
    return single(recording, "recorded_saturation", "ratio", value, arms={"proportional": PROPORTIONAL})


def unreachable_heads_moved(recording: Recording) -> Measurement:
    """Number of heads whose attention changed although the edit cannot reach them."""
    found = recording.read(KIND, parse)
    reached = _reached_layers(recording, found)
    moved = [str(head) for head in found.ranked if head.layer not in reached]
    return single(recording, "unreachable_heads_moved", "count", len(moved), detail={"moved": moved})


def total_off_reachable_sum(recording: Recording) -> Measurement:
    """The recorded total at the main strength minus the sum over the heads that the edit can reach."""
    found = recording.read(KIND, parse)
    totals = [total for strength, (_, total) in found.sweep.items() if math.isclose(strength, found.strength)]
    if not totals:
        raise Untested(f"the strength sweep of {recording.id} leaves out its main strength, {found.strength:g}")
    reached = _reached_layers(recording, found)
    summed = math.fsum(abs(change) for head, change in found.changes.items() if head.layer in reached)
    return _attention(recording, "total_off_reachable_sum", totals[0] - summed)


def _printed(recording: Recording) -> Routing:
    found = recording.read(KIND, parse)
    check_injected(recording, found.injected)
    if not found.ranked:
        raise Untested(f"no head of {recording.id} changed its attention")
    suppressed_first = min(feature.layer for feature in _edit(recording, found)[1:])
    if found.injects_alone and suppressed_first < found.injected.layer:
        raise Untested(f"{recording.id} suppresses nothing below {found.injected}; the printed figures are of both")
    return found


def _edit(recording: Recording, found: Routing) -> tuple[Feature, ...]:
    return (found.injected, *suppressed(recording, found.injected, found.site))


def _reached_layers(recording: Recording, found: Routing) -> set[int]:
    edit = _edit(recording, found)
    return {layer for layer in range(found.n_layers) if found.reached(edit, Head(layer, 0)).answer}


def _attention(
    recording: Recording, experiment: str, value: float, detail: Mapping[str, Any] | None = None
) -> Measurement:
    return single(recording, experiment, "attention", value, detail=detail)


def _ranked(
    recording: Recording, experiment: str, rank: int, what: Literal["clean", "edited", "changes"]
) -> Measurement:
    found = _printed(recording)
    head = _head(recording, found, rank)
    return _attention(recording, experiment, getattr(found, what)[head], {"head": str(head)})


def _head(recording: Recording, found: Routing, rank: int) -> Head:
    if rank >= len(found.ranked):
        raise Untested(f"only {len(found.ranked)} heads of {recording.id} changed their attention")
    return found.ranked[rank]


def _injection_reaches(recording: Recording, experiment: str, rank: int) -> Measurement:
    """No value, only what the wiring allows: the run without suppression was not recorded."""
    found = _printed(recording)
    head = _head(recording, found, rank)
    allowed = found.reached([found.injected], head)
    if allowed.answer:
        raise Untested(f"{found.injected} can reach {head}; a run of {recording.id} without suppression would tell")
    return Measurement(
        experiment=experiment,
        subject=recording.digest,
        unit="attention",
        design="single",
        parameters={"transcoder": recording.transcoder},
        values={},
        clusters={},
        reach={"rows": [_row(str(head), allowed)]},
    )


def _row(name: str, found: Reach) -> dict[str, Any]:
    return {"name": name, "reachable": found.answer, "why": found.why}
