"""The published pair sweep: every other rhyme group's word injected into each of the paper's prompts (appendix D).

Rhyme groups are those of the vocabulary scan: words that a feature belongs to, grouped by the rhyme ending of their
first pronunciation. In each pair all features of the prompt's own group are suppressed, none where it has no group, and
the other group's feature of the smallest source layer is injected, at every position in turn; of several in that layer
the one of largest cosine with its word. Groups none of whose words is one token are left out, and named.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prolepsis.engine import clean_run
from prolepsis.errors import Untested, UserError
from prolepsis.experiments.published_prompt import NULLS, Placed, noise, published_of, single
from prolepsis.experiments.published_sweep import swept
from prolepsis.experiments.vocabulary_scan import MIN_COSINE, best_features, top_tokens
from prolepsis.measurement import Measurement
from prolepsis.names import Feature
from prolepsis.reachability.selection import Logits
from prolepsis.shams import reach_row
from prolepsis.subject import Subject, transcoder_of
from prolepsis.subjects.lexicon import clean_words, lexicon_of, rhyme_groups, spoken_endings
from prolepsis.subjects.published import RhymePrompt
from prolepsis.subjects.swept_pairs import FIGURES, STRONG, SweptPair, localised, mean_by_position, strong_groups
from prolepsis.watching import watched
from prolepsis.writes import write_at


@dataclass(frozen=True)
class Groups:
    """Rhyme ending → the words of the group; word → the feature that belongs to it, and their cosine."""

    words: Mapping[str, Sequence[str]]
    features: Mapping[str, Feature]
    cosines: Mapping[str, float]

    def earliest(self, words: Iterable[str]) -> str | None:
        """The one of ``words`` whose feature has the smallest source layer, and on ties the largest cosine."""
        return min(words, key=lambda word: (self.features[word].layer, -self.cosines[word]), default=None)


def groups_of(subject: Subject) -> Groups:
    """The rhyme groups of the vocabulary scan."""
    return groups_at(subject, MIN_COSINE)


def groups_at(subject: Subject, cut: float) -> Groups:
    """The same, of features whose cosine with the word is at least ``cut``."""
    lexicon, tops = subject.once(lexicon_of), subject.once(top_tokens)
    features = {
        word: feature for word, feature in best_features(tops, lexicon.words, cut).items() if word in lexicon.endings
    }
    words = rhyme_groups(features, {word: lexicon.endings[word][:1] for word in features})
    return Groups(words, features, {word: tops.cosine_of(feature) for word, feature in features.items()})


@dataclass(frozen=True, eq=False)
class PublishedPair:
    """A prompt, the word of another group that is injected into it, and where and what is written."""

    prompt: RhymePrompt
    word: str
    group: str
    place: Placed

    @property
    def id(self) -> str:
        return f"{self.prompt.rhyme} -> {self.word}"


def published_pairs(subject: Subject) -> tuple[PublishedPair, ...]:
    """Every published prompt with every other group's word; raises Untested where there is no such pair."""
    protocol, transcoder = published_of(subject).pairs, transcoder_of(subject)
    if protocol is None:
        raise Untested(f"{subject.id}: the paper ran no pair sweep on it; ask one of the paper's presets")
    groups, found = subject.once(groups_of), []
    for prompt in watched(protocol.prompts, "prompts"):
        clean, natural = clean_run(subject, subject.encode(f"{prompt.prompt} ")), _ending(subject, prompt.rhyme)
        own = [groups.features[word] for word in groups.words.get(natural, ())]
        suppress = transcoder.writes(own, -protocol.strength)
        for group in (group for group in groups.words if group != natural):
            word = injected(subject, group)
            if word is None:
                continue
            inject = transcoder.writes([groups.features[word]], protocol.strength)
            place = Placed(clean, len(clean.tokens) - 1, subject.word_id(word), suppress, inject)
            found.append(PublishedPair(prompt, word, group, place))
    if not found:
        raise Untested(f"{subject.id}: the vocabulary scan finds no rhyme group to inject a word of")
    return tuple(found)


def injected(subject: Subject, group: str) -> str | None:
    """The word of a group that is injected; words that are not one token cannot be read and do not count.

    None where none is one.
    """
    groups = subject.once(groups_of)
    return groups.earliest(word for word in groups.words[group] if subject.is_one_token(word))


def _ending(subject: Subject, rhyme: str) -> str:
    """The ending by which a prompt's rhyme word belongs to a group, or would."""
    endings = spoken_endings([rhyme])
    if not endings:
        raise UserError(
            f"{subject.id}: published.pairs: rhyme {rhyme!r} is in no dictionary; give the word that sets it"
        )
    return endings[rhyme][0]


def pair_sweeps(subject: Subject) -> dict[str, tuple[SweptPair, ...]]:
    """Arm → the sweep of every published pair."""
    features, found = subject.once(groups_of).features, dict[str, list[SweptPair]]()
    for seed, pair in enumerate(watched(subject.once(published_pairs), "pairs")):
        probabilities, _ = swept(pair.place.clean, pair.place.token, pair.place.arms(pair.place.both, seed))
        for arm, values in probabilities.items():
            feature = str(features[pair.word])
            one = SweptPair(pair.id, pair.prompt.prompt, pair.word, pair.group, feature, values)
            found.setdefault(arm, []).append(one)
    return {arm: tuple(pairs) for arm, pairs in found.items()}


def published_best_redirect(subject: Subject) -> Measurement:
    """Largest P(inject word) of all pairs.

    Arms, here and below: ``matched random`` and ``unembedding``, the same figure of sweeps with these writes.
    """
    return _figure(subject, "published_best_redirect")


