"""Random transformers: what the wiring fixes stays equal bit for bit there, and what it leaves open does move."""

import pytest
import torch

from prolepsis import ledger
from prolepsis.experiments.wiring_properties import (
    CORRECTED,
    EXPERIMENTS,
    INJECTED,
    LAST,
    SITE,
    SUPPRESSED,
    block_decline,
    cases,
    last_block_effect,
)
from prolepsis.judge import judge
from prolepsis.organisms.random_transformers import FAMILIES, SEEDS, WINDOW, random_transformers
from prolepsis.report.state import is_asked
from prolepsis.report.subjects import PAPER, RANDOM


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


def test_random_transformers_are_asked_what_names_their_tier() -> None:
    """Of the ledger they are asked the rows of tier property and no other, and the paper none of those."""
    for claim in ledger.rows():
        assert is_asked(claim, RANDOM) == ("property" in claim.tiers)
        assert not (is_asked(claim, PAPER) and is_asked(claim, RANDOM))
