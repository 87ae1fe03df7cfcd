"""The judge against a table: every combination of its inputs, and the decision list restated without its code.

The tables below say, for an interval and the arms, which rule matches first. All numbers are multiples of a quarter, so
that a bound can lie exactly on a threshold: then and only then does it matter which way a comparison is written.
"""

import math
from itertools import product

import pytest

from prolepsis.errors import HarnessFault, Untested
from prolepsis.judge import judge
from prolepsis.ledger import Control
from tests.judging import NULL, POSITIVE, RIVAL, SHAM, make_claim, make_measurement

THETA0, DELTA = 3.0, 1.0
EXACT = Control("guard", "guard", 0.125, "KL elsewhere")  # its mean over items is exact
OTHER = Control("other", "null", None, "the same-rhyme donor")
KINDS = ["effect", "ordering", "absence", "equality", "universal", "exclusivity"]

# Where a claim of each kind holds: from, to, and whether the ends belong to it. An interval inside meets the claim, one
# that lies apart even from the ends contradicts it, as a point does on the end of an ordering; any other holds both
# readings.
HOLDS = {
    "effect": (THETA0, math.inf, True),
    "ordering": (THETA0, math.inf, False),
    "exclusivity": (THETA0, math.inf, True),
    "absence": (-math.inf, THETA0, False),
    "equality": (THETA0 - DELTA, THETA0 + DELTA, False),
}


def by_criterion(kind, value, slack):
    """Rule 5 for value ± slack; one item of a universal claim is judged by itself, with delta for its noise."""
    if kind == "universal":
        return "contradicted" if value < THETA0 - DELTA else "met" if value >= THETA0 else "inconclusive"
    start, end, ends_belong = HOLDS[kind]
    low, high = value - slack, value + slack
    if high < start or low > end or (kind == "ordering" and low == high == start):
        return "contradicted"
    inside = start <= low and high <= end if ends_belong else start < low and high < end
    return "met" if inside else "inconclusive"


def beside(kind, low, high):
    """An arm by the interval of value − arm: "as good" within delta, "beyond" by delta, or "near"."""
    if kind == "absence":
        low, high = -high, -low
    if high < DELTA and (kind != "equality" or low > -DELTA):
        return "as good"
    return "beyond" if low > DELTA or (kind == "equality" and high < -DELTA) else "near"


def weighed(arms, as_good):
    """What arms decide together: one as good is enough, then any that is missing or near leaves it open."""
    if "as good" in arms:
        return as_good
    return "inconclusive" if {"missing", "near"} & set(arms) else None


def expected(kind, value, slack, gaps):
    """Rules 5 to 7 for value ± slack and, by arm, value − arm ± slack (None: not measured)."""
    criterion = by_criterion(kind, value, slack)
    if criterion != "met":
        return criterion
    places = {arm: "missing" if gap is None else beside(kind, gap - slack, gap + slack) for arm, gap in gaps.items()}
    rival = weighed([places["rival"]], "contradicted") if kind == "exclusivity" else None
    return rival or weighed([places["null"], places["other"]], "vacuous") or "supported"


VALUES = [THETA0 + quarters / 4 for quarters in (-6, -5, -4, -3, -1, 0, 1, 3, 4, 5, 6)]
GAPS = [None, -1.5, -1.0, 0.0, 0.75, 1.0, 1.25]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("slack", [0.0, 0.25])
def test_criterion_rivals_and_nulls_decide_as_the_table_says(kind, slack):
    """For every place of the value around its criterion and of each arm around the value, on and off each threshold."""
    claim = make_claim(kind=kind, theta0=THETA0, delta=DELTA, controls=(RIVAL, NULL, OTHER), population="this prompt")
    rivals = [None, 0.75, 1.0, 1.5] if kind == "exclusivity" else [0.0]
    for value, null, other, rival in product(VALUES, GAPS, [None, 0.75, 1.5, -1.5], rivals):
        gaps = {"null": null, "other": other, "rival": rival}
        arms = {name: {"a": value - gap} for name, gap in gaps.items() if gap is not None}
        measurement = make_measurement(
            {"a": value}, arms, design="single", clusters={}, parameters={"numerical_tolerance": slack}
        )
        assert judge(claim, measurement).verdict == expected(kind, value, slack, gaps), (value, gaps)


# Rules 0 to 4: each input, and the states it can be in. The first state is the one in which nothing is wrong.
STATES = {
    "measured": ("yes", "no"),
    "sham": ("still", "moved", "missing"),
    "reach": ("none", "free", "forced", "impossible"),
    "clusters": (6, 5),
    "items": (12, 11),
    "excluded": ("none", "a fifth", "more"),
    "guard": ("at its bound", "above", "missing"),
    "positive": ("at its bound", "below", "missing"),
    "outcome": ("supported", "contradicted"),
}
# The decision list: the first row whose state is given decides. What is None goes by the outcome.
FIRST_MATCH = [
    (("measured", "no"), "untested"),
    (("sham", "moved"), "fault"),
    (("reach", "forced"), "vacuous"),
    (("reach", "impossible"), "contradicted"),
    (("clusters", 5), "inconclusive"),
    (("items", 11), "inconclusive"),
    (("excluded", "more"), "inconclusive"),
    (("sham", "missing"), "inconclusive"),
    (("guard", "above"), "inconclusive"),
    (("guard", "missing"), "inconclusive"),
    (("positive", "below"), "inconclusive"),
    (("positive", "missing"), "inconclusive"),
]
REACH = {
    "none": None,
    "free": [("last", True, True), ("first", False, True)],
    "forced": [("last", True, True), ("first", False, False)],
    "impossible": [("last", True, False), ("first", False, True)],
}


