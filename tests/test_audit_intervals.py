"""The audit tells which method gives a printed interval, and what comparisons of counts can carry."""

import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from prolepsis import audit, ledger
from prolepsis.audit.comparisons import equal_rates_p, smallest_p
from prolepsis.audit.intervals import coverage as coverage_of
from prolepsis.audit.intervals import intervals
from prolepsis.errors import UserError
from prolepsis.judging.clustered import interval
from prolepsis.ledger import Claim, Published
from prolepsis.statistics import clopper_pearson, wald, wilson

ROOT = Path(__file__).parent.parent


def claim_of(rule: str, *published: dict[str, Any]) -> Claim:
    """An arithmetic row with the given published entries."""
    entries = tuple(
        Published(value=0.0, where=f"row {i}", **{key: e.get(key) for key in ("k", "n", "clusters", "low", "high")})
        for i, e in enumerate(published)
    )
    return replace(ledger.rows(family="intervals")[0], published=entries, experiment=rule)


def details(rule: str, *published: dict[str, Any]) -> Mapping[str, Any]:
    """Everything a rule says of a row with these entries."""
    claim = claim_of(rule, *published)
    return audit.measure([claim])[claim.key].detail


def disagreements(rule: str, *published: dict[str, Any]) -> list[str]:
    """What a rule finds in a row with these entries."""
    found: list[str] = details(rule, *published)["disagreements"]
    return found


def printed(k: int, n: int, bounds: tuple[float, float], digits: int) -> dict[str, Any]:
    """A count with its interval as a paper would print it."""
    return {"k": k, "n": n, "low": round(bounds[0], digits), "high": round(bounds[1], digits)}


def test_intervals_meet_published_values() -> None:
    """Intervals of a count agree with values worked out elsewhere."""
    # Closed forms at 0: 1 − α^(1/n), α/2 on two sides. For 95 of 136 Wald by hand, .698529 ± 1.959964 · .0393501; the
    # others from scipy 1.17, stats.binomtest(95, 136).proportion_ci(method="wilson") and method="exact".
    assert intervals(0, 10)["Clopper–Pearson, one-sided"] == pytest.approx((0, 1 - 0.05 ** (1 / 10)))
    assert intervals(0, 596)["Clopper–Pearson, two-sided"] == pytest.approx((0, 1 - 0.025 ** (1 / 596)))
    assert intervals(95, 136)["Wald, two-sided"] == pytest.approx((0.62140, 0.77565), abs=1e-5)
    assert intervals(95, 136)["Wilson, two-sided"] == pytest.approx((0.61682, 0.76933), abs=1e-5)
    assert intervals(95, 136)["Clopper–Pearson, two-sided"] == pytest.approx((0.61398, 0.77420), abs=1e-5)


@given(n=st.integers(5, 2000), share=st.floats(0, 1), digits=st.integers(2, 4))
def test_a_correctly_printed_interval_agrees(n: int, share: float, digits: int) -> None:
    """Whatever the count and the digits printed, the one-sided Clopper–Pearson interval is recognised as that."""
    k = round(share * n)
    bounds = intervals(k, n)["Clopper–Pearson, one-sided"]
    assert disagreements("one_sided_clopper_pearson", printed(k, n, bounds, digits)) == []
    assert disagreements("standard_interval", printed(k, n, bounds, digits)) == []


@given(n=st.integers(20, 2000), share=st.floats(0.1, 0.9), shift=st.sampled_from([-0.08, 0.08]))
def test_a_shifted_interval_is_no_standard_one(n: int, share: float, shift: float) -> None:
    """An interval moved as a whole by eight per cent is given by no method."""
    k = round(share * n)
    low, high = intervals(k, n)["Clopper–Pearson, two-sided"]
    (found,) = disagreements("standard_interval", printed(k, n, (low + shift, high + shift), 3))
    assert "no standard 95 % interval" in found


