"""In which layers do the features lie that point at the rhyme word? A census of active features (section 7)."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch.nn.functional import normalize

from prolepsis.controls import control_arms
from prolepsis.errors import Untested
from prolepsis.experiments.feature_activity import Activity
from prolepsis.experiments.rhyme_pairs import Pair, Runs, rhyme_pairs, task_of
from prolepsis.measurement import Measurement
from prolepsis.names import Feature
from prolepsis.subject import Subject, transcoder_of
from prolepsis.subjects.task import Prompt

Tensor = torch.Tensor
Values = Mapping[str, float]
Shares = Mapping[int, float]

TOP = 20
"""How many features are counted."""
ENDS, PAPER_DEPTH = 2, 26
"""How many layers at either end, of how many, are said to hold the features."""


@dataclass(frozen=True)
class Census:
    """Layer → share of features active at one prompt's last position.

    ``target``: of those whose decoder rows point most at the answer; ``other_target``: at another group's answer;
    ``active``: of all that are active.
    """

    target: Shares
    other_target: Shares
    active: Shares


def censuses(subject: Subject) -> Mapping[str, Census]:
    """Prompt id → census; prompts without an active feature are absent."""
    pairs, runs = rhyme_pairs(task_of(subject)), subject.once(Runs)
    active = _active(subject, pairs)
    tokens = sorted({runs.answer(prompt) for pair in pairs for prompt in (pair.recipient, pair.donor)})
    cosines = _cosines(subject, {feature for features in active for feature in features}, tokens)
    return {
        pair.recipient.id: _census(runs, pair, features, cosines, tokens)
        for pair, features in zip(pairs, active, strict=True)
        if features
    }


def end_shares(subject: Subject) -> Values:
    """Prompt id → share of the features pointing most at the answer that lies at the end of the network with fewer."""
    return {name: _at_each_end(census.target, subject.n_layers) for name, census in subject.once(censuses).items()}


def last_layer_shares(subject: Subject) -> Values:
    """Prompt id → share of the features pointing most at the answer that lies in the last layer."""
    return {name: _in_last_layer(census.target, subject.n_layers) for name, census in subject.once(censuses).items()}


def end_share(subject: Subject) -> Measurement:
    """Share of the features pointing at the answer at the end of the network with fewer of them, with its control arms.

    Only features at both ends make it large; at most it is a half. Arms: ``other target`` (features pointing at another
    group's answer), ``active features`` (all of them) and ``untrained twin``, which has a transcoder of its own.
    """
    return _measurement(subject, "end_share", _at_each_end, end_shares)


def last_layer_share(subject: Subject) -> Measurement:
    """Share of the features pointing at the answer that lies in the last layer; arms as of :func:`end_share`."""
    return _measurement(subject, "last_layer_share", _in_last_layer, last_layer_shares)


def _measurement(
    subject: Subject, experiment: str, share: Callable[[Shares, int], float], shares: Callable[[Subject], Values]
) -> Measurement:
    start = time.perf_counter()
    found, layers = subject.once(censuses), subject.n_layers
    if not found:
        raise Untested(f"{subject.id}: no transcoder feature is active at the last position; give another transcoder")
    return Measurement(
        experiment=experiment,
        subject=subject.digest,
        unit="share",
        design="one-way",
        parameters={"prompts": list(found), "top": TOP, "ends": [list(end) for end in ends(layers)]},
        values=shares(subject),
        clusters={pair.recipient.id: (pair.recipient.group,) for pair in rhyme_pairs(task_of(subject))},
        arms={
            "other target": {name: share(census.other_target, layers) for name, census in found.items()},
            "active features": {name: share(census.active, layers) for name, census in found.items()},
            **control_arms(subject, shares, {"untrained twin": subject.twin}),
        },
        detail={
            of: [fmean(getattr(census, of).get(layer, 0.0) for census in found.values()) for layer in range(layers)]
            for of in ("target", "other_target", "active")
        },
        seconds=time.perf_counter() - start,
    )


def ends(n_layers: int) -> tuple[range, range]:
    """The first and the last layers, as many in proportion as the paper counts; at least one each."""
    size = max(1, round(ENDS * n_layers / PAPER_DEPTH))
    return range(size), range(n_layers - size, n_layers)


def _at_each_end(shares: Shares, n_layers: int) -> float:
    return min(sum(shares.get(layer, 0.0) for layer in end) for end in ends(n_layers))


def _in_last_layer(shares: Shares, n_layers: int) -> float:
    return shares.get(n_layers - 1, 0.0)


def _active(subject: Subject, pairs: Sequence[Pair]) -> list[list[Feature]]:
    """Per pair the features active at its recipient's last position."""
    runs, activity = subject.once(Runs), subject.once(Activity)
    prompts = [runs.clean(pair.recipient).tokens for pair in pairs]
    spots = [(tokens, len(tokens) - 1) for tokens in prompts]
    activity.read(spots)
    return [[Feature(layer, index) for layer, index in activity.of(spot).nonzero().tolist()] for spot in spots]


@torch.no_grad()
def _cosines(subject: Subject, features: Collection[Feature], tokens: Sequence[int]) -> dict[Feature, Tensor]:
    """Feature → the cosine of what it writes at the last layer with each of ``tokens``; one layer is held at a time."""
    towards = normalize(subject.unembedding[list(tokens)].float(), dim=-1)  # [tokens, d]
    found: dict[Feature, Tensor] = {}
    for layer in range(subject.n_layers):
        own = [feature for feature in features if feature.layer == layer]
        if not own:
            continue
        rows = transcoder_of(subject).last_decoder(layer)[[feature.index for feature in own]]
        found |= zip(own, (normalize(rows.to(towards), dim=-1) @ towards.T).cpu(), strict=True)
    return found


def _census(
    runs: Runs, pair: Pair, active: Sequence[Feature], cosines: Mapping[Feature, Tensor], tokens: Sequence[int]
) -> Census:
    towards = torch.stack([cosines[feature] for feature in active])  # [active, tokens]

    def pointing(prompt: Prompt) -> Shares:
        nearest = towards[:, tokens.index(runs.answer(prompt))].topk(min(TOP, len(active)))
        return _shares([active[i] for i in nearest.indices.tolist()])

    return Census(pointing(pair.recipient), pointing(pair.donor), _shares(active))


def _shares(features: Sequence[Feature]) -> Shares:
    return {layer: n / len(features) for layer, n in Counter(feature.layer for feature in features).items()}
