"""Which experiment measures which claim: families of the ledger, measured on one subject at a time."""

from collections.abc import Callable

from prolepsis import ledger
from prolepsis.experiments.interchange import hand_off, interchange
from prolepsis.experiments.necessity import necessity
from prolepsis.experiments.position_sweep import localisation_rate, redirect_gain, strong_localisation
from prolepsis.experiments.regeneration import regeneration
from prolepsis.measurement import Measurement
from prolepsis.subject import Subject

EXPERIMENTS: dict[str, Callable[[Subject], Measurement]] = {
    experiment.__name__: experiment
    for experiment in (
        localisation_rate,
        strong_localisation,
        redirect_gain,
        interchange,
        necessity,
        hand_off,
        regeneration,
    )
}


def measure(
    family: str, subject: Subject, progress: Callable[[str], None] = lambda _: None
) -> dict[tuple[str, str], Measurement]:
    """Measure every claim of ``family`` that has an experiment on ``subject``; (claim id, variant) → measurement.

    ``progress`` is told what is being measured.
    """
    claims = [claim for claim in ledger.rows(family=family) if claim.kind != "arithmetic"]
    measured = {}
    for number, claim in enumerate(claims, 1):
        progress(f"{subject.id}: {claim.id} {claim.experiment.replace('_', ' ')}, {number} of {len(claims)}")
        measured[claim.key] = EXPERIMENTS[claim.experiment](subject)
    return measured
