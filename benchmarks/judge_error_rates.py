"""How often the judge errs when the truth lies exactly on a threshold, where errors are most likely: 5 % is promised.

Measurements are drawn whose items hang together as those of real experiments do, and judged. A claim of which the truth
is exactly its criterion must be neither supported nor contradicted in more than 5 % of samples; one whose distance
from its null is exactly delta must be neither supported nor vacuous in more. Prints, per setting, the rates with the
Monte-Carlo error of a rate of 5 %, and returns 1 when a rate is too high for chance (p < 1e-4 per rate).

Last come rates that nothing is promised about: those of bounds for cluster means that are skewed.

    python -m benchmarks.judge_error_rates --samples 4000
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from prolepsis import ledger
from prolepsis.judge import judge
from prolepsis.judging.clustered import interval
from prolepsis.ledger import Claim, Control
from prolepsis.measurement import Design, Measurement

Array = npt.NDArray[np.float64]
Labels = list[tuple[str, ...]]
Scale = Literal["nats", "proportion"]

PROMISED = 0.05
CHANCE = 1e-4
"""How unlikely a rate of 5 % must make a count before the count speaks against the promise."""
SHARED = 0.5
"""How much of each effect the measured arm and its nulls have in common."""
SPREAD = 0.5
"""Standard deviation of one item, in nats."""

WEIGHTS: dict[Design, tuple[float, ...]] = {
    "one-way": (0.5,),
    "two-way": (0.05, 0.8),
    "pairs-of-groups": (0.4, 0.4),
}
"""Shares of an item's variance that come from its labels: prompt; prompt and feature; source and target group."""

MEANS: dict[Scale, dict[str, tuple[float, tuple[float, ...]]]] = {
    "nats": {
        "at the criterion": (1.0, (-9.0,)),
        "at delta from a null": (5.0, (4.0,)),
        "at delta from three nulls": (5.0, (4.0, 4.0, 4.0)),
    },
    "proportion": {
        "at the criterion": (0.5, (0.02,)),
        "at delta from a null": (0.85, (0.65,)),
        "at delta from three nulls": (0.85, (0.65, 0.65, 0.65)),
    },
}
"""Where the truth lies: the measured mean, and those of the nulls (theta0 is 1 nat or .5, delta 1 nat or .20)."""

SKEWED: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "lognormal": lambda rng, size: np.asarray(np.exp(rng.standard_normal(size)) - np.exp(0.5)),
    "one in ten": lambda rng, size: np.asarray((rng.random(size) < 0.1) / 0.3 - 1 / 3),
}
"""Cluster means of mean 0 with a tail above: e to the power of normal values; one in ten 3 standard deviations off."""


@dataclass(frozen=True)
class Setting:
    """What is sampled: how items cluster, in how many clusters, in which unit, and where the truth lies."""

    design: Design
    size: int
    scale: Scale
    truth: str

    def __str__(self) -> str:
        return f"{self.design:16} {self.size:3} {self.scale:11} {self.truth}"

    @property
    def means(self) -> tuple[float, tuple[float, ...]]:
        """The mean of the measured arm and those of the nulls."""
        return MEANS[self.scale][self.truth]

    @property
    def wrong(self) -> tuple[str, str]:
        """The verdicts that are wrong here: there is nothing to be sure of on either side."""
        return ("supported", "contradicted") if self.truth == "at the criterion" else ("supported", "vacuous")


def settings(designs: Sequence[Design] = tuple(WEIGHTS), sizes: Sequence[int] = (6, 24)) -> list[Setting]:
    """Every setting of these designs and sizes."""
    return [
        Setting(design, size, scale, truth)
        for design in designs
        for size in sizes
        for scale, truths in MEANS.items()
        for truth in truths
    ]


def layout(design: Design, size: int) -> Labels:
    """The labels of the items: two per cluster, all of ``size`` prompts × 24 features, or every group in four pairs."""
    if design == "one-way":
        return [(f"g{i // 2}",) for i in range(2 * size)]
    if design == "two-way":
        return [(f"p{p}", f"f{f}") for p in range(size) for f in range(24)]
    shifts = (4, 10) if size > 10 else (1, 2)
    return [(f"g{g}", f"g{(g + shift) % size}") for shift in shifts for g in range(size)]


