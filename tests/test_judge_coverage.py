"""Rule 4 of the judge: on which of the items that count a control has to have been measured."""

from dataclasses import replace

import pytest

from prolepsis.errors import HarnessFault
from prolepsis.judge import judge
from tests.judging import GUARD, NULL, POSITIVE, RIVAL, SHAM, make_claim, make_measurement, spread

ITEMS = list(spread(0, 40))
ABLE = ITEMS[:16]


def constant(value, items=None):
    """The same value in every item."""
    return dict.fromkeys(ITEMS if items is None else items, value)


def judged(arms, values=None, controls=(NULL,), detectable=None, **changes):
    """The verdict on 5 nats (or the given values) in 40 clusters."""
    claim = make_claim(controls=controls, **changes)
    return judge(claim, make_measurement(values or spread(5, 40), arms, detectable=detectable))


@pytest.mark.parametrize(
    ("guard", "value"),
    [
        (constant(0.0) | constant(0.5, ABLE), 0.5),  # all damage in the items that count
        (constant(0.0) | constant(0.5, ITEMS[16:]), 0.0),
        ({item: 1.0 if i % 2 else -1.0 for i, item in enumerate(ITEMS)}, 0.5),
    ],
)
def test_a_guard_is_the_mean_damage_of_the_items_that_count(guard, value):
    """Items left aside dilute no damage and do none, and an item that gains makes up for none that is damaged."""
    found = judged({"null": constant(0.0), "guard": guard}, controls=(NULL, GUARD), detectable=tuple(ABLE))
    assert found.controls[1]["value"] == pytest.approx(value)
    assert found.verdict == ("supported" if value <= GUARD.bound else "inconclusive")
    assert ("off-target damage: KL elsewhere is 0.50, allowed 0.10" in found.reason) == (value > GUARD.bound)


@pytest.mark.parametrize("control", [GUARD, SHAM, POSITIVE])
def test_what_holds_on_items_left_aside_alone_shows_nothing(control):
    """A guard, sham or positive control of no item that counts leaves the claim open, and is said to be that."""
    arms = {"null": constant(0.0), control.name: constant(0.0, ITEMS[16:])}
    found = judged(arms, controls=(NULL, control), detectable=tuple(ABLE))
    assert found.verdict == "inconclusive"
    assert f"{control.label} ({control.role}) was measured on no item that counts" in found.reason


def test_a_sham_counts_wherever_it_was_measured():
    """One that is still in a few items that count is enough, and one that moved in an item left aside is a fault."""
    arms = {"null": constant(0.0), "sham": constant(0.0, ITEMS[:2])}
    found = judged(arms, controls=(NULL, SHAM), detectable=tuple(ABLE))
    assert found.verdict == "supported"
    with pytest.raises(HarnessFault, match="own activations moved"):
        judged({**arms, "sham": {ITEMS[-1]: 0.1}}, controls=(NULL, SHAM), detectable=tuple(ABLE))


@pytest.mark.parametrize("control", [NULL, RIVAL, POSITIVE, GUARD])
def test_a_control_covers_four_fifths_of_the_items_that_count(control):
    """One measured on 32 of 40 items decides, one on 31 leaves the claim open and is named with its items."""
    controls = (NULL, control) if control != NULL else (NULL,)
    value = 5.0 if control == POSITIVE else 0.0
    for covered, verdict in [(32, "supported"), (31, "inconclusive")]:
        arms = {"null": constant(0.0), control.name: constant(value, ITEMS[:covered])}
        found = judged(arms, controls=controls, kind="exclusivity" if control == RIVAL else "effect")
        said = f"{control.label} was measured on 31 of the 40 items that count, 80% are needed"
        assert (found.verdict, said in found.reason) == (verdict, covered == 31)


def test_a_null_is_not_beaten_where_it_was_measured_alone():
    """Six of forty items in which the null is low do not support what it matches in the others."""
    high, low = spread(8, 6), spread(3, 34)
    values = dict(zip(ITEMS, [*high.values(), *low.values()], strict=True))
    found = judged({"null": constant(0.0, ITEMS[:6])}, values=values)
    assert str(found) == "inconclusive: the untrained twin was measured on 6 of the 40 items that count, 80% are needed"


def test_a_null_of_a_few_items_decides_nothing_against_a_claim_either():
    """One that gives as much on 10 of 40 items leaves it open; beside a whole one that does so, it is vacuous."""
    other = replace(NULL, name="other", label="shuffled labels")
    part, controls = spread(5, 10), (NULL, other)
    assert judged({"null": part, "other": constant(0.0)}, controls=controls).verdict == "inconclusive"
    found = judged({"null": part, "other": spread(5, 40, seed=1)}, controls=controls)
    assert found.reason.startswith("shuffled labels gives as much")
    # What fails by itself needs no null.
    assert judged({"null": part}, values=spread(-5, 40)).verdict == "contradicted"
    assert judged({"null": constant(0.0), "rival": part}, controls=(NULL, RIVAL), kind="effect").verdict == "supported"


def test_a_guard_is_measured_in_as_many_clusters_as_an_arm():
    """Damage that was looked for in five clusters of six was not looked for enough."""
    items = ITEMS[:24]
    clusters = {item: (f"g{max(i - 18, 0)}",) for i, item in enumerate(items)}
    for without, verdict in [(items[0], "supported"), (items[-1], "inconclusive")]:
        guard = constant(0.0, [item for item in items if item != without])
        measurement = make_measurement(spread(5, 24), {"null": constant(0.0), "guard": guard}, clusters=clusters)
        found = judge(make_claim(controls=(NULL, GUARD)), measurement)
        said = "KL elsewhere was measured in 5 clusters, 6 are needed"
        assert (found.verdict, said in found.reason) == (verdict, without == items[-1])
