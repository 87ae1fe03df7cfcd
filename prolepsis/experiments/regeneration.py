"""What does the subject write? With the donor's row at the site line 2 is generated anew, and its last word read."""

import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import torch

from prolepsis.controls import control_arms, mechanism_controls
from prolepsis.directions import random_row
from prolepsis.edits import Add, ReplaceRow, Row
from prolepsis.engine import CleanRun, clean_run
from prolepsis.experiments.rhyme_pairs import Pair, Runs, clusters_of, one_per_template, task_of
from prolepsis.experiments.sites import Sites, find_sites, parameters
from prolepsis.measurement import Measurement
from prolepsis.running.generation import generate
from prolepsis.running.hooks import Read
from prolepsis.running.prompt_batch import by_length, passes
from prolepsis.subject import Subject
from prolepsis.subjects.task import Task
from prolepsis.watching import watched

Values = Mapping[str, float]
Line = tuple[tuple[int, ...], tuple[int, ...]]
"""The tokens of a stem, and those of a line that follows it."""
MAX_NEW_TOKENS, SHORT = 30, 12
"""How long a line may be: the paper's bound, and what the organisms' grammar never needs all of."""
OWN_TOKENS = 3
"""How long a line with its own row put back is: a token from the edited pass, and two that read what it left behind."""
WORD = re.compile(r"[^\W_]*[^\W\d_][^\W_]*(?:['’][^\W_]+)*")
"""A word has a letter; a number or a mark of emphasis is none, and what follows an apostrophe belongs to it."""


@dataclass(frozen=True)
class _Lines:
    """Line 2 of one pair, generated greedily from the stem under each arm's edit; token ids, the line end included."""

    arms: Mapping[str, list[int]]
    hits: Mapping[str, bool]
    overlap: float
    excess_nll: float


def regeneration_hits(subject: Subject) -> Values:
    """Pair id → 1 if the line regenerated with the donor's row ends on the donor's answer, else 0."""
    lines = subject.once(_regenerate)
    return {pair: float(line.hits["site"]) for pair, line in lines.items()}


def regeneration(subject: Subject) -> Measurement:
    """Share of regenerated lines that end on the donor's answer, with its control arms.

    Arms: ``same-rhyme donor``, ``random row``, ``other position`` (the donor's row at the eligible position before or
    after the site), ``donor's own line`` (that of the donor's prompt, unedited), ``untrained
    twin``, ``same behaviour``; ``all positions`` (overlap of the line's first next-token
    distribution with the donor's own, when every row is interchanged); sham ``own row`` (1 if the beginning of the
    clean line changes, in one pair per template); guard ``excess NLL`` (nats per token by which the regenerated line
    is less natural than the donor's own line after the donor's prompt, or than the clean line after the clean one,
    whichever is nearer; 0 if it is one of the two).
    """
    start = time.perf_counter()
    sites, lines = subject.once(find_sites), subject.once(_regenerate)

    def hits(arm: str) -> dict[str, float]:
        return {pair: float(line.hits[arm]) for pair, line in lines.items()}

    def text(tokens: list[int]) -> str:
        return subject.decode(tokens)

    return Measurement(
        experiment="regeneration",
        subject=subject.digest,
        unit="proportion",
        design="pairs-of-groups",
        parameters={**parameters(sites), "decoding": "greedy", "max_new_tokens": longest_line(task_of(subject))},
        values=regeneration_hits(subject),
        clusters=clusters_of(sites.pairs),
        arms={
            **{arm: hits(arm) for arm in ("same-rhyme donor", "random row", "other position")},
            "donor's own line": hits("donor"),
            **control_arms(subject, regeneration_hits, mechanism_controls(subject)),
            "all positions": {i: x.overlap for i, x in lines.items()},
            "own row": _own_rows(subject),
            "excess NLL": {i: x.excess_nll for i, x in lines.items()},
        },
        reach={"rows": sites.reach_rows(subject.once(Runs))},
        detail={"lines": {i: {arm: text(line) for arm, line in x.arms.items()} for i, x in lines.items()}},
        seconds=time.perf_counter() - start,
    )


def longest_line(task: Task) -> int:
    """How many tokens a line may have: :data:`MAX_NEW_TOKENS` where a line break ends it, as in natural languages."""
    return MAX_NEW_TOKENS if "\n" in task.line_end else SHORT


def _regenerate(subject: Subject) -> dict[str, _Lines]:
    sites = subject.once(find_sites)
    stems = {pair.id: _stem(subject, sites, pair, seed) for seed, pair in enumerate(sites.pairs)}
    lines: dict[str, dict[str, list[int]]] = {}
    for pair_ids in by_length(stems, lambda pair_id: stems[pair_id].length):
        asked = [(pair_id, arm) for pair_id in pair_ids for arm in stems[pair_id].rows]
        written = _written(
            subject,
            [stems[pair_id].prompt(arm) for pair_id, arm in asked],
            [stems[pair_id].rows[arm] for pair_id, arm in asked],
            longest_line(task_of(subject)),
        )
        for (pair_id, arm), line in zip(asked, written, strict=True):
            lines.setdefault(pair_id, {})[arm] = line
    excesses = _excesses(subject, stems, lines)
    return {
        pair.id: _read(subject, pair, stems[pair.id], lines[pair.id], excesses[pair.id])
        for pair in watched(sites.pairs, "pairs")
    }


def _written(subject: Subject, prompts: Sequence[Sequence[int]], rows: Sequence[Row], longest: int) -> list[list[int]]:
    """The lines, ``longest`` tokens at most, that prompts of equal length are continued with under their edits."""
    ends = subject.ends_of_lines(task_of(subject).line_end)
    return generate(subject, prompts, rows, max_new_tokens=longest, stop=ends)