def published_weakest_redirect(subject: Subject) -> Measurement:
    """P(inject word) of the pair in which it is least, at its best position."""
    return _figure(subject, "published_weakest_redirect")


def published_median_redirect(subject: Subject) -> Measurement:
    """Median over pairs of P(inject word) at its best position, and how far it is open."""
    return _figure(subject, "published_median_redirect")


def published_localisation(subject: Subject) -> Measurement:
    """Share of all pairs that localise, those without any peak counted as the paper counts them."""
    return _figure(subject, "published_localisation")


def published_strong_localisation(subject: Subject) -> Measurement:
    """Share of the strong redirects that localise.

    Arms: the same pairs, strong or not, with these writes.
    """
    found = subject.once(pair_sweeps)
    strong = {pair.id for pair in found["measured"] if pair.best >= STRONG}
    arms = {arm: localised([pair for pair in found[arm] if pair.id in strong]) for arm in NULLS if strong}
    return _figure(subject, "published_strong_localisation", arms)


def published_strong_pairs(subject: Subject) -> Measurement:
    """How many pairs are strong redirects."""
    return _figure(subject, "published_strong_pairs")


def published_group_list(subject: Subject) -> Measurement:
    """By how many rhyme groups those of the strong redirects and the printed ones differ."""
    return _figure(subject, "published_group_list")


def published_noise_pairs(subject: Subject) -> Measurement:
    """Share of the pairs that do not localise whose best redirect lies where noise dominates; no arms."""
    return _figure(subject, "published_noise_pairs", {})


def published_weakest_peak(subject: Subject) -> Measurement:
    """1 where the pair of the weakest redirect localises, else 0."""
    return _figure(subject, "published_weakest_peak")


def published_floor(subject: Subject) -> Measurement:
    """The lowest in-sweep floor of any pair, in decades."""
    return _figure(subject, "published_floor")


def published_best_rise(subject: Subject) -> Measurement:
    """How far the best redirect rises above its in-sweep floor, in nats."""
    return _figure(subject, "published_best_rise")


def published_weakest_rise(subject: Subject) -> Measurement:
    """The same of the weakest redirect."""
    return _figure(subject, "published_weakest_rise")


def published_largest_rise(subject: Subject) -> Measurement:
    """How far any redirect rises above its in-sweep floor at most, in nats."""
    return _figure(subject, "published_largest_rise")


def published_layer_gradient(subject: Subject) -> Measurement:
    """Rank correlation of how early a feature is injected from and the ratio at the last position."""
    return _figure(subject, "published_layer_gradient")


def clean_word_features(subject: Subject) -> Measurement:
    """How many words have a feature: its top token is the word, with a cosine of at least 0.3 (appendix B.1)."""
    start, found = time.perf_counter(), best_features(subject.once(top_tokens), subject.once(clean_words))
    return single(
        subject,
        "clean_word_features",
        "count",
        float(len(found)),
        parameters={},
        detail={"words": {word: str(feature) for word, feature in found.items()}},
        seconds=time.perf_counter() - start,
    )


def found_rhyme_words(subject: Subject) -> Measurement:
    """How many words the rhyme groups of the scan hold (appendix B.2)."""
    return _grouped(subject, "found_rhyme_words", sum(map(len, subject.once(groups_of).words.values())))


def found_rhyme_groups(subject: Subject) -> Measurement:
    """How many rhyme groups the words of the scan fall into (appendix B.2)."""
    return _grouped(subject, "found_rhyme_groups", len(subject.once(groups_of).words))


def _grouped(subject: Subject, name: str, count: int) -> Measurement:
    return single(subject, name, "count", float(count), parameters={}, detail={"groups": subject.once(groups_of).words})


def _figure(subject: Subject, name: str, arms: Mapping[str, float] | None = None) -> Measurement:
    """One figure of all sweeps; its arms are the same figure of the control writes, unless others are given."""
    start, found, figure = time.perf_counter(), subject.once(pair_sweeps), FIGURES[name]
    pairs = found["measured"]
    return single(
        subject,
        name,
        figure.unit,
        figure.value(pairs),
        parameters={"pairs": [pair.id for pair in pairs], "features": [pair.feature for pair in pairs]},
        arms={arm: figure.value(found[arm]) for arm in NULLS} if arms is None else arms,
        rows=subject.once(_reach_rows),
        detail={
            "P of each pair": {pair.id: pair.probabilities for pair in pairs},
            "by position": mean_by_position(
                len(pairs), {arm: [pair.probabilities for pair in of] for arm, of in found.items()}
            ),
            "pairs that localise": [pair.id for pair in pairs if pair.localises],
            "strong groups": sorted(strong_groups(pairs)),
            "groups": subject.once(groups_of).words,
            "groups without a word of one token": [
                group for group in subject.once(groups_of).words if injected(subject, group) is None
            ],
        },
        tolerance=figure.spread(pairs, noise(subject)),
        seconds=time.perf_counter() - start,
    )


def _reach_rows(subject: Subject) -> list[dict[str, object]]:
    """Per prompt and injected layer, whether the injection alone, given the rest, reaches the last logits.

    From the last position, and from the one before it.
    """
    rows: dict[str, dict[str, object]] = {}
    for pair in subject.once(published_pairs):
        place = pair.place
        for position in (place.last, place.last - 1):
            readout = Logits(place.last)
            name = f"{pair.prompt.rhyme}: injection alone from L{min(place.inject)} at {position} → {readout}"
            if name not in rows:
                given, claimed = write_at(position, place.suppress), position == place.last
                inject = write_at(position, place.inject)
                rows[name] = reach_row(place.clean, inject, readout, given=given, name=name, claimed=claimed)
    return list(rows.values())
