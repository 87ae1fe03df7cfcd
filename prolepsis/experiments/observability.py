"""The paper's six methods that look for a plan without suppression (appendix A), as they were run.

All six choose transcoder features for a target word; five add them and one ablates, at the last prompt token. A hit is
a greedy next token that is the target: the prompts stop right before the word that ends the line. A sampled hit is a
line, drawn at the paper's temperature, whose last word is the target. Targets are taken in turn from another rhyme
group and from the prompt's own. A method's strength is in units of a word feature's typical activation, for the
ablation in units of each feature's own. Beside them, on the same metric: the paper's suppress + inject, and the
target's unembedding direction in units of the distance between the prompt's last row and that of a prompt that calls
for the target.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch.nn.functional import normalize

from prolepsis.directions import unembedding_direction
from prolepsis.edits import ReplaceRow, Row
from prolepsis.experiments.divergences import lumped_kl
from prolepsis.experiments.feature_activity import Activity, weights_of
from prolepsis.experiments.position_sweep import strength_unit, word_features
from prolepsis.experiments.regeneration import last_word
from prolepsis.experiments.rhyme_pairs import Pair, Runs, rhyme_pairs, task_of
from prolepsis.names import Feature
from prolepsis.running.generation import sample
from prolepsis.running.readings import Readings
from prolepsis.subject import Subject, transcoder_of
from prolepsis.subjects.task import Prompt
from prolepsis.writes import Writes, summed, write_at

Tensor = torch.Tensor
Values = dict[str, float]

N_PAIRS = 24
N_FEATURES = 5
"""Features a method adds."""
STRENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""The paper's, but for 0, which leaves the prompt as it is."""
N_SAMPLED, N_SAMPLES, TEMPERATURE, SEED = 18, 3, 0.8, 0
"""How many items lines are drawn for, how many lines of each at every strength, and how."""
MAX_NEW_TOKENS = 3
"""How long a line may go on, of the paper's 50: here one word ends it, and a token or two say so."""
ITEMS_AT_ONCE = 6
METHODS = (
    "largest activation",
    "decoder dot",
    "decoder cosine",
    "active cosine",
    "clamped active cosine",
    "contrastive probe",
    "ablation",
)
"""M1, M2a, M2b, M3 (written at each feature's own layer), M4 (at all downstream layers), M5, M6."""
SENTENCE = "The word is"
"""What M1 puts before the word it probes; M5 probes it alone, and so does M1 where a subject lacks these words."""


@dataclass(frozen=True)
class Item:
    """A prompt that is steered towards the answer of ``target``, a prompt of the same template."""

    pair: Pair
    target: Prompt

    @property
    def id(self) -> str:
        return f"{self.pair.recipient.id}->{self.target.answer}"

    @property
    def clusters(self) -> tuple[str, str]:
        """The prompt, and the word whose features are chosen."""
        return self.pair.recipient.id, self.target.answer


@dataclass(frozen=True)
class Outcome:
    """What one method did to one item, by strength.

    Hits; share of the lines drawn that hit, empty where none was drawn; gains of the target's log-odds and losses of
    those of the natural top, which is the likeliest next token without an edit, and off-target KL, in nats.
    """

    hits: tuple[bool, ...]
    sampled: tuple[float, ...]
    gains: tuple[float, ...]
    losses: tuple[float, ...]
    costs: tuple[float, ...]


