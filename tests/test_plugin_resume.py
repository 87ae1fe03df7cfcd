"""Measurements that are kept: a run repeats nothing that was finished, and trusts nothing that was damaged."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prolepsis.report.store import STORE, Store, conditions
from tests.claims_project import ClaimsProject, environment_with_root, output_of

WORKERS = pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "n2"])
ALL = sorted(
    f"{claim} {subject}"
    for claim in ("X01 asked", "X02 asked", "X02 published")
    for subject in ("improviser", "planner")
)


def kept(project: ClaimsProject) -> list[Path]:
    """The files of the store."""
    return sorted((project.path / "reports" / STORE).glob("*/*.json"))


@WORKERS
def test_a_second_run_measures_nothing_again(project: ClaimsProject, workers: tuple[str, ...]) -> None:
    """What a run measured the next one takes over, says so, and reports the same rows."""
    project.run(*workers)
    first = project.report()["claims"]
    assert sorted(project.made()) == ALL
    result = project.run(*workers)
    assert sorted(project.made()) == ALL
    assert project.report()["claims"] == first
    assert "6 of 6 measurements taken over from earlier runs; --claims-fresh makes them anew" in output_of(result)


@WORKERS
def test_claims_fresh(project: ClaimsProject, workers: tuple[str, ...]) -> None:
    """--claims-fresh measures everything anew and keeps that."""
    project.run(*workers)
    result = project.run("--claims-fresh", *workers)
    assert sorted(project.made()) == sorted(2 * ALL)
    assert "taken over" not in output_of(result)
    project.run(*workers)
    assert len(project.made()) == 2 * len(ALL)


def test_another_subject_or_other_conditions_are_measured_anew(project: ClaimsProject) -> None:
    """A subject whose weights changed, another dtype or another device finds nothing in the store."""
    project.run(subjects=("planner",))
    conftest = (project.path / "conftest.py").read_text()
    project.write("conftest.py", conftest.replace('f"weights of', 'f"other weights of'))
    project.run(subjects=("planner",))
    project.run("--claims-dtype=bfloat16", subjects=("planner",))
    assert len(project.made()) == 9
    assert conditions("cpu", "float32") != conditions("cuda", "float32")


@WORKERS
def test_a_damaged_file_is_named_and_measured_again(project: ClaimsProject, workers: tuple[str, ...]) -> None:
    """A stored measurement that was cut short or changed is named, dropped, and made again."""
    project.run(*workers, subjects=("planner",))
    cut, changed, _ = kept(project)
    cut.write_text(cut.read_text()[:100])
    changed.write_text(changed.read_text().replace("0.5", "0.6"))
    result = project.run(*workers, subjects=("planner",))
    assert len(project.made()) == 5
    for path in (cut, changed):
        assert f"{path.name} was damaged and is measured again" in output_of(result).replace("\n", "")
    project.run(*workers, subjects=("planner",))
    assert len(project.made()) == 5


def test_two_stores_in_one_folder_do_not_disturb_each_other(tmp_path: Path) -> None:
    """What one process keeps under its conditions is neither seen nor touched under others."""
    one, other = (Store(tmp_path, name) for name in ("here", "there"))
    assert one._folder != other._folder


@pytest.mark.slow
def test_a_killed_run_repeats_nothing_and_ends_with_the_same_report(project: ClaimsProject) -> None:
    """Killed at random moments and started again, a run makes no measurement twice but the one it died in."""
    project.want({"planner": "slow", "improviser": "slow"})
    command = [sys.executable, "-m", "pytest", "claims"]
    command += ["--claims-subject=planner", "--claims-subject=improviser"]
    environment = {**os.environ, "PYTHONPATH": environment_with_root()}
    rng, kills = random.Random(5), 0
    while kills < 6:
        running = subprocess.Popen(command, cwd=project.path, env=environment, stdout=subprocess.DEVNULL)
        before, deadline = len(project.made()), time.monotonic() + 30
        while running.poll() is None and len(project.made()) == before and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(rng.random() * 0.15)
        if running.poll() is not None:
            break
        running.send_signal(signal.SIGKILL)
        running.wait()
        kills += 1
    assert kills > 0
    project.run()
    assert sorted(set(project.made())) == ALL
    assert len(project.made()) <= len(ALL) + kills
    assert {f"{r['id']} {r['variant']} {r['subject']}" for r in project.report()["claims"]} == set(ALL)
    assert project.report()["run"]["complete"]
