"""Rule 3 of the judge: what the wiring forces or forbids."""

import numpy as np
import pytest

from prolepsis.judge import judge
from tests.judging import good, make_claim, make_measurement, rows, spread


@pytest.mark.parametrize(
    ("kind", "claimed", "other", "answer"),
    [
        ("effect", True, True, "free"),
        ("effect", True, False, "forced"),
        ("effect", False, True, "impossible"),
        ("universal", False, False, "impossible"),
        ("absence", False, True, "forced"),
        ("absence", True, False, "free"),
        ("equality", False, False, "forced"),
    ],
)
def test_wiring_forces_what_nothing_else_can_reach_and_forbids_what_it_cannot(kind, claimed, other, answer):
    """An effect is forced where only its own row can move; an absence where its row cannot; else either is open."""
    found = judge(make_claim(kind=kind), good(reach=rows(claimed, other)))
    assert found.reach["answer"] == answer
    assert (found.verdict == "vacuous") == (answer == "forced")


def test_one_reachable_row_alone_is_not_forced():
    """Without rows to compare with, an effect at a reachable row could be absent."""
    reach = {"rows": [{"name": "site", "reachable": True, "why": ""}]}
    assert judge(make_claim(), good(reach=reach)).verdict == "supported"


def test_forced_items_are_left_aside_and_all_forced_is_vacuous():
    """Items whose outcome the wiring forces do not count; when all are forced the claim is vacuous."""
    items = list(spread(0, 24))
    values = {item: 9.0 if i < 12 else 5.0 + 0.01 * i for i, item in enumerate(items)}

    def reach(forced):
        return {"rows": [{**row, "item": item} for item in items[:forced] for row in rows(True, False)["rows"]]}

    arms = {"null": spread(0, 24)}
    some = judge(make_claim(), make_measurement(values, arms, reach=reach(12)))
    assert (some.verdict, some.measured["n"]) == ("supported", 12)
    assert some.measured["value"] == pytest.approx(np.mean([values[i] for i in items[12:]]))
    assert some.reason.endswith("12 items that could not tell are left aside")
    assert judge(make_claim(), make_measurement(values, arms, reach=reach(24))).verdict == "vacuous"
    seen = tuple(items[:12])
    assert judge(make_claim(), make_measurement(values, arms, reach=reach(12), detectable=seen)).verdict == "vacuous"


def test_one_impossible_item_contradicts_a_universal_claim_only():
    """An item in which the outcome cannot come out is a counterexample to "all", a mere miss otherwise."""
    reach = {"rows": [{"name": "last", "item": "i0", "reachable": False, "why": "cut off"}]}
    assert judge(make_claim(kind="universal"), good(reach=reach)).verdict == "contradicted"
    assert judge(make_claim(), good(reach=reach)).verdict == "supported"


@pytest.mark.parametrize(
    ("whys", "said"),
    [(["cut off"], "cut off"), (["cut off", "cut off"], "cut off"), (["cut off", "behind"], "cut off (and 1 more)")],
)
def test_each_way_in_which_the_wiring_decides_is_counted_once(whys, said):
    """The reason gives why nothing can be reached, and how many other whys there are."""
    reach = {"rows": [{"name": f"r{i}", "reachable": False, "why": why} for i, why in enumerate(whys)]}
    found = judge(make_claim(), good(reach=reach))
    assert found.reason == f"impossible: the wiring does not let the claimed outcome come out: {said}"
    assert found.reach == {"answer": "impossible", "rows": reach["rows"]}


def test_reach_that_says_nothing_leaves_all_open():
    """A measurement whose reach has no rows is judged as one without reach, and reports none."""
    found = judge(make_claim(), good(reach={}))
    assert (found.verdict, found.reach) == ("supported", {"answer": "free", "rows": []})


ONLY = "the wiring lets nothing but the claimed outcome, or none, come out"
NOT = "the wiring does not let the claimed outcome come out"


@pytest.mark.parametrize(
    ("responds", "still", "verdict", "reason"),
    [
        ([True], [], "supported", "the wiring leaves it open"),
        ([True], [True], "supported", "the wiring leaves it open"),
        ([True], [True, False], "supported", "the wiring leaves it open, but fixes 1 of 3 readouts: s1 is cut off"),
        ([], [True], "supported", "the wiring leaves it open"),
        ([], [False], "vacuous", f"forced: {ONLY}: s0 is cut off"),
        ([True, True], [False], "vacuous", "forced: "),
        ([True, False], [], "contradicted", f"impossible: {NOT}: r1 is cut off"),
        ([False], [False], "contradicted", f"impossible: {NOT}: r0 is cut off"),
        ([False, False], [True], "contradicted", "impossible: "),
    ],
)
def test_what_the_paper_says_responds_is_held_against_the_wiring(responds, still, verdict, reason):
    """Of the paper alone: one readout said to respond that cannot is impossible; none else that could is forced."""
    reach = {
        "rows": [
            {"name": f"{kind}{i}", "claimed": kind == "r", "reachable": can, "why": f"{kind}{i} is cut off"}
            for kind, cans in (("r", responds), ("s", still))
            for i, can in enumerate(cans)
        ]
    }
    claim = make_claim(kind="arithmetic", population="the paper", controls=(), tiers=("arithmetic",))
    found = judge(claim, make_measurement({}, detail={"disagreements": []}, design="single", reach=reach))
    assert (found.verdict, found.reason[: len(reason)]) == (verdict, reason)
    assert found.reach["rows"] == reach["rows"]


def test_what_is_said_to_be_impossible_is_named():
    """Where the claimed outcome cannot come out, the reason is a claimed row's, whatever else cannot be reached."""
    found = judge(make_claim(), good(reach={"rows": rows(False, False)["rows"][::-1]}))
    assert found.reason.endswith("come out: last is off the path")
