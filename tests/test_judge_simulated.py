"""Simulated samples: the judge errs no more often than it promises."""

import numpy as np
import pytest
import scipy.stats

from prolepsis.judge import judge, judge_family
from prolepsis.ledger import Control
from tests.judging import make_claim, make_measurement, spread


def most_errors(repeats):
    """The count of errors that a true rate of 5 % exceeds with probability below 1e-4."""
    return scipy.stats.binom.ppf(1 - 1e-4, repeats, 0.05)


@pytest.mark.parametrize(
    ("value", "nulls", "wrong"),
    [
        (1.0, (-9.0, -9.0), "supported"),  # at the criterion from below
        (1.0, (-9.0, -9.0), "contradicted"),
        (5.0, (4.0, -9.0), "supported"),  # at delta beyond its nearest null
        (5.0, (4.0, 4.0, 4.0), "vacuous"),
    ],
)
@pytest.mark.parametrize("size", [8, 16])
def test_the_judge_errs_no_more_than_promised(value, nulls, wrong, size):
    """Exactly on a threshold each wrong verdict comes in at most 5 % of samples, up to Monte-Carlo error."""
    repeats, errors = 400, 0
    controls = tuple(Control(f"n{i}", "null", None, f"n{i}") for i in range(len(nulls)))
    items = [f"{g}.{j}" for g in range(size) for j in range(2)]
    clusters = {item: (item.split(".")[0],) for item in items}
    for seed in range(repeats):
        rng = np.random.default_rng(seed)

        def arm(mean, rng=rng):
            by_cluster = np.repeat(rng.normal(0, 0.5, size), 2)
            return dict(zip(items, (mean + by_cluster + rng.normal(0, 0.3, 2 * size)).tolist(), strict=True))

        arms = {control.name: arm(null) for control, null in zip(controls, nulls, strict=True)}
        measurement = make_measurement(arm(value), arms, clusters=clusters)
        errors += judge(make_claim(controls=controls), measurement).verdict == wrong
    assert errors <= most_errors(repeats)


def test_a_family_errs_no_more_than_promised_as_a_whole():
    """Four claims exactly at their criterion: any of them is supported in at most 5 % of samples, up to chance."""
    repeats, errors = 300, 0
    claims = [make_claim(id=f"X{i:02}") for i in range(4)]
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        draws = {claim.key: dict(zip(spread(0, 14), rng.normal(1, 1, 14).tolist(), strict=True)) for claim in claims}
        found = judge_family(
            claims, {key: make_measurement(values, {"null": spread(-9, 14)}) for key, values in draws.items()}
        )
        errors += any(verdict.verdict == "supported" for verdict in found.values())
    assert errors <= most_errors(repeats)


@pytest.mark.parametrize("size", [1, 4, 20])
def test_a_family_at_the_edge_of_its_nulls_errs_no_more_than_promised(size):
    """Of claims far beyond their criterion and just delta beyond their null neither wrong verdict comes too often."""
    repeats, errors = 300, {"supported": 0, "vacuous": 0}
    claims = [make_claim(id=f"X{i:02}") for i in range(size)]
    items = list(spread(0, 16))
    for seed in range(repeats):
        rng = np.random.default_rng(seed)

        def arms(mean, rng=rng):
            shared = rng.normal(0, 1, 16)
            return (dict(zip(items, (m + shared + rng.normal(0, 0.5, 16)).tolist(), strict=True)) for m in mean)

        draws = {claim.key: tuple(arms((8.0, 7.0))) for claim in claims}
        found = judge_family(
            claims, {key: make_measurement(values, {"null": null}) for key, (values, null) in draws.items()}
        )
        words = {verdict.verdict for verdict in found.values()}
        errors = {word: count + (word in words) for word, count in errors.items()}
    assert max(errors.values()) <= most_errors(repeats), errors
