"""Printed lists against each other, and overlaps of lists against what chance would share."""

from itertools import combinations
from math import comb
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prolepsis import ledger
from prolepsis.audit.lists import most_frequent_p
from prolepsis.errors import UserError
from tests.paper_rows import disagreements


def listed(*items: str, where: str) -> str:
    """A published entry that lists ``items``."""
    return f'{{value = "a list", items = [{", ".join(map(repr, items))}], where = "{where}"}}'


def whole(*values: int) -> str:
    """Published entries with these values."""
    return ", ".join(f'{{value = {value}, where = "a"}}' for value in values)


def test_one_list(tmp_path: Path) -> None:
    """Lists in another order agree; a name that one of them lacks is named with both places."""
    ours, same = listed("L21:H5", "L23:H5", where="§6"), listed("L23:H5", "L21:H5", where="App. E")
    assert disagreements(tmp_path, "one_list", f"{ours}, {same}", "count") == []
    other = listed("L21:H5", "L19:H5", where="App. E")
    assert disagreements(tmp_path, "one_list", f"{ours}, {other}", "count") == [
        "L23:H5 (§6) is not listed in App. E",
        "L19:H5 (App. E) is not listed in §6",
    ]


@pytest.mark.parametrize(
    ("rule", "entries", "message"),
    [
        ("one_list", listed("L21:H5", where="§6"), "needs items in two published entries"),
        ("overlap_within_chance", '{value = 5, where = "a"}', "needs whole numbers in 4 published entries"),
        ("overlap_within_chance", whole(5, 10, 0, 512).replace("512", "51.2"), "needs whole numbers"),
    ],
)
def test_a_row_a_rule_cannot_read_is_refused(tmp_path: Path, rule: str, entries: str, message: str) -> None:
    """A row without what its rule needs is named in one line."""
    with pytest.raises(UserError, match=message):
        disagreements(tmp_path, rule, entries, "count")


def test_more_heads_than_chance_shares_are_told(tmp_path: Path) -> None:
    """One of ten and ten among 512 is within chance; three are not, by Σ C(10, j) C(502, 10 − j) / C(512, 10)."""
    assert disagreements(tmp_path, "overlap_within_chance", whole(10, 10, 1, 512), "count") == []
    (found,) = disagreements(tmp_path, "overlap_within_chance", whole(10, 10, 3, 512), "count")
    p = sum(comb(10, j) * comb(502, 10 - j) for j in range(3, 11)) / comb(512, 10)
    assert found.endswith(f"p = {p:.2g}")


@given(kinds=st.integers(1, 4), members=st.integers(1, 3), drawn=st.integers(1, 5), often=st.integers(1, 5))
def test_the_commonest_kind_is_counted_over_all_draws(kinds: int, members: int, drawn: int, often: int) -> None:
    """The p-value is the share of all draws in which some kind has that many members."""
    names = [kind for kind in range(kinds) for _ in range(members)]
    if drawn > len(names):
        return
    draws = list(combinations(names, drawn))
    hits = sum(max(map(draw.count, draw)) >= often for draw in draws)
    assert most_frequent_p(often, drawn, kinds, members) == pytest.approx(hits / len(draws))


def test_a_kind_has_to_be_commoner_than_chance_makes_some_kind(tmp_path: Path) -> None:
    """Five of twenty heads with one number out of eight are what chance gives; twelve are not."""
    assert disagreements(tmp_path, "most_frequent_beyond_chance", whole(20, 12, 8, 26), "count") == []
    (found,) = disagreements(tmp_path, "most_frequent_beyond_chance", whole(20, 5, 8, 26), "count")
    assert found.startswith("of 20 names drawn blindly from 8 kinds of 26, some kind has 5 with p = 0.")


def test_a_name_stands_for_one_list_throughout_the_ledger() -> None:
    """Lists that several rows give under one name are alike."""
    seen: dict[str, tuple[str, ...]] = {}
    for claim in ledger.rows(tier="arithmetic"):
        for name, items in ledger.lists_of(claim.published).items():
            assert set(seen.setdefault(name, items)) == set(items), (claim.id, name)
