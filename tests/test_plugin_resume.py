"""Measurements that are kept: a run repeats nothing that was finished, and trusts nothing that was damaged."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

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


def test_another_kind_of_gpu_is_another_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one card drew is not taken over on another, whose name or multiprocessors differ; a missing one is none."""
    absent = conditions("cuda:0", "float32")
    seen = set()
    for name, count in (("A", 100), ("A", 50), ("B", 100), ("A", 100)):
        card = SimpleNamespace(name=name, multi_processor_count=count)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _, card=card: card)
        seen.add(conditions("cuda:0", "float32"))
    assert len(seen - {absent}) == 3


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


KILLER = """
import json, os, random, signal, sys, time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

# What a run would import first: the children shall begin at once.
import prolepsis.judge, prolepsis.report.plugin, xdist.plugin

def run(root):
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        subjects = ["--claims-subject=planner", "--claims-subject=improviser"]
        os._exit(pytest.main(["claims", *subjects, f"--claims-report={root}"]))
    return child

def made():
    return Path("made.txt").read_text().splitlines() if Path("made.txt").exists() else []

def kept(root):
    return len(list(Path(root).glob(".measurements/*/*.json")))

began = time.monotonic()
assert os.waitpid(run("whole"), 0)[1] == 0
length, rng, kills, roots = time.monotonic() - began, random.Random(5), 0, []
while kills < 20:
    roots.append(f"killed-{len(roots)}")
    done = 0
    while not done:
        finished, before = kept(roots[-1]), len(made())
        child, end = run(roots[-1]), time.monotonic() + rng.random() * length
        while not done and time.monotonic() < end:
            time.sleep(0.001)
            done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0, status
        else:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            kills += 1
        repeated = len(made()) - before - (kept(roots[-1]) - finished)
        assert repeated in ((0,) if done else (0, 1)), (repeated, kills)
print(json.dumps(roots))
"""


def test_a_killed_run_repeats_nothing_and_ends_with_the_same_report(project: ClaimsProject) -> None:
    """Killed at twenty random moments, a run measures again only what it was just measuring.

    However often it was killed, the run that gets to its end has the rows and measurements of one that never was.
    """
    project.want({"planner": "slow", "improviser": "slow"})
    environment = {**os.environ, "PYTHONPATH": environment_with_root()}
    command = [sys.executable, "-c", KILLER]
    killed = subprocess.run(command, cwd=project.path, env=environment, capture_output=True, text=True, check=False)
    assert killed.returncode == 0, killed.stderr
    roots = json.loads(killed.stdout)
    whole = project.report("whole")
    assert len(whole["claims"]) == len(ALL)
    for root in roots:
        report = project.report(root)
        assert report["run"]["complete"]
        assert (report["claims"], report["subjects"]) == (whole["claims"], whole["subjects"])
        names = {path.name for path in (project.path / root / "latest").rglob("*.json")}
        assert names == {"report.json", *(f"{row['measurement']}.json" for row in whole["claims"])}


def test_two_runs_at_once_do_not_harm_each_other(project: ClaimsProject) -> None:
    """Two processes that measure the same at the same time both end well, and leave what a third takes over whole."""
    project.want({"planner": "slow", "improviser": "slow"})
    command = [sys.executable, "-m", "pytest", "claims", "--claims-subject=planner", "--claims-subject=improviser"]
    environment = {**os.environ, "PYTHONPATH": environment_with_root()}
    runs = [subprocess.Popen(command, cwd=project.path, env=environment, stdout=subprocess.PIPE) for _ in range(2)]
    outputs = [run.communicate()[0].decode() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    paths = sorted((project.path / "reports").glob("0*/report.json"))
    assert [path.parent.name[:4] for path in paths] == ["0001", "0002"]
    first, second = (json.loads(path.read_text()) for path in paths)
    assert first["claims"] == second["claims"]
    assert first["run"]["complete"]
    assert second["run"]["complete"]
    before = len(project.made())
    result = project.run()
    assert len(project.made()) == before
    assert "damaged" not in output_of(result)
    assert project.report()["claims"] == first["claims"]
