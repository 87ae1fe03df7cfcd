"""What unedited prompts say of the next word: how far rhyme words lie behind it, and which prompts tell words apart.

The paper gives the distance of its targets from the natural word as the reason why its methods fail (appendix A.7), and
a small divergence between prompts of one rhyme group as a sign that the stream holds no plan (section 4).
"""

import time
from collections.abc import Mapping, Sequence

import torch

from prolepsis.controls import control_arms
from prolepsis.experiments.divergences import divergence
from prolepsis.experiments.rhyme_pairs import Pair, Runs, clusters_of, rhyme_pairs, task_of
from prolepsis.measurement import Measurement
from prolepsis.running.hooks import Read
from prolepsis.subject import Subject
from prolepsis.subjects.lexicon import clean_words
from prolepsis.subjects.task import Prompt

Tensor = torch.Tensor
Values = Mapping[str, float]


def rhyme_word_gaps(subject: Subject) -> Values:
    """Pair id → logit of the most likely next word less that of the nearest word of any other rhyme group, in nats."""
    task = task_of(subject)
    return {
        pair.id: _gap(
            _logits(subject, pair.recipient),
            [
                subject.word_id(w)
                for group, words in task.groups.items()
                if group != pair.recipient.group
                for w in words
            ],
        )
        for pair in rhyme_pairs(task)
    }


def rhyme_word_gap(subject: Subject) -> Measurement:
    """How far the nearest rhyme word of another group lies behind the most likely next word, in nats, with its arms.

    A difference of two logits is the logarithm of the ratio of their probabilities. Arms: ``other words`` (the same for
    as many words that are in no rhyme group, as common by their token ids), ``untrained twin``.
    """
    start, pairs = time.perf_counter(), rhyme_pairs(task_of(subject))
    others = _other_words(subject)
    return Measurement(
        experiment="rhyme_word_gap",
        subject=subject.digest,
        unit="nats",
        design="one-way",
        parameters={"prompts": [pair.recipient.id for pair in pairs]},
        values=rhyme_word_gaps(subject),
        clusters={pair.id: (pair.recipient.group,) for pair in pairs},
        arms={
            **({"other words": {p.id: _gap(_logits(subject, p.recipient), others) for p in pairs}} if others else {}),
            **control_arms(subject, rhyme_word_gaps, {"untrained twin": subject.twin}),
        },
        detail={"other words": len(others)},
        seconds=time.perf_counter() - start,
    )


def within_group_divergence(subject: Subject) -> Measurement:
    """KL in nats between the next-word distributions of prompts whose words are of one rhyme group, with its arm.

    Arm: ``between groups``, from the same prompt to one whose word is of another group. Where that is small as well,
    nothing that is said of rhymes follows.
    """
    start, pairs = time.perf_counter(), rhyme_pairs(task_of(subject))
    return Measurement(
        experiment="within_group_divergence",
        subject=subject.digest,
        unit="nats",
        design="pairs-of-groups",
        parameters={"pairs": [pair.id for pair in pairs]},
        values={pair.id: _divergence(subject, pair.recipient, pair.mate) for pair in pairs},
        clusters=clusters_of(pairs),
        arms={"between groups": {pair.id: _divergence(subject, pair.recipient, pair.donor) for pair in pairs}},
        detail={"same answer": _same_answers(pairs)},
        seconds=time.perf_counter() - start,
    )


def _divergence(subject: Subject, first: Prompt, second: Prompt) -> float:
    return divergence(_logits(subject, first), _logits(subject, second))


def _logits(subject: Subject, prompt: Prompt) -> Tensor:
    """Logits [V] after an unedited prompt."""
    return subject.once(Runs).clean(prompt).read(Read()).last_logits[0].double()


def _gap(logits: Tensor, words: Sequence[int]) -> float:
    return float(logits.max() - logits[list(words)].max())


def _other_words(subject: Subject) -> list[int]:
    """As many words that are in no rhyme group as there are rhyme words, each as common as one of them; or all."""
    rhymes = sorted({subject.word_id(word) for words in task_of(subject).groups.values() for word in words})
    left, chosen = [token for token in subject.once(clean_words) if token not in rhymes], []
    for token in rhymes:
        if left:
            chosen.append(min(left, key=lambda other: abs(other - token)))
            left.remove(chosen[-1])
    return chosen


def _same_answers(pairs: Sequence[Pair]) -> int:
    """How many pairs of one group call for the same word."""
    return sum(pair.recipient.answer == pair.mate.answer for pair in pairs)
