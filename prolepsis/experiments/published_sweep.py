"""The published sweep of one prompt: suppress + inject at every position, P(inject word) at the last (§5, Figure 1).

The figures are about this prompt alone. Beside them the same is done with a matched random write and with the word's
unembedding direction, and the wiring says where the injection can act at all: a feature of the last layer acts at its
own position only, so that nothing but a spike can come out.
"""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from prolepsis.edits import Row
from prolepsis.engine import CleanRun
from prolepsis.errors import Untested
from prolepsis.experiments import measuring
from prolepsis.experiments.divergences import cut_kl
from prolepsis.experiments.published_prompt import (
    NULLS,
    Placed,
    noise,
    parameters_of,
    placed,
    published_of,
    single,
)
from prolepsis.measurement import Measurement
from prolepsis.reachability.selection import Logits
from prolepsis.running.hooks import Read
from prolepsis.shams import reach_row
from prolepsis.subject import Subject
from prolepsis.subjects.published import Steering
from prolepsis.subjects.swept_pairs import farthest_elsewhere, moved_by
from prolepsis.writes import Writes, write_at

GIGABYTE = 1e9


@dataclass(frozen=True, eq=False)
class PromptSweep:
    """P(word) without an edit, and arm → P(word) by position of the edit; log-odds in nats beside them.

    ``kl`` is KL(clean || edited) in nats with the edit at the last position.
    """

    placed: Placed
    clean: float
    probabilities: Mapping[str, tuple[float, ...]]
    log_odds: Mapping[str, tuple[float, ...]]
    kl: float


def sweep_prompt(subject: Subject) -> PromptSweep:
    """Run the published sweep with its control writes."""
    steering = published_of(subject).sweep
    return sweep_text(subject, steering, f"{steering.prompt} ")


def sweep_text(subject: Subject, steering: Steering, text: str) -> PromptSweep:
    """Write ``steering`` at every position of ``text`` in turn, and its control writes."""
    place = placed(subject, steering, text)
    probabilities, odds = swept(place.clean, place.token, place.arms(place.both))
    logits = place.clean.edit([[], write_at(place.last, place.both)]).last_logits
    return PromptSweep(
        placed=place,
        clean=float(place.clean.read(Read()).probabilities()[0, place.token]),
        probabilities=probabilities,
        log_odds=odds,
        kl=float(cut_kl(logits[0], logits[1:])),
    )


def swept(
    clean: CleanRun, token: int, arms: Mapping[str, Writes]
) -> tuple[dict[str, tuple[float, ...]], dict[str, tuple[float, ...]]]:
    """Arm → P(``token``) at the last position, and its log-odds, by position of the arm's writes."""
    n = len(clean.tokens)
    rows: list[Row] = [write_at(position, writes) for writes in arms.values() for position in range(n)]
    out = clean.edit(rows)
    values, odds = out.probabilities()[:, token].tolist(), out.log_odds(token).tolist()
    places = {arm: slice(n * i, n * (i + 1)) for i, arm in enumerate(arms)}
    return (
        {arm: tuple(values[where]) for arm, where in places.items()},
        {arm: tuple(odds[where]) for arm, where in places.items()},
    )


def published_spike(subject: Subject) -> Measurement:
    """P(inject word) with the edit at the last position.

    Arms: ``matched random`` (same norm in every layer, same projection on the word's unembedding), ``unembedding`` (the
    word's own direction, same norm).
    """
    start, found = time.perf_counter(), subject.once(sweep_prompt)
    arms = {arm: found.probabilities[arm][-1] for arm in NULLS}
    return _measurement(subject, "published_spike", found.probabilities["measured"][-1], arms, start)


def published_baseline(subject: Subject) -> Measurement:
    """P(inject word) with the edit at that other position where it is farthest from what is printed; same arms."""
    start, found = time.perf_counter(), subject.once(sweep_prompt)
    arms = {arm: farthest_elsewhere(found.probabilities[arm]) for arm in NULLS}
    return _measurement(subject, "published_baseline", farthest_elsewhere(found.probabilities["measured"]), arms, start)


def published_memory(subject: Subject) -> Measurement:
    """Peak GPU memory allocated in the published sweep, the weights included, in GB; Untested elsewhere.

    What other claims left on the GPU is not in it.
    """
    if subject.device.type != "cuda":
        raise Untested(f"GPU memory is read on a GPU, not on {subject.device.type}; use --claims-device cuda")
    start = time.perf_counter()
    # Whoever counts peaks by family has to know that they begin anew here.
    with measuring.done_for("recorded"):
        weights = sum(parameter.nbytes for parameter in subject.model.parameters())
        others = torch.cuda.memory_allocated(subject.device) - weights
        torch.cuda.reset_peak_memory_stats(subject.device)
        sweep_prompt(subject)
        peak = torch.cuda.max_memory_allocated(subject.device) - others
    return single(
        subject,
        "published_memory",
        "GB",
        peak / GIGABYTE,
        parameters={"dtype": str(subject.dtype)},
        detail={"device": torch.cuda.get_device_name(subject.device)},
        seconds=time.perf_counter() - start,
    )


def published_vocabulary(subject: Subject) -> Measurement:
    """How many tokens a vocabulary scan compares every feature with: the rows of the unembedding."""
    return single(subject, "published_vocabulary", "count", float(subject.n_vocab), parameters={})


def _measurement(subject: Subject, name: str, value: float, arms: Mapping[str, float], start: float) -> Measurement:
    found, steering = subject.once(sweep_prompt), published_of(subject).sweep
    return single(
        subject,
        name,
        "probability",
        value,
        parameters=parameters_of(found.placed, steering),
        arms=arms,
        rows=subject.once(_reach_rows),
        detail={
            "P without an edit": found.clean,
            "median P at other positions": statistics.median(found.probabilities["measured"][:-1]),
            "P by position": found.probabilities,
            "log-odds by position": found.log_odds,
            "KL(clean || edited), nats": found.kl,
        },
        tolerance=moved_by(value, noise(subject)),
        seconds=time.perf_counter() - start,
    )


def _reach_rows(subject: Subject) -> list[dict[str, object]]:
    """Per position, whether the edit there reaches the last logits, and whether its injection does given the rest."""
    place = subject.once(sweep_prompt).placed
    rows = []
    for position in range(len(place.clean.tokens)):
        claimed, readout = position == place.last, Logits(place.last)
        rows.append(reach_row(place.clean, write_at(position, place.both), readout, claimed=claimed))
        given = write_at(position, place.suppress)
        name = f"injection alone at {position} → {readout}"
        rows.append(
            reach_row(place.clean, write_at(position, place.inject), readout, given=given, name=name, claimed=claimed)
        )
    return rows
