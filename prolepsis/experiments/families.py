"""Which experiment measures which claim, on one subject at a time."""

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module

from prolepsis.errors import Untested
from prolepsis.ledger import Claim
from prolepsis.measurement import Measurement
from prolepsis.subject import Subject

Experiment = Callable[[Subject], Measurement]
Once = Callable[[Subject, str, Callable[[], Measurement]], Measurement]
"""Given subject, experiment and how to measure it: the measurement, made or known already."""

MODULES = {
    "localisation_rate": "position_sweep",
    "strong_localisation": "position_sweep",
    "redirect_gain": "position_sweep",
    "interchange": "interchange",
    "hand_off": "interchange",
    "necessity": "necessity",
    "regeneration": "regeneration",
    "anchor_loss": "anchor_tokens",
    "anchor_excess": "anchor_tokens",
    "absorption": "convergence",
    "critical_strength": "convergence",
    "contraction": "convergence",
    "kinked_dose_curve": "convergence",
}
"""Experiment, as the ledger names it → its module."""


def experiment(name: str) -> Experiment:
    """The experiment the ledger calls ``name``; raises KeyError for one that is not here."""
    found: Experiment = getattr(import_module(f"prolepsis.experiments.{MODULES[name]}"), name)
    return found


def always(_subject: Subject, _experiment: str, measure: Callable[[], Measurement]) -> Measurement:
    """Make every measurement anew."""
    return measure()


def measure(
    claims: Sequence[Claim], subject: Subject, progress: Callable[[str], None] = lambda _: None, once: Once = always
) -> dict[tuple[str, str], Measurement | Untested]:
    """Measure ``claims`` on ``subject``; (claim id, variant) → measurement, or what is missing to make it.

    ``progress`` is told what is being measured, and ``once`` may know a measurement already.
    """
    measured: dict[tuple[str, str], Measurement | Untested] = {}
    for number, claim in enumerate(claims, 1):
        progress(f"{subject.id}: {claim.id} {claim.experiment.replace('_', ' ')}, {number} of {len(claims)}")
        try:
            made = partial(experiment(claim.experiment), subject)
            measured[claim.key] = once(subject, claim.experiment, made)
        except Untested as missing:
            measured[claim.key] = missing
    return measured
