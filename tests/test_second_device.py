"""Claims on a device that is not the CPU, where no GPU is: a tensor left on the wrong side would stop them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from prolepsis.rehearsal import shapes
from prolepsis.rehearsal.run import write_checkpoints
from prolepsis.rehearsal.shapes import SHAPES, scaled
from tests.claims_project import ROOT, environment_with_root

PLUGINS = ("-p", "tests.second_device", "-p", "no:cacheprovider")
PRESET = "llama-3.2-1b-524k"


def on_second_device(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """A run of pytest in a process that has the device."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", *PLUGINS, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": environment_with_root(), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def verified_there(reports: Path, *arguments: str, **environment: str) -> tuple[list[dict[str, Any]], str]:
    """The rows of a claims run on the device, and what it printed."""
    place = ("--claims-device", "second", "--claims-report", str(reports))
    done = on_second_device("claims", *place, *arguments, **environment)
    assert (reports / "latest").exists(), done.stdout + done.stderr
    report = json.loads((reports / "latest" / "report.json").read_text())
    assert report["environment"]["device"] == "second"
    rows: list[dict[str, Any]] = report["claims"]
    return rows, done.stdout


def test_the_device_is_one_of_its_own() -> None:
    """What the second device promises holds, so that a run on it can fail where a run on a GPU would."""
    done = on_second_device("tests/on_second_device.py")
    assert done.returncode == 0, done.stdout


def test_every_experiment_runs_on_another_device(tmp_path: Path) -> None:
    """With an organism and its controls on the device no experiment raises, and no verdict differs from its pin."""
    rows, printed = verified_there(tmp_path, "--claims-subject", "planner")
    assert "changed since expected.toml: 0" in printed, printed
    assert " failed" not in printed, printed
    assert {row["verdict"] for row in rows} >= {"supported", "contradicted", "vacuous", "inconclusive"}


def test_a_real_models_files_and_twin_come_to_another_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints are loaded to the device, decoder rows scanned there, and the untrained twin drawn in place."""
    monkeypatch.setattr(shapes, "LEAST_LAYERS", 4)
    preset = write_checkpoints(scaled(SHAPES[PRESET], 0.01), tmp_path, "cpu", thresholds=True)
    hub = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    asked = ("-m", "gpu", "--claims-subject", PRESET, "--claims-preset", str(preset), "-k", "X205")
    ((row,), printed) = verified_there(tmp_path / "reports", *asked, **hub)
    assert row["measured"] is not None, printed
    assert {arm["name"] for arm in row["controls"]} == {"shuffled decoders", "untrained twin"}