def items_of(subject: Subject) -> tuple[Item, ...]:
    """Two items with a target of another group, two with one of the prompt's own, and so on."""
    pairs = rhyme_pairs(task_of(subject))[:N_PAIRS]
    return tuple(Item(pair, pair.donor if i // 2 % 2 == 0 else pair.mate) for i, pair in enumerate(pairs))


def sampled_ids(subject: Subject) -> tuple[str, ...]:
    """The items that lines are drawn for, half of either kind of target, chosen at random."""
    chosen: list[str] = []
    for same in (False, True):
        ids = [item.id for item in items_of(subject) if (item.target.group == item.pair.recipient.group) == same]
        order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(SEED)).tolist()
        chosen += [ids[i] for i in order[: N_SAMPLED // 2]]
    return tuple(chosen)


@dataclass(frozen=True)
class Scores:
    """How the features of a subject rate against target words, by answer; every tensor [L, F].

    ``in_sentence`` and ``probes`` are activations at the token of the word, after :data:`SENTENCE` and alone; ``dots``
    and ``cosines`` compare what a feature writes at the last layer with the word's embedding.
    """

    in_sentence: Mapping[str, Tensor]
    probes: Mapping[str, Tensor]
    dots: Mapping[str, Tensor]
    cosines: Mapping[str, Tensor]

    @cached_property
    def mean_probe(self) -> Tensor:
        return torch.stack(list(self.probes.values())).mean(0)


@torch.no_grad()
def score_features(subject: Subject) -> Scores:
    """Rate all features against the items' targets."""
    activity, transcoder = subject.once(Activity), transcoder_of(subject)
    words = list(dict.fromkeys(item.target.answer for item in items_of(subject)))
    ids = [subject.word_id(word) for word in words]
    alone = tuple(subject.encode(""))
    sentence = tuple(subject.encode(SENTENCE)) if subject.unknown(SENTENCE) is None else alone
    # The token that is aimed at, as it stands after a space: the text of a word alone begins with another one.
    spots = [((*start, token), len(start)) for start in (sentence, alone) for token in ids]
    activity.read(spots)
    active = [activity.of(spot) for spot in spots]
    in_sentence, probes = (dict(zip(words, some, strict=True)) for some in (active[: len(ids)], active[len(ids) :]))
    embedding = subject.unembedding[ids].float().cpu()  # [words, d]
    dots, cosines = [], []
    for layer in range(subject.n_layers):
        rows = transcoder.last_decoder(layer)  # [F, d]
        dots.append(embedding @ rows.T)
        cosines.append(normalize(embedding, dim=-1) @ normalize(rows, dim=-1).T)
    dot, cosine = torch.stack(dots, 1), torch.stack(cosines, 1)  # [words, L, F]
    return Scores(in_sentence, probes, dict(zip(words, dot, strict=True)), dict(zip(words, cosine, strict=True)))


def best_features(scores: Tensor) -> list[Feature]:
    """The :data:`N_FEATURES` features with the largest scores [L, F] above zero."""
    values, places = scores.flatten().topk(min(N_FEATURES, scores.numel()))
    width = scores.shape[1]
    found = zip(values.tolist(), places.tolist(), strict=True)
    return [Feature(place // width, place % width) for value, place in found if value > 0]


def steer_last(subject: Subject) -> dict[str, dict[str, Outcome]]:
    """Method or arm → item id → outcome."""
    items, runs = items_of(subject), subject.once(Runs)
    prompts = [runs.clean(item.pair.recipient).tokens for item in items]
    subject.once(Activity).read((tokens, len(tokens) - 1) for tokens in prompts)
    steered = [_steered(subject, item, seed) for seed, item in enumerate(items)]
    alike: dict[tuple[int, bool], list[int]] = {}
    for index, tokens in enumerate(prompts):
        alike.setdefault((len(tokens), items[index].id in sampled_ids(subject)), []).append(index)
    outcomes: dict[int, dict[str, Outcome]] = {}
    for (_, drawn), indices in alike.items():
        for start in range(0, len(indices), ITEMS_AT_ONCE):
            batch = indices[start : start + ITEMS_AT_ONCE]
            outcomes |= zip(batch, _outcomes(subject, [steered[i] for i in batch], drawn=drawn), strict=True)
    methods = steered[0].rows_of
    return {name: {item.id: outcomes[i][name] for i, item in enumerate(items)} for name in methods}


@dataclass(frozen=True)
class _Steered:
    """The runs of one item: rows of edits, row 0 without any, and which rows a method or arm has, by strength."""

    item: Item
    edits: Sequence[Row]
    rows_of: Mapping[str, Sequence[int]]


def _steered(subject: Subject, item: Item, seed: int) -> _Steered:
    runs, top = subject.once(Runs), subject.n_layers - 1
    last = len(runs.clean(item.pair.recipient).tokens) - 1
    edits: list[Row] = [[], [ReplaceRow(top, last, runs.clean(item.target).resid_post(top)[last])]]
    rows_of = {"no edit": [0], "last row": [1]}
    for name, vectors in _writes(subject, item, seed).items():
        # A method that finds no feature leaves the prompt as it is: row 0.
        strengths = STRENGTHS if vectors else ()
        rows_of[name] = list(range(len(edits), len(edits) + len(strengths))) or [0] * len(STRENGTHS)
        edits += [write_at(last, vectors, strength) for strength in strengths]
    return _Steered(item, edits, rows_of)


def _outcomes(subject: Subject, batch: Sequence[_Steered], *, drawn: bool) -> list[dict[str, Outcome]]:
    """What every method and arm does to items whose prompts are equally long, in one batch."""
    runs, task = subject.once(Runs), task_of(subject)
    ends = subject.ends_of_lines(task.line_end)
    limit = int(subject.config.max_position_embeddings)
    prompts = [runs.clean(one.item.pair.recipient).tokens for one in batch for _ in one.edits]
    found = sample(
        subject,
        prompts,
        [edits for one in batch for edits in one.edits],
        n_samples=N_SAMPLES if drawn else 0,
        temperature=TEMPERATURE,
        seed=SEED,
        max_new_tokens=min(MAX_NEW_TOKENS, limit - len(prompts[0])),
        stop=ends,
    )
    outcomes, start = [], 0
    for one in batch:
        here = slice(start, start := start + len(one.edits))
        said = [[last_word(subject, line, task.answers, ends) for line in lines] for lines in found.lines[here]]
        outcomes.append(_outcome(subject, one, Readings(logits=found.logits[here, None]), said))
    return outcomes


def _outcome(
    subject: Subject, one: _Steered, out: Readings, said: Sequence[Sequence[int | None]]
) -> dict[str, Outcome]:
    """One item's outcomes; ``out`` and ``said``, the last words of the lines that were drawn, have a row per edit."""
    runs, item = subject.once(Runs), one.item
    token = runs.answer(item.target)
    p, tops = out.probabilities().double(), out.last_logits.argmax(-1).tolist()
    odds, natural = (out.log_odds(of).tolist() for of in (token, tops[0]))
    families = {*runs.family(item.pair.recipient), *runs.family(item.target)}
    costs = lumped_kl(p[0], p, sorted(families)).tolist()
    return {
        name: Outcome(
            hits=tuple(tops[i] == token for i in rows),
            sampled=tuple(statistics.fmean(word == token for word in said[i]) for i in rows if said[i]),
            gains=tuple(odds[i] - odds[0] for i in rows),
            losses=tuple(natural[0] - natural[i] for i in rows),
            costs=tuple(costs[i] for i in rows),
        )
        for name, rows in one.rows_of.items()
    }


def _writes(subject: Subject, item: Item, seed: int) -> dict[str, Writes]:
    """Method or arm → layer → the vector [d] of strength 1."""
    runs, activity, scores = subject.once(Runs), subject.once(Activity), subject.once(score_features)
    unit, words, answer = subject.once(strength_unit), subject.once(word_features), item.target.answer
    clean, donor = runs.clean(item.pair.recipient), runs.clean(item.target)
    last, middle = len(clean.tokens) - 1, max(0, subject.n_layers - 2)
    active = activity.at(clean, last)  # [L, F]

    def added(features: list[Feature]) -> Writes:
        return activity.writes(dict.fromkeys(features, unit))

    cosine = best_features(scores.cosines[answer] * (active > 0))
    own_layer = [{f.layer: activity.writes({f: unit})[f.layer]} for f in cosine]
    ablated = {feature: -value for feature, value in weights_of(active).items()}
    swap = {words[w]: -unit for w in task_of(subject).groups[item.pair.recipient.group] if w in words}
    norm = (donor.resid_post(middle)[last] - clean.resid_post(middle)[last]).norm()
    return {
        "largest activation": added(best_features(scores.in_sentence[answer])),
        "decoder dot": added(best_features(scores.dots[answer])),
        "decoder cosine": added(best_features(scores.cosines[answer])),
        "active cosine": summed(*own_layer),
        "clamped active cosine": added(cosine),
        "contrastive probe": added(best_features(scores.probes[answer] - scores.mean_probe)),
        "ablation": activity.writes(ablated),
        "other features": activity.writes(_others(ablated, active, seed)),
        "suppress + inject": activity.writes(swap | {words[answer]: unit}) if answer in words else {},
        "unembedding": {middle: norm * unembedding_direction(subject, subject.word_id(answer)).to(norm)},
    }


def _others(weights: Mapping[Feature, float], active: Tensor, seed: int) -> dict[Feature, float]:
    """The same weights on as many features of the same layers that are not active, drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[Feature, float] = {}
    for layer in {feature.layer for feature in weights}:
        values = [value for feature, value in weights.items() if feature.layer == layer]
        free = (active[layer] == 0).nonzero()[:, 0]
        drawn = free[torch.randperm(len(free), generator=generator)].tolist()
        found |= {Feature(layer, index): value for index, value in zip(drawn, values, strict=False)}
    return found
