"""What a rule of the audit hands on beside its disagreements, and where its limits lie exactly."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from prolepsis import audit, ledger
from prolepsis.audit.comparisons import equal_rates_p
from prolepsis.audit.counts import Counted
from prolepsis.audit.intervals import Printed, given_by, intervals
from prolepsis.errors import UserError
from prolepsis.ledger import Claim, Published
from prolepsis.measurement import Measurement
from prolepsis.statistics import clopper_pearson, wald, wilson


def entry(where: str, **given: Any) -> Published:
    """A published entry; what is not given is not printed."""
    absent = {"k": None, "n": None, "clusters": None, "low": None, "high": None, "of": None, "items": (), "name": ""}
    return Published(**{"value": 0.0, **absent, "where": where, **given})


def claim_of(rule: str, *entries: Published, scale: str = "proportion") -> Claim:
    """An arithmetic row with these entries."""
    return replace(ledger.rows(tier="arithmetic")[0], id="B99", published=entries, experiment=rule, scale=scale)


def audit_of(rule: str, *entries: Published, scale: str = "proportion") -> Measurement:
    """What the rule makes of these entries."""
    claim = claim_of(rule, *entries, scale=scale)
    return audit.measure([claim])[claim.key]


def test_a_rule_measures_the_paper_alone() -> None:
    """The measurement is of the subject paper, has no items, and is fixed by the published entries."""
    entries = (entry("a", value=136.0, of="4 * 34"), entry("b", value=0.5, k=1, n=2))
    assert audit_of("recomputed", *entries, scale="count") == Measurement(
        experiment="recomputed",
        subject="paper",
        unit="count",
        design="single",
        parameters={"published": [dict(entries[0]), dict(entries[1])]},
        values={},
        clusters={},
        detail={"disagreements": [], "recomputed": {"a: 4 * 34": "136", "b: 1 of 2": "0.5"}},
    )


def test_recomputed_figures_are_shown_with_what_they_are_made_of() -> None:
    """Where only n is printed the nearest count is shown, and a disagreement gives both figures."""
    found = audit_of("recomputed", entry("a", value=0.72, n=25), entry("b", value=0.70, n=25)).detail
    assert found["recomputed"] == {
        "a: the nearest count, 18 of 25,": "0.72",
        "b: the nearest count, 18 of 25,": "0.72",
    }
    assert found["disagreements"] == ["0.7 (b): the nearest count, 18 of 25, gives 0.72"]


@pytest.mark.parametrize(
    ("given", "scale", "agrees"),
    [
        ({"value": 0.7, "of": "0.705"}, "proportion", True),  # half of a per cent
        ({"value": 0.7, "of": "0.695"}, "proportion", True),
        ({"value": 0.7, "of": "0.7051"}, "proportion", False),
        ({"value": 0.701, "of": "0.7015"}, "proportion", True),
        ({"value": 0.701, "of": "0.7016"}, "proportion", False),
        ({"value": 140.0, "of": "140"}, "count", True),  # a whole number that counts is exact
        ({"value": 140.0, "of": "141"}, "count", False),
        ({"value": 140.0, "of": "145"}, "nats", True),
        ({"value": 140.0, "of": "145.1"}, "nats", False),
        ({"value": 0.72, "k": 18, "n": 25}, "proportion", True),
        ({"value": 0.72, "k": 18, "n": 24}, "proportion", False),
        ({"value": 0.36, "n": 25, "of": "0.5"}, "proportion", False),  # what it is made of goes before n
        ({"value": 0.4, "n": 27}, "proportion", False),  # 11 of 27 is .407
        ({"value": 0.41, "n": 27}, "proportion", True),
        ({"value": 0.407, "n": 27}, "proportion", True),
        ({"value": 0.408, "n": 27}, "proportion", False),
    ],
)
def test_a_figure_agrees_up_to_half_of_its_last_digit(given: dict[str, Any], scale: str, agrees: bool) -> None:
    """What a figure is made of may lie half a printed digit off, and no further."""
    assert (audit_of("recomputed", entry("a", **given), scale=scale).detail["disagreements"] == []) == agrees


def test_one_value_allows_the_half_digits_of_both() -> None:
    """Two printings may differ by half a digit of the one and half a digit of the other."""
    for other, agrees in [(0.71, True), (0.72, False), (0.705, True), (0.706, False), (0.695, True), (0.694, False)]:
        found = audit_of("one_value", entry("a", value=0.7), entry("b", value=other)).detail
        assert (found["disagreements"] == []) == agrees, other
        assert found["values"] == {"a": 0.7, "b": other}


@pytest.mark.parametrize("k", range(13))
def test_every_interval_of_a_count_is_that_of_its_method_and_side(k: int) -> None:
    """One-sided bounds are upper ones up to one half and lower ones beyond, and none leaves 0 to 1."""
    n, found = 12, intervals(k, 12)
    assert len(found) == 6
    for name, method in (("Clopper–Pearson", clopper_pearson), ("Wilson", wilson), ("Wald", wald)):
        low, high = method(k, n, 0.05, 2)
        assert found[f"{name}, two-sided"] == (max(low, 0), min(high, 1))
        low, high = method(k, n, 0.05, 1)
        assert found[f"{name}, one-sided"] == ((0, min(high, 1)) if k <= 6 else (max(low, 0), 1))


@given(st.integers(2, 60), st.data())
def test_an_interval_is_given_by_a_method_up_to_half_of_its_last_digit(n: int, data: st.DataObject) -> None:
    """A printed bound half a digit off still agrees, one further off does not, on either side."""
    k = data.draw(st.integers(1, n - 1))
    name = data.draw(st.sampled_from(sorted(intervals(k, n))))
    low, high = intervals(k, n)[name]
    for by, agrees in [(0.0, True), (0.99, True), (-0.99, True), (1.01, False), (-1.01, False)]:
        for moved in ((low + by * 1e-6, high), (low, high + by * 1e-6)):
            assert (name in given_by(Printed(Counted(k, n, "a"), *moved, 1e-6))) == agrees


def test_an_interval_is_read_to_whole_per_cent_at_least() -> None:
    """The finer of both bounds says how finely an interval is printed, and 0.7 is read as 0.70."""
    exact = intervals(95, 136)["Wald, two-sided"]  # .6214 to .7757
    for low, high, agrees in [
        (0.62, 0.78, True),
        (0.621, 0.776, True),
        (0.62, 0.776, False),
        (0.621, 0.78, False),
        (0.6, 0.8, False),
    ]:
        found = audit_of("standard_interval", entry("a", k=95, n=136, low=low, high=high)).detail
        assert (found["disagreements"] == []) == agrees, exact
    found = audit_of("standard_interval", entry("a", k=95, n=136, low=0.62, high=0.78)).detail
    assert found["given by"]["95 of 136: [62 %, 78 %]"] == ["Wald, two-sided"]
    assert found["intervals"] == {"95 of 136": intervals(95, 136)}


def test_what_a_printed_interval_is_instead_is_said() -> None:
    """A disagreement gives the interval in per cent, what it is, and the bounds to one digit more than printed."""
    wrong = entry("a", k=95, n=136, low=0.62, high=0.78)
    low, high = intervals(95, 136)["Clopper–Pearson, one-sided"]
    assert audit_of("one_sided_clopper_pearson", wrong).detail["disagreements"] == [
        "95 of 136: [62 %, 78 %] is Wald, two-sided, not Clopper–Pearson, one-sided: "
        f"[{100 * low:.1f} %, {100 * high:.1f} %]"
    ]
    assert audit_of("one_sided_clopper_pearson", replaced(wrong, low=0.5, high=0.875)).detail["disagreements"] == [
        "95 of 136: [50 %, 87.5 %] is no standard 95 % interval, not Clopper–Pearson, one-sided: "
        f"[{100 * low:.2f} %, {100 * high:.2f} %]"
    ]
    other = entry("b", k=0, n=10, low=0.0, high=0.31)
    assert audit_of("one_interval_method", wrong, other).detail["disagreements"] == [
        "no one method and side gives all intervals",
        "95 of 136: [62 %, 78 %] is Wald, two-sided",
        "0 of 10: [0 %, 31 %] is Clopper–Pearson, two-sided",
    ]


def replaced(printed: Published, **changes: Any) -> Published:
    """The entry with other bounds."""
    return Published(**{**printed, **changes})


COMPARED = [(30, 60), (10, 50), (12, 60)]


def fisher(one: tuple[int, int], other: tuple[int, int]) -> float:
    """Scipy's two-sided p of Fisher's exact test."""
    return float(stats.fisher_exact([[k, n - k] for k, n in (one, other)]).pvalue)


@given(st.lists(st.integers(1, 40).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=2, max_size=2))
def test_two_rates_are_compared_by_fishers_test(counts: list[tuple[int, int]]) -> None:
    """For two counts the exact test is scipy's, and never above 1."""
    assert equal_rates_p(counts) == pytest.approx(fisher(*counts), rel=1e-6)
    assert equal_rates_p(counts) <= 1


