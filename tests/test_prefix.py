"""What lies before the first edit is taken from the clean run, and nothing that is read tells the difference."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prolepsis.edits import Add, BlockEdge, HideKeys, ReplaceHeadOutput, ReplaceRow, ReplaceStream, Row, Skip
from prolepsis.engine import clean_run
from prolepsis.experiments.commitment import hidden_run
from prolepsis.names import Head
from prolepsis.running.hooks import Read
from prolepsis.running.prefix import TOKENS_OF_A_CALL, first_positions, grouped, worth_sparing
from prolepsis.running.readings import INSIDE
from prolepsis.subject import Subject
from tests.tiny import FAMILIES, rows_like, tiny_subject, tiny_tokens

TOKENS = 7


def an_edit(subject: Subject, kind: str, layer: int, position: int, seed: int) -> Any:
    """An edit of a kind at a place."""
    row, head = rows_like(subject, seed, 1)[0], Head(layer, seed % subject.n_heads)
    return {
        "add": lambda: Add(layer, position, row),
        "row": lambda: ReplaceRow(layer, position, row),
        "stream": lambda: ReplaceStream(layer, position, row),
        "head": lambda: ReplaceHeadOutput(head, position, row[: subject.d_head]),
        "block": lambda: BlockEdge(head, position, position // 2),
        "hide": lambda: HideKeys(layer, position, (position // 2,)),
    }[kind]()


EDITS = st.tuples(
    st.sampled_from(["add", "row", "stream", "head", "block", "hide"]),
    st.integers(0, 2), st.integers(2, TOKENS - 1), st.integers(0, 99),
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    family=st.sampled_from(FAMILIES),
    edits=st.lists(EDITS, min_size=1, max_size=3),
    logits=st.sets(st.integers(-TOKENS, TOKENS - 1), min_size=1, max_size=3),
    inside=st.booleans(),
    hidden=st.booleans(),
)
def test_many_rows_read_as_each_by_itself(
    family: str, edits: list[tuple[str, int, int, int]], logits: set[int], inside: bool, hidden: bool
) -> None:
    """Rows run from their first edit on read as those that are run whole, in float64 and in every family."""
    subject = tiny_subject(family)
    clean = clean_run(subject, tiny_tokens(3, TOKENS))
    if hidden:
        clean = hidden_run(clean, 1)
    rows: list[Row] = [*([an_edit(subject, *edit)] for edit in edits), []] * 4
    patterns = tuple((Head(layer, 0), TOKENS - 1) for layer in range(subject.n_layers))
    layers = tuple(range(subject.n_layers))
    more = {"resid_mid": layers, "values": (Head(1, 0),), "z": (Head(1, 0),)} if inside else {}
    read = Read(tuple(logits), resid_post=layers, patterns=patterns, **more)
    out = clean.edit(rows, read)
    for number, row in enumerate(rows):
        alone = clean.edit([row], read)
        assert torch.allclose(out.all_logits[number], alone.all_logits[0], rtol=0, atol=1e-10)
        for part in INSIDE:
            for key, value in getattr(alone, part).items():
                assert torch.allclose(getattr(out, part)[key][number], value[0], rtol=0, atol=1e-10), (part, key)


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_beside_an_edit_stay_those_of_the_clean_batch(family: str) -> None:
    """Bit for bit: what an edit cannot reach is what :meth:`unedited` gives, though neither runs the first tokens."""
    subject = tiny_subject(family)
    clean = clean_run(subject, tiny_tokens(3, TOKENS))
    rows: list[Row] = [[], [Add(1, 4, rows_like(subject, 0, 1)[0])], [Add(1, 5, rows_like(subject, 1, 1)[0])], []]
    read = Read(logits=(4, 5, 6), resid_post=tuple(range(subject.n_layers)))
    edited, unedited = clean.edit(rows, read), clean.unedited(rows, read)
    assert torch.equal(edited.all_logits[0], unedited.all_logits[0])
    assert torch.equal(edited.all_logits[2, 0], unedited.all_logits[2, 0])
    assert not torch.equal(edited.all_logits[1], unedited.all_logits[1])
    for layer in range(subject.n_layers):
        assert torch.equal(edited.resid_post[layer][3], unedited.resid_post[layer][3])


def test_only_what_is_worth_sparing_is_spared() -> None:
    """Several rows are run from the first edited or read position on, and one is run whole."""
    subject = tiny_subject("llama")
    late: Row = [Add(1, 5, rows_like(subject, 0, 1)[0])]

    def first(rows: list[Row], read: Read = Read()) -> int:  # noqa: B008
        return worth_sparing(min(first_positions(rows, read, TOKENS)), len(rows))

    assert first([late]) == 0
    assert first([late, late]) == 5
    assert first([late, []]) == 5
    assert first([late, late], Read(logits=(4, -1))) == 4
    assert first([late, late], Read(logits=(1,))) == 1
    assert first([late, late], Read(resid_mid=(2,))) == 0
    assert first([late, [Skip((1,))]]) == 0
    assert first([[], []]) == first([[], []], Read(logits=())) == 6


@given(
    firsts=st.lists(st.integers(0, 40), min_size=1, max_size=300).map(sorted),
    start=st.integers(0, 5),
)
def test_rows_are_run_apart_where_that_spares_more_than_it_costs(firsts: list[int], start: int) -> None:
    """Groups follow on each other and hold all rows; each pays for its call, and none is worth a further cut."""
    rows = range(min(start, len(firsts) - 1), len(firsts))
    groups = grouped(firsts, rows)
    assert [row for group in groups for row in group] == list(rows)

    def skipped(parts: list[range]) -> int:
        return sum(len(part) * firsts[part.start] for part in parts)

    assert skipped(groups) - skipped([rows]) >= (len(groups) - 1) * TOKENS_OF_A_CALL
    for group in groups:
        for cut in group[1:]:
            parts = [range(group.start, cut), range(cut, group.stop)]
            assert skipped(parts) - skipped([group]) <= TOKENS_OF_A_CALL


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sweep_is_run_in_groups_and_comes_back_in_order(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However rows are grouped, each is read where it was given, as by itself, and beside its own clean row."""
    subject = tiny_subject(family)
    clean = clean_run(subject, tiny_tokens(3, TOKENS))
    vectors = rows_like(subject, 2, 4 * TOKENS)
    rows: list[Row] = [[Add(1, 5 * n % TOKENS, vector)] for n, vector in enumerate(vectors)]
    read = Read(logits=(-1,), resid_post=(subject.n_layers - 1,), patterns=((Head(1, 0), TOKENS - 1),))
    monkeypatch.setattr("prolepsis.running.prefix.TOKENS_OF_A_CALL", 8)
    assert len(grouped(sorted(first_positions(rows, read, TOKENS)), range(len(rows)))) > 2
    out, unedited = clean.edit(rows, read), clean.unedited(rows, read)
    for number, row in enumerate(rows):
        alone = clean.edit([row], read)
        assert torch.allclose(out.last_logits[number], alone.last_logits[0], rtol=0, atol=1e-10)
        assert torch.allclose(out.patterns[Head(1, 0), TOKENS - 1][number], alone.patterns[Head(1, 0), TOKENS - 1][0])
        edited = row[0].position
        before, beside = (one.resid_post[subject.n_layers - 1][number, :edited] for one in (out, unedited))
        assert torch.equal(before, beside)