def draw(setting: Setting, samples: int, seed: int) -> Array:
    """Values of all arms, the measured one first: [samples, arms, items], each with the mean of its arm."""
    rng = np.random.default_rng(seed)
    labels = layout(setting.design, setting.size)
    measured, nulls = setting.means
    shape = samples, 1 + len(nulls)

    def effects(n: int) -> Array:
        common, own = rng.standard_normal((samples, 1, n)), rng.standard_normal((*shape, n))
        return np.asarray(np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * own)

    weights = WEIGHTS[setting.design]
    latent = np.sqrt(1 - sum(weights)) * effects(len(labels))
    places = [np.unique(factor, return_inverse=True) for factor in zip(*labels, strict=True)]
    of_labels = [effects(len(names)) for names, _ in places]
    if setting.design == "pairs-of-groups":
        # A group has one effect, whether it is source or target: both factors list all groups, in the same order.
        of_labels = [of_labels[0]] * 2
    for weight, of_label, (_, where) in zip(weights, of_labels, places, strict=True):
        latent += np.sqrt(weight) * of_label[..., where]
    means = np.array([measured, *nulls])[:, None]
    if setting.scale == "nats":
        return np.asarray(means + SPREAD * latent)
    return np.asarray((latent < special.ndtri(means)).astype(np.float64))


def claim(setting: Setting) -> Claim:
    """An effect of the ledger with the default thresholds, and a null per arm."""
    effect = next(row for row in ledger.rows() if row.kind == "effect" and row.population == "prompts like these")
    controls = tuple(Control(f"null {i}", "null", None, f"null {i}") for i in range(len(setting.means[1])))
    theta0, delta = (1.0, 1.0) if setting.scale == "nats" else (0.5, 0.2)
    return replace(
        effect, id="X00", scale=setting.scale, theta0=theta0, delta=delta, controls=controls, published=(),
        tolerance=None,
    )  # fmt: skip


def measurements(setting: Setting, samples: int, seed: int) -> Iterator[Measurement]:
    """The drawn values as measurements."""
    clusters = {f"item {i}": label for i, label in enumerate(layout(setting.design, setting.size))}
    items = list(clusters)
    for measured, *nulls in draw(setting, samples, seed).tolist():
        arms = {f"null {i}": dict(zip(items, null, strict=True)) for i, null in enumerate(nulls)}
        values = dict(zip(items, measured, strict=True))
        yield Measurement("simulated", "nobody", setting.scale, setting.design, {}, values, clusters, arms)


def verdicts(setting: Setting, samples: int, seed: int = 0) -> Counter[str]:
    """How often each verdict comes out."""
    asked = claim(setting)
    return Counter(judge(asked, measured).verdict for measured in measurements(setting, samples, seed))


def misses(setting: Setting, samples: int, seed: int = 0) -> tuple[int, int]:
    """How often the true mean lies below the lower and above the upper 5 % bound of the measured arm."""
    below = above = 0
    for measured in measurements(setting, samples, seed):
        found = interval(measured.values, measured.clusters, setting.design, setting.scale)
        below += found.low > setting.means[0]
        above += found.high < setting.means[0]
    return below, above


def skewed_misses(shape: str, size: int, samples: int, seed: int = 0) -> tuple[int, int]:
    """The same for ``size`` clusters, one-way and in nats, whose means have the shape and a mean of 0."""
    rng = np.random.default_rng(seed)
    clusters = {f"item {i}": label for i, label in enumerate(layout("one-way", size))}
    below = above = 0
    for _ in range(samples):
        noise = 0.1 * rng.standard_normal(2 * size)
        values = np.repeat(SKEWED[shape](rng, size), 2) + noise
        found = interval(dict(zip(clusters, values.tolist(), strict=True)), clusters, "one-way", "nats")
        below += found.low > 0
        above += found.high < 0
    return below, above


def most_by_chance(samples: int) -> int:
    """The count that a true rate of 5 % exceeds with a probability below 1e-4."""
    return int(stats.binom.ppf(1 - CHANCE, samples, PROMISED))


def main() -> int:
    """Judge every setting; returns 1 when some verdict is wrong more often than chance allows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2000, help="per setting")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    error, most = np.sqrt(PROMISED * (1 - PROMISED) / given.samples), most_by_chance(given.samples)
    print(f"{given.samples} samples per setting; a rate of .05 is measured to ± {error:.4f}, and chance alone")
    print(f"takes it to at most {most / given.samples:.4f}. Bounds: the truth below the lower, above the upper one.")
    too_many = 0
    for setting in settings():
        counts = verdicts(setting, given.samples, given.seed)
        errors = {word: counts[word] for word in setting.wrong}
        if setting.truth == "at the criterion":
            errors |= zip(("below", "above"), misses(setting, given.samples, given.seed), strict=True)
        flag = "  TOO OFTEN" if max(errors.values()) > most else ""
        too_many += bool(flag)
        shown = "  ".join(f"{word} {count / given.samples:.3f}" for word, count in errors.items())
        print(f"{setting!s:60} {shown}{flag}", flush=True)
    for shape in SKEWED:
        for size in (6, 12, 24, 48):
            below, above = (count / given.samples for count in skewed_misses(shape, size, given.samples, given.seed))
            print(f"{f'one-way          {size:3} nats        skewed: {shape}':60} below {below:.3f}  above {above:.3f}")
    return int(too_many > 0)


if __name__ == "__main__":
    sys.exit(main())
