"""Writes one preset's checkpoints into a cache of the Hugging Face hub's layout, and runs the gpu tier on them."""

import hashlib
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prolepsis import ledger
from prolepsis.errors import UserError
from prolepsis.experiments.measuring import TWIN
from prolepsis.rehearsal.meter import Taken, read_meter
from prolepsis.rehearsal.metered import LOADING
from prolepsis.rehearsal.presets import preset_table, published_layers, scaled_table, write_preset
from prolepsis.rehearsal.shapes import SHAPES, Shape
from prolepsis.report.comparison import read_report
from prolepsis.report.subjects import is_asked
from prolepsis.report.table import Row
from prolepsis.subjects.source import SubjectSource
from prolepsis.watching import watched

ROOT = Path(__file__).parents[2]
WITHOUT_WEIGHTS = frozenset({"layer_count", "stream_width", "published_vocabulary", "published_memory"})
"""Experiments that read the configuration or the machine: random weights can support what they are asked."""

LOOK_AGAIN = 0.5
"""Seconds between two looks at how far a run is."""


@dataclass(frozen=True)
class Family:
    """What became of one family's rows, and what they took."""

    name: str
    verdicts: Mapping[str, int]
    taken: Taken


@dataclass(frozen=True)
class Rehearsed:
    """One preset's rehearsal.

    ``loading`` and ``twin`` are what these took, ``untested`` the reasons of untested rows with the rows they stopped,
    ``faults`` what must not be, a line each.
    """

    shape: Shape
    thresholds: bool
    device: str
    writing_seconds: float
    disk_bytes: int
    loading: Taken
    twin: Taken
    families: tuple[Family, ...]
    untested: Mapping[str, tuple[str, ...]]
    faults: tuple[str, ...]

    @property
    def rows(self) -> Counter[str]:
        """Verdict → rows."""
        return sum((Counter(family.verdicts) for family in self.families), Counter())


def rehearse(shape: Shape, folder: Path, device: str, *, thresholds: bool, options: Iterable[str] = ()) -> Rehearsed:
    """Write the checkpoints of ``shape`` below ``folder``, an empty one, and verify the gpu tier's claims on them.

    ``options`` are passed to pytest. Raises UserError when no run came about at all.
    """
    start = time.perf_counter()
    preset = write_checkpoints(shape, folder, device, thresholds=thresholds)
    written = time.perf_counter() - start
    meter, log = folder / "meter.json", folder / "pytest.log"
    command = [
        *(sys.executable, "-m", "pytest", "claims", "-m", "gpu", "--claims-subject", shape.preset, "--claims-fresh"),
        *("--claims-device", device, "--claims-report", str(folder / "reports")),
        *([] if preset is None else ["--claims-preset", str(preset)]),
        *("-p", "prolepsis.rehearsal.meter", "--meter", str(meter), "-p", "no:cacheprovider", *options),
    ]
    environment = {**os.environ, "HF_HUB_CACHE": str(folder / "hub"), "HF_HUB_OFFLINE": "1"}
    # The exit code says that verdicts are not pinned, which they are nowhere in this tier.
    with (
        log.open("w") as file,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT) as process,  # noqa: S603
    ):
        _wait(process, folder / "reports", shape.preset)
    run = folder / "reports" / "latest"
    if not meter.exists() or not run.exists():
        raise UserError(f"{shape.preset}: the run wrote no report; its last words: {_last_line(log)}")
    report, taken = read_report(run), read_meter(meter)
    return Rehearsed(
        shape=shape,
        thresholds=thresholds,
        device=device,
        writing_seconds=written,
        disk_bytes=sum(path.stat().st_blocks * 512 for path in (folder / "hub").rglob("*") if not path.is_symlink()),
        loading=taken.pop(LOADING, Taken()),
        twin=taken.pop(TWIN, Taken()),
        families=tuple(_families(report["claims"], taken)),
        untested=untested(report["claims"]),
        faults=tuple(_faults(report, log)),
    )


def _wait(process: "subprocess.Popen[bytes]", reports: Path, preset: str) -> None:
    """Wait for a run, and show how many of the preset's claims its journals hold."""
    source = SubjectSource(id=preset, tier="gpu")
    claims = sum(is_asked(claim, source) for claim in ledger.load(ROOT / "claims" / "ledger.toml"))
    for done in watched(range(claims), "claims verified"):
        while process.poll() is None and _recorded(reports) <= done:
            time.sleep(LOOK_AGAIN)


def _recorded(reports: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in reports.glob("*/journal-*.jsonl"))


def write_checkpoints(shape: Shape, folder: Path, device: str, *, thresholds: bool) -> Path | None:
    """Write model, transcoder and pairs into ``folder``/hub; the preset file to run, None where it is the project's."""
    from prolepsis.rehearsal.checkpoints import write_model, write_transcoder
    from prolepsis.rehearsal.pairs import write_pairs

    real = shape == SHAPES[shape.preset]
    table = preset_table(shape.preset) if real else scaled_table(shape)
    model = _snapshot(folder / "hub", "models", shape.model, shape)
    write_model(shape, model, device)
    transcoder = _snapshot(folder / "hub", "models", shape.transcoder, shape)
    write_transcoder(shape, transcoder, model, device, published_layers(table), thresholds=thresholds)
    write_pairs(model, _snapshot(folder / "hub", "datasets", table["pairs"], shape), device)
    if real:
        return None
    write_preset(table, folder / "preset.toml")
    return folder / "preset.toml"


def _snapshot(hub: Path, kind: str, repository: str, shape: Shape) -> Path:
    """Where the hub's client keeps the files of a repository's main branch; ``kind`` is "models" or "datasets"."""
    revision = hashlib.sha1(repr(shape).encode(), usedforsecurity=False).hexdigest()
    folder = hub / f"{kind}--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(revision)
    return folder / "snapshots" / revision


def _families(rows: Iterable[Row], taken: Mapping[str, Taken]) -> list[Family]:
    by_family: dict[str, Counter[str]] = {}
    for row in rows:
        by_family.setdefault(row["family"], Counter())[row["verdict"]] += 1
    return [Family(name, dict(verdicts), taken.get(name, Taken())) for name, verdicts in sorted(by_family.items())]


def untested(rows: Iterable[Row]) -> dict[str, tuple[str, ...]]:
    """Reason → the rows that are untested for it, by their ids."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row["verdict"] == "untested":
            reasons.setdefault(row["reason"], []).append(row["id"])
    return {reason: tuple(sorted(ids)) for reason, ids in reasons.items()}


def supported_by_nothing(rows: Iterable[Row]) -> list[str]:
    """A line for every row that says something of what was learned and is supported where nothing was."""
    experiments = {claim.key: claim.experiment for claim in ledger.load(ROOT / "claims" / "ledger.toml")}
    return [
        f"{row['id']} ({row['variant']}) is supported on random weights: {row['reason']}"
        for row in rows
        if row["verdict"] == "supported" and experiments[row["id"], row["variant"]] not in WITHOUT_WEIGHTS
    ]


def _faults(report: Mapping[str, Any], log: Path) -> list[str]:
    faults = supported_by_nothing(report["claims"])
    if not report["run"]["complete"]:
        faults.append(f"the run did not come through; {_last_line(log)}; all of it is in {log}")
    return faults


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text().splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E  ", "user error", "ERROR"))]
    return (errors or lines or ["nothing"])[-1].strip()
