"""Which token must later positions be able to attend to? Each is hidden in turn from all that come after it.

Hiding a token blocks attention to it from every later position, in all heads of all layers; what is lost is read as the
answer's log-odds among the words that could be answers, in nats, so that a token which only tells that some noun is due
does not count. The anchor is the token between the rhyme word and the last position whose hiding costs most: chosen per
template on half of the rhyme groups, tested on the other half, both ways. The rhyme word itself is no candidate, since
all that is known of the answer comes from it.
"""

import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import torch

from prolepsis.controls import control_arms, mechanism_controls
from prolepsis.edits import HideKeys
from prolepsis.engine import CleanRun, clean_run
from prolepsis.experiments.rhyme_pairs import Pair, Runs, first_turn, task_of
from prolepsis.measurement import Measurement
from prolepsis.names import Head
from prolepsis.reachability.masks import BoolArray
from prolepsis.reachability.selection import Logits
from prolepsis.running.hooks import Read
from prolepsis.running.prompt_batch import by_length, passes
from prolepsis.running.readings import Readings
from prolepsis.shams import reach_row
from prolepsis.subject import Subject
from prolepsis.subjects.task import Prompt
from prolepsis.watching import watched

Half = tuple[int, str]
Values = Mapping[str, float]
Losses = Mapping[int, float]
Keys = Sequence[int]
Queries = Sequence[int]
N_NEIGHBOURS = 2


@dataclass(frozen=True)
class Anchors:
    """What hiding each token costs in every prompt, and the anchors chosen from that.

    ``losses`` maps prompt id → position → nats; ``all_hidden`` prompt id → nats lost when the last position sees itself
    alone, and ``overlap`` how much its predictions then overlap with those of its token by itself. ``chosen``,
    ``neighbours`` and ``attended`` map (half tested, template id) → the anchor's position, the two positions next to
    it, and the position whose attention mass is nearest to the anchor's.
    """

    pairs: tuple[Pair, ...]
    source: Mapping[str, int]
    losses: Mapping[str, Losses]
    all_hidden: Mapping[str, float]
    overlap: Mapping[str, float]
    chosen: Mapping[Half, int]
    neighbours: Mapping[Half, tuple[int, ...]]
    attended: Mapping[Half, int]

    def of(self, pair: Pair) -> int:
        """The anchor a pair's recipient is tested at."""
        return self.chosen[_half(pair)]

    def anchor(self, pair: Pair) -> float:
        """Loss by hiding the anchor, in nats."""
        return self.losses[pair.recipient.id][self.of(pair)]

    def beside(self, pair: Pair) -> float:
        """Mean loss by hiding either of the tokens next to the anchor."""
        return statistics.fmean(self.losses[pair.recipient.id][at] for at in self.neighbours[_half(pair)])

    def equally_attended(self, pair: Pair) -> float:
        """Loss by hiding the token that is attended to as much as the anchor."""
        return self.losses[pair.recipient.id][self.attended[_half(pair)]]

    def half_of_all(self, pair: Pair) -> float:
        """Half of what is lost when everything before the last position is hidden."""
        return self.all_hidden[pair.recipient.id] / 2


def _half(pair: Pair) -> Half:
    return pair.half, pair.recipient.template.id


def hide(subject: Subject, tokens: tuple[int, ...], hidden: Iterable[tuple[Keys, Queries]]) -> list[list[HideKeys]]:
    """Per pair of ``hidden`` the edits that hide these keys from the later ones of these queries, in all layers.

    Edges that nobody sees along are left out, and so are those of a query that would see no key at all.
    """
    seen = [subject.wiring.visible(layer, tokens) for layer in range(subject.n_layers)]
    # Prompts of one template mostly see alike, and are hidden the same from then.
    view, known = tuple(layer.tobytes() for layer in seen), subject.once(_Known)
    rows = []
    for keys, queries in hidden:
        if (view, keys, queries) not in known.rows:
            known.rows[view, keys, queries] = [
                HideKeys(layer, query, found)
                for layer, query in product(range(subject.n_layers), queries)
                if (found := _hideable(seen[layer][query], query, keys))
            ]
        rows.append(known.rows[view, keys, queries])
    return rows


@dataclass(frozen=True, eq=False)
class _Known:
    """What has been worked out for a subject: edits by (who sees whom, keys, queries), predictions of lone tokens."""

    subject: Subject
    rows: dict[tuple[object, ...], list[HideKeys]] = field(default_factory=dict)
    lone: dict[int, torch.Tensor] = field(default_factory=dict)


def _hideable(seen: BoolArray, query: int, keys: Keys) -> tuple[int, ...]:
    """Those of ``keys`` that come before ``query`` and are seen by it, none if it sees no other."""
    found = tuple(key for key in keys if key < query and seen[key])
    return found if len(found) < seen.sum() else ()


