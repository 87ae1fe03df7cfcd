"""Rules 5 to 7 of the judge: the criterion, rivals and nulls."""

import numpy as np
import pytest
import scipy.stats

from prolepsis.judge import judge
from prolepsis.ledger import Control
from tests.judging import NULL, good, make_claim, make_measurement, spread

CRITERIA = [
    ("effect", 5.0, "supported"),
    ("effect", 1.0, "inconclusive"),
    ("effect", 0.0, "contradicted"),
    ("ordering", 5.0, "supported"),
    ("ordering", 1.0, "inconclusive"),
    ("ordering", 0.0, "contradicted"),
    ("absence", 0.0, "supported"),
    ("absence", 1.0, "inconclusive"),
    ("absence", 5.0, "contradicted"),
    ("equality", 1.0, "supported"),
    ("equality", 2.0, "inconclusive"),
    ("equality", 0.0, "inconclusive"),
    ("equality", 2.2, "contradicted"),
    ("equality", -0.2, "contradicted"),
    ("universal", 5.0, "supported"),
    ("universal", 0.5, "inconclusive"),
    ("universal", -0.2, "contradicted"),
]


@pytest.mark.parametrize(("kind", "value", "verdict"), CRITERIA)
def test_each_kind_is_held_to_its_criterion(kind, value, verdict):
    """With a null far away, the place of the value around theta0 = 1, delta = 1 decides as the kind says."""
    null = {"absence": 9.0, "equality": 9.0}.get(kind, -9.0)
    assert judge(make_claim(kind=kind), good(value, null)).verdict == verdict


@pytest.mark.parametrize(("kind", "value"), [("effect", 5.0), ("absence", 0.0), ("equality", 1.0), ("universal", 5.0)])
@pytest.mark.parametrize(("gap", "verdict"), [(0.0, "vacuous"), (1.0, "inconclusive"), (1.2, "supported")])
def test_each_kind_has_to_be_beyond_its_null(kind, value, gap, verdict):
    """A null at the value is as good, one at delta is not separated, one beyond it is; upwards for an absence."""
    null = value + gap if kind == "absence" else value - gap
    found = judge(make_claim(kind=kind), good(value, null))
    assert found.verdict == verdict
    assert "the untrained twin" in found.reason
    assert (f"gives as {'little' if kind == 'absence' else 'much'} (" in found.reason) == (verdict == "vacuous")


def test_an_equality_is_beyond_a_null_on_either_side():
    """For an equality a null counts as different whether it lies above or below."""
    for null in (-2.0, 4.0):
        assert judge(make_claim(kind="equality"), good(1.0, null)).verdict == "supported"


@pytest.mark.parametrize(
    ("value", "null", "verdict"),
    [(0.457, 0.2, "supported"), (0.457, 0.4563, "vacuous"), (0.4576, 0.0, "contradicted")],
)
def test_the_printed_digits_are_no_distance_from_a_null(value, null, verdict):
    """How near to its criterion an equality has to come does not say how far from its nulls it has to be."""
    claim = make_claim(kind="equality", population="this prompt", theta0=0.457, within=0.0005, delta=0.2)
    clusters = {"this": ()}
    measured = make_measurement({"this": value}, {"null": {"this": null}}, design="single", clusters=clusters)
    assert judge(claim, measured).verdict == verdict


def test_a_tie_is_an_effect_of_zero_but_no_ordering():
    """Values that all equal theta0 meet "at least theta0" and refute "more than theta0"; any noise leaves that open."""
    far = {"null": dict.fromkeys(spread(0), -9.0)}
    tie = make_measurement(dict.fromkeys(spread(0), 0.0), far)
    assert judge(make_claim(theta0=0.0), tie).verdict == "supported"
    ordering = make_claim(theta0=0.0, kind="ordering")
    assert str(judge(ordering, tie)) == (
        "contradicted: the effect falls short (0.00 nats, between 0.00 and 0.00, where more than 0.00 is claimed)"
    )
    noisy = make_measurement(spread(0.0, sd=1e-8), far)
    assert judge(ordering, noisy).verdict == "inconclusive"


def test_one_exception_within_noise_leaves_a_universal_claim_open():
    """A single item below theta0 by less than delta is no counterexample, by more it is and is named."""
    for low, verdict in ((0.5, "inconclusive"), (-0.5, "contradicted")):
        found = judge(make_claim(kind="universal"), make_measurement({**spread(5), "i7": low}, {"null": spread(0)}))
        assert found.verdict == verdict
        assert "i7 gives" in found.reason


def test_of_equal_exceptions_the_first_by_name_is_named():
    """The counterexample that is named does not depend on the order of the items."""
    for names in (["b", "a", "c"], ["c", "b", "a"], ["a", "c", "b"]):
        measurement = make_measurement({**dict.fromkeys(names, -0.5), **spread(5)}, {"null": spread(0)})
        assert judge(make_claim(kind="universal"), measurement).reason.startswith("counterexample: a gives")


def test_two_nulls_share_the_level_at_which_either_is_as_good():
    """Each of m nulls is called as good at alpha/m only, and all have to be cleared at alpha."""
    noise = scipy.stats.norm.ppf((np.arange(24) + 0.5) / 24)
    names = [f"i{i:02}" for i in range(24)]
    error = scipy.stats.sem(noise)

    def verdict(gap, others, alpha=0.05):
        """With a null whose sample mean lies ``gap`` below the value, and ``others`` far below."""
        arms = {"null": dict(zip(names, -(gap + noise), strict=True))}
        arms |= {f"far {i}": dict.fromkeys(names, -99.0) for i in range(others)}
        controls = tuple(Control(name, "null", None, name) for name in arms)
        claim = make_claim(theta0=-1.0, delta=3.0, controls=controls)
        return judge(claim, make_measurement(dict.fromkeys(names, 0.0), arms), alpha).verdict

    for level in (0.05, 0.01):
        one, two = (scipy.stats.t.ppf(1 - level / m, 23) * error for m in (1, 2))
        assert verdict(3 - one - 0.01, 0, level) == "vacuous"
        assert verdict(3 - one - 0.01, 1, level) == verdict(3 - one + 0.01, 0, level) == "inconclusive"
        assert verdict(3 - two - 0.01, 1, level) == "vacuous"
        for others in (0, 1):
            assert verdict(3 + one + 0.01, others, level) == "supported"
            assert verdict(3 + one - 0.01, others, level) == "inconclusive"


def test_the_null_that_decides_is_named():
    """Of several nulls the reason names the one nearest to the measured value."""
    other = Control("other", "null", None, "the same-rhyme donor")
    claim = make_claim(controls=(NULL, other))
    for near, far in ((NULL, other), (other, NULL)):
        for gap, verdict in ((0.0, "vacuous"), (1.0, "inconclusive"), (2.0, "supported")):
            arms = {far.name: spread(0, seed=1), near.name: spread(5 - gap, seed=2)}
            found = judge(claim, make_measurement(spread(5), arms))
            assert (found.verdict, near.label in found.reason, far.label in found.reason) == (verdict, True, False)


def test_the_null_that_is_least_surely_cleared_is_named():
    """A null further off in the mean, but known less well, is the one the value is not separated from."""
    other = Control("other", "null", None, "the same-rhyme donor")
    arms = {"null": spread(3.97, 24, 0.01, 1), "other": spread(3.9, 24, 3.0, 2)}
    for controls in ((NULL, other), (other, NULL)):
        found = judge(make_claim(controls=controls), make_measurement(spread(5, 24, 0.01), arms))
        assert "not separated from the same-rhyme donor" in found.reason
