"""Which experiment measures which claim, on one subject at a time (imports no torch itself)."""

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from prolepsis.errors import Untested
from prolepsis.ledger import Claim
from prolepsis.measurement import Measurement

if TYPE_CHECKING:
    from prolepsis.subject import Subject

Experiment = Callable[["Subject"], Measurement]
Once = Callable[["Subject", str, Callable[[], Measurement]], Measurement]
"""Given subject, experiment and how to measure it: the measurement, made or known already."""

MODULES = {
    "layer_count": "architecture",
    "stream_width": "architecture",
    "localisation_rate": "position_sweep",
    "strong_localisation": "position_sweep",
    "redirect_gain": "position_sweep",
    "interchange": "interchange",
    "hand_off": "interchange",
    "necessity": "necessity",
    "regeneration": "regeneration",
    "top_head_change": "routing_claims",
    "top_head_share": "routing_claims",
    "late_heads": "routing_claims",
    "amplification": "routing_claims",
    "saturation": "routing_claims",
    "third_head_change": "routing_details",
    "lesser_heads_change": "routing_details",
    "head_amplification": "routing_details",
    "suppression_gain": "routing_details",
    "superadditivity": "routing_details",
    "soft_response": "routing_details",
    "head_outputs": "head_effects",
    "head_sufficiency": "head_effects",
    "head_patterns": "head_effects",
    "head_values": "head_effects",
    "attention_ranking": "attention_ranking",
    "shared_heads": "head_overlap",
    "separate_heads": "head_overlap",
    "recurring_heads": "head_overlap",
    "six_methods": "steering_methods",
    "ablation": "steering_methods",
    "largest_activation": "steering_methods",
    "decoder_similarity": "steering_methods",
    "active_similarity": "steering_methods",
    "clamped_similarity": "steering_methods",
    "contrastive_probe": "steering_methods",
    "contrastive_probe_at_most": "steering_methods",
    "rhyme_word_gap": "unedited_prompts",
    "within_group_divergence": "unedited_prompts",
    "transcoder_steering": "steering",
    "residual_steering": "steering",
    "mean_steering": "steering",
    "fact_steering": "contrastive_steering",
    "fact_steering_as_written": "contrastive_steering",
    "rhyme_steering": "contrastive_steering",
    "rhyme_steering_as_written": "contrastive_steering",
    "anchor_loss": "anchor_tokens",
    "anchor_excess": "anchor_tokens",
    "absorption": "convergence",
    "critical_strength": "convergence",
    "contraction": "contraction",
    "kinked_dose_curve": "contraction",
    "committed_word_falls": "correction",
    "correction_takes_over": "correction",
    "locked_attention": "correction",
    "total_shift_rises": "correction_routing",
    "dose_ratio": "dose_response",
    "row_dose_ratio": "dose_response",
    "fact_token_effect": "block_patching",
    "block_decline": "block_patching",
    "first_block_effect": "block_patching",
    "second_block_effect": "block_patching",
    "third_block_effect": "block_patching",
    "last_block_effect": "block_patching",
    "exact_flips": "block_patching",
    "divergence_separation": "block_patching",
    "fact_head_dominance": "fact_routing",
    "fact_head_direction": "fact_routing",
    "fact_routing_decline": "fact_routing",
    "fact_held": "fact_interchange",
    "fact_flips": "fact_interchange",
    "fact_hand_off": "fact_interchange",
    "fact_settled": "fact_interchange",
    "unscreened_pairs": "counterfactual_pairs",
    "gold_pairs": "counterfactual_pairs",
    "answers_given_away": "counterfactual_pairs",
    "unequal_lengths": "counterfactual_pairs",
    "lens_persistence": "logit_lens",
    "end_share": "feature_census",
    "early_block_gain": "layer_skipping",
    "late_block_loss": "layer_skipping",
    "last_block_gain": "layer_skipping",
    "block_loss": "layer_skipping",
    "two_depths": "depth_ladder",
    "depth_gain": "depth_ladder",
    "receptive_field_error": "depth_ladder",
    "dedicated_features": "feature_discovery",
    "rhyme_clusters": "feature_discovery",
    "code_features": "domain_words",
    "cooking_features": "domain_words",
    "type_name_hits": "domain_words",
    "control_flow_hits": "domain_words",
    "cooking_hits": "domain_words",
    "rhyme_responses": "rhyme_responses",
    "elicited_rhymes": "elicitation",
    "priming": "elicitation",
    "appended_tag": "elicitation",
    "published_spike": "published_sweep",
    "published_baseline": "published_sweep",
    "published_memory": "published_sweep",
    "published_vocabulary": "published_sweep",
    "published_best_redirect": "published_pairs",
    "published_weakest_redirect": "published_pairs",
    "published_median_redirect": "published_pairs",
    "published_strong_pairs": "published_pairs",
    "published_strong_groups": "published_pairs",
    "published_noise_pairs": "published_pairs",
    "published_words_astray": "published_pairs",
    "published_floor": "published_pairs",
    "published_best_ratio": "published_pairs",
    "published_layer_gradient": "published_pairs",
    "clean_word_features": "published_pairs",
    "published_first_head": "published_routing",
    "published_second_head": "published_routing",
    "published_third_head": "published_routing",
    "published_head_list": "published_routing",
    "published_top_heads": "published_routing",
    "published_least_top_change": "published_routing",
    "published_recurring_heads": "published_routing",
    "published_total_shift": "published_routing",
    "published_commitment": "published_correction",
    "published_committed_word": "published_correction",
    "published_correct_word": "published_correction",
    "published_locked_head": "published_correction",
    "published_correction_shift": "published_correction",
}
"""Experiment, as the ledger names it → its module."""


