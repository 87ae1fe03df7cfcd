"""What reach promises, from the wiring alone: closed forms, cuts, and refusals."""

import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from prolepsis.errors import UserError
from prolepsis.names import Head
from prolepsis.reach import Reach, Wiring, reach, reach_each
from prolepsis.reachability.masks import BoolArray, CoupletBarrier, IntArray
from prolepsis.reachability.selection import (
    Added,
    Blocked,
    Frozen,
    Hidden,
    Logits,
    Pattern,
    Readout,
    ResidPost,
    RowReplaced,
    StreamReplaced,
    Support,
    Token,
    Z,
    parse_edits,
    parse_readout,
)
from prolepsis.reachability.wiring import open_wiring
from tests.reach_cases import (
    CASES,
    HEADS,
    LAYERS,
    TOKENS,
    adds,
    edges,
    edits,
    few,
    heads,
    layers,
    positions,
    readouts,
    wirings,
)

GLOBAL = Wiring(LAYERS, HEADS, (None,) * LAYERS)


def asked(varied: str, readout: str, *present: str, wiring: Wiring = GLOBAL, tokens: int = TOKENS) -> Reach:
    """Reach with everything written out."""
    given_edits = [edit for text in present for edit in parse_edits(text)]
    return reach(wiring, parse_edits(varied), parse_readout(readout), given_edits, tokens=tokens)


def accepted(wiring: Wiring, varied: list[Support], readout: Readout, present: list[Support]) -> Reach:
    """The answer to a random question; one that reach refuses does not count as an example."""
    try:
        return reach(wiring, varied, readout, present, tokens=TOKENS)
    except UserError:
        assume(condition=False)
        raise


few_edits = st.lists(edits, max_size=2)


@few
@given(wirings, readouts, st.tuples(layers, edges), st.tuples(few_edits, few_edits), st.booleans())
def test_hiding_a_key_is_blocking_it_in_every_head(
    wiring: Wiring,
    readout: Readout,
    place: tuple[int, tuple[int, int]],
    others: tuple[list[Support], list[Support]],
    is_varied: bool,
) -> None:
    """Whatever else is edited, and whether it is there in both runs or in one, the answer is the same."""
    (layer, edge), (varied, present) = place, others
    hidden: list[Support] = [Hidden(layer, *edge)]
    blocked: list[Support] = [Blocked(Head(layer, head), *edge) for head in range(HEADS)]
    together, one_by_one = (
        accepted(wiring, [*more, *varied], readout, present)
        if is_varied
        else accepted(wiring, varied, readout, [*more, *present])
        for more in (hidden, blocked)
    )
    assert together.answer == one_by_one.answer


@few
@given(st.integers(2, 4), heads, edges, readouts)
def test_blocking_what_a_window_hides_changes_nothing(
    window: int, head: Head, edge: tuple[int, int], readout: Readout
) -> None:
    """A BlockEdge of a key that its query does not see reaches nothing."""
    query, key = edge
    assume(key <= query - window)
    wiring = Wiring(LAYERS, HEADS, (window,) * LAYERS)
    assert not reach(wiring, [Blocked(head, query, key)], readout, tokens=TOKENS).answer


@few
@given(adds, positions)
def test_without_windows_a_write_reaches_later_logits_unless_it_is_in_the_last_layer(write: Added, at: int) -> None:
    """An Add at layer l, position p reaches logits at p, and at every later position if a layer above can move it."""
    expected = at == write.position or (at > write.position and write.layer < LAYERS - 1)
    assert reach(GLOBAL, [write], Logits(at), tokens=TOKENS).answer == expected


@few
@given(st.integers(1, 4), adds, positions)
def test_windows_carry_their_width_less_one_per_layer(window: int, write: Added, at: int) -> None:
    """With window w everywhere a write travels at most w - 1 positions per layer above it."""
    wiring = Wiring(LAYERS, HEADS, (window,) * LAYERS)
    far = (LAYERS - 1 - write.layer) * (window - 1)
    assert reach(wiring, [write], Logits(at), tokens=TOKENS).answer == (0 <= at - write.position <= far)


