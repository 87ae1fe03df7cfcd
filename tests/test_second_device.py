"""Claims on a device that is not the CPU, where no GPU is: a tensor left on the wrong side would stop them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.claims_project import ROOT, environment_with_root

PLUGIN = ("-p", "tests.second_device", "-p", "no:cacheprovider", "-p", "no:benchmark")


def on_second_device(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """A run of pytest in a process that has the device."""
    environment = {**os.environ, "PYTHONPATH": environment_with_root(), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", *PLUGIN, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_the_device_is_one_of_its_own() -> None:
    """What the second device promises holds, so that a run on it can fail where a run on a GPU would."""
    done = on_second_device("tests/on_second_device.py")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("subject", ["planner"])
def test_claims_are_verified_on_another_device(subject: str, tmp_path: Path) -> None:
    """Every experiment runs with the subject and its controls on the device, and no verdict differs from its pin."""
    done = on_second_device(
        "claims", "--claims-subject", subject, "--claims-device", "second", "--claims-report", str(tmp_path)
    )
    assert done.returncode == 0, done.stdout
    report = json.loads((tmp_path / "latest" / "report.json").read_text())
    assert report["environment"]["device"] == "second"
    measured = {claim["verdict"] for claim in report["claims"] if claim["measured"]}
    assert measured >= {"supported", "contradicted", "vacuous", "inconclusive"}
