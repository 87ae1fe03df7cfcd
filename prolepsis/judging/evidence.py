"""The part of a measurement that speaks to a claim: which items count, and the contrasts with its control arms.

Imports no torch. Left aside are items in which no effect could have been seen, and items whose outcome the wiring
forces. For "these prompts" and "this prompt" the prompts are all there are, so of the two factors prompt × feature only
the second is a sample.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from prolepsis.judging import clustered
from prolepsis.judging.clustered import Estimate
from prolepsis.ledger import Claim, Control
from prolepsis.measurement import Design, Measurement

Answer = Literal["free", "forced", "impossible"]
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Evidence:
    """The judged items of one measurement: their values, the arms' values, and how they cluster."""

    claim: Claim
    values: Mapping[str, float]
    arms: Mapping[str, Mapping[str, float]]
    clusters: Mapping[str, tuple[str, ...]]
    design: Design
    tolerance: float | None
    aside: int

    @classmethod
    def of(cls, claim: Claim, measurement: Measurement) -> "Evidence":
        """The evidence a measurement holds on ``claim``."""
        able = _detectable(measurement) - forced_items(claim, measurement)
        values = {item: value for item, value in measurement.values.items() if item in able}
        design, clusters = measurement.design, measurement.clusters
        if design == "two-way" and claim.population in ("these prompts", "this prompt"):
            design, clusters = "one-way", {item: (feature,) for item, (_, feature) in clusters.items()}
        tolerance = measurement.parameters.get("numerical_tolerance")
        aside = len(measurement.values) - len(values)
        return cls(claim, values, measurement.arms, clusters, design, tolerance, aside)

    @cached_property
    def theta(self) -> Estimate:
        """Estimate of the measured value; only where there are items."""
        return clustered.estimate(self.values, self.clusters, self.design, self.claim.scale, tolerance=self.tolerance)

    @cached_property
    def size(self) -> int:
        """Number of clusters among the judged items."""
        return self.count(self.values)

    def count(self, items: Iterable[str]) -> int:
        """Number of clusters among ``items``."""
        if self.design == "single":
            return len(list(items))
        return clustered.count_clusters([self.clusters[item] for item in items], self.design)

    def measured(self, control: Control) -> dict[str, float]:
        """The arm's values on the judged items; empty when it was not measured."""
        arm = self.arms.get(control.name, {})
        return {item: arm[item] for item in self.values if item in arm}

    def arm(self, control: Control) -> Estimate | None:
        """Estimate of the arm itself, None when it was not measured."""
        found = self.measured(control)
        if not found:
            return None
        return clustered.estimate(found, self.clusters, self.design, self.claim.scale, tolerance=self.tolerance)

    def contrast(self, control: Control) -> Estimate | None:
        """Estimate of measured − arm; for an absence arm − measured, since its nulls lack the cause of the absence."""
        found = self.measured(control)
        if not found:
            return None
        absence, shares = self.claim.kind == "absence", set(found.values())
        if self.claim.scale == "proportion" and len(shares) == 1 and 0 < (share := min(shares)) < 1:
            # What would be hit by chance is known, and only what was hit varies.
            values = {item: self.values[item] for item in found}
            of_values = clustered.estimate(
                values, self.clusters, self.design, self.claim.scale, tolerance=self.tolerance
            )
            return clustered.shifted(of_values, share if absence else -share, -1 if absence else 1)
        first, second = (found, self.values) if absence else (self.values, found)
        return clustered.paired_estimate(
            first, second, self.clusters, self.design, self.claim.scale, tolerance=self.tolerance
        )

    def with_excluded(self, excluded: Iterable[str], *, favourable: bool) -> "Evidence":
        """The evidence had the excluded items come out as well, or as badly, for the value as any item did.

        A proportion's extremes are 0 and 1; otherwise they are the extremes of everything measured. The null and
        rival arms get the opposite extreme. An item without cluster labels counts as a cluster of its own.
        """
        arms = {c.name: self.measured(c) for c in self.claim.controls if c.role in ("null", "rival")}
        seen = [v for values in (self.values, *arms.values()) for v in values.values()]
        low, high = (0.0, 1.0) if self.claim.scale == "proportion" else (min(seen), max(seen))
        best, worst = (high, low) if favourable else (low, high)
        added = [item for item in excluded if item not in self.values]
        width = {"two-way": 2, "pairs-of-groups": 2}.get(self.design, 1)
        own = {item: tuple(f"excluded {item} {i}" for i in range(width)) for item in added}
        return replace(
            self,
            values={**self.values, **dict.fromkeys(added, best)},
            arms={**self.arms, **{name: {**arm, **dict.fromkeys(added, worst)} for name, arm in arms.items() if arm}},
            clusters={**own, **self.clusters},
        )


def reach_answer(claim: Claim, rows: Rows) -> Answer:
    """Whether the wiring leaves the claimed outcome open, given what each edited run can reach.

    A row is one edited run and its readout: {"name", "claimed" (the claim says this is where the effect is; true unless
    given), "reachable", "why", "moved", "item"}. An effect is impossible when no claimed row can be reached, and forced
    when claimed rows are the only ones of several that can. An absence or equality is forced when no claimed row can.
    A statement of the paper alone says of every claimed row that it responds, and of every other one that it does not:
    it is impossible when one claimed row cannot be reached, and forced when no other one can.
    """
    claimed = [bool(row["reachable"]) for row in rows if row.get("claimed", True)]
    others = [bool(row["reachable"]) for row in rows if not row.get("claimed", True)]
    if claim.kind in ("absence", "equality"):
        return "free" if any(claimed) or not claimed else "forced"
    said_of_each = claim.kind == "arithmetic"
    if claimed and not (all(claimed) if said_of_each else any(claimed)):
        return "impossible"
    return "forced" if others and not any(others) else "free"


def reach_by_item(claim: Claim, measurement: Measurement) -> dict[str | None, Answer]:
    """:func:`reach_answer` for each item that has rows of its own; rows without an item answer under None, for all."""
    rows: dict[str | None, list[Mapping[str, Any]]] = {}
    for row in (measurement.reach or {}).get("rows", ()):
        rows.setdefault(row.get("item"), []).append(row)
    return {item: reach_answer(claim, of_item) for item, of_item in rows.items()}


def overall_reach(claim: Claim, measurement: Measurement) -> Answer:
    """The answer for the claim as a whole: what all detectable items agree on, else free.

    For a universal claim one impossible item is enough.
    """
    answers = reach_by_item(claim, measurement)
    whole = answers.pop(None, "free")
    if whole != "free":
        return whole
    for_items = [answers.get(item, "free") for item in _detectable(measurement)]
    if claim.kind == "universal" and "impossible" in for_items:
        return "impossible"
    return for_items[0] if len(set(for_items)) == 1 else "free"


def forced_items(claim: Claim, measurement: Measurement) -> set[str]:
    """Items whose outcome the wiring forces."""
    answers = reach_by_item(claim, measurement)
    return {item for item, answer in answers.items() if item is not None and answer == "forced"}


def _detectable(measurement: Measurement) -> set[str]:
    return set(measurement.values if measurement.detectable is None else measurement.detectable)