@few
@given(wirings, heads, positions, positions, adds)
def test_a_pattern_moves_with_the_rows_it_compares(
    wiring: Wiring, head: Head, query: int, key: int, write: Added
) -> None:
    """pattern[q, k] moves iff q sees k and another key, and a row it sees is moved at the layer's input."""
    window = wiring.windows[head.layer]
    seen = [k for k in range(query + 1) if window is None or k > query - window]
    below = head.layer - 1
    moved = below >= 0 and any(
        reach(wiring, [write], ResidPost(below, position), tokens=TOKENS).answer for position in seen
    )
    found = reach(wiring, [write], Pattern(head, query, key), tokens=TOKENS)
    assert found.answer == (key in seen and len(seen) >= 2 and moved)


@few
@given(wirings, st.lists(adds, min_size=1, max_size=4), readouts)
def test_adds_reach_what_any_one_of_them_reaches(wiring: Wiring, writes: list[Added], readout: Readout) -> None:
    """Several Adds reach a readout iff one of them does on its own."""
    one_by_one = [reach(wiring, [write], readout, tokens=TOKENS).answer for write in writes]
    assert reach(wiring, writes, readout, tokens=TOKENS).answer == any(one_by_one)


@few
@given(wirings, st.lists(adds, min_size=1, max_size=3), st.lists(adds, max_size=3), readouts)
def test_adds_that_are_there_all_the_time_play_no_part(
    wiring: Wiring, varied: list[Added], present: list[Added], readout: Readout
) -> None:
    """Given Adds neither open nor close a path of varied ones."""
    alone = reach(wiring, varied, readout, tokens=TOKENS).answer
    assert reach(wiring, varied, readout, present, tokens=TOKENS).answer == alone


@few
@given(wirings, st.lists(st.builds(Frozen, heads), min_size=1, max_size=4), readouts)
def test_freezing_alone_changes_nothing(wiring: Wiring, frozen: list[Frozen], readout: Readout) -> None:
    """A frozen pattern is the clean one, so without another edit freezing reaches nothing."""
    assert not reach(wiring, frozen, readout, tokens=TOKENS).answer


@few
@given(wirings, heads, positions, positions, st.lists(adds, min_size=1, max_size=3))
def test_a_frozen_pattern_cannot_be_reached(
    wiring: Wiring, head: Head, query: int, key: int, varied: list[Added]
) -> None:
    """Freezing takes the pattern away as a readout and leaves every residual row where it was."""
    assert not reach(wiring, varied, Pattern(head, query, key), [Frozen(head)], tokens=TOKENS).answer
    for readout in (Logits(query), Z(head, query)):
        free = reach(wiring, varied, readout, tokens=TOKENS).answer
        assert reach(wiring, varied, readout, [Frozen(head)], tokens=TOKENS).answer <= free


@few
@given(wirings, st.lists(edits, min_size=1, max_size=2), layers, positions, readouts)
def test_a_given_stream_cuts_everything_below(
    wiring: Wiring, varied: list[Support], layer: int, position: int, readout: Readout
) -> None:
    """Above a given ReplaceStream nothing varied below it reaches the prompt's rows."""
    stream = StreamReplaced(layer, position)
    varied = [edit for edit in varied if edit.layer < layer]
    assume(isinstance(readout, Logits) or getattr(readout, "layer", -1) > layer)
    assert not accepted(wiring, varied, readout, [stream]).answer


@few
@given(wirings, st.lists(edits, min_size=1, max_size=3), st.lists(edits, max_size=2), readouts)
def test_a_path_starts_at_a_varied_edit_and_ends_at_the_readout(
    wiring: Wiring, varied: list[Support], present: list[Support], readout: Readout
) -> None:
    """The why of a yes names a varied edit first and the readout last; the why of a no is one line."""
    found = accepted(wiring, varied, readout, present)
    steps = found.why.split(" → ")
    if found.answer:
        assert steps[0] in map(str, varied)
        assert steps[-1] == str(readout)
    assert "\n" not in found.why


@few
@given(wirings, st.lists(edits, min_size=1, max_size=2), st.lists(edits, max_size=2))
def test_the_first_generated_token_is_the_last_positions_argmax(
    wiring: Wiring, varied: list[Support], present: list[Support]
) -> None:
    """token+1 is reachable iff the last position's logits are, and then every later token is too."""
    last = accepted(wiring, varied, Logits(TOKENS - 1), present).answer
    reached = [reach(wiring, varied, Token(step), present, tokens=TOKENS).answer for step in (1, 2, 3)]
    assert reached[0] == last
    assert reached == sorted(reached)


