"""The paper's counterfactual patching: one position at a time, one block of layers at a time (section 8, Table 2b).

How a pair is patched is told in :mod:`prolepsis.experiments.patched_blocks`.
"""

import dataclasses
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence

from prolepsis.controls import control_arms
from prolepsis.errors import Untested
from prolepsis.experiments.fact_pairs import FactRuns
from prolepsis.experiments.facts_asked import accuracy, facts_of, pairs_asked, without_doubtful
from prolepsis.experiments.patched_blocks import (
    Patch,
    Statistic,
    blocks,
    changed_rate,
    decline,
    exact_share,
    fact_over_template,
    first_block,
    last_block,
    patch_rows,
    patches,
    separation,
    sources,
)
from prolepsis.measurement import Measurement
from prolepsis.reachability.selection import Logits
from prolepsis.shams import reach_row
from prolepsis.subject import Subject

Values = dict[str, float]


def _measured(subject: Subject, statistic: Statistic) -> Values:
    """Pair id → statistic, without the pairs that have none."""
    found = {pair: statistic(of.measured) for pair, of in subject.once(patches).items()}
    return {pair: value for pair, value in found.items() if value is not None}


def _random(subject: Subject, statistic: Statistic) -> Values:
    found = {pair: statistic(of.random) for pair, of in subject.once(patches).items()}
    return {pair: value for pair, value in found.items() if value is not None}


def _fact_over_template(subject: Subject) -> Values:
    return _measured(subject, fact_over_template)


def _decline(subject: Subject) -> Values:
    return _measured(subject, decline)


def _exact_share(subject: Subject) -> Values:
    return _measured(subject, exact_share)


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
    rows = subject.once(_reach_rows)
    values = _decline(subject)
    return _measurement(subject, "block_decline", "difference of proportions", values, arms, rows=rows, start=start)


def first_block_effect(subject: Subject) -> Measurement:
    """Share of patches of fact tokens that change the prediction in the first block, patch by patch.

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
    start, patched = time.perf_counter(), subject.once(patches)
    values = _changed({pair: of.measured for pair, of in patched.items()}, number)
    arms = {"random row": _changed({pair: of.random for pair, of in patched.items()}, number)}
    per_pair = _measurement(subject, name, "proportion", values, arms, start=start)
    clusters = {patch: per_pair.clusters[patch.rpartition(", ")[0]] for patch in values}
    return dataclasses.replace(per_pair, design="by-item", clusters=clusters)


def _changed(found: Mapping[str, Iterable[Patch]], number: int) -> Values:
    """Pair and place among its fact tokens → 1 where that patch of one block changes the prediction, else 0."""
    of_block = {pair: [p for p in of if p.fact and p.block == number] for pair, of in found.items()}
    return {
        f"{pair}, fact token {place}": float(p.changed) for pair, of in of_block.items() for place, p in enumerate(of)
    }


def last_block_effect(subject: Subject) -> Measurement:
    """Share of patches of fact tokens that change the prediction in the last block.

    Arms: ``first block`` (the same patches where the fact is still to be read), ``random row``.
    """
    start = time.perf_counter()
    arms = {"first block": _measured(subject, first_block), "random row": _random(subject, last_block)}
    n_blocks = len(blocks(subject.n_layers))
    rows = [{**row, "claimed": True} for row in subject.once(_reach_rows) if n_blocks == 1 or not row["claimed"]]
    values = _measured(subject, last_block)
    return _measurement(subject, "last_block_effect", "proportion", values, arms, rows=rows, start=start)


def exact_flips(subject: Subject) -> Measurement:
    """Share of the changed predictions that are the exact counterfactual answer, per pair.

    Arms: ``last token`` (the same, for patches of the last token alone), ``random row``, ``untrained twin``.
    """
    start, found = time.perf_counter(), subject.once(patches)
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
        detail=subject.once(_detail),
        seconds=time.perf_counter() - start,
    )


def _detail(subject: Subject) -> dict[str, object]:
    """Pooled over pairs as the paper counts them, and without the doubtful ones."""
    found, n_blocks = subject.once(patches), len(blocks(subject.n_layers))

    def pooled(pairs: Iterable[str]) -> dict[str, object]:
        return _pooled([patch for pair in pairs for patch in found[pair].measured], n_blocks)

    return {
        "accuracy": subject.once(accuracy),
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
    runs, rows, found = subject.once(FactRuns), dict[str, dict[str, object]](), blocks(subject.n_layers)
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