def test_the_side_is_told_apart() -> None:
    """A two-sided bound that is called one-sided is named, with the bound that should stand there."""
    (found,) = disagreements("one_sided_clopper_pearson", {"k": 0, "n": 596, "low": 0.0, "high": 0.006})
    assert "Clopper–Pearson, two-sided" in found
    assert found.endswith("not Clopper–Pearson, one-sided: [0.00 %, 0.50 %]")
    assert disagreements("one_sided_clopper_pearson", {"k": 0, "n": 596, "low": 0.0, "high": 0.005}) == []


def test_one_method_is_asked_of_all_intervals() -> None:
    """Intervals of one method and side agree; one of another method among them does not."""
    counts = [(95, 136), (0, 10), (0, 596)]
    same = [printed(k, n, intervals(k, n)["Clopper–Pearson, two-sided"], 3) for k, n in counts]
    assert disagreements("one_interval_method", *same) == []
    mixed = [printed(95, 136, intervals(95, 136)["Wald, two-sided"], 3), *same[1:]]
    assert disagreements("one_interval_method", *mixed)[0] == "no one method and side gives all intervals"


def test_a_rule_says_what_its_row_lacks() -> None:
    """A row without counts or bounds is refused in one line."""
    with pytest.raises(UserError, match="needs k and n in 1 published entries, 0 have them"):
        disagreements("standard_interval", {"low": 0.1, "high": 0.2})
    with pytest.raises(UserError, match="3 of 9 has no low and high"):
        disagreements("standard_interval", {"k": 3, "n": 9})


# ---------------------------------------------------------------- comparisons


@given(counts=st.lists(st.tuples(st.integers(0, 4), st.integers(4, 6)), min_size=2, max_size=3))
def test_the_exact_test_counts_tables(counts: list[tuple[int, int]]) -> None:
    """The p-value is the share of all ways to deal the hits out that are no likelier than the one found."""

    def ways(ks: tuple[int, ...]) -> int:
        return math.prod(math.comb(n, k) for k, (_, n) in zip(ks, counts, strict=True))

    hits = sum(k for k, _ in counts)
    tables = [ks for ks in product(*(range(n + 1) for _, n in counts)) if sum(ks) == hits]
    found = ways(tuple(k for k, _ in counts))
    expected = sum(ways(ks) for ks in tables if ways(ks) <= found) / sum(map(ways, tables))
    assert equal_rates_p(counts) == pytest.approx(expected)


def test_the_exact_test_meets_fishers_tea() -> None:
    """Fisher's tasting lady: 3 of 4 against 1 of 4 has p = 34/70 (The Design of Experiments, 1935)."""
    assert equal_rates_p([(3, 4), (1, 4)]) == pytest.approx(34 / 70)


def test_differences_have_to_show() -> None:
    """A rate differs from the first only where the counts can tell."""
    assert disagreements("rates_unlike_the_first", {"k": 1, "n": 50}, {"k": 40, "n": 50}, {"k": 30, "n": 50}) == []
    (like,) = disagreements("rates_unlike_the_first", {"k": 2, "n": 10}, {"k": 9, "n": 10}, {"k": 0, "n": 10})
    assert like.startswith("0 of 10 (row 2) is not told from 2 of 10")


@given(n=st.integers(1, 6), data=st.data())
def test_no_pairing_of_the_same_trials_tells_more(n: int, data: st.DataObject) -> None:
    """The smallest p-value is that of the best pairing, or of independent draws; unequal numbers are not paired."""
    k, j = (data.draw(st.integers(0, n)) for _ in range(2))
    # How many trials count for the one rate alone, and how many for the other alone.
    pairings = [(k - both, j - both) for both in range(max(0, k + j - n), min(k, j) + 1)]
    signs = [stats.binomtest(only, only + other).pvalue for only, other in pairings if only + other] or [1.0]
    assert smallest_p((k, n), (j, n)) == pytest.approx(min(*signs, 1.0, equal_rates_p([(k, n), (j, n)])))
    assert smallest_p((k, n), (j, n + 1)) == equal_rates_p([(k, n), (j, n + 1)])


def test_the_same_trials_can_tell_what_their_counts_do_not() -> None:
    """10 of 596 that change one way alone tell 134 of 596 from 124, which independent draws would not."""
    assert equal_rates_p([(134, 596), (124, 596)]) > 0.05
    assert smallest_p((134, 596), (124, 596)) == 2 * 0.5**10


