"""Single patches of the paper's counterfactual patching, and what those of one pair say (section 8, Table 2b).

At every layer of a block the whole residual stream is replaced by the clean one, with the counterfactual prompt's row
at one position. So the last layer of the block overwrites the earlier ones. A patch *changes* the prediction when
another token becomes the most likely one, and is *exact* when that is the counterfactual answer.
"""

import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

import torch

from prolepsis.directions import random_row
from prolepsis.edits import ReplaceStream
from prolepsis.engine import CleanRun
from prolepsis.experiments.divergences import cut_kl
from prolepsis.experiments.fact_pairs import FactPair, FactRuns
from prolepsis.experiments.facts_asked import facts_of
from prolepsis.running.hooks import Read
from prolepsis.subject import Subject
from prolepsis.watching import watched

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
    runs = subject.once(FactRuns)
    return {
        pair.id: _patches(runs, pair, seed) for seed, pair in enumerate(watched(facts_of(subject), "pairs of facts"))
    }


def _patches(runs: FactRuns, pair: FactPair, seed: int) -> Patches:
    recipient, donor = runs.clean(pair.recipient), runs.clean(pair.donor)
    matched, fact = sources(runs, pair), runs.align(pair, pair.donor).fact
    clean, answer = recipient.read(Read()).last_logits[0], runs.option_ids(pair.donor)[0]
    predicted = int(clean.argmax())
    measured: list[Patch] = []
    random: list[Patch] = []
    for number, block in enumerate(blocks(runs.subject.n_layers)):
        rows = [patch_rows(donor, block, position, source) for position, source in matched.items()]
        # Only the last layer of a block lasts, so the random rows are put there alone.
        ends = [row[-1] for row in rows]
        random_rows = [[replace(end, value=random_row(end.value, 1000 * seed + end.position))] for end in ends]
        out = recipient.edit([*rows, *random_rows]).last_logits  # [2B, V]
        tops, divergences = out.argmax(-1).tolist(), cut_kl(clean, out).tolist()
        for index, (top, kl) in enumerate(zip(tops, divergences, strict=True)):
            position, changed = rows[index % len(rows)][-1].position, top != predicted
            last = position == len(recipient.tokens) - 1
            patch = Patch(number, position in fact, last, changed, changed and top == answer, kl)
            (measured if index < len(rows) else random).append(patch)
    return Patches(tuple(measured), tuple(random))


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