def find_anchors(subject: Subject) -> Anchors:
    """Hide every token of every prompt, and choose each half's anchors by the other half's mean loss."""
    # One turn holds one prompt of every group, which is all the clusters there are.
    runs, pairs = subject.once(Runs), first_turn(task_of(subject))
    source = {pair.recipient.id: runs.source(pair) for pair in pairs}
    losses: dict[str, Losses] = {}
    all_hidden: dict[str, float] = {}
    overlap: dict[str, float] = {}
    for pair in watched(pairs, "pairs"):
        clean = runs.clean(pair.recipient)
        last = len(clean.tokens) - 1
        one_each: list[tuple[Keys, Queries]] = [((key,), range(last + 1)) for key in range(last)]
        out = clean.edit([*hide(subject, clean.tokens, [*one_each, (range(last), (last,))]), []])
        odds = _odds(runs, pair.recipient, out)
        lost = (odds[-1] - odds).tolist()
        losses[pair.recipient.id] = dict(enumerate(lost[:last]))
        all_hidden[pair.recipient.id] = lost[last]
        overlap[pair.recipient.id] = float(torch.minimum(out.probabilities()[last], _alone(clean)).sum())
    masses = _attention_masses(runs, [pair.recipient for pair in pairs])
    chosen, neighbours, attended = {}, {}, {}
    for half, template in {_half(pair) for pair in pairs}:
        prompts = [p.recipient for p in pairs if p.half != half and p.recipient.template.id == template]
        at, last = source[prompts[0].id], len(losses[prompts[0].id])
        mean = [statistics.fmean(losses[prompt.id][p] for prompt in prompts) for p in range(last)]
        anchor = max(range(at + 1, last), key=mean.__getitem__)
        others = [p for p in range(last) if p not in (at, anchor)]
        mass = [statistics.fmean(masses[prompt.id][p] for prompt in prompts) for p in range(last)]
        chosen[half, template] = anchor
        neighbours[half, template] = tuple(sorted(others, key=lambda p: (abs(p - anchor), p))[:N_NEIGHBOURS])
        attended[half, template] = min(others, key=lambda p: abs(mass[p] - mass[anchor]))
    return Anchors(pairs, source, losses, all_hidden, overlap, chosen, neighbours, attended)


def _alone(clean: CleanRun) -> torch.Tensor:
    """Next-token probabilities [V] of the last token by itself."""
    lone, token = clean.subject.once(_Known).lone, clean.tokens[-1]
    if token not in lone:
        lone[token] = clean_run(clean.subject, (token,)).read(Read()).probabilities()[0]
    return lone[token]


def _odds(runs: Runs, prompt: Prompt, read: Readings) -> torch.Tensor:
    """Log-odds of the prompt's answer among the task's answers, in nats [B]."""
    answer = runs.answer(prompt)
    others = sorted({runs.subject.word_id(word) for word in task_of(runs.subject).answers.values()} - {answer})
    logits = read.last_logits.double()
    return logits[:, answer] - logits[:, others].logsumexp(-1)


def _attention_masses(runs: Runs, prompts: Sequence[Prompt]) -> dict[str, list[float]]:
    """Prompt id → per position the mean weight with which later positions attend to it, over layers and heads."""
    subject = runs.subject
    heads = [Head(layer, head) for layer, head in product(range(subject.n_layers), range(subject.n_heads))]
    masses = {}
    for alike in by_length(watched(prompts, "prompts"), lambda prompt: len(runs.clean(prompt).tokens)):
        length = len(runs.clean(alike[0]).tokens)
        read = Read(logits=(), patterns=tuple(product(heads, range(length))))
        states = passes(subject, [runs.clean(prompt).tokens for prompt in alike], read)
        rows = torch.cat([torch.stack([state.patterns[asked] for asked in read.patterns], 1) for state in states])
        means = rows.view(len(alike), -1, length, length).mean(1)  # [P, L·H, T, T] → [P, T, T]
        for prompt, mean in zip(alike, means, strict=True):
            masses[prompt.id] = [float(mean[key + 1 :, key].mean()) for key in range(length - 1)]
    return masses


def anchor_losses(subject: Subject) -> Values:
    """Prompt id → loss by hiding its anchor, in nats."""
    anchors = subject.once(find_anchors)
    return {pair.recipient.id: anchors.anchor(pair) for pair in anchors.pairs}


def anchor_excesses(subject: Subject) -> Values:
    """Prompt id → by how much that loss exceeds half of what hiding everything loses, in nats."""
    anchors = subject.once(find_anchors)
    return {pair.recipient.id: anchors.anchor(pair) - anchors.half_of_all(pair) for pair in anchors.pairs}


