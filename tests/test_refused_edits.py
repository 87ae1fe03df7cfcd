"""What no model could take is refused in one line that names the edit."""

from typing import Any

import pytest
import torch

from prolepsis.edits import Add, FreezePattern, HideKeys, ReplaceHeadOutput, ReplaceRow, ReplaceStream, Skip
from prolepsis.engine import clean_run
from prolepsis.errors import UserError
from prolepsis.names import Head
from tests.tiny import rows_like, tiny_subject, tiny_tokens


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([("add", 7, 0)], "layer 7 is not among layers 0 to 2"),
        ([("add", 0, 9)], "position 9 is not among positions 0 to 4"),
        ([("replace", 0, 1), ("replace", 0, 1)], "replaced already"),
        ([("replace", 0, 1), ("stream", 0, 2)], "replaced already"),
        ([("skip", 1, 0), ("add", 1, 0)], "skipped in the same row"),
        ([("freeze", 1, 9)], "head L1:H9 is not among heads 0 to 1"),
        ([("hide", 3, 1)], "HideKeys at L3: layer 3 is not among layers 0 to 2"),
        ([("hide", 1, 9)], "position 9 is not among positions 0 to 4"),
        ([("skip", 1, 0), ("hide", 1, 2)], "skipped in the same row"),
        ([("wide", 0, 0)], "width 9, the model expects 8"),
    ],
)
def test_rows_that_mean_nothing_are_refused(row: list[tuple[str, int, int]], message: str) -> None:
    """An edit out of range, of the wrong width or against another edit of its row is refused in one line."""
    subject = tiny_subject("llama")
    value = rows_like(subject, 0, 1)[0]
    make = {
        "add": lambda layer, at: Add(layer, at, value),
        "wide": lambda layer, at: Add(layer, at, torch.zeros(9)),
        "replace": lambda layer, at: ReplaceRow(layer, at, value),
        "stream": lambda layer, at: ReplaceStream(layer, at, value),
        "skip": lambda layer, _: Skip((layer,)),
        "hide": lambda layer, at: HideKeys(layer, at, (0,)),
        "freeze": lambda layer, at: FreezePattern((Head(layer, at),)),
    }
    with pytest.raises(UserError, match=message):
        clean_run(subject, tiny_tokens(0, 5)).edit([[make[kind](layer, at) for kind, layer, at in row]])


@pytest.mark.parametrize("made", [Add, ReplaceRow, ReplaceStream, "head"])
def test_a_vector_that_is_not_finite_is_refused_before_anything_is_run(made: Any) -> None:
    """Wherever it stands among others, and whatever it is to be written to, the edit is named."""
    subject = tiny_subject("llama")
    good = rows_like(subject, 0, 1)[0]
    bad = good.clone()
    bad[2] = float("inf")
    edit = ReplaceHeadOutput(Head(2, 0), 3, bad[: subject.d_head]) if made == "head" else made(2, 3, bad)
    clean = clean_run(subject, tiny_tokens(0, 5))
    with pytest.raises(UserError, match=f"{type(edit).__name__} at L2.*: the vector holds NaN or infinity"):
        clean.edit([[Add(0, 1, good)], [Add(1, 1, good), edit]])


def test_bad_vectors_are_refused_when_made() -> None:
    """An edit with a matrix, at a negative position, or of a key that comes later, is refused before it is run."""
    with pytest.raises(UserError, match="one row"):
        ReplaceRow(0, 0, torch.zeros(2, 2))
    with pytest.raises(UserError, match="negative"):
        Add(0, -1, torch.zeros(3))
    with pytest.raises(UserError, match="HideKeys at L0: key 3 is not among positions 0 to query 2"):
        HideKeys(0, 2, (1, 3))
