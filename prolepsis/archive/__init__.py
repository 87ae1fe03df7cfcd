"""Recorded outputs of the paper's author, found by what they contain and measured without a model (imports no torch).

A recording is judged by the same rules as any measurement. It holds no control arms, so it can contradict a claim but
never support one.
"""

from collections.abc import Callable, Sequence
from importlib import import_module

from prolepsis.archive.files import Recording
from prolepsis.errors import Untested
from prolepsis.ledger import Claim
from prolepsis.measurement import Measurement

Reader = Callable[[Recording], Measurement]

MODULES = {
    "localisation_rate": "pair_sweep",
    "strong_localisation": "pair_sweep",
    "redirect_gain": "pair_sweep",
    "published_best_redirect": "pair_sweep",
    "published_weakest_redirect": "pair_sweep",
    "published_median_redirect": "pair_sweep",
    "published_strong_pairs": "pair_sweep",
    "recorded_strength": "pair_sweep",
    "published_strong_groups": "pair_sweep",
    "published_noise_pairs": "pair_sweep",
    "published_words_astray": "pair_sweep",
    "published_floor": "pair_sweep",
    "published_best_ratio": "pair_sweep",
    "published_layer_gradient": "pair_sweep",
    "published_spike": "position_sweep",
    "published_baseline": "position_sweep",
}
"""Experiment, as the ledger names it → the module that reads it from a recording."""


def measure(claims: Sequence[Claim], recording: Recording) -> dict[tuple[str, str], Measurement | Untested]:
    """What ``recording`` says to each claim; (claim id, variant) → measurement, or what was not recorded."""
    found: dict[tuple[str, str], Measurement | Untested] = {}
    for claim in claims:
        module = MODULES.get(claim.experiment)
        if module is None:
            found[claim.key] = Untested(f"nothing recorded tells {claim.experiment.replace('_', ' ')}")
            continue
        try:
            reader: Reader = getattr(import_module(f"prolepsis.archive.{module}"), claim.experiment)
            found[claim.key] = reader(recording)
        except Untested as missing:
            found[claim.key] = missing
    return found
