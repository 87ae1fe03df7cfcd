"""Counts that are no share of a rate, and medians outside of their bins."""

from pathlib import Path
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prolepsis.errors import UserError
from tests.paper_rows import disagreements


def test_a_count_has_to_come_of_the_rate(tmp_path: Path) -> None:
    """8 of 10 can come of 78 %; 2 of 10 has twice Σ C(10, j) .78^j .22^(10 − j), j ≤ 2, which is 3.2e-4."""
    row = '{{value = 0.78, where = "a"}}, {{value = 0.2, k = {}, n = 10, where = "b"}}'
    assert disagreements(tmp_path, "counts_of_one_rate", row.format(8)) == []
    (found,) = disagreements(tmp_path, "counts_of_one_rate", row.format(2))
    assert found == "2 of 10 (b) is not of a rate of 0.78 (a): p = 0.00032"


@given(values=st.lists(st.integers(0, 39), min_size=1, max_size=9), stated=st.integers(0, 39), down=st.booleans())
def test_the_median_lies_in_its_bin(
    tmp_path_factory: pytest.TempPathFactory, values: list[int], stated: int, down: bool
) -> None:
    """The true median always passes, in whichever order the bins stand; one outside its bins is named."""
    bins = [(low, low + 10, sum(low <= value < low + 10 for value in values)) for low in range(0, 40, 10)]
    entries = [f'{{value = "bin", low = {low}, high = {high}, k = {k}, n = 9, where = "b"}}' for low, high, k in bins]

    def found(value: float) -> list[str]:
        row = ", ".join([f'{{value = {value}, where = "a"}}', *(entries[::-1] if down else entries)])
        return disagreements(tmp_path_factory.mktemp("rows"), "median_in_its_bin", row, "seconds")

    assert found(float(median(values))) == []
    ordered = sorted(values)
    low = ordered[(len(values) - 1) // 2] // 10 * 10
    high = ordered[len(values) // 2] // 10 * 10 + 10
    assert bool(found(float(stated))) == (not low <= stated <= high)


def test_open_bins_have_no_bound(tmp_path: Path) -> None:
    """A bin without low or high reaches as far as there are numbers; bins without counts are refused."""
    row = '{value = 5000, where = "a"}, {value = "1 and more", k = 3, n = 4, low = 1, where = "b"}'
    assert disagreements(tmp_path, "median_in_its_bin", row, "seconds") == []
    with pytest.raises(UserError, match="needs k in the entries after the first"):
        disagreements(tmp_path, "median_in_its_bin", row.replace("k = 3, n = 4, ", ""), "seconds")
