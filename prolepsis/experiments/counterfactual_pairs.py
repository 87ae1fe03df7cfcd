"""Pairs of facts from a data set of counterfactual prompts, as far as the subject answers both rightly (section 3).

A pair passes the screen when the subject's most likely next token, stripped, is the answer, for either prompt. Of what
passes, pairs are left out whose answers begin with the same token, or whose prompts do not differ in their fact. The
untrained twin is asked what its subject is.
"""

import json
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain

import torch

from prolepsis.atomic import write_atomically
from prolepsis.errors import HarnessFault, Untested, UserError, unless_full
from prolepsis.experiments.fact_pairs import FactPair, FactRuns, slot, third
from prolepsis.experiments.published_prompt import single
from prolepsis.measurement import Measurement
from prolepsis.running.prompt_batch import last_states
from prolepsis.subject import Subject
from prolepsis.subjects.counterfactual import BLANK_LINE, Counterfactuals, FactRow, distinct
from prolepsis.subjects.screening import obstacle
from prolepsis.subjects.task import FactPrompt, Relation
from prolepsis.subjects.twins import is_twin
from prolepsis.watching import watched

MOST_PAIRS = 200
"""A subject that answers nearly all would be asked thousands; so many are taken, evenly from the whole file."""
LOGITS_AT_ONCE = 1 << 24
PUBLISHED = {"rows": 5600, "unique pairs": 1866, "both answered rightly": 89}
"""What the paper counts on Llama 3.2 1B (section 3, appendix F.5)."""
_SCREENED = "screened"

Answers = Mapping[str, str]


@dataclass(frozen=True)
class Screened:
    """The pairs that are asked, the rows that pass the screen, and how many were left at each stage."""

    pairs: tuple[FactPair, ...]
    right: tuple[FactRow, ...]
    counts: Mapping[str, int]

    def counted(self) -> dict[str, dict[str, int]]:
        """Each stage with the paper's count where it has one."""
        return {
            stage: {"counted": count} | ({"published": PUBLISHED[stage]} if stage in PUBLISHED else {})
            for stage, count in self.counts.items()
        }


def screened(subject: Subject) -> Screened:
    """What of its data set the subject is asked; raises Untested where it has none, or where the file is missing."""
    asked = subject.pairs
    if asked is None:
        raise Untested(
            f"{subject.id}: it is asked no data set of counterfactual pairs; name one as `pairs` in a preset"
        )
    if _SCREENED not in asked.memo:
        if is_twin(subject):
            raise HarnessFault(f"{subject.id}: its pairs were not screened on the trained subject first")
        asked.memo[_SCREENED] = _screened(subject, asked)
    found: Screened = asked.memo[_SCREENED]
    return found


