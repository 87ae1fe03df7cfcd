"""Questions of reach about a model of four layers with two heads on seven tokens, drawn at random and written out."""

from hypothesis import settings
from hypothesis import strategies as st

from prolepsis.names import Head
from prolepsis.reach import Wiring
from prolepsis.reachability.selection import (
    Added,
    Blocked,
    Frozen,
    HeadReplaced,
    Hidden,
    Logits,
    Pattern,
    ResidMid,
    ResidPost,
    RowReplaced,
    Skipped,
    StreamReplaced,
    Token,
    Z,
)

LAYERS, HEADS, TOKENS = 4, 2, 7
layers, positions = st.integers(0, LAYERS - 1), st.integers(0, TOKENS - 1)
heads = st.builds(Head, layers, st.integers(0, HEADS - 1))
edges = st.tuples(positions, positions).map(lambda edge: (max(edge), min(edge)))
adds = st.builds(Added, layers, positions)
readouts = st.one_of(
    st.builds(Logits, positions),
    st.builds(ResidPost, layers, positions),
    st.builds(ResidMid, layers, positions),
    st.builds(Pattern, heads, positions, positions),
    st.builds(Z, heads, positions),
    st.builds(Token, st.integers(1, 3)),
)
edits = st.one_of(
    adds,
    st.builds(RowReplaced, layers, positions),
    st.builds(StreamReplaced, layers, positions),
    st.builds(HeadReplaced, heads, positions),
    st.builds(Frozen, heads),
    st.builds(lambda head, edge: Blocked(head, *edge), heads, edges),
    st.builds(lambda layer, edge: Hidden(layer, *edge), layers, edges),
    st.builds(Skipped, layers),
)
wirings = st.lists(st.none() | st.integers(1, 4), min_size=LAYERS, max_size=LAYERS).map(
    lambda windows: Wiring(LAYERS, HEADS, tuple(windows))
)
few = settings(max_examples=60, deadline=None)

CASES: list[tuple[str, str, tuple[str, ...], bool]] = [
    ("L1@3", "L2@5", ("replace L1@3",), True),
    ("L0@3", "logits@6", ("replace L0@3",), True),
    ("head L1:H0@3", "L1@3", ("replace L1@3",), False),
    ("L0@3", "L1@3", ("replace L1@3",), False),
    ("L0@3", "L1@4", ("replace L1@3",), True),
    ("replace L1@3", "L1@3", (), True),
    ("stream L1@3", "L1@4", (), False),
    ("stream L1@3", "L1@4", ("L0@4",), True),
    ("stream L1@3", "mid L1@4", ("L0@4",), False),
    ("freeze L2:H1", "logits@6", ("L0@2",), True),
    ("freeze L2:H1", "z L2:H1@1", ("L0@2",), False),
    ("freeze L0:H1", "logits@6", ("L0@2",), False),
    ("block L1:H0 4->2", "L1:H0 4->3", (), True),
    ("block L1:H0 4->2", "L1:H0 4->2", (), True),
    ("block L1:H0 4->2", "L1:H0 5->2", (), False),
    ("block L1:H0 4->2", "L1:H1 4->2", (), False),
    ("block L1:H0 4->2", "logits@4", ("freeze L1:H0",), False),
    ("block L1:H0 4->2", "logits@4", ("block L1:H0 4->2",), False),
    ("block L1:H0 4->2", "L1:H0 4->2", ("head L1:H0@4",), True),
    ("block L1:H0 4->2", "z L1:H0@4", ("head L1:H0@4",), False),
    ("L0@1", "L1:H0 1->1", ("block L1:H0 1->0",), False),
    ("L0@1", "z L1:H0@1", ("block L1:H0 1->0",), True),
    ("L0@0", "L1@1", ("block L1:H0 1->0", "block L1:H1 1->0"), False),
    ("L0@0", "L1@1", ("block L1:H0 1->0", "head L1:H1@1"), False),
    ("L0@0", "L1@1", ("block L1:H0 1->0",), True),
    ("hide L1 4->2", "L1:H0 4->3", (), True),
    ("hide L1 4->2", "L1:H1 4->2", (), True),
    ("hide L1 4->2", "L1:H0 5->2", (), False),
    ("hide L1 4->2", "logits@4", (), True),
    ("hide L1 4->2", "logits@4", ("hide L1 4->2",), False),
    ("hide L1 4->2", "logits@4", ("block L1:H0 4->2", "block L1:H1 4->2"), False),
    ("hide L1 4->2", "logits@4", ("block L1:H0 4->2",), True),
    ("hide L1 4->2", "logits@4", ("freeze L1:H0", "freeze L1:H1"), False),
    ("block L1:H0 4->2", "logits@4", ("hide L1 4->2",), False),
    ("L0@2", "L1@4", ("hide L1 4->2",), False),
    ("L0@2", "L2@4", ("hide L1 4->2",), True),
    ("L0@1", "L1:H0 1->1", ("hide L1 1->0",), False),
    ("L0@1", "L3@5", ("skip L1..3",), False),
    ("L0@1", "L3@1", ("skip L1..3",), True),
    ("skip L2", "L2@0", (), True),
    ("skip L2", "L1@6", (), False),
    ("skip L2", "logits@6", ("skip L2",), False),
    ("L1@4", "L1@4", ("stream L1@3",), True),
    ("L1@4", "L2@6", ("stream L1@3",), True),
    ("head L1:H0@3", "z L1:H0@4", (), False),
    ("head L1:H0@3", "z L1:H0@3", (), True),
    ("L0@4", "L1:H0 4->2", ("block L1:H0 4->4",), True),
    ("L3@6", "token+1", (), True),
    ("L3@5", "token+3", (), False),
    ("L3@7", "token+2", (), True),
]
"""What single edits reach: varied, readout, given, answer."""
