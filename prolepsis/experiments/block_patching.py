"""The paper's counterfactual patching: one position at a time, one block of layers at a time (section 8, Table 2b).

At every layer of a block the whole residual stream is replaced by the clean one, with the counterfactual prompt's row
at one position. So the last layer of the block overwrites the earlier ones. A patch *changes* the prediction when
another token becomes the most likely one, and is *exact* when that is the counterfactual answer.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import torch

from prolepsis.controls import control_arms, once, random_row, reach_row
from prolepsis.edits import ReplaceStream
from prolepsis.engine import CleanRun
from prolepsis.errors import Untested
from prolepsis.experiments.fact_pairs import FactPair, FactRuns
from prolepsis.experiments.facts_asked import accuracy, facts_of, pairs_asked, without_doubtful
from prolepsis.hooks import Read
from prolepsis.measurement import Measurement
from prolepsis.selection import Logits
from prolepsis.subject import Subject

Tensor = torch.Tensor
Values = dict[str, float]

BLOCKS = 4
"""The paper's number of blocks; each is a quarter of the layers."""
SMALLEST_KL = 1e-6
"""KL below this, in nats, is float32 noise; a mean is taken to be at least this, so that ratios stay finite."""


@dataclass(frozen=True)
class Patch:
    """What one patch did: whether it changed the prediction, to the exact answer, and KL(clean || patched) in nats.

    ``fact`` says that its position is a fact token, ``last`` that it is the last one of the prompt.
    """

    block: int
    fact: bool
    last: bool
    changed: bool
    exact: bool
    kl: float


@dataclass(frozen=True)
class Patches:
    """All patches of a pair, and the same with a random row of equal norm in the counterfactual row's place."""

    measured: tuple[Patch, ...]
    random: tuple[Patch, ...]


Statistic = Callable[[Iterable[Patch]], float | None]


