"""Claims and measurements for the tests of the judge, plain ones and random ones."""

import itertools
from dataclasses import replace

import numpy as np
import scipy.stats
from hypothesis import settings
from hypothesis import strategies as st

from prolepsis.ledger import Claim, Control
from prolepsis.measurement import Measurement

plain = settings(deadline=None, max_examples=60)
seeds = st.integers(0, 2**32 - 1)
NULL = Control("null", "null", None, "the untrained twin")
RIVAL = Control("rival", "rival", None, "the mean difference")
POSITIVE = Control("positive", "positive", 2.0, "all positions")
SHAM = Control("sham", "sham", None, "own activations")
GUARD = Control("guard", "guard", 0.1, "KL elsewhere")
ALL = (NULL, RIVAL, POSITIVE, SHAM, GUARD)


def make_claim(**changes):
    """A claim of at least 1 nat over one null, unless changed."""
    fields = {
        "id": "X01",
        "variant": "asked",
        "section": "5",
        "source": "",
        "statement": "…",
        "kind": "effect",
        "population": "prompts like these",
        "scale": "nats",
        "theta0": 1.0,
        "delta": 1.0,
        "within": 1.0,
        "family": "Q2",
        "published": (),
        "tolerance": None,
        "tolerance_why": "",
        "controls": (NULL,),
        "experiment": "interchange",
        "untested": "",
        "model": "",
        "disputes": (),
        "suite": "couplets",
        "tiers": ("organism",),
    }
    return Claim(**{**fields, **changes})


def spread(mean, size=12, sd=0.05, seed=0):
    """``size`` values, one per cluster, of the given sample mean and about the given scatter."""
    noise = np.random.default_rng(seed).normal(0, sd, size)
    return {f"i{i}": float(mean + x) for i, x in enumerate(noise - noise.mean())}


def make_measurement(values, arms=None, **changes):
    """A one-way measurement with a cluster per item."""
    fields = {
        "experiment": "interchange",
        "subject": "planner",
        "unit": "nats",
        "design": "one-way",
        "parameters": {},
        "values": values,
        "clusters": {item: (f"g{item}",) for item in values},
        "arms": arms or {},
    }
    return Measurement(**{**fields, **changes})


def good(value=5.0, null=0.0, *, rival=0.0, positive=5.0, sham=0.0, guard=0.01, **changes):
    """A measurement in which every arm is in order, unless changed."""
    arms = {"null": spread(null, seed=1), "rival": spread(rival, seed=2), "positive": spread(positive, seed=3)}
    constant = {"sham": dict.fromkeys(spread(0), sham), "guard": dict.fromkeys(spread(0), guard)}
    return make_measurement(spread(value), {**arms, **constant}, **changes)


def one_sided(values):
    """Standard error and the one-sided 95 % bounds of a mean, by scipy."""
    x = np.array(list(values.values()))
    error = scipy.stats.sem(x)
    return error, (x.mean() - (reach := scipy.stats.t.ppf(0.95, len(x) - 1) * error), x.mean() + reach)


def rows(claimed, other, **more):
    """Reach with one row the claim points to and one it does not."""
    return {
        "rows": [
            {"name": "last", "claimed": True, "reachable": claimed, "why": "last is off the path", **more},
            {"name": "first", "claimed": False, "reachable": other, "why": "first is off the path"},
        ]
    }


@st.composite
def cases(draw, kinds=("effect", "absence", "exclusivity", "universal", "equality", "ordering"), nulls=2):
    """A claim with ``nulls`` nulls and a rival, and a random measurement in any design, often in its support."""
    scale = draw(st.sampled_from(["nats", "proportion"]))
    rng = np.random.default_rng(draw(seeds))
    design = draw(st.sampled_from(["one-way", "by-item", "two-way", "pairs-of-groups"]))
    size = draw(st.integers(6, 14))
    if design == "one-way":
        clusters = {f"i{g}.{j}": (f"g{g}",) for g in range(size) for j in range(2)}
    elif design == "by-item":
        clusters = {f"i{g}.{j}": (f"g{g}",) for g in range(size) for j in range(1 + g % 3)}
    elif design == "two-way":
        clusters = {f"i{g}.{j}": (f"p{g}", f"f{j}") for g in range(6) for j in range(size)}
    else:
        clusters = {f"i{g}.{j}": (f"g{g}", f"g{j}") for g, j in itertools.permutations(range(size), 2)}
    means = st.sampled_from([0.0, 0.9, 1.1, 2.5, 6.0] if scale == "nats" else [0.0, 0.1, 0.5, 0.9, 1.0])
    kind = draw(st.sampled_from(kinds))

    def arm(likely):
        mean, sd = draw(st.just(likely) | means), draw(st.sampled_from([0.0, 0.1, 1.0]))
        if scale == "proportion":
            return {item: float(rng.random() < mean) for item in clusters}
        return {item: float(mean + sd * x) for item, x in zip(clusters, rng.normal(size=len(clusters)), strict=True)}

    names = [f"null {i}" for i in range(nulls)]
    claim = make_claim(
        kind=kind,
        scale=scale,
        theta0=1.0 if scale == "nats" else 0.5,
        delta=1.0 if scale == "nats" else 0.2,
        within=0.7 if scale == "nats" else 0.3,
        controls=(RIVAL, *(Control(name, "null", None, name) for name in names)),
    )
    top = 6.0 if scale == "nats" else 1.0
    high, low = {"absence": (0.0, top), "equality": (claim.theta0, top)}.get(kind, (top, 0.0))
    arms = {name: arm(low) for name in ["rival", *names]}
    return claim, make_measurement(arm(high), arms, unit=scale, design=design, clusters=clusters)


def shifted(measurement, by, names):
    """The measurement with the named arms moved by ``by``."""
    arms = {n: {i: v + by for i, v in arm.items()} if n in names else arm for n, arm in measurement.arms.items()}
    return replace(measurement, arms=arms)


def nulls_of(claim):
    """Names of the claim's null arms."""
    return [control.name for control in claim.arms("null")]