def test_comparisons_are_shown_with_their_p_values() -> None:
    """Rates are compared each with the first, equal ones all at once."""
    entries = [entry(where, k=k, n=n) for where, (k, n) in zip("abc", COMPARED, strict=True)]
    one, two, _ = COMPARED
    unlike = audit_of("rates_unlike_the_first", *entries).detail
    assert unlike["p"] == pytest.approx(
        {"30 of 60 against 10 of 50": fisher(one, two), "30 of 60 against 12 of 60": 2 * 0.5**18}  # paired
    )
    assert unlike["disagreements"] == []
    equal = audit_of("equal_rates", *entries).detail
    p = equal_rates_p(COMPARED)
    assert equal["p"] == pytest.approx(p)
    assert equal["disagreements"] == [
        "30 of 60 (50.0%), 10 of 50 (20.0%), 12 of 60 (20.0%) are said to agree, but equal rates give such counts with "
        f"p = {p:.2g}"
    ]
    for found in (unlike, equal):
        assert found["intervals"] == {f"{k} of {n}": intervals(k, n) for k, n in COMPARED}


@pytest.mark.parametrize(
    ("rule", "entries", "message"),
    [
        (
            "rates_unlike_the_first",
            [entry("a", k=1, n=2)],
            "claim B99: rule rates_unlike_the_first needs k and n in 2 published",
        ),
        ("equal_rates", [entry("a", k=1, n=2), entry("b", n=2)], "needs k and n in 2 published entries, 1 have them"),
        ("rates_unlike_the_first", [], "needs k and n in 2 published entries, 0 have them"),
        (
            "standard_interval",
            [entry("a", k=1, n=2, low=0.1, high=0.9), entry("b", low=0.1, high=0.9)],
            "needs k and n in 2 published entries, 1 have them",
        ),
        ("standard_interval", [entry("a", k=1, n=2, low=0.1)], "1 of 2 has no low and high; give the printed"),
        (
            "standard_interval",
            [entry("a", k=1, n=2, high=0.1)],
            "1 of 2 has no low and high; give the printed",
        ),
        ("recomputed", [entry("a", value="all", n=3)], "B99: 'all' (a) is a text; recomputed needs numbers"),
    ],
)
def test_what_a_row_lacks_is_named(rule: str, entries: list[Published], message: str) -> None:
    """A row that its rule cannot read raises UserError with the row, the rule and what is missing."""
    with pytest.raises(UserError) as caught:
        audit_of(rule, *entries)
    assert message in str(caught.value)


