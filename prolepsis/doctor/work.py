"""What a family of claims does on a subject, counted, and how long a machine would be at it (imports no torch)."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from prolepsis.subjects.model_size import ModelSize

LOADING = "loading"
"""The name under which loading a subject, its checks and the screening of its task stand beside the families."""


@dataclass(frozen=True)
class Rates:
    """What a device does in a second.

    ``products`` and ``scans`` are floating-point operations of matrix products in the state dtype and in the one the
    vocabulary scan multiplies in; ``copies`` are the bytes that a copy reads and writes; ``starts`` are operations of
    any kind that the host starts one after another, however small.
    """

    products: float
    scans: float
    copies: float
    starts: float


@dataclass
class Work:
    """Counts that do not depend on how wide a model is; those of several stretches of work add up.

    ``layer_tokens`` are tokens that one layer ran, in ``layer_calls``; ``keys`` how many keys each of them saw, summed.
    ``logits`` are rows of logits, in ``logits_calls``. ``encoded`` are rows that one layer's encoder read, in
    ``encodings``. ``scans`` are layers whose last decoder rows were held against the vocabulary; ``twins`` how often an
    untrained twin was made in place. ``starts`` are operations of any kind that the device was told to start.
    """

    layer_tokens: int = 0
    layer_calls: int = 0
    keys: int = 0
    logits: int = 0
    logits_calls: int = 0
    encoded: int = 0
    encodings: int = 0
    scans: int = 0
    twins: int = 0
    starts: int = 0

    def __add__(self, other: "Work") -> "Work":
        """Both together."""
        return Work(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Work)))

    def operations(self, size: ModelSize, n_features: int) -> int:
        """Floating-point operations on a model of ``size`` with a transcoder of ``n_features`` features per layer."""
        return (
            self.layer_tokens * size.layer_operations(0)
            + self.keys * (size.layer_operations(1) - size.layer_operations(0))
            + 2 * self.logits * size.unembedding_weights
            + 2 * self.encoded * n_features * size.d_model
            + self.scan_operations(size, n_features)
        )

    def scan_operations(self, size: ModelSize, n_features: int) -> int:
        """Those of them that the vocabulary scan takes."""
        return 2 * self.scans * n_features * size.unembedding_weights

    def moved_bytes(self, size: ModelSize, n_features: int, width: int) -> int:
        """Bytes of weights that are read, at ``width`` bytes a number; a twin takes drawing and reading all of them."""
        weights = (
            self.layer_calls * size.layer_weights
            + self.logits_calls * size.unembedding_weights
            + (self.encodings + self.scans) * n_features * size.d_model
            + 2 * self.twins * size.weights
        )
        return width * weights

    def seconds(self, size: ModelSize, n_features: int, width: int, rates: Rates) -> float:
        """The least time it takes: that of computing, of reading weights or of starting it all, the longest of them."""
        scans = self.scan_operations(size, n_features)
        computing = (self.operations(size, n_features) - scans) / rates.products + scans / rates.scans
        return max(computing, self.moved_bytes(size, n_features, width) / rates.copies, self.starts / rates.starts)


def total(works: Mapping[str, Work]) -> Work:
    """All families together."""
    return sum(works.values(), Work())
