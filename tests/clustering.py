"""Clustered values for the tests of intervals and laws."""

import itertools

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

levels = st.sampled_from([0.001, 0.01, 0.025, 0.05, 0.1, 0.3])
seeds = st.integers(0, 2**32 - 1)
plain = settings(deadline=None, max_examples=60)
DESIGNS = ["one-way", "by-item", "two-way", "pairs-of-groups"]


def layout(design, size=7):
    """Item → labels of a full layout with ``size`` clusters (of the smaller factor)."""
    if design == "one-way":
        return {f"i{g}.{j}": (f"g{g}",) for g in range(size) for j in range(3)}
    if design == "by-item":
        return {f"i{g}.{j}": (f"g{g}",) for g in range(size) for j in range(2 + 2 * (g % 3))}
    if design == "two-way":
        return {f"i{g}.{j}": (f"p{g}", f"f{j}") for g in range(size) for j in range(size + 2)}
    return {f"i{g}.{j}": (f"g{g}", f"g{j}") for g, j in itertools.permutations(range(size), 2)}


def draw(design, seed, size=7, unit="nats"):
    """Values of a full layout that differ by cluster, and its labels."""
    clusters = layout(design, size)
    rng = np.random.default_rng(seed)
    effects = {label: rng.normal() for labels in clusters.values() for label in labels}
    latent = {item: sum(effects[label] for label in labels) + rng.normal() for item, labels in clusters.items()}
    values = {item: float(v > 0) if unit == "proportion" else v for item, v in latent.items()}
    return values, clusters