def test_an_unknown_rule_is_refused() -> None:
    """A rule that is not here raises KeyError."""
    with pytest.raises(KeyError):
        audit.rule("no_such_rule")


def test_an_order_that_is_broken_is_said_step_by_step_and_as_a_whole() -> None:
    """Each step against the order is named with both figures, and so are the ends where they do not keep it."""
    up, down = [entry("a", value=1.0), entry("b", value=4.0)], [entry("a", value=4.0), entry("b", value=1.0)]
    rising, falling = audit_of("rising", *down, scale="nats").detail, audit_of("falling", *up, scale="nats").detail
    assert rising["disagreements"] == ["1 (b) is below 4 (a)", "1 (b) is not above 4 (a)"]
    assert falling["disagreements"] == ["4 (b) is above 1 (a)", "4 (b) is not below 1 (a)"]
    assert rising["values"] == {"a": 4.0, "b": 1.0}
    assert audit_of("rising", *up, scale="nats").detail["disagreements"] == []
    assert audit_of("falling", *down, scale="nats").detail["disagreements"] == []


@pytest.mark.parametrize("rule", ["rising", "falling"])
def test_an_order_needs_its_ends_apart(rule: str) -> None:
    """Figures that rounding cannot tell apart are in no order, and one figure alone is refused."""
    same = [entry("a", value=1.5), entry("b", value=1.55), entry("c", value=1.5)]
    (found,) = audit_of(rule, *same, scale="nats").detail["disagreements"]
    assert found == f"1.5 (c) is not {'above' if rule == 'rising' else 'below'} 1.5 (a)"
    with pytest.raises(UserError, match=f"rule {rule} needs two published figures or more"):
        audit_of(rule, entry("a", value=1.0), scale="nats")


def test_lists_beside_an_order_play_no_part_in_it() -> None:
    """A list that other entries are made of is no step of the order."""
    heads = entry("list", value=9.0, items=("L1:H0", "L3:H0"), name="heads")
    steps = [entry("a", value=1.0, of="first_layer(heads)"), entry("b", value=3.0, of="last_layer(heads)")]
    found = audit_of("rising", heads, *steps, scale="nats").detail
    assert found["disagreements"] == []
    assert found["values"] == {"a": 1.0, "b": 3.0}