def test_equal_rates_may_not_differ_beyond_chance() -> None:
    """Rates that are said to agree do, unless their counts exclude it."""
    assert disagreements("equal_rates", {"k": 70, "n": 100}, {"k": 66, "n": 100}) == []
    (found,) = disagreements("equal_rates", {"k": 70, "n": 100}, {"k": 40, "n": 100})
    assert "are said to agree" in found


def test_trials_of_one_thing_say_less_of_rates_that_are_said_to_agree() -> None:
    """Where 4 trials of each of 25 things come out alike, 70 and 52 of 100 may be of equal rates."""
    apart = {"k": 70, "n": 100}, {"k": 52, "n": 100}
    assert len(disagreements("equal_rates", *apart)) == 1
    assert disagreements("equal_rates", *({**entry, "clusters": 25} for entry in apart)) == []
    assert len(disagreements("equal_rates", *({**entry, "clusters": 100} for entry in apart))) == 1


# ---------------------------------------------------------------- what the methods are worth


@pytest.mark.parametrize(("n", "rate"), [(10, 0.03), (136, 0.7), (596, 0.003)])
def test_only_clopper_pearson_keeps_its_promise_everywhere(n: int, rate: float) -> None:
    """Exact coverage at the paper's counts: Clopper–Pearson at least 95 %; Wald far below near zero."""
    ks = np.arange(n + 1)
    weights = np.array([math.comb(n, int(k)) * rate**k * (1 - rate) ** (n - k) for k in ks])

    def coverage(method: Any) -> float:
        held = [low <= rate <= high for low, high in (method(int(k), n, 0.05, 2) for k in ks)]
        return float(weights[held].sum())

    assert coverage(clopper_pearson) >= 0.95
    assert coverage(wilson) > 0.85
    assert (coverage(wald) < 0.85) == (n * rate < 5)
    shown = coverage_of(n, rate)
    for name, method in (("Clopper–Pearson", clopper_pearson), ("Wilson", wilson), ("Wald", wald)):
        assert shown[f"{name}, two-sided"] == pytest.approx(coverage(method), abs=1e-9)


def test_what_a_method_is_worth_stands_beside_the_intervals() -> None:
    """The row on all intervals shows the coverage of every method at each count, of a zero at one in n."""
    found = details(
        "one_interval_method", {"k": 7, "n": 10, "low": 0.4, "high": 0.9}, {"k": 0, "n": 10, "low": 0.0, "high": 0.26}
    )
    assert list(found["coverage"].values()) == [coverage_of(10, 0.7), coverage_of(10, 0.1)]


def test_pairs_that_share_a_prompt_tell_less_than_their_number() -> None:
    """Where rates vary by prompt, the count's own interval misses far more often than promised; clusters hold it."""
    rng = np.random.Generator(np.random.PCG64(0))
    misses = {"pairs": 0, "prompts": 0}
    runs, prompts, per_prompt, rate = 300, 12, 12, 0.7
    clusters = {f"{p}/{i}": (str(p),) for p in range(prompts) for i in range(per_prompt)}
    for _ in range(runs):
        rates = rng.beta(7, 3, prompts)
        hits = {item: float(rng.random() < rates[int(item.split("/")[0])]) for item in clusters}
        low, high = clopper_pearson(sum(hits.values()), len(hits), 0.1, 2)
        misses["pairs"] += not low <= rate <= high
        found = interval(hits, clusters, "one-way", "proportion", alpha=0.05)
        misses["prompts"] += not found.low <= rate <= found.high
    promised = 0.1 * runs
    noise = math.sqrt(promised * 0.9)
    assert misses["prompts"] <= promised + 3 * noise
    assert misses["pairs"] > promised + 6 * noise


def test_the_audit_imports_no_torch() -> None:
    """Every rule runs on the project's ledger without torch."""
    code = (
        "import sys; from prolepsis import audit, ledger; audit.measure(ledger.rows(tier='arithmetic'));"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
