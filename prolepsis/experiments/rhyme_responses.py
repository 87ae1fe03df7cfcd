"""Do a word's features respond to the words that rhyme with it? Encoders on held-out rhyme-mates.

The vocabulary scan reads decoders only: what a feature writes. That features stand for rhymes is about what they
respond to. So the features that write a word are read by their encoders while another word ends line 1: a rhyme-mate
that their decoders do not write, or a control word. A response is the largest activation from that word on, summed over
templates, relative to the feature's largest over all the task's words.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import normalize

from prolepsis.controls import control_arms
from prolepsis.errors import UserError
from prolepsis.experiments.rhyme_pairs import task_of
from prolepsis.experiments.vocabulary_scan import MIN_COSINE, chance_cosine, features_of, top_tokens
from prolepsis.measurement import Measurement
from prolepsis.names import Feature
from prolepsis.running.prompt_batch import resid_mid_of
from prolepsis.subject import Subject, transcoder_of
from prolepsis.subjects.task import Template

Tensor = torch.Tensor
Values = Mapping[str, float]


@dataclass(frozen=True)
class Response:
    """The relative response of a feature to every word of the task, and the rhyme-mates its decoder does not write."""

    feature: Feature
    to: Mapping[str, float]
    mates: tuple[str, ...]

    def mean(self, words: Sequence[str]) -> float:
        """Mean response to ``words``."""
        return statistics.fmean(self.to[word] for word in words)


def responses(subject: Subject) -> dict[str, list[Response]]:
    """Word → the responses of its features; those that no word moves, or that write all its mates, are left out.

    A word's features are those the task names, else those whose top token it is in the vocabulary scan, at a cosine
    that is at least the paper's and that one in twenty random rows reaches with any token.
    """
    words, features = list(task_of(subject).answers), _features(subject)
    largest = _largest(subject, words, sorted({feature.layer for found in features.values() for feature in found}))
    live: dict[str, list[Response]] = {}
    for word, found in features.items():
        for feature in found:
            values = largest[feature.layer][:, feature.index]
            mates = _held_out(subject, word, feature)
            if mates and values.max() > 0:
                relative = dict(zip(words, (values / values.max()).tolist(), strict=True))
                live.setdefault(word, []).append(Response(feature, relative, mates))
    return live


def mate_responses(subject: Subject) -> Values:
    """Word → mean response of its features to their held-out rhyme-mates; 0 where none of them responds to anything."""
    found = subject.once(responses)
    return {
        word: statistics.fmean(one.mean(one.mates) for one in found[word]) if word in found else 0.0
        for word in task_of(subject).answers
    }


def rhyme_responses(subject: Subject) -> Measurement:
    """Mean response to held-out rhyme-mates over the words that have a feature that responds, with its control arms.

    Arms, each of the same features: ``matched words`` (for each mate a word of another group, spelled as like the
    features' word and as common), ``random words`` (all words of other groups). ``shuffled decoders``: the mean
    response to the same mates of all features that write a word of another group. ``untrained twin``: its own features
    and transcoder.
    """
    start = time.perf_counter()
    found, task = subject.once(responses), task_of(subject)
    group = {word: name for name, words in task.groups.items() for word in words}
    others = {word: [other for other in task.answers if group[other] != group[word]] for word in found}
    arms: dict[str, dict[str, float]] = {"matched words": {}, "random words": {}, "shuffled decoders": {}}
    for word, own in found.items():
        alike = [(one, matched(subject, word, one.mates, others[word])) for one in own]
        arms["matched words"][word] = statistics.fmean(one.mean(chosen) for one, chosen in alike)
        arms["random words"][word] = statistics.fmean(one.mean(others[word]) for one in own)
        mates = list(dict.fromkeys(mate for one in own for mate in one.mates))
        foreign = [one for other in others[word] for one in found.get(other, ())]
        if foreign:
            arms["shuffled decoders"][word] = statistics.fmean(one.mean(mates) for one in foreign)
    return Measurement(
        experiment="rhyme_responses",
        subject=subject.digest,
        unit="relative response",
        design="one-way",
        parameters={
            "templates": [template.id for template in task.templates],
            "features": {word: [str(one.feature) for one in own] for word, own in found.items()},
            "held-out": {word: [list(one.mates) for one in own] for word, own in found.items()},
        },
        values=mate_responses(subject),
        clusters={word: (group[word],) for word in task.answers},
        arms={**arms, **control_arms(subject, mate_responses, {"untrained twin": subject.twin})},
        detectable=tuple(found),
        detail={"words with a feature": len(_features(subject)), "with one that responds": len(found)},
        seconds=time.perf_counter() - start,
    )


def matched(subject: Subject, word: str, mates: Sequence[str], others: Sequence[str]) -> list[str]:
    """For each of ``mates`` one of ``others``, spelled as like ``word`` at its end and as common; each used once.

    Commonness is told by token ids: merges are learned in the order of frequency.
    """
    left, chosen = list(others), []
    for mate in mates:
        alike, token = shared_ending(word, mate), subject.word_id(mate)
        best = min(left, key=lambda w: (abs(shared_ending(word, w) - alike), abs(subject.word_id(w) - token)))
        left.remove(best)
        chosen.append(best)
    return chosen


def shared_ending(one: str, other: str) -> int:
    """How many letters two words share at their end."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _features(subject: Subject) -> dict[str, list[Feature]]:
    task = task_of(subject)
    if task.features is not None:
        return {word: [feature] for word, feature in task.features.items()}
    cut = max(MIN_COSINE, chance_cosine(subject.d_model, subject.n_vocab))
    found = features_of(subject.once(top_tokens), {subject.word_id(word): word for word in task.answers}, cut)
    return {word: list(features) for word, features in found.items()}


@torch.no_grad()
def _largest(subject: Subject, words: Sequence[str], layers: Sequence[int]) -> dict[int, Tensor]:
    """Layer → [words, F], each feature's largest activation from the word on, summed over the task's templates."""
    transcoder = transcoder_of(subject)
    total = {layer: torch.zeros(len(words), transcoder.n_features) for layer in layers}
    for template in task_of(subject).templates:
        prompts, start = _prompts(subject, template, words)
        for layer, resid in resid_mid_of(subject, prompts, layers).items():
            total[layer] += subject.features(layer, resid[:, start:]).amax(1).cpu()
    return total


def _held_out(subject: Subject, word: str, feature: Feature) -> tuple[str, ...]:
    """The word's rhyme-mates that its feature's decoder does not write."""
    task = task_of(subject)
    mates = next([w for w in words if w != word] for words in task.groups.values() if word in words)
    row = normalize(transcoder_of(subject).rows(feature)[-1], dim=0).to(subject.device).float()
    embedding = normalize(subject.unembedding[[subject.word_id(mate) for mate in mates]].float(), dim=-1)
    return tuple(mate for mate, cosine in zip(mates, (embedding @ row).tolist(), strict=True) if cosine < MIN_COSINE)


def _prompts(subject: Subject, template: Template, words: Sequence[str]) -> tuple[list[list[int]], int]:
    """The template with each word, and the position of the word; raises UserError where they cannot be compared."""
    prompts = [subject.encode(task_of(subject).prompt(template, word).text) for word in words]
    if len({len(prompt) for prompt in prompts}) > 1:
        raise UserError(f"{subject.id}: rhyme words of template {template.id} differ in tokens; use words of one token")
    differing = [i for i, column in enumerate(zip(*prompts, strict=True)) if len(set(column)) > 1]
    if not differing:
        raise UserError(f"{subject.id}: all rhyme words of template {template.id} are the same tokens; use other words")
    return prompts, differing[0]
