"""Counterfactual pairs of prompts (section 8, appendix F.5): how many there are, and what they give away.

No sample of such a recording was at hand, so this has been tried on none. Read is a JSON list of rows as
:mod:`prolepsis.subjects.counterfactual` has them.

A file whose name holds ``both_correct`` is the screened one, as appendix F.5 calls it; any other is the whole split.
Lengths are in words, since no tokenizer is there to count tokens.
"""

import statistics

from prolepsis.archive.files import Recording
from prolepsis.archive.single import single
from prolepsis.errors import Untested
from prolepsis.measurement import Measurement
from prolepsis.subjects.counterfactual import FactRow, distinct, parse

KIND = "counterfactual-pair list"
SCREENED = "both_correct"


def gold_pairs(recording: Recording) -> Measurement:
    """Number of different pairs in the screened file."""
    return _distinct(recording, "gold_pairs", screened=True)


def unscreened_pairs(recording: Recording) -> Measurement:
    """Number of different pairs in the whole split."""
    return _distinct(recording, "unscreened_pairs", screened=False)


def repeated_pairs(recording: Recording) -> Measurement:
    """Number of rows of the screened file whose two prompts another row has too."""
    rows = _screened(recording)
    repeated = len(rows) - len(distinct(rows))
    return single(recording, "repeated_pairs", "count", repeated, detail={"rows": len(rows)})


def answers_given_away(recording: Recording) -> Measurement:
    """Share of the pairs in which a fact holds its own answer."""
    value = statistics.fmean(row.gives_answer for row in _screened(recording))
    return single(recording, "answers_given_away", "share", value)


def unequal_lengths(recording: Recording) -> Measurement:
    """Share of the pairs whose facts differ in their number of words, which tokens may hide or add to."""
    value = statistics.fmean(row.differs_in_length for row in _screened(recording))
    return single(recording, "unequal_lengths", "share", value)


def _distinct(recording: Recording, experiment: str, *, screened: bool) -> Measurement:
    rows = _rows(recording, screened=screened)
    return single(recording, experiment, "count", len(distinct(rows)), detail={"rows": len(rows)})


def _screened(recording: Recording) -> tuple[FactRow, ...]:
    return _rows(recording, screened=True)


def _rows(recording: Recording, *, screened: bool) -> tuple[FactRow, ...]:
    rows = recording.read(KIND, parse)
    name = recording.files[KIND].name
    if (SCREENED in name) != screened:
        wanted = f"the screened pairs, a file named …{SCREENED}.json" if screened else "the whole split"
        raise Untested(f"{name} is not {wanted}")
    return rows