@pytest.mark.parametrize(("varied", "readout", "present", "answer"), CASES)
def test_single_edits_do_what_their_names_say(
    varied: str, readout: str, present: tuple[str, ...], answer: bool
) -> None:
    """What one edit reaches, case by case."""
    found = asked(varied, readout, *present)
    assert found.answer == answer, found.why


def test_the_papers_routing_example_is_out_of_reach() -> None:
    """What is written to layers 23 to 25 of Gemma 2 2B cannot change where layer 21 looks; what starts at 16 can."""
    gemma = open_wiring("gemma-2-2b")
    late = asked("L23..25@31", "L21:H5 31->31", "L16..22@31", wiring=gemma, tokens=32)
    assert late == Reach(answer=False, why="every path starts at L23@31, above L21:H5 31→31")
    assert asked("L16..25@31", "L21:H5 31->31", wiring=gemma, tokens=32).why == "L20@31 → L21:H5 31→31"


@pytest.mark.parametrize(
    ("varied", "readout", "present", "why"),
    [
        ("L1@2", "logits@5", (), "L1@2 → L2:H* 5→2 → logits@5"),
        ("L2@5", "logits@5", (), "L2@5 → logits@5"),
        ("L0@2", "token+2", (), "L0@2 → L1:H* 6→2 → token+1 → token+2"),
        ("block L1:H0 4->2", "logits@6", (), "block L1:H0 4→2 → L2:H* 6→4 → logits@6"),
        ("hide L1 4->2", "logits@6", (), "hide L1 4→2 → L2:H* 6→4 → logits@6"),
        ("hide L1 4->2", "L1:H1 4->2", (), "hide L1 4→2 → L1:H1 4→2"),
        ("freeze L2:H1", "logits@6", ("L0@2",), "freeze L2:H1 → logits@6"),
        ("stream L1@3", "L1@4", ("L0@4",), "stream L1@3 → L1@4"),
        ("skip L2", "L2@0", (), "skip L2 → L2@0"),
        ("L3@2", "logits@5", (), "after layer 3 only position 2 can differ, and logits@5 reads none of that"),
        ("L1@2", "L2@1", (), "after layer 2 only positions 2..6 can differ, and L2@1 reads none of that"),
        ("L0@2", "logits@6", ("stream L2@4",), "the difference ends at layer 2: after it no position can differ"),
        ("L0@2", "L1:H0 4->3", ("freeze L1:H0",), "freeze L1:H0 holds that pattern"),
        ("L0@0", "L1:H0 0->0", (), "query 0 of L1:H0 sees no key but 0, whose weight is then 1"),
        ("L0@2", "L1:H0 3->5", (), "query 3 of L1:H0 does not see key 5"),
        ("L0@2", "z L1:H0@3", ("head L1:H0@3",), "head L1:H0@3 replaces it in both runs"),
        ("freeze L1:H0", "logits@6", (), "nothing that logits@6 is computed from can differ"),
        ("L2@2", "L2:H0 3->2", (), "every path starts at L2@2, above L2:H0 3→2"),
    ],
)
def test_the_why_names_what_opens_or_closes_the_way(
    varied: str, readout: str, present: tuple[str, ...], why: str
) -> None:
    """A yes comes with a shortest path, moves written as query→key; a no with what stands in the way."""
    assert asked(varied, readout, *present).why == why


def test_no_edit_reaches_anything() -> None:
    """Where nothing is varied nothing is reachable."""
    assert reach(GLOBAL, [], Logits(3), tokens=TOKENS) == Reach(answer=False, why="nothing is varied")


def test_a_mask_rule_closes_the_direct_way_but_not_the_relay() -> None:
    """Behind the couplet barrier line 1 reaches the end of line 2 only through the newline."""
    tokens = [1, 5, 6, 3, 7, 8, 9]
    wiring = Wiring(LAYERS, HEADS, (None,) * LAYERS, CoupletBarrier(newline=3))
    assert not reach(wiring, [Added(2, 2)], Logits(6), tokens=tokens).answer
    assert reach(wiring, [Added(1, 2)], Logits(6), tokens=tokens).answer
    assert not reach(wiring, [Added(1, 2)], Logits(6), [RowReplaced(2, 3)], tokens=tokens).answer
    assert not reach(wiring, [Added(2, 2)], Token(3), tokens=tokens).answer


