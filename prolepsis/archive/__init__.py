"""Recorded outputs of the paper's author, found by what they contain and measured without a model (imports no torch).

A recording is judged by the same rules as any measurement. It lacks null arms that its claims ask for, so it can
contradict a claim but never support one.
"""

from collections.abc import Callable, Sequence
from importlib import import_module

from prolepsis.archive.files import Recording
from prolepsis.archive.kinds import KINDS
from prolepsis.errors import Untested
from prolepsis.ledger import Claim
from prolepsis.measurement import Measurement

Reader = Callable[[Recording], Measurement]

READERS = {
    "position_sweep": ("published_spike", "published_baseline", "sweep_floor_over_baseline"),
    "pair_sweep": (
        "localisation_rate", "strong_localisation", "redirect_gain", "floor_over_baseline", "pairs_twice",
        "recorded_pairs", "published_localisation", "recorded_pairs_astray", "recorded_largest_group",
        "published_strong_pairs", "recorded_pairs_from_hundredth", "recorded_pairs_from_thousandth",
        "recorded_pairs_from_millionth", "recorded_pairs_in_noise", "published_best_redirect",
        "published_weakest_redirect", "published_weakest_peak", "published_median_redirect", "published_floor",
        "published_best_rise", "published_weakest_rise", "published_largest_rise", "ratio_of_best_redirect",
        "ratio_of_weakest_redirect", "largest_ratio", "ratios_over_one_denominator", "named_redirect",
        "ratio_of_named_redirect", "published_layer_gradient", "recorded_strength", "published_group_list",
        "published_noise_pairs", "recorded_word_list",
    ),
    "head_routing": (
        "first_head_clean", "first_head_edited", "second_head_clean", "second_head_edited", "third_head_clean",
        "third_head_edited", "first_head_change", "second_head_change", "third_head_change", "next_head_changes",
        "total_change", "printed_total_change", "injection_total", "lowest_listed_layer", "early_listed_heads",
        "injection_reaches_first_head", "injection_reaches_second_head", "recorded_saturation",
        "unreachable_heads_moved", "total_off_reachable_sum",
    ),
    "convergence": (
        "absorbing_layers", "quickly_absorbing_layers", "returning_layers", "absorption_recounted",
        "published_critical_strength", "layers_within_basin", "redirect_off_baseline",
    ),
    "rhyme_groups": (
        "recorded_clean_words", "recorded_rhyme_groups", "recorded_rhyme_words", "recorded_least_cosine",
        "recorded_smallest_group", "words_said_otherwise", "words_twice", "rhyming_share",
    ),
    "generated_texts": (
        "primed_rhyme_rate", "tagged_rhyme_rate", "single_line_rhyme_rate", "repeats_among_rhymes",
        "rhymes_with_all_layers", "rhymes_without_early_block", "rhymes_without_late_block",
        "rhymes_without_last_block", "rhymes_lost_without_first_planning_block",
        "rhymes_lost_without_second_planning_block", "rhymes_without_beyond_late_block",
    ),
    "counterfactual_pairs": (
        "gold_pairs", "unscreened_pairs", "repeated_pairs", "answers_given_away", "unequal_lengths",
    ),
}  # fmt: skip
"""Module that reads a kind of recording → the experiments it measures, as the ledger names them."""
MODULES = {experiment: module for module, experiments in READERS.items() for experiment in experiments}
"""Experiment → its module."""
UNREAD = {
    "recorded_reference_features": "the top features of both implementations for each of the nine cases",
    "recorded_target_hits": "the steering methods' hits per target, strength and sample",
    "recorded_removed_logits": "the natural answer's logit with and without the ablation, per prompt",
    "published_redirect": "P(Berlin); the convergence recordings have P(Paris) alone",
    "recorded_rhyme_redirects": "P(rhyme word) for each of the 20 rhyme groups",
    "recorded_within_group_divergence": "the KL between prompts of one rhyme group",
    "recorded_share_in_first_layers": "the layers of the active features that point at each target",
    "recorded_share_in_last_layers": "the layers of the active features that point at each target",
    "recorded_share_in_last_layer": "the layers of the active features that point at each target",
}
"""Experiment that no known kind of recording tells → what would tell it."""


def measure(claims: Sequence[Claim], recording: Recording) -> dict[tuple[str, str], Measurement | Untested]:
    """What ``recording`` says to each claim; (claim id, variant) → measurement, or what was not recorded."""
    found: dict[tuple[str, str], Measurement | Untested] = {}
    for claim in claims:
        if claim.experiment in UNREAD:
            found[claim.key] = Untested(f"nothing recorded tells it; it would take {UNREAD[claim.experiment]}")
            continue
        try:
            module = import_module(f"prolepsis.archive.{MODULES[claim.experiment]}")
            reader: Reader = getattr(module, claim.experiment)
            found[claim.key] = reader(recording)
        except Untested as missing:
            found[claim.key] = missing
    return found


def asks(claim: Claim, recording: Recording) -> bool:
    """Whether ``claim`` is about this recording; an extra one is asked only what its one kind can tell."""
    if claim.model not in ("", recording.preset):
        return False
    told = {kind.module for kind in KINDS if kind.name in recording.files}
    return not recording.extra or MODULES.get(claim.experiment) in told