def measurement_in(state):
    """A measurement in the given state of each input; every arm is the same in all items."""
    if state["measured"] == "no":
        return Untested("get 5 GiB")
    names = [f"i{i}" for i in range(state["items"])]
    value = {"supported": 5.0, "contradicted": 0.0}[state["outcome"]]
    levels = {
        "null": 0.0,
        "sham": {"still": 0.0, "moved": -0.5}.get(state["sham"]),
        "guard": {"at its bound": EXACT.bound, "above": 2 * EXACT.bound}.get(state["guard"]),
        "positive": {"at its bound": POSITIVE.bound, "below": POSITIVE.bound / 2}.get(state["positive"]),
    }
    rows = REACH[state["reach"]]
    return make_measurement(
        dict.fromkeys(names, value),
        {arm: dict.fromkeys(names, level) for arm, level in levels.items() if level is not None},
        clusters={name: (f"g{i % state['clusters']}",) for i, name in enumerate(names)},
        excluded={f"x{i}": "no answer" for i in range({"none": 0, "a fifth": 3, "more": 4}[state["excluded"]])},
        reach=rows and {"rows": [{"name": n, "claimed": c, "reachable": r, "why": f"{n} is off"} for n, c, r in rows]},
    )


def first_match(state):
    """The word of the first row that matches; at last the outcome, or inconclusive where exclusions could change it."""
    for (name, given), word in FIRST_MATCH:
        if state[name] == given:
            return word
    # Where value and null are the same in all items, nothing is known that an excluded item could have been instead.
    decisive = state["excluded"] == "a fifth" and state["outcome"] == "supported"
    return "inconclusive" if decisive else state["outcome"]


@pytest.mark.parametrize("outcome", STATES["outcome"])
@pytest.mark.parametrize("reach", STATES["reach"])
def test_the_first_matching_rule_decides_in_every_combination(reach, outcome):
    """Whatever else is wrong, the verdict is that of the first row of the decision list that matches."""
    claim = make_claim(theta0=1.0, delta=1.0, controls=(NULL, SHAM, EXACT, POSITIVE))
    for combination in product(*({**STATES, "reach": (reach,), "outcome": (outcome,)}).values()):
        state = dict(zip(STATES, combination, strict=True))
        try:
            word = judge(claim, measurement_in(state)).verdict
        except HarnessFault:
            word = "fault"
        assert word == first_match(state), state


LAYOUTS = {
    "one-way": lambda size: [(f"g{i}",) for i in range(size)] * 3,
    "two-way": lambda size: [(f"p{i}", f"f{j}") for i in range(size) for j in range(7)],
    "pairs-of-groups": lambda size: [(f"g{i}", f"g{j}") for i in range(size) for j in range(size) if i != j],
    "single": lambda size: [()],  # noqa: ARG005
}
# The populations a design can speak of with six clusters (of the smaller factor), and with five.
ENOUGH = {
    ("one-way", 6): {"prompts like these", "these prompts", "this prompt", "models like these"},
    ("pairs-of-groups", 6): {"prompts like these", "these prompts", "this prompt", "models like these"},
    ("two-way", 6): {"prompts like these", "these prompts", "this prompt", "models like these"},
    ("two-way", 5): {"these prompts", "this prompt"},  # seven features: the prompts are all there are
    ("single", 1): {"this prompt"},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("design", "size"), [*product(list(LAYOUTS)[:3], (5, 6)), ("single", 1)])
def test_each_design_speaks_of_the_populations_it_has_clusters_for(design, size, kind):
    """In every design and kind a clear outcome stands where the clusters suffice, and is inconclusive where not."""
    labels = LAYOUTS[design](size)
    names = [f"i{i:02}" for i in range(len(labels))]
    far = {"absence": 9.0, "equality": 9.0}.get(kind, -9.0)
    arms = {"null": dict.fromkeys(names, far), "rival": dict.fromkeys(names, -9.0)}
    clusters = {} if design == "single" else dict(zip(names, labels, strict=True))
    for population, word in product(
        ["prompts like these", "these prompts", "this prompt", "models like these"], ["supported", "contradicted"]
    ):
        meets = {"equality": THETA0, "absence": 0.0}.get(kind, 5.0)
        value = meets if word == "supported" else {"absence": 5.0}.get(kind, 0.0)
        claim = make_claim(kind=kind, theta0=THETA0, delta=DELTA, controls=(NULL, RIVAL), population=population)
        found = judge(claim, make_measurement(dict.fromkeys(names, value), arms, design=design, clusters=clusters))
        stands = population in ENOUGH.get((design, size), set())
        assert found.verdict == (word if stands else "inconclusive"), (population, found.reason)
