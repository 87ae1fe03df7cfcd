"""Which experiment measures which claim, on one subject at a time."""

from collections.abc import Callable, Sequence
from importlib import import_module

from prolepsis.errors import Untested
from prolepsis.ledger import Claim
from prolepsis.measurement import Measurement
from prolepsis.subject import Subject

Experiment = Callable[[Subject], Measurement]

MODULES = {
    "localisation_rate": "position_sweep",
    "strong_localisation": "position_sweep",
    "redirect_gain": "position_sweep",
    "interchange": "interchange",
    "hand_off": "interchange",
    "necessity": "necessity",
    "regeneration": "regeneration",
}
"""Experiment, as the ledger names it → its module."""


def experiment(name: str) -> Experiment:
    """The experiment the ledger calls ``name``; raises KeyError for one that is not here."""
    found: Experiment = getattr(import_module(f"prolepsis.experiments.{MODULES[name]}"), name)
    return found


def measure(
    claims: Sequence[Claim], subject: Subject, progress: Callable[[str], None] = lambda _: None
) -> dict[tuple[str, str], Measurement | Untested]:
    """Measure ``claims`` on ``subject``; (claim id, variant) → measurement, or what is missing to make it.

    ``progress`` is told what is being measured.
    """
    measured: dict[tuple[str, str], Measurement | Untested] = {}
    for number, claim in enumerate(claims, 1):
        progress(f"{subject.id}: {claim.id} {claim.experiment.replace('_', ' ')}, {number} of {len(claims)}")
        try:
            measured[claim.key] = experiment(claim.experiment)(subject)
        except Untested as missing:
            measured[claim.key] = missing
    return measured