def _screened(subject: Subject, asked: Counterfactuals) -> Screened:
    rows = asked.rows
    unique = distinct(rows)
    right = tuple(unique[at] for at in _answered(subject, asked, unique))
    usable = _told_apart(subject, _pairs(right))
    step = max(1, -(-len(usable) // MOST_PAIRS))
    counts = {
        "rows": len(rows),
        "unique pairs": len(unique),
        "both answered rightly": len(right),
        "told apart": len(usable),
        "asked": len(usable[::step]),
    }
    return Screened(tuple(usable[::step]), right, counts)


# ---------------------------------------------------------------- the screen


def _answered(subject: Subject, asked: Counterfactuals, rows: Sequence[FactRow]) -> list[int]:
    """Which rows the subject answers rightly twice, from the cache where it has been asked before."""
    path = None if asked.cache is None else asked.cache / f"{subject.digest}.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path else None
        if isinstance(found, list) and found == sorted(set(found) & set(range(len(rows)))):
            return found
    except (FileNotFoundError, ValueError, TypeError):
        pass
    made = _answer(subject, rows)
    if path is None:
        return made
    # It can be asked again; a run says of its report that there is no room.
    with unless_full(lambda _: None):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(made))
    return made


def _answer(subject: Subject, rows: Sequence[FactRow]) -> list[int]:
    """The counterfactual prompts are only asked where the original ones are answered rightly."""
    left = list(range(len(rows)))
    for side in (0, 1):
        said = first_words(subject, {rows[at].prompts[side] for at in left})
        left = [at for at in left if said.get(rows[at].prompts[side]) == rows[at].answers[side]]
    return left


@torch.no_grad()
def first_words(subject: Subject, prompts: Iterable[str]) -> dict[str, str]:
    """Prompt → its most likely next token as stripped text, for the prompts that the subject can be asked."""
    tokens = {prompt: subject.encode(prompt) for prompt in sorted(prompts) if obstacle(subject, prompt) is None}
    # In parts, since the logits of all prompts may be larger than what is free.
    parts = torch.split(last_states(subject, list(tokens.values())), max(1, LOGITS_AT_ONCE // subject.n_vocab))
    best = chain.from_iterable(subject.unembed(part).argmax(-1).tolist() for part in parts)
    return {prompt: subject.decode([token]).strip() for prompt, token in zip(tokens, best, strict=True)}


# ---------------------------------------------------------------- pairs


def _pairs(rows: Sequence[FactRow]) -> list[FactPair]:
    """A pair for each row whose facts differ, original as recipient; rows that share a prompt are one cluster."""
    answers = {prompt: answer for row in rows for prompt, answer in zip(row.prompts, row.answers, strict=True)}
    wordings: dict[tuple[str, str], str] = {}
    clusters, pairs = _clusters(rows), []
    numbers = {cluster: number for number, cluster in enumerate(dict.fromkeys(clusters))}
    for row, cluster in zip(rows, clusters, strict=True):
        if row.facts[0] != row.facts[1]:
            recipient, donor = _prompts(row, answers, wordings)
            same, other = (third((), recipient, donor, same=same) for same in (True, False))
            pairs.append(FactPair(recipient, donor, same, other, numbers[cluster] % 2, cluster))
    return pairs


def _clusters(rows: Sequence[FactRow]) -> list[str]:
    """The first prompt of all that a row is linked to by prompts in common."""
    roots: dict[str, str] = {}

    def root(prompt: str) -> str:
        while roots.setdefault(prompt, prompt) != prompt:
            prompt = roots[prompt]
        return prompt

    for row in rows:
        first, second = map(root, row.prompts)
        roots[second] = first
    return [root(row.prompts[0]).partition(BLANK_LINE)[0] for row in rows]


def _prompts(row: FactRow, answers: Answers, wordings: dict[tuple[str, str], str]) -> list[FactPrompt]:
    """The row's two prompts as one wording with two subjects: what their facts do not share at either end."""
    words = [fact.split(" ") for fact in row.facts]
    head, tail = slot(words)
    found = []
    for prompt, own in zip(row.prompts, words, strict=True):
        frame = " ".join([*own[:head], "{subject}", *own[len(own) - tail :]])
        _, blank, instructions = prompt.partition(BLANK_LINE)
        template = frame + blank + instructions
        known = _known(template, answers)
        options = dict.fromkeys([*_options(instructions), *row.answers, *(known.values() if not blank else ())])
        name = wordings.setdefault((frame, template), f"{frame} ({sum(f == frame for f, _ in wordings) + 1})")
        relation = Relation(name, (template,), tuple(options), known)
        found.append(FactPrompt(relation, 0, " ".join(own[head : len(own) - tail])))
    return found


def _known(template: str, answers: Answers) -> dict[str, str]:
    """Subject → answer of every prompt of a template."""
    before, _, after = template.partition("{subject}")
    return {
        prompt[len(before) : len(prompt) - len(after)]: answer
        for prompt, answer in answers.items()
        if prompt.startswith(before) and prompt.endswith(after) and len(prompt) > len(before) + len(after)
    }


def _options(instructions: str) -> list[str]:
    """What "Respond with one of A or B or C and nothing else" allows, in this order."""
    found = re.search(r"one of (.+?) and nothing else", instructions, re.DOTALL)
    return [option.strip() for option in found[1].split(" or ")] if found else []


def _told_apart(subject: Subject, pairs: Sequence[FactPair]) -> list[FactPair]:
    """The pairs whose prompts differ in their tokens, and whose answers do in the first one.

    Of the other options those are kept that begin with a token of their own.
    """
    runs, kept = FactRuns(subject), []
    for pair in watched(pairs, "pairs"):
        answers = [pair.recipient.answer, pair.donor.answer]
        options = tuple(_distinct(runs, [*answers, *pair.recipient.relation.options, *pair.donor.relation.options]))
        if set(answers) <= set(options) and subject.encode(pair.recipient.text) != subject.encode(pair.donor.text):
            recipient, donor = (
                replace(prompt, relation=replace(prompt.relation, options=options))
                for prompt in (pair.recipient, pair.donor)
            )
            kept.append(replace(pair, recipient=recipient, donor=donor))
    return kept


def _distinct(runs: FactRuns, options: Iterable[str]) -> list[str]:
    """The first option of each first token; those that the tokenizer does not know are left out."""
    found: dict[int, str] = {}
    for option in options:
        with suppress(UserError):
            found.setdefault(runs.first_token(option), option)
    return list(found.values())


# ---------------------------------------------------------------- what the data set is


def unscreened_pairs(subject: Subject) -> Measurement:
    """Number of different pairs in the data set."""
    return _single(subject, "unscreened_pairs", "count", len(distinct(_asked(subject).rows)))


def gold_pairs(subject: Subject) -> Measurement:
    """Number of different pairs that pass the screen."""
    return _single(subject, "gold_pairs", "count", len(screened(subject).right))


def answers_given_away(subject: Subject) -> Measurement:
    """Share of the pairs that pass the screen in which a fact holds its own answer."""
    return _single(subject, "answers_given_away", "share", _share(subject, [r.gives_answer for r in _right(subject)]))


def unequal_lengths(subject: Subject) -> Measurement:
    """Share of the pairs that pass the screen whose facts differ in their number of tokens."""
    lengths = [[len(subject.encode(fact)) for fact in row.facts] for row in _right(subject)]
    return _single(subject, "unequal_lengths", "share", _share(subject, [one != other for one, other in lengths]))


def _asked(subject: Subject) -> Counterfactuals:
    screened(subject)
    assert subject.pairs is not None
    return subject.pairs


def _right(subject: Subject) -> tuple[FactRow, ...]:
    return screened(subject).right


def _share(subject: Subject, found: Sequence[bool]) -> float:
    if not found:
        raise Untested(f"{subject.id}: it answers no pair of its data set rightly; ask a larger model")
    return statistics.fmean(found)


def _single(subject: Subject, experiment: str, unit: str, value: float) -> Measurement:
    parameters = {"pairs": _asked(subject).name, "content": _asked(subject).digest}
    return single(
        subject, experiment, unit, value, parameters=parameters, detail={"stages": screened(subject).counted()}
    )
