"""Rows of a report, in the types of the report contract."""

import dataclasses
import math
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from prolepsis.measurement import Measurement

if TYPE_CHECKING:
    from prolepsis.judge import Verdict
    from prolepsis.ledger import Claim
    from prolepsis.subject import Subject
    from prolepsis.subjects.source import SubjectSource


def claim_row(
    claim: "Claim", source: "SubjectSource", verdict: "Verdict", measurement: Measurement | None, expected: str | None
) -> dict[str, Any]:
    """The report's row of one claim on one subject; ``expected`` is the pinned verdict."""
    return {
        "id": claim.id,
        "variant": claim.variant,
        "subject": source.id,
        "tier": source.tier,
        "section": claim.section,
        "statement": claim.statement,
        "family": claim.family,
        "verdict": verdict.verdict,
        "expected": expected,
        "changed": expected is not None and verdict.verdict not in (expected, "untested"),
        "reason": verdict.reason,
        "margin": verdict.margin,
        "population": verdict.population,
        "agrees": verdict.agrees,
        "published": claim.published,
        "measured": verdict.measured,
        "controls": verdict.controls,
        "reach": verdict.reach,
        "p_values": verdict.p_values,
        "measurement": None if measurement is None else measurement_key(claim.id, claim.variant, source.id),
        "protocol": None if measurement is None else measurement.protocol,
        "seconds": None if measurement is None else measurement.seconds,
        "figures": [],
    }


def measurement_key(claim: str, variant: str, subject: str) -> str:
    """Name of the stored measurement, without its ``.json``."""
    return f"{claim}-{variant}-{subject}".replace("/", "_")


def subject_row(source: "SubjectSource", subject: "Subject | None") -> dict[str, Any]:
    """The report's row of one subject, with nulls where it could not be loaded."""
    transcoder = None if subject is None else subject.transcoder
    return {
        "id": source.id,
        "model": source.model or source.id,
        "revision": subject and subject.revision,
        "transcoder": source.transcoder or (transcoder and transcoder.model_name),
        "transcoder_revision": transcoder and (transcoder.revision or transcoder.digest),
        "layers": subject and subject.n_layers,
        "heads": subject and subject.n_heads,
        "d_model": subject and subject.d_model,
        "digest": subject and subject.digest,
    }


def plain(value: Any) -> Any:
    """``value`` in JSON types: tuples become lists, dataclasses tables, numpy scalars numbers, non-finite numbers None.

    Raises TypeError for anything else.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        return plain(value.item())
    raise TypeError(f"{type(value).__name__} has no place in a report")


def environment(device: str, dtype: str, options: tuple[str, ...]) -> Mapping[str, Any]:
    """What the numbers were made with; asks no package to import itself."""
    packages = ("torch", "transformers", "numpy", "scipy", "pytest", "prolepsis")
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in packages},
        "machine": f"{platform.system()} {platform.machine()}",
        "device": device,
        **_cards(device),
        "dtype": dtype,
        "options": list(options),
    }


def _cards(device: str) -> Mapping[str, Any]:
    """The machine's cards and their driver where one is used: what is drawn on one differs from kind to kind."""
    if not device.startswith("cuda"):
        return {}
    from prolepsis.doctor.machine import cards, driver

    return {"cards": cards(), "driver": driver()}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