def blocks(n_layers: int) -> list[range]:
    """Quarters of the depth; fewer than four where there are fewer layers."""
    bounds = [i * n_layers // BLOCKS for i in range(BLOCKS + 1)]
    return [range(first, end) for first, end in pairwise(bounds) if first < end]


def patch_rows(donor: CleanRun, block: range, position: int, source: int) -> list[ReplaceStream]:
    """The edits of one patch: the donor's row of ``source`` at ``position``, every other row clean, layer by layer."""
    return [ReplaceStream(layer, position, donor.resid_post(layer)[source]) for layer in block]


def sources(runs: FactRuns, pair: FactPair) -> dict[int, int]:
    """Recipient position → donor position as the paper matches them, for fact and template tokens.

    Fact tokens by equal index, template tokens by equal distance from the end, both kept inside the donor's prompt.
    """
    places = runs.align(pair, pair.donor)
    length = len(runs.clean(pair.donor).tokens)
    shift = length - len(runs.clean(pair.recipient).tokens)
    fact = {position: min(position, length - 1) for position in places.fact}
    return fact | {position: max(position + shift, 0) for position in places.template}


def patches(subject: Subject) -> dict[str, Patches]:
    """Pair id → its patches, at every position but BOS and in every block."""
    runs = once(subject, FactRuns)
    return {pair.id: _patches(runs, pair, seed) for seed, pair in enumerate(facts_of(subject))}


def _patches(runs: FactRuns, pair: FactPair, seed: int) -> Patches:
    recipient, donor = runs.clean(pair.recipient), runs.clean(pair.donor)
    matched, fact = sources(runs, pair), runs.align(pair, pair.donor).fact
    clean, answer = recipient.read(Read()).last_logits[0], runs.option_ids(pair.donor)[0]
    measured: list[Patch] = []
    random: list[Patch] = []
    for number, block in enumerate(blocks(runs.subject.n_layers)):
        rows = [patch_rows(donor, block, position, source) for position, source in matched.items()]
        # Only the last layer of a block lasts, so the random rows are put there alone.
        ends = [row[-1] for row in rows]
        random_rows = [[replace(end, value=random_row(end.value, 1000 * seed + end.position))] for end in ends]
        out = recipient.edit([*rows, *random_rows]).last_logits  # [2B, V]
        tops, divergences = out.argmax(-1).tolist(), kl_from(clean, out).tolist()
        for index, (top, kl) in enumerate(zip(tops, divergences, strict=True)):
            position, changed = rows[index % len(rows)][-1].position, top != int(clean.argmax())
            last = position == len(recipient.tokens) - 1
            patch = Patch(number, position in fact, last, changed, changed and top == answer, kl)
            (measured if index < len(rows) else random).append(patch)
    return Patches(tuple(measured), tuple(random))


def kl_from(clean: Tensor, out: Tensor) -> Tensor:
    """KL(clean || out) in nats [B] for logits [V] and [B, V], over tokens of probability above 1e-10 in both.

    The cut is the paper's own.
    """
    p, q = clean.float().softmax(-1), out.float().softmax(-1)
    kept = (p > 1e-10) & (q > 1e-10)
    return torch.where(kept, p * (p.clamp(min=1e-10) / q.clamp(min=1e-10)).log(), 0.0).sum(-1)


# ---------------------------------------------------------------- statistics of one pair


def changed_rate(found: Iterable[Patch]) -> float:
    """Share of patches that change the prediction; 0 without patches."""
    return statistics.fmean([patch.changed for patch in found] or [0.0])


def fact_over_template(found: Iterable[Patch]) -> float:
    """Share changed among patches of fact tokens, less that among template tokens, the last one included."""
    found = list(found)
    return changed_rate(p for p in found if p.fact) - changed_rate(p for p in found if not p.fact)


def in_block(number: int, found: Iterable[Patch]) -> float:
    """Share changed among patches of fact tokens in one block."""
    return changed_rate(patch for patch in found if patch.fact and patch.block == number)


def first_block(found: Iterable[Patch]) -> float:
    """Share changed among patches of fact tokens in the first block."""
    return in_block(0, found)


def last_block(found: Iterable[Patch]) -> float:
    """Share changed among patches of fact tokens in the last block."""
    found = list(found)
    return in_block(max(patch.block for patch in found), found)


def decline(found: Iterable[Patch]) -> float:
    """How much less fact tokens change in the last block than in the first."""
    found = list(found)
    return first_block(found) - last_block(found)


def exact_share(found: Iterable[Patch]) -> float:
    """Share of the patches that change the prediction which give the exact answer; 0 where none changes it."""
    return statistics.fmean([patch.exact for patch in found if patch.changed] or [0.0])


def separation(found: Iterable[Patch]) -> float | None:
    """Log of mean KL where the prediction changed over mean KL where it did not; None where one of the two is empty."""
    found = list(found)
    by_outcome = [[patch.kl for patch in found if patch.changed is changed] for changed in (True, False)]
    if not all(by_outcome):
        return None
    changed, unchanged = (max(statistics.fmean(kls), SMALLEST_KL) for kls in by_outcome)
    return math.log(changed / unchanged)


def _measured(subject: Subject, statistic: Statistic) -> Values:
    """Pair id → statistic, without the pairs that have none."""
    found = {pair: statistic(of.measured) for pair, of in once(subject, patches).items()}
    return {pair: value for pair, value in found.items() if value is not None}


def _random(subject: Subject, statistic: Statistic) -> Values:
    found = {pair: statistic(of.random) for pair, of in once(subject, patches).items()}
    return {pair: value for pair, value in found.items() if value is not None}


def _fact_over_template(subject: Subject) -> Values:
    return _measured(subject, fact_over_template)


def _decline(subject: Subject) -> Values:
    return _measured(subject, decline)


def _exact_share(subject: Subject) -> Values:
    return _measured(subject, exact_share)


# ---------------------------------------------------------------- experiments


def fact_token_effect(subject: Subject) -> Measurement:
    """Share of patches of fact tokens that change the prediction, less that of template tokens, per pair.

    Arms: ``random row`` (one of equal norm in the counterfactual row's place), ``untrained twin``.
    """
    start = time.perf_counter()
    arms = {
        "random row": _random(subject, fact_over_template),
        **control_arms(subject, _fact_over_template, {"untrained twin": subject.twin}),
    }
    values = _fact_over_template(subject)
    return _measurement(subject, "fact_token_effect", "difference of proportions", values, arms, start=start)


def block_decline(subject: Subject) -> Measurement:
    """How much less often patched fact tokens change the prediction in the last block than in the first; same arms."""
    start = time.perf_counter()
    arms = {
        "random row": _random(subject, decline),
        **control_arms(subject, _decline, {"untrained twin": subject.twin}),
    }
    rows = once(subject, _reach_rows)
    values = _decline(subject)
    return _measurement(subject, "block_decline", "difference of proportions", values, arms, rows=rows, start=start)


def first_block_effect(subject: Subject) -> Measurement:
    """Share of patches of fact tokens that change the prediction in the first block, per pair.

    Arms, here and below: ``random row`` (one of equal norm in the counterfactual row's place).
    """
    return _block_effect(subject, "first_block_effect", 0)


def second_block_effect(subject: Subject) -> Measurement:
    """The same in the second block; raises Untested where there are fewer blocks."""
    return _block_effect(subject, "second_block_effect", 1)


def third_block_effect(subject: Subject) -> Measurement:
    """The same in the third block; raises Untested where there are fewer blocks."""
    return _block_effect(subject, "third_block_effect", 2)


def _block_effect(subject: Subject, name: str, number: int) -> Measurement:
    found = blocks(subject.n_layers)
    if number >= len(found):
        raise Untested(f"{subject.id}: its {subject.n_layers} layers make {len(found)} blocks; ask a deeper model")
    start, rate = time.perf_counter(), partial(in_block, number)
    arms = {"random row": _random(subject, rate)}
    return _measurement(subject, name, "proportion", _measured(subject, rate), arms, start=start)


def last_block_effect(subject: Subject) -> Measurement:
    """Share of patches of fact tokens that change the prediction in the last block.

    Arms: ``first block`` (the same patches where the fact is still to be read), ``random row``.
    """
    start = time.perf_counter()
    arms = {"first block": _measured(subject, first_block), "random row": _random(subject, last_block)}
    n_blocks = len(blocks(subject.n_layers))
    rows = [{**row, "claimed": True} for row in once(subject, _reach_rows) if n_blocks == 1 or not row["claimed"]]
    values = _measured(subject, last_block)
    return _measurement(subject, "last_block_effect", "proportion", values, arms, rows=rows, start=start)


def exact_flips(subject: Subject) -> Measurement:
    """Share of the changed predictions that are the exact counterfactual answer, per pair.

    Arms: ``last token`` (the same, for patches of the last token alone), ``random row``, ``untrained twin``.
    """
    start, found = time.perf_counter(), once(subject, patches)
    arms = {
        "last token": {pair: exact_share(p for p in of.measured if p.last) for pair, of in found.items()},
        "random row": _random(subject, exact_share),
        **control_arms(subject, _exact_share, {"untrained twin": subject.twin}),
    }
    able = tuple(pair for pair, of in found.items() if any(patch.changed for patch in of.measured))
    values = _exact_share(subject)
    return _measurement(subject, "exact_flips", "proportion", values, arms, detectable=able, start=start)


def divergence_separation(subject: Subject) -> Measurement:
    """How many times larger KL(clean || patched) is where the prediction changed than where not, as ln, per pair.

    Arms: ``random row``.
    """
    start, arms = time.perf_counter(), {"random row": _random(subject, separation)}
    values = _measured(subject, separation)
    return _measurement(subject, "divergence_separation", "e-folds", values, arms, start=start)


def _measurement(
    subject: Subject,
    name: str,
    unit: str,
    values: Values,
    arms: Mapping[str, Mapping[str, float]],
    *,
    start: float,
    detectable: tuple[str, ...] | None = None,
    rows: list[dict[str, object]] | None = None,
) -> Measurement:
    pairs = facts_of(subject)
    return Measurement(
        experiment=name,
        subject=subject.digest,
        unit=unit,
        design="one-way",
        parameters={
            "pairs": [pair.id for pair in pairs],
            "blocks": [f"L{block[0]}..{block[-1]}" for block in blocks(subject.n_layers)],
            "patch": "whole residual stream clean but for the counterfactual's row, at every layer of the block",
        },
        values=values,
        clusters={pair.id: (pair.cluster,) for pair in pairs},
        arms=arms,
        detectable=detectable,
        reach=None if rows is None else {"rows": rows},
        detail=once(subject, _detail),
        seconds=time.perf_counter() - start,
    )


def _detail(subject: Subject) -> dict[str, object]:
    """Pooled over pairs as the paper counts them, and without the doubtful ones."""
    found, n_blocks = once(subject, patches), len(blocks(subject.n_layers))

    def pooled(pairs: Iterable[str]) -> dict[str, object]:
        return _pooled([patch for pair in pairs for patch in found[pair].measured], n_blocks)

    return {
        "accuracy": once(subject, accuracy),
        **pooled(found),
        "pairs": pairs_asked(subject),
        **without_doubtful(subject, pooled),
    }


def _pooled(found: Sequence[Patch], n_blocks: int) -> dict[str, object]:
    fact, changed = [patch for patch in found if patch.fact], [patch for patch in found if patch.changed]
    by_block = [[patch for patch in fact if patch.block == number] for number in range(n_blocks)]
    return {
        "fact tokens changed": changed_rate(fact),
        "fact tokens changed, by block": [changed_rate(block) for block in by_block],
        "template tokens changed": changed_rate(patch for patch in found if not patch.fact),
        "template tokens changed, the last left out": changed_rate(p for p in found if not (p.fact or p.last)),
        "last token changed": changed_rate(patch for patch in found if patch.last),
        "exact among changed": exact_share(found),
        "exact among changed, fact tokens": exact_share(fact),
        "mean KL changed": statistics.fmean([patch.kl for patch in changed] or [0.0]),
        "mean KL unchanged": statistics.fmean([patch.kl for patch in found if not patch.changed] or [0.0]),
    }


def _reach_rows(subject: Subject) -> list[dict[str, object]]:
    """Whether a patched fact token can reach the last logits from the first block (claimed) and from the last one."""
    runs, rows, found = once(subject, FactRuns), dict[str, dict[str, object]](), blocks(subject.n_layers)
    for pair in facts_of(subject):
        recipient, wording = runs.clean(pair.recipient), f"{pair.recipient.relation.id}-{pair.recipient.template}"
        last = len(recipient.tokens) - 1
        for block in dict.fromkeys((found[0], found[-1])):
            for position in runs.align(pair, pair.donor).fact:
                name = f"{wording}: L{block[0]}..{block[-1]}@{position} → logits@{last}"
                if name not in rows and position != last:
                    edits = patch_rows(runs.clean(pair.donor), block, position, sources(runs, pair)[position])
                    claimed = block == found[0]
                    rows[name] = reach_row(recipient, edits, Logits(last), name=name, claimed=claimed)
    return list(rows.values())