def layers_run(subject: Subject, run: Callable[[], object]) -> list[int]:
    """The layers that are run while ``run`` is, in order."""
    found: list[int] = []
    hooks = [
        subject.layer(layer).register_forward_pre_hook(lambda *_, layer=layer: found.append(layer))
        for layer in range(subject.n_layers)
    ]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_no_layer_is_run_for_what_is_known_or_not_read(family: str) -> None:
    """A batch runs the layers from its first edit up to what it reads, once, and its first tokens in none of them."""
    subject = tiny_subject(family)
    clean, last = clean_run(subject, tiny_tokens(3, TOKENS)), subject.n_layers - 1
    rows: list[Row] = [[Add(0, 5, row)] for row in rows_like(subject, 0, 2)]
    assert layers_run(subject, lambda: clean.edit(rows)) == list(range(1, last + 1))
    assert layers_run(subject, lambda: clean.edit(rows, Read(logits=(), resid_post=(1,)))) == [1]
    assert layers_run(subject, lambda: clean.edit(rows, Read(logits=(), resid_post=(0,)))) == []
    assert layers_run(subject, lambda: clean.edit(rows, Read(logits=(), patterns=((Head(0, 0), 5),)))) == [0]
    assert layers_run(subject, lambda: clean.read(Read(logits=(), z=(Head(1, 0),)))) == [1]
    assert layers_run(subject, lambda: clean.read(Read())) == []


@pytest.mark.parametrize("more", [[], [BlockEdge(Head(1, 0), 5, 3)]])
@pytest.mark.parametrize("family", FAMILIES)
def test_edges_blocked_in_a_clean_run_stay_blocked_under_its_edits(family: str, more: Row) -> None:
    """Edits of a run in which nobody sees a token read as edits beside those blocked edges do, further ones or not."""
    subject = tiny_subject(family)
    seen = clean_run(subject, tiny_tokens(3, TOKENS))
    hidden = hidden_run(seen, 1)
    rows: list[Row] = [[Add(0, 5, row), *more] for row in rows_like(subject, 0, 2)]
    read = Read(resid_post=tuple(range(subject.n_layers)))
    out, beside = hidden.edit(rows, read), seen.edit([[*hidden.blocked, *row] for row in rows], read)
    assert torch.allclose(out.all_logits, beside.all_logits, rtol=0, atol=1e-10)
    for layer in range(subject.n_layers):
        assert torch.allclose(out.resid_post[layer], beside.resid_post[layer], rtol=0, atol=1e-10)
    assert not torch.allclose(out.all_logits, seen.edit(rows, read).all_logits, rtol=0, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_hidden_token_is_seen_by_no_later_one(family: str) -> None:
    """Whatever it is, streams behind it are the same in every layer; seen, it would change them."""
    subject, tokens = tiny_subject(family), tiny_tokens(3, TOKENS)
    other = [*tokens[:1], (tokens[1] + 1) % subject.n_vocab, *tokens[2:]]
    seen, changed = clean_run(subject, tokens), clean_run(subject, other)
    behind, behind_changed = (hidden_run(run, 1).resid[:, 2:] for run in (seen, changed))
    assert torch.allclose(behind, behind_changed, rtol=0, atol=1e-12)
    assert not torch.allclose(seen.resid[1:, 2:], changed.resid[1:, 2:], rtol=0, atol=1e-3)