def test_bounds_are_shown_and_said_with_what_lies_beyond_them() -> None:
    """A figure beyond a bound is named with it, one within is shown; bounds may be on one side alone."""
    found = audit_of(
        "bounded",
        entry("a", value=3.0, low=4.0),
        entry("b", value=3.0, high=2.0),
        entry("c", value="few", low=0.0, high=9.0, of="1 + 2"),
        scale="nats",
    ).detail
    assert found["disagreements"] == ["3 is below 4 (a)", "3 is above 2 (b)"]
    assert found["within"] == {"a: 3": (4.0, None), "b: 3": (None, 2.0), "c: 1 + 2 = 3": (0.0, 9.0)}
    with pytest.raises(UserError, match="has no low or high to lie within"):
        audit_of("bounded", entry("a", value=3.0), scale="nats")


def test_lists_that_differ_are_said_both_ways() -> None:
    """What either list lacks of the other is named with both places; the order of a list does not matter."""
    one, other = entry("a", value="all", items=("x", "y")), entry("b", value="all", items=("z", "y"))
    found = audit_of("one_list", one, other).detail
    assert found["disagreements"] == ["x (a) is not listed in b", "z (b) is not listed in a"]
    assert found["lists"] == {"a": ("x", "y"), "b": ("z", "y")}
    swapped = entry("c", value="all", items=("y", "x"))
    assert audit_of("one_list", one, swapped).detail["disagreements"] == []
    with pytest.raises(UserError, match="rule one_list needs items in two published entries or more"):
        audit_of("one_list", one, entry("b", value="none"))


def test_overlaps_are_shown_with_what_chance_gives() -> None:
    """The p-value is the hypergeometric one of as many names shared, or more."""
    sizes = [entry(where, value=float(n)) for where, n in (("a", 5), ("b", 10), ("shared", 0), ("all", 512))]
    chance = stats.hypergeom(512, 5, 10)
    three = [*sizes[:2], entry("shared", value=3.0), sizes[3]]
    within = audit_of("overlap_within_chance", *three, scale="count").detail
    assert within["p"] == pytest.approx(float(chance.sf(2)))
    assert len(within["disagreements"]) == 1
    assert audit_of("overlap_within_chance", *sizes, scale="count").detail == {"disagreements": [], "p": 1.0}
    with pytest.raises(UserError, match="needs whole numbers in 4 published entries"):
        audit_of("overlap_within_chance", *sizes[:3], scale="count")


def test_the_commonest_kind_is_held_against_blind_draws() -> None:
    """Of two kinds of one member each, both drawn, some kind is named once for sure and twice never."""
    drawn = [entry(where, value=float(n)) for where, n in (("drawn", 2), ("often", 1), ("kinds", 2), ("members", 1))]
    found = audit_of("most_frequent_beyond_chance", *drawn, scale="count").detail
    assert found["p"] == 1.0
    assert len(found["disagreements"]) == 1
    # Four drawn of 2 × 4: all of one kind in 2 of C(8, 4) = 70 ways.
    four = [entry(where, value=float(n)) for where, n in (("drawn", 4), ("often", 4), ("kinds", 2), ("members", 4))]
    found = audit_of("most_frequent_beyond_chance", *four, scale="count").detail
    assert found == {"disagreements": [], "p": pytest.approx(2 / 70)}


def test_a_median_is_held_between_the_ends_of_its_bin() -> None:
    """The bin of the middle count bounds the median, two bins where the middle lies between them; ends may be open."""
    bins = [entry("low", k=2, n=4, high=1.0), entry("high", k=2, n=4, low=1.0, high=2.0)]
    found = audit_of("median_in_its_bin", entry("median", value=1.5), *bins, scale="nats").detail
    assert found == {"disagreements": [], "median between": (float("-inf"), 2.0)}
    one = [entry("low", k=1, n=4, high=1.0), entry("high", k=3, n=4, low=1.0, high=2.0)]
    found = audit_of("median_in_its_bin", entry("median", value=0.5), *one, scale="nats").detail
    assert found["median between"] == (1.0, 2.0)
    assert found["disagreements"] == ["0.5 (median) is not between 1 and 2, where 4 counts have theirs"]
    for edge in (1.0, 2.0):
        found = audit_of("median_in_its_bin", entry("median", value=edge), *one, scale="nats").detail
        assert found["disagreements"] == []
    with pytest.raises(UserError, match="needs k in the entries after the first"):
        audit_of("median_in_its_bin", entry("median", value=0.5), entry("low", high=1.0), scale="nats")
