"""Rows in batches: what one device's memory holds, with the same results."""

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prolepsis import notes
from prolepsis.edits import Add, Row
from prolepsis.engine import clean_run
from prolepsis.errors import Untested
from prolepsis.experiments.mediation import Mediation, log_odds, reached_heads
from prolepsis.running import batching
from prolepsis.running.batching import AtOnce, in_batches, row_bytes
from prolepsis.running.generation import generate, sample
from prolepsis.running.prompt_batch import resid_mid_of
from prolepsis.subject import Subject
from tests.tiny import FAMILIES, rows_like, tiny_subject, tiny_tokens

few = settings(max_examples=10, deadline=None)


@pytest.fixture(autouse=True)
def _no_notes() -> Iterator[None]:
    notes.taken()
    yield
    notes.taken()


def edits(subject: Subject, position: int, n_rows: int) -> list[Row]:
    """A row of one edit each."""
    return [[Add(1, position, rows_like(subject, seed, 1)[0])] for seed in range(n_rows)]


def greedy(subject: Subject) -> Any:
    """Lines written under edits."""
    prompts = [tiny_tokens(seed, 5) for seed in range(4)]
    return generate(subject, prompts, edits(subject, 4, 4), max_new_tokens=3)


def drawn(subject: Subject) -> Any:
    """Lines drawn under edits."""
    prompts = [tiny_tokens(seed, 5) for seed in range(4)]
    return sample(subject, prompts, edits(subject, 4, 4), n_samples=2, temperature=1.0, seed=0, max_new_tokens=3).lines


def swept(subject: Subject) -> Any:
    """A sweep of one position."""
    return clean_run(subject, tiny_tokens(0, 5)).edit(edits(subject, 4, 6)).log_odds(3)


def inside(subject: Subject) -> Any:
    """What is read of unedited prompts."""
    return resid_mid_of(subject, [tiny_tokens(seed, 5) for seed in range(6)], [1])[1]


def mediated(subject: Subject) -> Any:
    """Head outputs put into an edited run."""
    clean = clean_run(subject, tiny_tokens(0, 5))
    edit: Row = [Add(0, 2, rows_like(subject, 0, 1)[0])]
    one = Mediation(clean, edit, 3, reached_heads(clean, edit))
    sets = [{head: rows_like(subject, 1, 1)[0, : subject.d_head]} for head in one.heads]
    return torch.tensor(log_odds([(one, sets), (one, sets[:1])], edited=True)[0])


@few
@given(
    family=st.sampled_from(FAMILIES),
    run=st.sampled_from([greedy, drawn, swept, inside, mediated]),
    n_rows=st.integers(0, 3),
)
def test_what_is_run_in_parts_is_what_is_run_at_once(family: str, run: Callable[[Subject], Any], n_rows: int) -> None:
    """However few rows a device takes at once, tokens are equal and numbers equal to float64's rounding."""
    subject = tiny_subject(family)
    whole = run(subject)
    subject.once(AtOnce).bytes = n_rows * row_bytes(subject, 8, cached=True)
    parts = run(subject)
    if isinstance(whole, torch.Tensor):
        assert torch.allclose(parts, whole, rtol=0, atol=1e-10)
    else:
        assert parts == whole


@given(n_rows=st.integers(1, 40), fit=st.integers(1, 40), at_once=st.integers(1, 60), most=st.integers(1, 60))
def test_every_row_is_run_once_in_order_and_never_more_than_fit(n_rows: int, fit: int, at_once: int, most: int) -> None:
    """What fits is found by halving, remembered, and said; rows come back in order."""
    subject = tiny_subject_once()
    subject.once(AtOnce).bytes = at_once

    def run(rows: range) -> list[int]:
        if len(rows) > fit:
            raise torch.OutOfMemoryError
        return list(rows)

    assert [row for part in in_batches(subject, n_rows, 1, run, most) for row in part] == list(range(n_rows))
    first = min(n_rows, at_once, most)
    assert bool(notes.taken()) == (first > fit)
    assert subject.once(AtOnce).bytes == at_once if first <= fit else fit // 2 <= subject.once(AtOnce).bytes <= fit


def test_a_gpu_is_planned_with_half_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that torch holds and does not use counts as free; a plan below the most is said once, with its figures."""
    subject = tiny_subject("llama")
    monkeypatch.setattr(Subject, "device", torch.device("cuda", 0))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (3 << 30, 16 << 30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 12 << 30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 11 << 30)
    assert batching.rows_at_once(subject, 1000, 1 << 30) == 2
    assert batching.rows_at_once(subject, 1000, 1 << 29) == 4
    assert notes.taken() == ["tiny-llama-0: batches take up to 2.0 of 4.0 GiB that are free on cuda:0"]


def test_where_no_row_fits_one_line_says_what_can_be_done() -> None:
    """It names the subject and the device; it holds no tensor of what was tried, and later rows are planned anew."""
    subject, tried = tiny_subject("llama"), list[weakref.ref[torch.Tensor]]()

    def never(_: range) -> None:
        batch = torch.zeros(3)
        tried.append(weakref.ref(batch))
        raise torch.OutOfMemoryError

    before = batching.rows_at_once(subject, 1000, 1 << 20)
    with pytest.raises(Untested, match="tiny-llama-0: cpu has no memory for a single row; free some, or use") as kept:
        in_batches(subject, 5, 1, never)
    assert kept.value.__context__ is None
    assert len(tried) == 3
    assert [one() for one in tried] == [None] * 3
    assert batching.rows_at_once(subject, 1000, 1 << 20) == before > 1


_SUBJECTS: list[Subject] = []


def tiny_subject_once() -> Subject:
    """One subject for all examples, since only its memory is asked."""
    if not _SUBJECTS:
        _SUBJECTS.append(tiny_subject("llama"))
    return _SUBJECTS[0]
