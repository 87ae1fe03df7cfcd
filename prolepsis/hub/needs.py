"""Which parts of a transcoder each experiment reads (imports no torch)."""

from collections.abc import Collection
from dataclasses import astuple, dataclass

from prolepsis.experiments.families import MODULES
from prolepsis.names import Feature
from prolepsis.subjects.published import Published, Steering


@dataclass(frozen=True)
class Needs:
    """``encoders`` and ``decoders`` of all layers, and decoder rows of the features a preset publishes.

    ``active`` says that whole decoder rows are read of all features that are active somewhere.
    """

    encoders: bool = False
    decoders: bool = False
    published: bool = False
    active: bool = False

    def __bool__(self) -> bool:
        return any(astuple(self))

    def __or__(self, other: "Needs") -> "Needs":
        return Needs(*map(max, astuple(self), astuple(other)))


NOTHING = Needs()
PUBLISHED = Needs(published=True)
SCAN = Needs(decoders=True)
"""The vocabulary scan reads the decoders of all layers, and the rows of any feature it finds."""
ALL = Needs(encoders=True, decoders=True)
ACTIVE = Needs(encoders=True, decoders=True, active=True)
ROWS_OF_ACTIVE = 152
"""Rows that are read at most for each feature that is active at a position.

Active features are steered at the sites of 52 pairs, donor and recipient, and ablated in 24 prompts, beside as many
others.
"""

READ_BY = {
    "absorption": NOTHING,
    "anchor_tokens": NOTHING,
    "architecture": NOTHING,
    "attention_ranking": NOTHING,
    "block_patching": NOTHING,
    "contraction": NOTHING,
    "contrastive_steering": NOTHING,
    "correction": ALL,
    "correction_routing": ALL,
    "counterfactual_pairs": NOTHING,
    "depth_ladder": NOTHING,
    "domain_words": SCAN,
    "dose_response": ALL,
    "elicitation": NOTHING,
    "fact_interchange": NOTHING,
    "fact_routing": NOTHING,
    "feature_census": ALL,
    "feature_discovery": SCAN,
    "head_effects": NOTHING,
    "head_overlap": NOTHING,
    "interchange": NOTHING,
    "layer_skipping": NOTHING,
    "logit_lens": NOTHING,
    "mean_steering": NOTHING,
    "necessity": NOTHING,
    "position_sweep": ALL,
    "published_convergence": NOTHING,
    "published_correction": PUBLISHED,
    "published_pairs": SCAN,
    "published_routing": PUBLISHED,
    "published_sweep": PUBLISHED,
    "recurring_heads": ALL,
    "regeneration": NOTHING,
    "rhyme_responses": ALL,
    "routing_claims": ALL,
    "routing_details": ALL,
    "row_dose_ratio": NOTHING,
    "steering": ACTIVE,
    "steering_methods": ACTIVE,
    "unedited_prompts": NOTHING,
}
"""Experiment, or else its module → what it reads, with all that it is built on."""


def needs(experiments: Collection[str]) -> Needs:
    """What any of ``experiments``, as the ledger calls them, reads of a transcoder."""
    found = NOTHING
    for experiment in experiments:
        found |= READ_BY[experiment if experiment in READ_BY else MODULES[experiment]]
    return found


PAIRS_READ_BY = frozenset(
    {"block_patching", "counterfactual_pairs", "fact_interchange", "fact_routing", "recurring_heads"}
)
"""Experiments on counterfactual pairs, or else the modules of such."""


def reads_pairs(experiments: Collection[str]) -> bool:
    """Whether any of ``experiments`` is measured on counterfactual pairs."""
    return any(PAIRS_READ_BY & {experiment, MODULES[experiment]} for experiment in experiments)


def published_features(published: Published | None) -> tuple[Feature, ...]:
    """The features a preset's published protocol names, in order."""
    if published is None:
        return ()
    steered: tuple[Steering, ...] = (published.sweep, *published.routing)
    features = {feature for each in steered for feature in (*each.suppress, each.inject)}
    if published.correction is not None:
        features.add(published.correction.feature)
    return tuple(sorted(features))
