"""What a claim has to show, in words (imports no torch)."""

from collections.abc import Mapping

from prolepsis.claim import Claim, Kind

CRITERIA: Mapping[Kind, str] = {
    "effect": "value ≥ {theta0}, and more than each null gives by {delta}",
    "absence": "value < {theta0}, and less than each null gives by {delta}",
    "exclusivity": "value ≥ {theta0}, and more than each rival and each null gives by {delta}",
    "universal": "every item ≥ {theta0}, and more than each null gives by {delta}; one that far below refutes it",
    "equality": "value within {within} of {theta0}, and further than {delta} from each null",
    "ordering": "mean difference > {theta0}, and more than each null gives by {delta}",
    "arithmetic": "the paper's own numbers agree",
}


def criterion(claim: Claim) -> str:
    """The criterion of a claim with its thresholds and their unit."""
    scale = f" ({claim.scale})" if claim.kind != "arithmetic" else ""
    numbers = {name: f"{getattr(claim, name):g}" for name in ("theta0", "delta", "within")}
    return CRITERIA[claim.kind].format(**numbers) + scale
