"""reach and the real engine agree: what it calls unreachable never moves a bit, what it calls reachable can move."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from prolepsis.edits import (
    Add,
    BlockEdge,
    Edit,
    FreezePattern,
    HideKeys,
    ReplaceHeadOutput,
    ReplaceRow,
    ReplaceStream,
    Skip,
)
from prolepsis.engine import CleanRun, clean_run
from prolepsis.errors import UserError
from prolepsis.names import Head
from prolepsis.reach import reach
from prolepsis.reachability.masks import BoolArray, IntArray
from prolepsis.reachability.selection import (
    Added,
    Blocked,
    Frozen,
    HeadReplaced,
    Hidden,
    Logits,
    Pattern,
    Readout,
    ResidMid,
    ResidPost,
    RowReplaced,
    Skipped,
    StreamReplaced,
    Support,
    Token,
    Z,
    parse_edits,
    parse_readout,
    supports,
)
from prolepsis.running.generation import generate
from prolepsis.running.hooks import Read
from prolepsis.subject import Subject
from tests.reach_cases import CASES
from tests.tiny import FAMILIES, tiny_subject

torch.set_num_threads(1)

LENGTH, LAYERS, HEADS, WINDOW = 6, 3, 2, 3
TOKENS = [1, 5, 9, 2, 14, 7, 11]
TRIES = 8

Rows = tuple[list[Support], list[Support]]


@dataclass(frozen=True)
class Choices:
    """The logits that the first ``steps`` generated tokens are the largest of."""

    steps: int


@dataclass(frozen=True, eq=False)
class Table:
    """A mask rule that hides the (query, key) pairs of a table."""

    table: BoolArray

    def __call__(self, query: IntArray, key: IntArray, tokens: IntArray) -> BoolArray:  # noqa: ARG002
        return np.asarray(~self.table[query, key])

    def describe(self) -> dict[str, Any]:
        return {"kind": "hidden"}


@st.composite
def rules(draw: st.DrawFn) -> Table | None:
    """No rule, or few or many random edges hidden; every query keeps itself or the key before it."""
    if not draw(st.booleans()):
        return None
    share, shape = draw(st.sampled_from((0.3, 0.7))), (LENGTH + 3, LENGTH + 3)
    table = np.random.default_rng(draw(st.integers(0, 2**16))).random(shape) < share
    rows = np.arange(LENGTH + 3)
    table[rows[1:], rows[:-1]] &= ~table[rows[1:], rows[1:]]
    table[0, 0] = False
    return Table(table)


def edit_places(last: int, *layer: int) -> st.SearchStrategy[Support]:
    """Edits of every kind at positions up to ``last``, in layers drawn from ``layer``."""
    layers, positions = st.sampled_from(layer), st.integers(0, last)
    heads = st.builds(Head, layers, st.integers(0, HEADS - 1))
    return st.one_of(
        st.builds(Added, layers, positions),
        st.builds(RowReplaced, layers, positions),
        st.builds(StreamReplaced, layers, st.integers(0, LENGTH - 1)),
        st.builds(HeadReplaced, heads, positions),
        st.builds(Frozen, heads),
        st.builds(lambda head, edge: Blocked(head, max(edge), min(edge)), heads, st.tuples(positions, positions)),
        st.builds(lambda layer, edge: Hidden(layer, max(edge), min(edge)), layers, st.tuples(positions, positions)),
        st.builds(Skipped, layers),
    )


READ_LAYERS, READ_POSITIONS = st.sampled_from((0, 1, 1, 2, 2)), st.integers(0, LENGTH - 1)
READ_HEADS = st.builds(Head, READ_LAYERS, st.integers(0, HEADS - 1))
READOUTS: dict[str, st.SearchStrategy[Readout]] = {
    "logits": st.builds(Logits, READ_POSITIONS),
    "resid_post": st.builds(ResidPost, READ_LAYERS, READ_POSITIONS),
    "resid_mid": st.builds(ResidMid, READ_LAYERS, READ_POSITIONS),
    "pattern": st.tuples(READ_POSITIONS, READ_POSITIONS).flatmap(
        lambda edge: st.builds(Pattern, READ_HEADS, st.just(max(edge)), st.just(min(edge)))
    ),
    "z": st.builds(Z, READ_HEADS, READ_POSITIONS),
}


def rows(last: int) -> st.SearchStrategy[Rows]:
    """Varied edits, more of them in low layers, and given ones, at positions up to ``last``."""
    return st.tuples(
        st.lists(edit_places(last, 0, 0, 1, 1, 2), min_size=1, max_size=2),
        st.lists(edit_places(last, 0, 1, 1, 2), max_size=2),
    )


@cache
def model(family: str, seed: int) -> Subject:
    """A tiny random float64 model."""
    return tiny_subject(family, seed, n_layers=LAYERS, n_heads=HEADS, window=WINDOW)


def row_of(places: list[Support], subject: Subject, seed: int) -> list[Edit]:
    """Edits at these places with large random values."""
    generator = torch.Generator().manual_seed(seed)

    def value(width: int) -> torch.Tensor:
        return 3 * torch.randn(width, generator=generator, dtype=subject.dtype)

    made: dict[type, Callable[[Any], Edit]] = {
        Added: lambda at: Add(at.layer, at.position, value(subject.d_model)),
        RowReplaced: lambda at: ReplaceRow(at.layer, at.position, value(subject.d_model)),
        StreamReplaced: lambda at: ReplaceStream(at.layer, at.position, value(subject.d_model)),
        HeadReplaced: lambda at: ReplaceHeadOutput(at.head, at.position, value(subject.d_head)),
        Frozen: lambda at: FreezePattern((at.head,)),
        Blocked: lambda at: BlockEdge(at.head, at.query, at.key),
        Hidden: lambda at: HideKeys(at.layer, at.query, (at.key,)),
        Skipped: lambda at: Skip((at.layer,)),
    }
    return [made[type(place)](place) for place in places]


def choices(clean: CleanRun, rows: list[list[Edit]], steps: int) -> torch.Tensor:
    """The logits [steps, V] from which the last row's generated tokens are chosen."""
    seen: list[torch.Tensor] = []
    unembed = Subject.unembed

    def recorded(subject: Subject, resid: torch.Tensor) -> torch.Tensor:
        seen.append(unembed(subject, resid))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Subject, "unembed", recorded)
        generate(clean.subject, [clean.tokens] * len(rows), rows, max_new_tokens=steps)
    return torch.stack([logits[-1] for logits in seen])


