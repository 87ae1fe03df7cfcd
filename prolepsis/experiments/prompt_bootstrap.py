"""How much would the paper's head figures vary over prompts? A percentile bootstrap over the routed pairs.

The paper's changes of attention are those of one prompt. What is found here is for the reader alone: verdicts rest on
the clustered intervals of :mod:`prolepsis.judging.clustered`.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from prolepsis.names import Head

Changes = Mapping[Head, float]
"""Head → Δattention of one prompt."""

DRAWS, SEED, LEVEL = 1000, 0, 0.95


def bootstrap_over_prompts(changes: Sequence[Changes]) -> dict[str, object]:
    """95 % percentile intervals of the top head's mean Δattention and rank by mean |Δattention|, and of the mean total.

    Prompts are drawn with replacement, as many as there are. Heads a prompt's edit does not reach count as unmoved;
    empty where no head is reached. ``on top`` is the share of draws in which the head is first.
    """
    heads = sorted({head for each in changes for head in each}, key=lambda head: (head.layer, head.index))
    if not heads:
        return {}
    table = np.array([[each.get(head, 0.0) for head in heads] for each in changes])  # [prompts, heads]
    top = int(np.abs(table).mean(0).argmax())
    drawn = np.random.default_rng(SEED).integers(len(table), size=(DRAWS, len(table)))
    sizes = np.abs(table)[drawn].mean(1)  # [draws, heads]
    ranks = 1 + (sizes > sizes[:, top, None]).sum(1)
    samples = {"Δattention": table[drawn, top].mean(1), "total |Δattention|": sizes.sum(1), "rank": ranks}
    tails = [50 * (1 - LEVEL), 50 * (1 + LEVEL)]
    return {
        "head": str(heads[top]),
        "draws": DRAWS,
        "seed": SEED,
        "prompts": len(table),
        "on top": float((ranks == 1).mean()),
        **{name: [float(bound) for bound in np.percentile(values, tails)] for name, values in samples.items()},
    }
