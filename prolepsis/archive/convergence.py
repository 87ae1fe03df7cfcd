"""The recorded convergence of contrastive deviations for one prompt (sections 4 and 6).

Row i, column o of the matrix is the cosine of the clean with the edited resid_post(o) after the contrast of the two
prompts was added at layer i. The cosine right after the edit was never recorded, so that of a layer which is already
close to 1 one later tells nothing: a long clean row dilutes any deviation without anything taking it back.
"""

import statistics
from dataclasses import dataclass
from typing import Any

from prolepsis.archive.files import Recording
from prolepsis.archive.numbers import finite, probability, whole
from prolepsis.archive.single import single
from prolepsis.errors import Untested
from prolepsis.measurement import Measurement

KIND = "convergence run"
PROMPT = "The capital of France is"
"""The prompt of every printed figure (appendix F.6)."""
REDIRECT = 0.393
"""What section 4 prints as the probability of the answer it redirects to."""
QUICK = 2
"""Layers within which the paper has deviations absorbed."""
EDGE = 1.2
"""The paper's edge of the basin, in contrastive distances."""


@dataclass(frozen=True)
class Point:
    """What came of one strength: P(target), and the layer by which the deviation counts as absorbed."""

    strength: float
    p_target: float
    absorbed: int | None


@dataclass(frozen=True)
class Convergence:
    """``cosines[i][o]`` as in the file; ``stated`` are the layers by which it has each deviation absorbed.

    The strengths of ``sweep`` were written at layer ``swept_at``.
    """

    prompt: str
    target: str
    baseline: float
    threshold: float
    cosines: tuple[tuple[float, ...], ...]
    stated: tuple[int | None, ...]
    sweep: tuple[Point, ...]
    swept_at: int

    @property
    def absorbed(self) -> tuple[int | None, ...]:
        """The first later layer at which the cosine is at least the threshold, per injected layer."""
        return tuple(
            next((o for o in range(i + 1, len(row)) if row[o] >= self.threshold), None)
            for i, row in enumerate(self.cosines)
        )

    def returns(self, layer: int) -> bool:
        """Whether a deviation injected at ``layer`` is seen both below and back above the threshold."""
        later = self.cosines[layer][layer + 1 :]
        return bool(later) and later[0] < self.threshold and max(later) >= self.threshold


def parse(contents: Any) -> Convergence:
    """A run whose matrix is as large as the model is deep."""
    n_layers = whole(contents["n_layers"])
    cosines = tuple(tuple(finite(value) for value in row) for row in contents["convergence_matrix"])
    summaries = sorted(contents["layer_summaries"], key=lambda entry: whole(entry["injection_layer"]))
    if not n_layers or [len(row) for row in cosines] != [n_layers] * n_layers or len(summaries) != n_layers:
        raise ValueError(f"the matrix and the summaries are not those of {n_layers} layers")
    sweep = (
        Point(finite(entry["strength"]), probability(entry["p_target"]), _layer(entry["absorption_layer"]))
        for entry in contents["strength_sweep"]
    )
    return Convergence(
        str(contents["prompt"]),
        str(contents["target_token"]),
        probability(contents["baseline_p_target"]),
        finite(contents["threshold"]),
        cosines,
        tuple(_layer(entry["absorption_layer"]) for entry in summaries),
        tuple(sorted(sweep, key=lambda point: point.strength)),
        whole(contents["best_injection_layer"]),
    )


def _layer(value: Any) -> int | None:
    return None if value is None else whole(value)


def absorbing_layers(recording: Recording) -> Measurement:
    """Share of the layers at which an injected deviation counts as absorbed by the paper's rule."""
    found = _printed(recording)
    value = statistics.fmean(layer is not None for layer in found.absorbed)
    return _share(recording, "absorbing_layers", found, value)


def quickly_absorbing_layers(recording: Recording) -> Measurement:
    """Share of the layers at which it counts as absorbed within two layers."""
    found = _printed(recording)
    quick = (layer is not None and layer - i <= QUICK for i, layer in enumerate(found.absorbed))
    return _share(recording, "quickly_absorbing_layers", found, statistics.fmean(quick))


def returning_layers(recording: Recording) -> Measurement:
    """Share of the layers at which a deviation is seen to be taken back: below the threshold first, above it later."""
    found = recording.read(KIND, parse)
    value = statistics.fmean(found.returns(layer) for layer in range(len(found.cosines)))
    return _share(recording, "returning_layers", found, value)


def absorption_recounted(recording: Recording) -> Measurement:
    """Number of layers whose stated absorption is not what the matrix gives by the paper's rule."""
    found = recording.read(KIND, parse)
    differing = [i for i, (told, here) in enumerate(zip(found.stated, found.absorbed, strict=True)) if told != here]
    return single(recording, "absorption_recounted", "count", len(differing), detail={"layers": differing})


def published_critical_strength(recording: Recording) -> Measurement:
    """The strength up to which deviations count as absorbed: between two steps of the sweep, nothing finer is known."""
    found = _printed(recording)
    absorbed = [point.absorbed is not None for point in found.sweep]
    last = absorbed.index(False) - 1 if False in absorbed else len(absorbed) - 1
    if not 0 <= last < len(absorbed) - 1:
        raise Untested(f"the strength sweep of {recording.id} does not hold both absorbed and other strengths")
    below, above = found.sweep[last].strength, found.sweep[last + 1].strength
    return single(
        recording, "published_critical_strength", "contrastive distances", (below + above) / 2,
        tolerance=(above - below) / 2,
        detail={"absorbed at": [p.strength for p in found.sweep if p.absorbed is not None]},
    )  # fmt: skip


def layers_within_basin(recording: Recording) -> Measurement:
    """Layers until a deviation below the printed edge of the basin counts as absorbed, at the strength that takes most.

    One that never does gets one layer more than there are above it.
    """
    found = _printed(recording)
    within = [point for point in found.sweep if point.strength < EDGE]
    if not within:
        raise Untested(f"the strength sweep of {recording.id} has no strength below {EDGE:g}")
    taken = {
        point.strength: (len(found.cosines) if point.absorbed is None else point.absorbed) - found.swept_at
        for point in within
    }
    changed = {point.strength: point.p_target - found.baseline for point in within}
    detail = {"written at": found.swept_at, "layers by strength": taken, "change of P(target)": changed}
    return single(recording, "layers_within_basin", "layers", max(taken.values()), detail=detail)


def redirect_off_baseline(recording: Recording) -> Measurement:
    """How far the printed probability of the redirect is from the recorded one of the target without any edit."""
    found = _printed(recording)
    detail = {"printed": REDIRECT, "target": found.target, "without an edit": found.baseline}
    value = abs(REDIRECT - found.baseline)
    return single(recording, "redirect_off_baseline", "probability", value, detail=detail)


def _printed(recording: Recording) -> Convergence:
    found = recording.read(KIND, parse)
    if found.prompt.strip() != PROMPT:
        raise Untested(f"{recording.id} is of the prompt {found.prompt!r}, the printed figures are of {PROMPT!r}")
    return found


def _share(recording: Recording, experiment: str, found: Convergence, value: float) -> Measurement:
    layers = range(len(found.cosines))
    never = [i for i in layers if found.absorbed[i] is not None and not found.returns(i)]
    detail = {"returning": [i for i in layers if found.returns(i)], "never seen to deviate": never}
    return single(recording, experiment, "share of layers", value, detail=detail)
