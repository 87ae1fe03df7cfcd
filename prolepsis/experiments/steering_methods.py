"""What the paper says of its six methods (appendix A): that none hits, each by itself, and what the ablation takes.

The methods are run in :mod:`prolepsis.experiments.observability`. Taken together a method hits where the target is the
greedy next word at any strength. Each by itself is asked as it was run, with lines drawn at a temperature: its value is
the share of an item's lines that end on the target, at the strength where most do.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from prolepsis.directions import unembedding_direction
from prolepsis.edits import Add
from prolepsis.experiments.observability import (
    MAX_NEW_TOKENS,
    METHODS,
    N_FEATURES,
    N_SAMPLES,
    SEED,
    STRENGTHS,
    TEMPERATURE,
    Outcome,
    items_of,
    sampled_ids,
    steer_last,
)
from prolepsis.experiments.rhyme_pairs import Runs
from prolepsis.measurement import Measurement
from prolepsis.reachability.selection import Logits
from prolepsis.shams import reach_row
from prolepsis.subject import Subject

Values = dict[str, float]

ABLATION_STRENGTH = 4.0
"""The one strength the ablation was recorded at."""


def six_methods(subject: Subject) -> Measurement:
    """Share of items that any of the six methods hits at any strength, greedily, with its arms on the same metric.

    Arms: ``suppress + inject``, ``unembedding``; ``last row``, the whole last row replaced by that of the prompt that
    calls for the target, at the last layer: hits where the metric can hit at all. ``detail`` has every method's and
    arm's hits by strength, greedy beside sampled.
    """
    start, found = time.perf_counter(), subject.once(steer_last)

    def hits(*names: str) -> Values:
        return {item: float(any(any(found[name][item].hits) for name in names)) for item in found["ablation"]}

    arms = {arm: hits(arm) for arm in ("suppress + inject", "unembedding", "last row")}
    greedy = {"decoding": "greedy, the token after the prompt"}
    measured = _measured(subject, "six_methods", "proportion", {"methods": hits(*METHODS), **arms}, greedy)
    return replace(measured, seconds=time.perf_counter() - start)


def ablation(subject: Subject) -> Measurement:
    """Loss of the natural top's log-odds when the last token's active features are ablated at strength 4, in nats.

    The natural top is the likeliest next token without an edit, be it the answer or not. Arm: ``other features``, as
    many that are not active, with the same weights.
    """
    start, found = time.perf_counter(), subject.once(steer_last)
    strength = STRENGTHS.index(ABLATION_STRENGTH)
    losses = {
        name: {item: outcome.losses[strength] for item, outcome in found[name].items()}
        for name in ("ablation", "other features")
    }
    return replace(_measured(subject, "ablation", "nats", losses, {}), seconds=time.perf_counter() - start)


def largest_activation(subject: Subject) -> Measurement:
    """Method 1 (A.1): the features most active at the target in a sentence; share of its lines that hit, with the arms.

    Arms, here and in the methods below: ``suppress + inject`` and ``last row``, drawn in the same way.
    """
    return _drawn(subject, "largest_activation", "largest activation")


def decoder_similarity(subject: Subject) -> Measurement:
    """Method 2 (A.2): the features whose decoders compare best with the target, by dot product or cosine."""
    return _drawn(subject, "decoder_similarity", "decoder dot", "decoder cosine")


def active_similarity(subject: Subject) -> Measurement:
    """Method 3 (A.3): of the features active at the last token those whose decoders compare best with the target."""
    return _drawn(subject, "active_similarity", "active cosine")


def clamped_similarity(subject: Subject) -> Measurement:
    """Method 4 (A.4): the same features written at all downstream layers."""
    return _drawn(subject, "clamped_similarity", "clamped active cosine")


def contrastive_probe(subject: Subject) -> Measurement:
    """Method 5 (A.5): the features the target word, alone, activates more than other words do."""
    return _drawn(subject, "contrastive_probe", "contrastive probe")


def contrastive_probe_at_most(subject: Subject) -> Measurement:
    """Method 5 (A.5) at the largest strength alone."""
    return _drawn(subject, "contrastive_probe_at_most", "contrastive probe", of=lambda shares: shares[-1])


def _drawn(subject: Subject, name: str, *methods: str, of: Callable[[tuple[float, ...]], float] = max) -> Measurement:
    """Per sampled item what ``of`` makes of the shares by strength, for the best of ``methods`` and for the arms."""
    start, found, ids = time.perf_counter(), subject.once(steer_last), sampled_ids(subject)
    arms: dict[str, Values] = {"methods": {i: max(of(found[method][i].sampled) for method in methods) for i in ids}}
    arms |= {arm: {i: of(found[arm][i].sampled) for i in ids} for arm in ("suppress + inject", "last row")}
    drawn = {
        "methods": list(methods),
        "samples": N_SAMPLES,
        "temperature": TEMPERATURE,
        "seed": SEED,
        "max new tokens": MAX_NEW_TOKENS,
        "items drawn": "at random, half with a target of another rhyme group",
    }
    return replace(_measured(subject, name, "proportion", arms, drawn), seconds=time.perf_counter() - start)


def _measured(
    subject: Subject, name: str, unit: str, arms: Mapping[str, Values], protocol: Mapping[str, object]
) -> Measurement:
    """The measurement whose values are the first of ``arms``."""
    found, items, runs = subject.once(steer_last), items_of(subject), subject.once(Runs)
    (_, values), *others = arms.items()
    clean = runs.clean(items[0].pair.recipient)
    last = len(clean.tokens) - 1
    edit = [Add(subject.n_layers - 1, last, unembedding_direction(subject, runs.answer(items[0].target)))]
    return Measurement(
        experiment=name,
        subject=subject.digest,
        unit=unit,
        design="two-way",
        parameters={
            "items": list(values),
            "strengths": list(STRENGTHS),
            "features": N_FEATURES,
            **protocol,
        },
        values=values,
        clusters={item.id: item.clusters for item in items},
        arms=dict(others),
        reach={"rows": [reach_row(clean, edit, Logits(last))]},
        detail={"methods": {method: _table(of.values()) for method, of in found.items()}},
    )


def _table(outcomes: Iterable[Outcome]) -> dict[str, list[float]]:
    """Mean of each metric by strength; of the sampled hits over the items that lines were drawn for."""
    found = list(outcomes)
    columns = {
        name: list(zip(*(getattr(o, name) for o in found if getattr(o, name)), strict=True))
        for name in ("hits", "sampled", "gains", "losses", "costs")
    }
    return {name: [statistics.fmean(column) for column in of] for name, of in columns.items()}