def read(clean: CleanRun, rows: list[list[Edit]], readout: Readout | Choices) -> torch.Tensor:
    """The readout in the last row of a batch."""
    match readout:
        case Logits(position):
            logits = clean.edit(rows, Read(logits=(position,))).logits
            assert logits is not None
            return logits[-1, 0]
        case ResidPost(layer, position):
            return clean.edit(rows, Read(logits=(), resid_post=(layer,))).resid_post[layer][-1, position]
        case ResidMid(layer, position):
            return clean.edit(rows, Read(logits=(), resid_mid=(layer,))).resid_mid[layer][-1, position]
        case Pattern(head, query, key):
            return clean.edit(rows, Read(logits=(), patterns=((head, query),))).patterns[head, query][-1, key]
        case Z(head, position):
            return clean.edit(rows, Read(logits=(), z=(head,))).z[head][-1, position]
        case Token(steps) | Choices(steps):
            logits = choices(clean, rows, steps)
            return logits if isinstance(readout, Choices) else logits.argmax(-1).double()


def moved(subject: Subject, tokens: list[int], edits: Rows, readout: Readout | Choices, seed: int) -> bool:
    """Whether the readout differs between a row with the varied edits and the same row of a like batch without them.

    Any bit counts, so the row stands at the same place of either batch: a batch is run in the order of its rows' first
    edits, and a product may round the next row otherwise. Only where the varied edits put rows of the stored clean run
    in place of recomputed ones are two batch shapes compared, which agree to 1e-12.
    """
    varied, present = edits
    row = row_of(present + varied, subject, seed)
    clean = clean_run(subject, tokens)
    with_varied = read(clean, [row, row], readout)
    without = read(clean, [row, row[: len(present)]], readout)
    if any(isinstance(edit, StreamReplaced | Frozen) for edit in varied):
        return not torch.allclose(with_varied, without, rtol=1e-12, atol=1e-12)
    return not torch.equal(with_varied, without)


