"""A prompt with its rhyme word seen, and unseen: what a commitment consists in, and what could correct it.

*Committed* is the prompt as it is; *hidden* the run in which no later token sees the rhyme word. What differs between
them at the reading position, the last token, is the commitment.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from prolepsis.edits import Add, HideKeys, ReplaceRow, Row
from prolepsis.engine import CleanRun, clean_run
from prolepsis.experiments.position_sweep import sweeps
from prolepsis.experiments.rhyme_pairs import Pair, Runs, check_halves, first_turn, task_of
from prolepsis.subject import Subject, transcoder_of
from prolepsis.watching import watched

Tensor = torch.Tensor

SEARCHED = 8
"""In how many pairs of a half layers and doses are looked for."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """One pair: the run in which its rhyme word is seen, the one in which nobody sees it, and what corrects.

    ``words`` are the token ids of the committed and of the corrected word; ``written`` gives the lever's direction in
    a layer, [d].
    """

    pair: Pair
    committed: CleanRun
    hidden: CleanRun
    words: tuple[int, int]
    written: Callable[[int], Tensor]

    @property
    def last(self) -> int:
        return len(self.committed.tokens) - 1

    @cached_property
    def margin(self) -> float:
        """By how many nats the committed word leads the corrected one in the prompt as it is."""
        return -float(self.lead(self.committed.subject.unembed(self.committed.resid[-1, -1:]).double()))

    def commitment(self, layer: int) -> Tensor:
        """What seeing the rhyme word has changed at the reading position, resid_post(``layer``), [d]."""
        row: Tensor = self.committed.resid_post(layer)[-1] - self.hidden.resid_post(layer)[-1]
        return row

    def unit(self, layer: int) -> Tensor:
        """The lever at dose 1, as long as the commitment at ``layer``, [d]."""
        lever = self.written(layer)
        unit: Tensor = lever * (self.commitment(layer).norm() / lever.norm().clamp(min=1e-30))
        return unit

    def with_word(self, rows: Sequence[Row]) -> Tensor:
        """Logits [B, V] under rows of edits in the prompt as it is."""
        return self.committed.edit(rows).last_logits.double()

    def without_word(self, rows: Sequence[Row]) -> Tensor:
        """Logits [B, V] under rows of edits where nobody sees the rhyme word."""
        return self.hidden.edit(rows).last_logits.double()

    def lead(self, logits: Tensor) -> Tensor:
        """Odds of the corrected against the committed word in nats, [B]."""
        committed, corrected = self.words
        return logits[:, corrected] - logits[:, committed]

    def doses(self, layer: int, doses: Sequence[float]) -> list[Row]:
        """One row without an edit, and one per dose of the lever at the reading position."""
        unit = self.unit(layer)
        return [[], *([Add(layer, self.last, dose * unit)] for dose in doses)]


def hidden_runs(subject: Subject) -> dict[str, CleanRun]:
    """Pair id → the run in which no later token sees the rhyme word, to be edited like a clean one."""
    runs = subject.once(Runs)
    return {
        pair.id: hidden_run(runs.clean(pair.recipient), runs.source(pair))
        for pair in watched(first_turn(task_of(subject)), "pairs")
    }


def hidden_run(clean: CleanRun, source: int) -> CleanRun:
    """The run of the same tokens in which no later token sees the one at ``source``, in any layer."""
    blocks = [
        HideKeys(layer, query, (source,))
        for layer in range(clean.subject.n_layers)
        for query in range(source + 1, len(clean.tokens))
    ]
    return clean_run(clean.subject, clean.tokens, blocks)


def with_features(subject: Subject) -> tuple[Prepared, ...]:
    """The pairs whose other group has a word feature, with what it writes in all layers together for a lever.

    Raises Untested when they are not of both halves.
    """
    transcoder, found = transcoder_of(subject), subject.once(sweeps)
    pairs = [pair for pair in first_turn(task_of(subject)) if pair.id in found]
    check_halves(subject, pairs)

    def prepared(pair: Pair, clean: CleanRun, hidden: CleanRun) -> Prepared:
        lever = transcoder.rows(found[pair.id].feature).sum(0).to(subject.device, subject.dtype)
        words = subject.word_id(pair.recipient.answer), subject.word_id(found[pair.id].word)
        return Prepared(pair, clean, hidden, words, lambda _: lever)

    return _prepared(subject, pairs, prepared)


def with_rows(subject: Subject) -> tuple[Prepared, ...]:
    """Every pair, with the donor's row at the reading position for a lever, less the row where the word is unseen."""
    runs = subject.once(Runs)

    def prepared(pair: Pair, clean: CleanRun, hidden: CleanRun) -> Prepared:
        def written(layer: int) -> Tensor:
            row: Tensor = runs.clean(pair.donor).resid_post(layer)[-1] - hidden.resid_post(layer)[-1]
            return row

        words = runs.answer(pair.recipient), runs.answer(pair.donor)
        return Prepared(pair, clean, hidden, words, written)

    return _prepared(subject, first_turn(task_of(subject)), prepared)


def _prepared(
    subject: Subject,
    pairs: Iterable[Pair],
    made: Callable[[Pair, CleanRun, CleanRun], Prepared],
) -> tuple[Prepared, ...]:
    runs, hidden = subject.once(Runs), subject.once(hidden_runs)
    return tuple(made(pair, runs.clean(pair.recipient), hidden[pair.id]) for pair in pairs)


def arrivals(subject: Subject) -> dict[int, int]:
    """Half tested → first layer whose last row carries most of the commitment, as the other half finds.

    There the row of the prompt as it is, put where nobody sees the rhyme word, is worth more than half of what seeing
    the word is; the last layer at the latest.
    """
    top, carried = subject.n_layers - 1, {0: list[Tensor](), 1: list[Tensor]()}
    for prepared in subject.once(with_rows):
        if len(carried[1 - prepared.pair.half]) < SEARCHED:
            rows = [[ReplaceRow(at, prepared.last, prepared.committed.resid_post(at)[-1])] for at in range(top + 1)]
            lead = prepared.lead(prepared.without_word([[], *rows]))
            worth = -prepared.margin - lead[0]
            carried[1 - prepared.pair.half].append(torch.stack([lead[1:] - lead[0], worth.expand(top + 1)]))
    means = {half: torch.stack(seen).mean(0) for half, seen in carried.items()}  # [2, L]
    return {
        half: next((at for at in range(top) if row[at] / worth[at] > 0.5), top) for half, (row, worth) in means.items()
    }
