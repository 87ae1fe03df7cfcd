"""Random transformers: what the wiring fixes stays equal bit for bit there, and what it leaves open does move."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

from prolepsis import ledger
from prolepsis.experiments.block_patching import blocks, patch_rows
from prolepsis.experiments.wiring_properties import (
    CORRECTED,
    EXPERIMENTS,
    INJECTED,
    LAST,
    SITE,
    SUPPRESSED,
    Case,
    block_decline,
    cases,
    last_block_effect,
)
from prolepsis.judge import judge
from prolepsis.judging.evidence import reach_answer
from prolepsis.names import Head
from prolepsis.organisms.random_transformers import FAMILIES, SEEDS, WINDOW, random_transformers
from prolepsis.reachability.selection import Logits, Pattern, ResidPost
from prolepsis.report.state import is_asked
from prolepsis.subjects.source import PAPER, RANDOM

Rows = list[dict[str, Any]]


def carried(case: Case) -> Rows:
    """A write at each layer but the last two, and the row it is in at the end."""
    last = case.subject.n_layers - 1
    return [case.row(case.feature(layer, LAST)[:1], ResidPost(last, LAST)) for layer in range(last - 1)]


def localised(case: Case) -> Rows:
    """The injection at the last token, where it is claimed to do most, and elsewhere, below the last layer."""
    return [case.row(case.feature(INJECTED, at), Logits(LAST), claimed=at == LAST) for at in (SITE, LAST)]


def routed(case: Case) -> Rows:
    """Suppress + inject, and a head between the two layers."""
    edits = [*case.feature(SUPPRESSED, SITE), *case.feature(INJECTED, SITE, 1)]
    return [case.row(edits, Pattern(Head(INJECTED, 0), LAST, SITE))]


def shifted(case: Case) -> Rows:
    """Facts patched in the first block, said to shift most, and in the last, and a head of the last layer."""
    layers = blocks(case.subject.n_layers)
    readout = Pattern(Head(case.subject.n_layers - 1, 0), LAST, SITE)
    return [
        case.row(patch_rows(case.other, layers[block], SITE, SITE), readout, claimed=block == 0) for block in (0, -1)
    ]


def listed(case: Case) -> Rows:
    """What puts heads on the rhymes' lists and what puts them on the facts' list, and a head that both may hold."""
    return [{**row, "claimed": True} for row in (*routed(case), *shifted(case))]


LEFT_OPEN: Mapping[str, tuple[str, Callable[[Case], Rows]]] = {
    "A12": ("all later layers read the deviation, which may grow or shrink", carried),
    "B06": (
        "a word injected below the last layer can be likeliest with any position; see X143",
        localised,
    ),
    "C02": ("the head lies above the suppression, which may move it or not; what injection adds there is C11p", routed),
    "C04": ("the head lies above the suppression, which may move it or not", routed),
    "E15": (
        "patches of the last block move heads within it, and heads below it alone stay still",
        shifted,
    ),
    "E18": ("heads above both edits may be on both lists, on one, or on none", listed),
}
"""Claims about what the wiring was looked at for and which have no row of tier property: why, and what they read."""


def test_random_transformers_are_of_every_family_and_always_the_same() -> None:
    """Each family comes with each seed, its own windows, and weights that do not depend on what was drawn before."""
    torch.manual_seed(1)
    first = random_transformers()
    torch.manual_seed(2)
    assert [subject.digest for subject in random_transformers()] == [subject.digest for subject in first]
    assert len({subject.digest for subject in first}) == len(FAMILIES) * len(SEEDS)
    windows = {subject.id.split("-")[0]: set(subject.wiring.windows) for subject in first}
    assert windows == {"llama": {None}, "gemma2": {WINDOW, None}, "mistral": {WINDOW}}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_cannot_be_reached_does_not_move(name: str) -> None:
    """Each experiment has readouts the wiring fixes, has measured them all, and none moved by a bit."""
    rows = EXPERIMENTS[name]().reach["rows"]
    fixed = [row for row in rows if not row["reachable"]]
    assert len(fixed) >= len(cases())
    assert [row["moved"] for row in fixed] == [False] * len(fixed)


def test_what_can_be_reached_moves() -> None:
    """In every random transformer heads above the lowest written layer move, by the injection and by the correction."""
    for case in cases():
        last = case.heads(range(case.subject.n_layers - 1, case.subject.n_layers))
        for first, at in ((SUPPRESSED, SITE), (INJECTED, SITE), (CORRECTED, LAST)):
            moved = case.attention(case.feature(first, at), last, at) - case.attention([], last, at)
            assert float(moved.abs().max()) > 1e-6


def test_the_decline_is_all_of_the_first_block() -> None:
    """The last block never changes a prediction and the first one often does, so the whole rate of it is decline."""
    last, decline = last_block_effect(), block_decline()
    assert set(last.values.values()) == {0.0}
    assert decline.values == last.arms["first block"]
    assert sum(rate > 0 for rate in decline.values.values()) >= len(cases()) / 2


def test_the_wiring_decides_on_random_weights() -> None:
    """Every claim asked of random transformers is decided by reach: its outcome is forced, or cannot come out."""
    claims = ledger.rows(tier="property")
    assert claims
    for claim in claims:
        found = judge(claim, EXPERIMENTS[claim.experiment]())
        assert found.reach is not None
        assert found.reach["answer"] in ("forced", "impossible"), claim.id
        assert found.verdict in ("vacuous", "contradicted")


def test_suppression_alone_moves_what_injection_cannot() -> None:
    """Heads of the injection's layer move by suppression and not a bit further by injection: nothing is amplified."""
    for case in cases():
        heads, suppress = case.heads(range(INJECTED, INJECTED + 1)), case.feature(SUPPRESSED, SITE)
        moved = case.attention(suppress, heads, SITE)
        assert float((moved - case.attention([], heads, SITE)).abs().max()) > 1e-6
        assert torch.equal(case.attention([*suppress, *case.feature(INJECTED, SITE, 1)], heads, SITE), moved)


@pytest.mark.parametrize("name", LEFT_OPEN)
def test_what_the_wiring_leaves_open_is_not_asked_of_random_weights(name: str) -> None:
    """A claim whose opposite the wiring allows in every random transformer has no row of tier property."""
    _, rows_of = LEFT_OPEN[name]
    (claim,) = [claim for claim in ledger.rows(variant="published") if claim.id == name]
    assert "property" not in claim.tiers
    assert {reach_answer(claim, rows_of(case)) for case in cases()} == {"free"}


def test_random_transformers_are_asked_what_names_their_tier() -> None:
    """Of the ledger they are asked the rows of tier property and no other, and the paper none of those."""
    for claim in ledger.rows():
        assert is_asked(claim, RANDOM) == ("property" in claim.tiers)
        assert not (is_asked(claim, PAPER) and is_asked(claim, RANDOM))