def experiment(name: str) -> Experiment:
    """The experiment the ledger calls ``name``; raises KeyError for one that is not here."""
    found: Experiment = getattr(import_module(f"prolepsis.experiments.{MODULES[name]}"), name)
    return found


def always(_subject: "Subject", _experiment: str, measure: Callable[[], Measurement]) -> Measurement:
    """Make every measurement anew."""
    return measure()


def measure(
    claims: Sequence[Claim], subject: "Subject", progress: Callable[[str], None] = lambda _: None, once: Once = always
) -> dict[tuple[str, str], Measurement | Untested]:
    """Measure ``claims`` on ``subject``; (claim id, variant) → measurement, or what is missing to make it.

    ``progress`` is told what is being measured, and ``once`` may know a measurement already. An untrained twin that is
    made of the subject itself comes last, once for all that is asked of it.
    """
    from prolepsis.controls import Unfinished
    from prolepsis.twins import untrained_in_place

    measured: dict[tuple[str, str], Measurement | Untested] = {}
    unfinished: dict[str, Unfinished] = {}
    for number, claim in enumerate(claims, 1):
        name = claim.experiment
        if name not in unfinished:
            progress(f"{subject.id}: {claim.id} {name.replace('_', ' ')}, {number} of {len(claims)}")
            try:
                measured[claim.key] = _made(subject, name, partial(_all_but_the_twin, subject, name), once)
            except Unfinished as one:
                unfinished[name] = one
    if unfinished:
        with untrained_in_place(subject):
            for number, (name, begun) in enumerate(unfinished.items(), 1):
                progress(f"{subject.id}, untrained: {name.replace('_', ' ')}, {number} of {len(unfinished)}")
                made = _made(subject, name, partial(begun.finished, subject), once)
                measured |= {claim.key: made for claim in claims if claim.experiment == name}
    return measured


def _all_but_the_twin(subject: "Subject", name: str) -> Measurement:
    from prolepsis.controls import but_the_twin

    return but_the_twin(subject, experiment(name))


def _made(subject: "Subject", name: str, measure: Callable[[], Measurement], once: Once) -> Measurement | Untested:
    """What an experiment measures, or what is missing for it."""
    from torch import OutOfMemoryError

    try:
        return once(subject, name, measure)
    except Untested as missing:
        return missing
    except OutOfMemoryError:
        return Untested(
            f"{subject.id}: {subject.device} has no memory for it; free some, or use --claims-dtype bfloat16 or "
            "--claims-device cpu; `prolepsis doctor` says what it takes"
        )