def agree(family: str, rule: Table | None, edits: Rows, readout: Readout) -> None:
    """Assert that reach and the engine agree; examples that reach refuses do not count.

    A generated token is judged by the logits of its choices: which of them is the largest may change for one in
    thousands of models only, and a token that never changed could hide that its logits do.
    """
    (varied, present), tokens = edits, TOKENS[:LENGTH]
    seen = Choices(readout.step) if isinstance(readout, Token) else readout

    def subject(seed: int) -> Subject:
        return replace(model(family, seed), mask_rule=rule)

    try:
        found = reach(subject(0).wiring, varied, readout, present, tokens=tokens)
    except UserError:
        assume(False)
    event(f"{type(readout).__name__}: {found.answer}")
    for edit in varied:
        event(f"varied {type(edit).__name__}: {found.answer}")
    if found.answer:
        assert any(moved(subject(seed), tokens, edits, seen, seed) for seed in range(TRIES)), found.why
    else:
        assert not moved(subject(0), tokens, edits, seen, 0), found.why


@pytest.mark.parametrize("kind", sorted(READOUTS))
@settings(max_examples=80, deadline=None)
@given(st.sampled_from(FAMILIES), rules(), rows(LENGTH - 1), st.data())
def test_a_readout_moves_exactly_where_it_can_be_reached(
    kind: str, family: str, rule: Table | None, edits: Rows, data: st.DataObject
) -> None:
    """An unreachable readout equals the unvaried one; a reachable one moves for some weights and values."""
    agree(family, rule, edits, data.draw(READOUTS[kind]))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(FAMILIES), rules(), rows(LENGTH), st.builds(Token, st.integers(2, 3)))
def test_a_generated_token_moves_exactly_where_it_can_be_reached(
    family: str, rule: Table | None, edits: Rows, readout: Token
) -> None:
    """The choices of a generated token and those before it move exactly where it can be reached, for some weights."""
    agree(family, rule, edits, readout)


@pytest.mark.parametrize(("varied", "readout", "present", "answer"), CASES)
def test_the_engine_gives_the_same_answer_case_by_case(
    varied: str, readout: str, present: tuple[str, ...], answer: bool
) -> None:
    """What is said of a single edit holds in a model: it moves the readout for some weights, or for none tried."""
    edits = list(parse_edits(varied)), [edit for text in present for edit in parse_edits(text)]
    tries = range(20 * TRIES if answer else TRIES)
    drawn = ((seed, tiny_subject("llama", seed, n_layers=4, n_heads=2)) for seed in tries)
    assert any(moved(subject, TOKENS, edits, parse_readout(readout), seed) for seed, subject in drawn) == answer


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_is_read_by_the_mlp_of_its_layer_unless_both_read_the_same_stream(family: str) -> None:
    """A head's output reaches resid_mid of its own layer in every family but that of the parallel residual."""
    subject, tokens, readout, head = model(family, 0), TOKENS[:LENGTH], parse_readout("mid L1@3"), "head L1:H0@3"
    edits = list(parse_edits(head))
    assert moved(subject, tokens, (edits, []), readout, 0) == (family != "gpt_neox")
    assert reach(subject.wiring, edits, readout, tokens=tokens).answer == (family != "gpt_neox")


@settings(max_examples=80, deadline=None)
@given(rules(), rows(LENGTH + 1), st.integers(0, LENGTH - 1))
def test_reach_refuses_what_the_engine_refuses(rule: Table | None, edits: Rows, position: int) -> None:
    """Rows of edits that mean nothing are refused by both or by neither."""
    varied, present = edits
    subject = replace(model("mistral", 0), mask_rule=rule)
    row = row_of(present + varied, subject, 0)

    def refuses(question: Callable[[], object]) -> bool:
        try:
            question()
        except UserError:
            return True
        return False

    engine = refuses(lambda: clean_run(subject, TOKENS[:LENGTH]).edit([row]))
    event(f"refused: {engine}")
    assert refuses(lambda: reach(subject.wiring, varied, Logits(position), present, tokens=TOKENS[:LENGTH])) == engine


@settings(max_examples=50, deadline=None)
@given(rows(LENGTH - 1))
def test_edits_touch_the_places_they_were_made_for(edits: Rows) -> None:
    """The supports of edits are the places they act at."""
    places = edits[0] + edits[1]
    assert supports(row_of(places, model("llama", 0), 0)) == tuple(places)
