"""How rows are put into batches, and their vectors beside each other, is not to be seen in what is read."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prolepsis.edits import Add, Edit, ReplaceHeadOutput, ReplaceRow, ReplaceStream, Row
from prolepsis.engine import CleanRun, clean_run
from prolepsis.errors import Untested
from prolepsis.names import Head
from prolepsis.running.hooks import Read, stacked
from prolepsis.running.plan import Plan
from tests.tiny import FAMILIES, rows_like, tiny_subject, tiny_tokens


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cutting a batch into chunks leaves every row where it was."""
    subject = tiny_subject("gemma2")
    clean = clean_run(subject, tiny_tokens(0, 6))
    rows = [[Add(1, p, v)] for p, v in enumerate(rows_like(subject, 3, 6))]
    whole = clean.edit(rows, Read(resid_post=(0, 2)))
    monkeypatch.setattr("prolepsis.engine.TOKENS_PER_BATCH", {"cpu": 12})
    cut = clean.edit(rows, Read(resid_post=(0, 2)))
    assert torch.allclose(whole.last_logits, cut.last_logits, rtol=0, atol=1e-12)
    assert torch.allclose(whole.resid_post[2], cut.resid_post[2], rtol=0, atol=1e-12)


def test_rows_that_do_not_fit_into_memory_are_run_in_smaller_chunks(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Out of memory, a sweep goes on with half as many rows at once, says so, gives the same, and remembers."""
    subject, tokens = tiny_subject("llama"), tiny_tokens(0, 6)
    rows = [[Add(1, position, rows_like(subject, 0, 1)[0])] for position in range(6)] * 2
    expected = clean_run(subject, tokens).edit(rows).last_logits
    whole, sizes = CleanRun._run, []

    def small(self: CleanRun, plan: Plan, read: Read, start: int, first: int) -> Any:
        sizes.append(plan.n_rows)
        if plan.n_rows > 3:
            raise torch.OutOfMemoryError
        return whole(self, plan, read, start, first)

    monkeypatch.setattr(CleanRun, "_run", small)
    out = clean_run(subject, tokens).edit(rows).last_logits
    assert torch.allclose(out, expected, rtol=0, atol=1e-12)
    assert "with 12 rows at once, going on with 6" in caplog.text
    assert "with 6 rows at once, going on with 3" in caplog.text
    sizes.clear()
    clean_run(subject, tokens).edit(rows)
    assert sizes == [3, 3, 3, 3]


def test_a_row_that_does_not_fit_alone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not even one row fits, one line says what can be done."""

    def never(*_: Any) -> Any:
        raise torch.OutOfMemoryError

    clean = clean_run(tiny_subject("llama"), tiny_tokens(0, 6))
    monkeypatch.setattr(CleanRun, "_run", never)
    with pytest.raises(Untested, match="no memory for a single row; free some"):
        clean.edit([[]])


@given(
    picks=st.lists(st.integers(0, 3), min_size=1, max_size=9),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
def test_vectors_that_rows_share_stand_in_each_of_them(picks: list[int], dtype: torch.dtype) -> None:
    """However often a vector is written, and of whatever dtype each is, rows are those of stacking them one by one."""
    kinds = (torch.float32, torch.float64, torch.bfloat16, torch.float32)
    vectors = [torch.linspace(n, n + 1, 5, dtype=kind) for n, kind in enumerate(kinds)]
    chosen = [vectors[pick] for pick in picks]
    together = stacked(chosen, torch.empty(0, dtype=dtype))
    assert torch.equal(together, torch.stack([vector.to(dtype) for vector in chosen]))
    assert together.dtype is dtype


def test_vectors_are_moved_to_where_they_are_written() -> None:
    """From main memory or from both sides, whether they are shared or not."""
    here, there = torch.zeros(5), torch.zeros(5, device="meta")
    for vectors in ([here], [here, here, here.clone()], [there, here], [here, there, here]):
        together = stacked(vectors, there)
        assert (together.device.type, together.shape) == ("meta", (len(vectors), 5))


@pytest.mark.parametrize("family", FAMILIES)
def test_one_vector_in_many_rows_is_as_many_vectors(family: str) -> None:
    """Rows that write one tensor at several places and copies of it are equal bit for bit, whatever the edit."""
    subject = tiny_subject(family)
    clean, (row, other) = clean_run(subject, tiny_tokens(0, 5)), rows_like(subject, 0, 2)
    z = row[: subject.d_head]
    shared: list[Row] = [
        *([Add(0, at, row), ReplaceRow(1, at, other)] for at in (2, 3, 4)),
        *([ReplaceStream(1, at, row), ReplaceHeadOutput(Head(2, 1), at, z)] for at in (2, 3)),
    ]
    apart = [[_with_its_own(edit) for edit in edits] for edits in shared]
    read = Read(resid_post=tuple(range(subject.n_layers)))
    one, many = clean.edit(shared, read), clean.edit(apart, read)
    assert torch.equal(one.all_logits, many.all_logits)
    for layer in range(subject.n_layers):
        assert torch.equal(one.resid_post[layer], many.resid_post[layer])


def _with_its_own(edit: Any) -> Edit:
    name = "vector" if isinstance(edit, Add) else "value"
    return replace(edit, **{name: getattr(edit, name).clone()})
