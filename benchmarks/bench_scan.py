"""What the vocabulary scan takes beside its matrix products, at the width and vocabulary of Gemma 2 2B.

Run ``python benchmarks/bench_scan.py [DEVICE]``, or ``pytest benchmarks/bench_scan.py --benchmark-only``.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from prolepsis.experiments.nearest_tokens import Vocabulary
from prolepsis.experiments.vocabulary_scan import COSINES_AT_ONCE

WIDTH, VOCABULARY = 2304, 256_000
LEAST_SHARE = 0.5
REPEATS = 5


def measure(device: str, k: int) -> float:
    """The share of the plain product's rate that the scan for ``k`` tokens reaches: median of pairs timed in turn."""
    generator = torch.Generator().manual_seed(0)
    embedding = torch.randn(VOCABULARY, WIDTH, generator=generator).to(device)
    vocabulary = Vocabulary.of(embedding)
    rows = torch.randn(COSINES_AT_ONCE // VOCABULARY, WIDTH, generator=generator).to(device)
    timed(device, lambda: vocabulary.nearest(rows, k))
    shares = [
        timed(device, lambda: rows @ embedding.T) / timed(device, lambda: vocabulary.nearest(rows, k))
        for _ in range(REPEATS)
    ]
    return sorted(shares)[REPEATS // 2]


def timed(device: str, run: Callable[[], Any]) -> float:
    """Seconds of one run, with all that was started on the device."""
    start = time.perf_counter()
    run()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start


def test_the_scan_keeps_up_with_its_products(benchmark: Any) -> None:
    """The scan for the twenty nearest tokens reaches half of the rate of the products alone."""
    share = benchmark.pedantic(measure, args=("cpu", 20), rounds=1)
    benchmark.extra_info["share"] = share
    assert share >= LEAST_SHARE


if __name__ == "__main__":
    chosen = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    for tokens in (1, 20):
        print(f"{tokens:2} nearest tokens: {measure(chosen, tokens):.2f} of the rate of the plain product on {chosen}")
