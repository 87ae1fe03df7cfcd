"""When does the rhyme show in the residual stream? The logit lens, layer by layer (nostalgebraist, 2020).

The lens reads resid_post of a layer as if it were the last one's: final norm, unembedding, softcap where there is one.
What is read is a contrast: how much likelier a word that rhymes with line 1's is than one that rhymes with another
group's. Each group stands for the rhymes as often as for the others, so that on average common words favour neither.
"""

import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch

from prolepsis.controls import control_arms
from prolepsis.engine import CleanRun
from prolepsis.errors import Untested
from prolepsis.experiments.rhyme_pairs import Pair, Runs, rhyme_pairs, task_of
from prolepsis.measurement import Measurement
from prolepsis.subject import Subject
from prolepsis.subjects.lexicon import lexicon_of
from prolepsis.subjects.task import Prompt
from prolepsis.watching import watched

Tensor = torch.Tensor
Values = Mapping[str, float]

FROM_DEPTH = 14 / 26
"""The relative depth from which rhyme words are said to be there (L14 of 26)."""
FADING = 11 / 16
"""The relative depth from which, up to the layer before the last, they are said to be there in Llama (L11 of 16)."""


@dataclass(frozen=True)
class Lens:
    """Per layer by how many nats a word that rhymes is likelier than one that does not, by the lens.

    Rhymes are those of the recipient's word, the others those of the donor's; neither word itself counts. ``rhymes``:
    at the recipient's last position; ``another_line``: at the donor's; ``mid_line``: midway between the recipient's
    rhyme word and its last position.
    """

    rhymes: Sequence[float]
    another_line: Sequence[float]
    mid_line: Sequence[float]


def lenses(subject: Subject) -> Mapping[str, Lens]:
    """Prompt id → what the lens shows of it, for the recipients of all pairs."""
    return {pair.recipient.id: _lens(subject, pair) for pair in watched(rhyme_pairs(task_of(subject)), "pairs")}


def persistences(subject: Subject) -> Values:
    """Prompt id → the least lead of the rhymes in any layer from mid-depth to the last, in nats."""
    return {name: _persistence(lens.rhymes) for name, lens in subject.once(lenses).items()}


def lens_persistence(subject: Subject) -> Measurement:
    """Lead of the rhymes by the lens where it is least, from mid-depth to the output, with its control arms.

    The paper counts words among the lens's first tokens and does not say how many; a lead needs no such number. Arms:
    ``another line 1`` (the lead of the same words after the donor's line 1), ``mid-line position``, ``untrained twin``.
    """
    start = time.perf_counter()
    found = subject.once(lenses)
    arms = {
        "another line 1": {name: _persistence(lens.another_line) for name, lens in found.items()},
        "mid-line position": {name: _persistence(lens.mid_line) for name, lens in found.items()},
        **control_arms(subject, persistences, {"untrained twin": subject.twin}),
    }
    measured_from = first_layer(subject.n_layers)
    return _measurement(subject, "lens_persistence", persistences(subject), arms, measured_from, start=start)


def lens_dissipation(subject: Subject) -> Measurement:
    """Lead of the rhymes by the lens in the last layer; arm ``middle layers``: their mean lead there.

    The middle layers are L11 to L14 of 16, where rhymes are said to be for a while. Raises Untested for a model of one
    layer, which has none before the last.
    """
    start = time.perf_counter()
    middle = fading_layers(subject.n_layers)
    if not middle:
        raise Untested(f"{subject.id}: it has one layer, so nothing can fade before the last")
    found = subject.once(lenses)
    there = {name: fmean(lens.rhymes[layer] for layer in middle) for name, lens in found.items()}
    gone = {name: lens.rhymes[-1] for name, lens in found.items()}
    return _measurement(subject, "lens_dissipation", gone, {"middle layers": there}, middle[0], start=start)


def _measurement(
    subject: Subject, experiment: str, values: Values, arms: Mapping[str, Values], from_layer: int, *, start: float
) -> Measurement:
    found = subject.once(lenses)
    return Measurement(
        experiment=experiment,
        subject=subject.digest,
        unit="nats",
        design="one-way",
        parameters={"prompts": list(found), "from layer": from_layer},
        values=values,
        clusters={pair.recipient.id: (pair.recipient.group,) for pair in rhyme_pairs(task_of(subject))},
        arms=arms,
        detail={
            of: [fmean(getattr(lens, of)[layer] for lens in found.values()) for layer in range(subject.n_layers)]
            for of in ("rhymes", "another_line", "mid_line")
        },
        seconds=time.perf_counter() - start,
    )


def fading_layers(n_layers: int) -> range:
    """The layers before the last at the relative depth where rhyme words are said to be there for a while."""
    return range(max(0, min(round(FADING * n_layers), n_layers - 2)), n_layers - 1)


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
    runs = subject.once(Runs)
    clean = runs.clean(pair.recipient)
    last = len(clean.tokens) - 1
    rhymes, others = rhyming_tokens(subject, pair.recipient), rhyming_tokens(subject, pair.donor)

    def leads(logits: Tensor) -> list[list[float]]:
        likelier = _per_word(logits, rhymes) - _per_word(logits, others)  # [L, positions]
        by_position: list[list[float]] = likelier.T.tolist()
        return by_position

    mid_line, own = leads(lens(clean, [(runs.source(pair) + last) // 2, last]))
    (another_line,) = leads(lens(runs.clean(pair.donor), [last]))
    return Lens(rhymes=own, another_line=another_line, mid_line=mid_line)


def _per_word(logits: Tensor, words: Sequence[int]) -> Tensor:
    """Log of the mean over ``words`` of what is proportional to their probability, for logits [..., V]."""
    return logits[..., list(words)].logsumexp(-1) - math.log(len(words))


def rhyming_tokens(subject: Subject, prompt: Prompt) -> tuple[int, ...]:
    """Tokens of the words that rhyme with the prompt's, in the vocabulary or in the task's group; not its own."""
    spoken = subject.once(lexicon_of).endings.get(prompt.word, ("",))[0]
    words = {*task_of(subject).groups[prompt.group], *subject.once(words_by_ending).get(spoken, ())} - {prompt.word}
    return tuple(sorted({subject.word_id(word) for word in words if subject.is_one_token(word)}))


def words_by_ending(subject: Subject) -> Mapping[str, Collection[str]]:
    """Rhyme ending of the first pronunciation → the words of the vocabulary that have it."""
    found: dict[str, set[str]] = {}
    for word, endings in subject.once(lexicon_of).endings.items():
        found.setdefault(endings[0], set()).add(word)
    return found