@dataclass(frozen=True, eq=False)
class Nothing:
    """A mask rule that hides everything from one query."""

    query: int

    def __call__(self, query: IntArray, key: IntArray, tokens: IntArray) -> BoolArray:  # noqa: ARG002
        return np.broadcast_to(query != self.query, np.broadcast_shapes(query.shape, key.shape))

    def describe(self) -> dict[str, Any]:
        return {"kind": "nothing"}


@pytest.mark.parametrize(
    ("varied", "readout", "present", "message"),
    [
        ("L4@3", "logits@5", (), "L4@3: layer 4 is not among layers 0 to 3"),
        ("L1@7", "logits@5", (), "L1@7: position 7 is not among positions 0 to 6"),
        ("L3@7", "token+1", (), "L3@7: position 7 is not among positions 0 to 6"),
        ("L1@3", "logits@7", (), "logits@7: position 7 is not among positions 0 to 6"),
        ("freeze L1:H2", "logits@5", (), "freeze L1:H2: head L1:H2 is not among heads 0 to 1"),
        ("block L1:H0 3->5", "logits@5", (), "block L1:H0 3→5: key 5 comes after query 3"),
        ("hide L1 3->5", "logits@5", (), "hide L1 3→5: key 5 comes after query 3"),
        ("hide L1 0->0", "logits@5", (), "every key of L1 at query 0 is blocked"),
        ("block L1:H0 0->0", "logits@5", (), "every key of L1:H0 at query 0 is blocked"),
        ("skip L1", "logits@5", ("L1@3",), "L1@3: layer 1 is skipped"),
        ("skip L1", "L1:H0 3->2", (), "L1:H0 3→2: layer 1 is skipped"),
        ("replace L1@3", "logits@5", ("replace L1@3",), "replace L1@3: this row is replaced already"),
        ("replace L1@3", "logits@5", ("stream L1@2",), "replace L1@3: this row is replaced already"),
        ("head L1:H0@3", "logits@5", ("head L1:H0@3",), "head L1:H0@3: this row is replaced already"),
        ("stream L1@7", "token+4", (), "stream L1@7: position 7 is generated and has no clean run"),
        ("L1@3", "token+0", (), "token+0: generated tokens are counted from 1"),
    ],
)
def test_questions_that_mean_nothing_are_refused(
    varied: str, readout: str, present: tuple[str, ...], message: str
) -> None:
    """A place that is not there and edits that exclude each other are refused in one line that names them."""
    with pytest.raises(UserError) as refused:
        asked(varied, readout, *present)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_a_mask_rule_needs_tokens_and_leaves_every_query_a_key() -> None:
    """With a mask rule the number of tokens is not enough, and a query that sees nothing is refused."""
    wiring = Wiring(LAYERS, HEADS, (None,) * LAYERS, Nothing(2))
    with pytest.raises(UserError, match="give their ids"):
        reach(wiring, [Added(0, 1)], Logits(3), tokens=4)
    with pytest.raises(UserError, match="leaves position 2 no key"):
        reach(wiring, [Added(0, 1)], Logits(3), tokens=[1, 2, 3, 4])
    with pytest.raises(UserError, match="prompt is empty"):
        reach(GLOBAL, [Added(0, 1)], Logits(3), tokens=0)


@few
@given(wirings, edits, edits, st.lists(readouts, min_size=1, max_size=4))
def test_readouts_together_answer_as_each_alone(
    wiring: Wiring, varied: Support, present: Support, read: list[Readout]
) -> None:
    """Asking for several readouts of one edited run gives what asking for each of them gives."""
    try:
        alone = [reach(wiring, [varied], one, [present], tokens=TOKENS).answer for one in read]
    except UserError:
        assume(condition=False)
    assert [found.answer for found in reach_each(wiring, [varied], read, [present], tokens=TOKENS)] == alone


def test_reach_imports_no_torch() -> None:
    """Reach and the command line start without torch and transformers."""
    code = "import sys, prolepsis.reach, prolepsis.cli; print({'torch', 'transformers'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == "set()"
