"""Counterfactual pairs of prompts (section 8, appendix F.5): how many there are, and what they give away.

No sample of such a recording was at hand, so this has been tried on none. Read is a JSON list of rows with

    "original_prompt", "counterfactual_prompt"        a fact, a blank line, and instructions
    "gt_original_target", "gt_counterfactual_target"  the answers

A file whose name holds ``both_correct`` is the screened one, as appendix F.5 calls it; any other is the whole split.
Lengths are in words, since no tokenizer is there to count tokens.
"""

import re
import statistics
from dataclasses import dataclass
from typing import Any

from prolepsis.archive.files import Recording
from prolepsis.archive.single import single
from prolepsis.errors import Untested
from prolepsis.measurement import Measurement

KIND = "counterfactual-pair list"
SCREENED = "both_correct"


@dataclass(frozen=True)
class FactRow:
    """Two prompts and their answers, original first."""

    prompts: tuple[str, str]
    answers: tuple[str, str]

    @property
    def facts(self) -> tuple[str, ...]:
        """The prompts up to their first blank line."""
        return tuple(prompt.partition("\n\n")[0] for prompt in self.prompts)

    @property
    def gives_answer(self) -> bool:
        """Whether a fact holds its own answer, which could be copied from there."""
        return any(
            re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", fact, re.IGNORECASE)
            for fact, answer in zip(self.facts, self.answers, strict=True)
        )

    @property
    def differs_in_length(self) -> bool:
        """Whether the facts differ in their number of words, so that positions do not correspond."""
        original, other = (len(fact.split()) for fact in self.facts)
        return original != other


def parse(contents: Any) -> tuple[FactRow, ...]:
    """A list of rows, none of which lacks a prompt or an answer."""
    return tuple(_row(number, entry) for number, entry in enumerate(contents, 1))


def _row(number: int, entry: Any) -> FactRow:
    fields = [
        entry[name]
        for name in ("original_prompt", "counterfactual_prompt", "gt_original_target", "gt_counterfactual_target")
    ]
    texts = [field.strip() for field in fields]
    if not all(texts):
        raise ValueError(f"row {number} has an empty prompt or answer")
    return FactRow((texts[0], texts[1]), (texts[2], texts[3]))


def gold_pairs(recording: Recording) -> Measurement:
    """Number of different pairs in the screened file."""
    return _distinct(recording, "gold_pairs", screened=True)


def unscreened_pairs(recording: Recording) -> Measurement:
    """Number of different pairs in the whole split."""
    return _distinct(recording, "unscreened_pairs", screened=False)


def repeated_pairs(recording: Recording) -> Measurement:
    """Number of rows of the screened file whose two prompts another row has too."""
    rows = _screened(recording)
    repeated = len(rows) - len({row.prompts for row in rows})
    return single(recording, "repeated_pairs", "count", repeated, detail={"rows": len(rows)})


def answers_given_away(recording: Recording) -> Measurement:
    """Share of the pairs in which a fact holds its own answer."""
    value = statistics.fmean(row.gives_answer for row in _screened(recording))
    return single(recording, "answers_given_away", "share", value)


def unequal_lengths(recording: Recording) -> Measurement:
    """Share of the pairs whose facts differ in length."""
    value = statistics.fmean(row.differs_in_length for row in _screened(recording))
    return single(recording, "unequal_lengths", "share", value)


def _distinct(recording: Recording, experiment: str, *, screened: bool) -> Measurement:
    rows = _rows(recording, screened=screened)
    return single(recording, experiment, "count", len({row.prompts for row in rows}), detail={"rows": len(rows)})


def _screened(recording: Recording) -> tuple[FactRow, ...]:
    return _rows(recording, screened=True)


def _rows(recording: Recording, *, screened: bool) -> tuple[FactRow, ...]:
    rows = recording.read(KIND, parse)
    name = recording.files[KIND].name
    if (SCREENED in name) != screened:
        wanted = f"the screened pairs, a file named …{SCREENED}.json" if screened else "the whole split"
        raise Untested(f"{name} is not {wanted}")
    return rows
