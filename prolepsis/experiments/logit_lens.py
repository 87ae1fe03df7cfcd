"""When does the rhyme show in the residual stream? The logit lens, layer by layer (nostalgebraist, 2020).

The lens reads resid_post of a layer as if it were the last one's: final norm, unembedding, softcap where there is one.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch

from prolepsis.controls import control_arms, once
from prolepsis.engine import CleanRun
from prolepsis.experiments.rhyme_pairs import Pair, Runs, rhyme_pairs, task_of
from prolepsis.measurement import Measurement
from prolepsis.subject import Subject
from prolepsis.task import Prompt
from prolepsis.watching import watched

Tensor = torch.Tensor
Values = Mapping[str, float]

FROM_DEPTH = 14 / 26
"""The relative depth from which rhyme words are said to be there (L14 of 26)."""


@dataclass(frozen=True)
class Lens:
    """Per layer of one prompt, the log-odds in nats that the next word is one of some words, by the lens.

    ``rhymes``: the prompt's rhyme words, at the last position; ``others``: as many of another rhyme group, there;
    ``mid_line``: the rhyme words, midway between line 1's rhyme word and the last position.
    """

    rhymes: Sequence[float]
    others: Sequence[float]
    mid_line: Sequence[float]


def lenses(subject: Subject) -> Mapping[str, Lens]:
    """Prompt id → what the lens shows of it, for the recipients of all pairs."""
    return {pair.recipient.id: _lens(subject, pair) for pair in watched(rhyme_pairs(task_of(subject)), "pairs")}


def persistences(subject: Subject) -> Values:
    """Prompt id → the least log-odds of a rhyme word in any layer from mid-depth to the last, in nats."""
    return {name: _persistence(lens.rhymes) for name, lens in once(subject, lenses).items()}


def lens_persistence(subject: Subject) -> Measurement:
    """Log-odds of a rhyme word by the lens where it is least, from mid-depth to the output, with its control arms.

    The paper counts words among the lens's first tokens and does not say how many; odds need no such number. Arms:
    ``other words`` (as many words of another rhyme group), ``mid-line position`` and ``untrained twin``.
    """
    start = time.perf_counter()
    found = once(subject, lenses)
    return Measurement(
        experiment="lens_persistence",
        subject=subject.digest,
        unit="nats",
        design="one-way",
        parameters={"prompts": list(found), "from layer": first_layer(subject.n_layers)},
        values=persistences(subject),
        clusters={pair.recipient.id: (pair.recipient.group,) for pair in rhyme_pairs(task_of(subject))},
        arms={
            "other words": {name: _persistence(lens.others) for name, lens in found.items()},
            "mid-line position": {name: _persistence(lens.mid_line) for name, lens in found.items()},
            **control_arms(subject, persistences, {"untrained twin": subject.twin}),
        },
        detail={
            of: [fmean(getattr(lens, of)[layer] for lens in found.values()) for layer in range(subject.n_layers)]
            for of in ("rhymes", "others", "mid_line")
        },
        seconds=time.perf_counter() - start,
    )


def first_layer(n_layers: int) -> int:
    """The layer at the relative depth from which rhyme words are said to be there."""
    return min(round(FROM_DEPTH * n_layers), n_layers - 1)


def _persistence(odds: Sequence[float]) -> float:
    return min(odds[first_layer(len(odds)) :])


@torch.no_grad()
def lens(clean: CleanRun, positions: Sequence[int]) -> Tensor:
    """Logits [L, positions, V] in float64 that each layer's resid_post at ``positions`` would give as the last one."""
    return clean.subject.unembed(clean.resid[1:, list(positions)]).double()


def _lens(subject: Subject, pair: Pair) -> Lens:
    runs, task = once(subject, Runs), task_of(subject)
    clean = runs.clean(pair.recipient)
    last = len(clean.tokens) - 1
    logits = lens(clean, [(runs.source(pair) + last) // 2, last])  # [L, 2, V]

    def odds(prompt: Prompt, place: int) -> list[float]:
        words = [subject.word_id(word) for word in task.groups[prompt.group] if word != prompt.word]
        asked = torch.zeros(subject.n_vocab, dtype=torch.bool, device=logits.device)
        asked[words] = True
        at = logits[:, place]
        ratio: list[float] = (at[:, asked].logsumexp(-1) - at[:, ~asked].logsumexp(-1)).tolist()
        return ratio

    return Lens(rhymes=odds(pair.recipient, 1), others=odds(pair.donor, 1), mid_line=odds(pair.recipient, 0))