def anchor_loss(subject: Subject) -> Measurement:
    """Loss of the answer's log-odds when its anchor is hidden from all later positions, with its control arms.

    Arms: ``neighbours`` (the two tokens nearest to the anchor, the rhyme word aside), ``equal attention`` (the token
    that is attended to as much), ``untrained twin``, ``same behaviour``; ``last token alone`` (overlap of the last
    position's predictions, everything before it hidden, with those for that token by itself); sham ``unread edges``
    (the anchor and BOS hidden where nothing reads the outcome: in the last layer, from all but the last position).
    """
    start = time.perf_counter()
    anchors = subject.once(find_anchors)
    arms = {
        "neighbours": {pair.recipient.id: anchors.beside(pair) for pair in anchors.pairs},
        "equal attention": {pair.recipient.id: anchors.equally_attended(pair) for pair in anchors.pairs},
        **control_arms(subject, anchor_losses, mechanism_controls(subject)),
    }
    return _measurement(subject, "anchor_loss", anchor_losses(subject), arms, start)


def anchor_excess(subject: Subject) -> Measurement:
    """By how much hiding the anchor costs more than half of what hiding everything costs; the same arms."""
    start = time.perf_counter()
    anchors = subject.once(find_anchors)
    arms = {
        "neighbours": {p.recipient.id: anchors.beside(p) - anchors.half_of_all(p) for p in anchors.pairs},
        "equal attention": {
            p.recipient.id: anchors.equally_attended(p) - anchors.half_of_all(p) for p in anchors.pairs
        },
        **control_arms(subject, anchor_excesses, mechanism_controls(subject)),
    }
    return _measurement(subject, "anchor_excess", anchor_excesses(subject), arms, start)


def _measurement(subject: Subject, name: str, values: Values, arms: Mapping[str, Values], start: float) -> Measurement:
    anchors, runs = subject.once(find_anchors), subject.once(Runs)
    halves = [sorted({pair.recipient.group for pair in anchors.pairs if pair.half == half}) for half in (0, 1)]
    return Measurement(
        experiment=name,
        subject=subject.digest,
        unit="nats",
        design="one-way",
        parameters={
            "prompts": list(values),
            "folds": [{"discovery": halves[1 - half], "tested": halves[half]} for half in (0, 1)],
            "anchor": "largest mean loss on the other half, per template, after the rhyme word",
            "log-odds": "among the task's answers",
        },
        values=values,
        clusters={pair.recipient.id: (pair.recipient.group,) for pair in anchors.pairs},
        arms={**arms, "last token alone": anchors.overlap, "unread edges": subject.once(_unread)},
        reach={"rows": subject.once(_reach_rows)},
        detail={
            "anchors": {
                f"{template}, half {half}": _named(runs, anchors, half, template)
                for half, template in sorted(anchors.chosen)
            },
            "rhyme word": {
                p.recipient.id: anchors.losses[p.recipient.id][anchors.source[p.recipient.id]] for p in anchors.pairs
            },
            "everything": dict(anchors.all_hidden),
        },
        seconds=time.perf_counter() - start,
    )


def _named(runs: Runs, anchors: Anchors, half: int, template: str) -> dict[str, object]:
    """The anchor and its null tokens as text and position, for the reader."""
    prompt = next(pair.recipient for pair in anchors.pairs if _half(pair) == (half, template))
    tokens = runs.clean(prompt).tokens

    def text(position: int) -> str:
        return f"{runs.subject.decode([tokens[position]]).strip()}@{position}"

    return {
        "anchor": text(anchors.chosen[half, template]),
        "neighbours": [text(position) for position in anchors.neighbours[half, template]],
        "equal attention": text(anchors.attended[half, template]),
    }


def _unread(subject: Subject) -> dict[str, float]:
    """What the edits change where nothing reads them, in nats."""
    anchors, runs = subject.once(find_anchors), subject.once(Runs)
    moved = {}
    for pair in anchors.pairs:
        clean = runs.clean(pair.recipient)
        (edges,) = hide(subject, clean.tokens, [((0, anchors.of(pair)), range(len(clean.tokens) - 1))])
        rows = [[edge for edge in edges if edge.layer == subject.n_layers - 1]]
        lost = _odds(runs, pair.recipient, clean.unedited(rows)) - _odds(runs, pair.recipient, clean.edit(rows))
        moved[pair.recipient.id] = float(lost[0])
    return moved


def _reach_rows(subject: Subject) -> list[dict[str, object]]:
    """Whether the wiring lets each tested anchor, once hidden, change the last position's logits."""
    anchors, runs = subject.once(find_anchors), subject.once(Runs)
    rows: dict[str, dict[str, object]] = {}
    for pair in anchors.pairs:
        at, clean = anchors.of(pair), runs.clean(pair.recipient)
        last = len(clean.tokens) - 1
        name = f"{pair.recipient.template.id}: {at} hidden from {at + 1}..{last} → logits@{last}"
        if name not in rows:
            (edges,) = hide(subject, clean.tokens, [((at,), range(last + 1))])
            rows[name] = reach_row(clean, edges, Logits(last), name=name)
    return list(rows.values())