@dataclass(frozen=True)
class _Stem:
    """What a pair's lines are written from: both prompts up to ``length``, and per arm the edits."""

    length: int
    recipient: CleanRun
    donor: CleanRun
    layer: int
    rows: Mapping[str, Row]

    def prompt(self, arm: str) -> tuple[int, ...]:
        """The tokens an arm's line continues."""
        return (self.donor if arm == "donor" else self.recipient).tokens[: self.length]


def _stem(subject: Subject, sites: Sites, pair: Pair, seed: int) -> _Stem:
    runs, (layer, site) = subject.once(Runs), sites.of(pair)
    recipient, donor, mate = (runs.clean(p) for p in (pair.recipient, pair.donor, pair.mate))
    # The line is written from the stem on, or from right after the site where that lies further on.
    length = max(len(subject.encode(pair.recipient.stem)), site + 1)
    other = site - 1 if site - 1 > sites.source[pair.id] else site + 1
    swap = donor.resid_post(layer)[site] - recipient.resid_post(layer)[site]
    rows: dict[str, Row] = {
        "clean": [],
        "donor": [],
        "site": [ReplaceRow(layer, site, donor.resid_post(layer)[site])],
        "same-rhyme donor": [ReplaceRow(layer, site, mate.resid_post(layer)[site])],
        "random row": [Add(layer, site, random_row(swap, seed))],
        "other position": [ReplaceRow(layer, other, donor.resid_post(layer)[other])],
    }
    return _Stem(length, recipient, donor, layer, rows)


def _own_rows(subject: Subject) -> Values:
    """Pair id → 1 if the line's beginning changes with its own row at the site, else 0; one pair per template.

    Rows of batches of other shapes round otherwise, so it is read and put back in runs of the one prompt.
    """
    sites, changed = subject.once(find_sites), {}
    for pair in one_per_template(sites.pairs):
        (layer, site), prompt = sites.of(pair), _stem(subject, sites, pair, seed=0).prompt("clean")
        own = ReplaceRow(layer, site, clean_run(subject, prompt).resid_post(layer)[site])
        (clean,), (put_back,) = (_written(subject, [prompt], [row], OWN_TOKENS) for row in ([], [own]))
        changed[pair.id] = float(put_back != clean)
    return changed


def _read(subject: Subject, pair: Pair, stem: _Stem, lines: Mapping[str, list[int]], excess: float) -> _Lines:
    """What a pair's lines say."""
    task, token = task_of(subject), subject.word_id(pair.donor.answer)
    ends = subject.ends_of_lines(task.line_end)
    everything: Row = [ReplaceRow(stem.layer, p, stem.donor.resid_post(stem.layer)[p]) for p in range(stem.length)]
    first = Read(logits=(stem.length - 1,))
    swapped = stem.recipient.edit([everything], first).probabilities()[0]
    own = stem.donor.read(first).probabilities()[0]
    return _Lines(
        arms=lines,
        hits={arm: last_word(subject, line, task.answers, ends) == token for arm, line in lines.items()},
        overlap=float(torch.minimum(swapped, own).sum()),
        excess_nll=excess,
    )


def last_word(subject: Subject, line: list[int], words: Collection[str], ends: Collection[int]) -> int | None:
    """Token id of the one of ``words`` a line ends on; None where :func:`ending` gives another word or none."""
    return {word.lower(): subject.word_id(word) for word in words}.get(ending(subject, line, words, ends))


def ending(subject: Subject, line: list[int], words: Collection[str], ends: Collection[int]) -> str:
    """The word a line ends on, in lower case and before any marks; empty where there is none.

    None is there in a line that did not come to its end. ``words`` are those that may end a line by themselves.
    """
    if line[-1] not in ends:
        return ""
    # The text is read, since a word of several tokens may hold one of the words as a token. Of the token that ends the
    # line nothing is read, unless it is a word itself, as in the planted subjects.
    closed_by_a_word = line[-1] in {subject.word_id(word) for word in words}
    said = WORD.findall(subject.decode(line if closed_by_a_word else line[:-1]).lower())
    return said[-1] if said else ""


def _excesses(
    subject: Subject, stems: Mapping[str, _Stem], lines: Mapping[str, Mapping[str, list[int]]]
) -> dict[str, float]:
    """Pair id → nats per token by which its line is less natural than the nearer of the donor's and the clean one."""
    asked: dict[str, list[tuple[Line, Line]]] = {}
    for pair, stem in stems.items():
        site = lines[pair]["site"]
        if site not in (lines[pair]["donor"], lines[pair]["clean"]):
            asked[pair] = [
                ((stem.prompt(arm), tuple(site)), (stem.prompt(arm), tuple(lines[pair][arm])))
                for arm in ("donor", "clean")
            ]
    nll = _nll(subject, [line for both in asked.values() for line in chain(*both)])
    return {pair: min((nll[own] - nll[other] for own, other in asked.get(pair, ())), default=0.0) for pair in stems}


@torch.no_grad()
def _nll(subject: Subject, lines: Iterable[Line]) -> dict[Line, float]:
    """Mean negative log-likelihood of each line after its stem in the clean model, nats per token."""
    last, found = subject.n_layers - 1, {}
    for alike in by_length(dict.fromkeys(lines), lambda line: len(line[0]) + len(line[1])):
        states = passes(subject, [[*stem, *line] for stem, line in alike], Read(logits=(), resid_post=(last,)))
        rows = (row for state in states for row in state.resid_post[last])  # [T, d] each
        for (stem, line), row in zip(alike, rows, strict=True):
            scores = subject.unembed(row[len(stem) - 1 : -1]).double().log_softmax(-1)  # [len(line), V]
            found[stem, line] = float(-scores[torch.arange(len(line)), torch.tensor(line)].mean())
    return found
