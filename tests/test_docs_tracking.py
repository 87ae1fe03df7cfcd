"""The page about tracking: each of its commands does what the page says, in a project with stubs for models."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.claims_project import ROOT, ClaimsProject

PAGE = (ROOT / "docs" / "tracking.md").read_text()
COMMANDS = re.findall(r"(?m)^    (\S.*)$", PAGE.split("```yaml")[0])


def shell(project: ClaimsProject, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the page in the project, with this environment's interpreter and console script."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = command.replace("ssh=user@far", "popen").replace("/checkout/.venv/bin/python", "python")
    # The project's ledger has few claims.
    command = command.replace("history X75", "history X01")
    command = command.replace("/checkout", str(project.path)).replace(".venv/bin/python", "python")
    return subprocess.run(
        command,
        shell=True,
        cwd=project.path,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_commands_of_the_page_work_one_after_another(project: ClaimsProject) -> None:
    """From the first stored run to the baseline that is committed, every command of the page ends well."""
    assert len(COMMANDS) == 17
    for command in COMMANDS:
        done = shell(project, command)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert (project.path / "history.html").exists()
    assert (project.path / "baselines" / "cpu" / "report.json").exists()
    merged = {key.split()[2] for key in project.verdicts()}
    assert merged == {"planner", "window-2"}


@pytest.fixture(scope="module")
def workflow() -> dict[Any, Any]:
    """The workflow of the page."""
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.S)
    parsed: dict[Any, Any] = yaml.safe_load(text)
    return parsed


def test_the_workflow_runs_on_pushes_and_by_hand(workflow: dict[Any, Any]) -> None:
    """The CPU job is for pushes, the GPU job for a start by hand on a runner of one's own."""
    # YAML 1.1 reads the word "on" as true.
    assert set(workflow[True]) == {"push", "workflow_dispatch"}
    jobs = workflow["jobs"]
    assert {name: job["if"] for name, job in jobs.items()} == {
        "cpu": "github.event_name == 'push'",
        "gpu": "github.event_name == 'workflow_dispatch'",
    }
    assert jobs["gpu"]["runs-on"] == ["self-hosted", "gpu"]
    for job in jobs.values():
        assert all(("run" in step) != ("uses" in step) for step in job["steps"])


@pytest.mark.parametrize(
    ("job", "code", "told"),
    [("cpu", 0, "0 verdicts and 0 values changed"), ("gpu", 1, "nothing was measured although -m gpu")],
)
def test_the_commands_of_the_workflow_are_those_that_exist(
    project: ClaimsProject, workflow: dict[Any, Any], job: str, code: int, told: str
) -> None:
    """Each step's command runs: on CPUs it compares with the baseline, without weights the one for GPUs says so."""
    project.run()
    baseline = project.path / "baselines" / job
    baseline.mkdir(parents=True)
    shutil.copy(project.path / "reports" / "latest" / "report.json", baseline)
    make, verify = (step["run"] for step in workflow["jobs"][job]["steps"] if "run" in step)
    assert make.startswith("make ")
    subprocess.run([*make.split(), "--dry-run"], cwd=ROOT, check=True, capture_output=True)
    done = shell(project, verify)
    assert done.returncode == code, done.stdout + done.stderr
    assert told in done.stdout
