"""Runs spread over workers: which GPU and how many cores each gets, and workers that are not this interpreter."""

import json
import os
import shutil
import socket
import subprocess
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prolepsis.report.devices import automatic_workers, gpus, threads, visible_device
from prolepsis.report.rows import environment
from prolepsis.report.scheduler import claim_and_subject
from prolepsis.report.store import STORE
from tests.claims_project import ROOT, ClaimsProject, output_of

SUBJECTS = ("planner", "planted-llama-latch")


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ("2,5", ("2", "5")),
        ("GPU-a, GPU-b", ("GPU-a", "GPU-b")),
        ("", ()),
        ("-1", ()),
        ("0,-1,1", ("0",)),
    ],
)
def test_the_callers_gpus_are_those_left_visible(named: str, found: tuple[str, ...]) -> None:
    """The list is read as CUDA reads it: in its order, up to the first entry that is no device."""
    assert gpus({"CUDA_VISIBLE_DEVICES": named}) == found


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose NVIDIA driver lists two GPUs, and a slice of one."""
    listing = "GPU 0: H (UUID: GPU-a)\n  MIG 1g.18gb Device 0: (UUID: MIG-a)\nGPU 1: H (UUID: GPU-b)\n"
    program = tmp_path / "driver" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{listing}END\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("driver")
def test_without_a_list_all_gpus_of_the_driver_are_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is said, the GPUs are those the driver lists; where there is no driver, there are none."""
    assert gpus({}) == ("0", "1")
    monkeypatch.setenv("PATH", "")
    assert gpus({}) == ()


def test_a_report_names_the_cards_it_was_made_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn on a card differs from kind to kind: all are named with their driver, and none for the CPU."""
    program = tmp_path / "nvidia-smi"
    program.write_text(
        '#!/bin/sh\ncase "$1" in *name*) echo "NVIDIA A"; echo "NVIDIA B";; *) echo 580.1; echo 580.1;; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = environment("cuda:1", "float32", ())
    assert (found["cards"], found["driver"]) == (["NVIDIA A", "NVIDIA B"], "580.1")
    assert "cards" not in environment("cpu", "float32", ())


@given(seats=st.integers(1, 9), visible=st.lists(st.text(min_size=1), unique=True, max_size=4))
def test_workers_take_the_gpus_in_turn(seats: int, visible: list[str]) -> None:
    """No GPU has two workers more than another, the first workers have the first GPUs, and without GPUs none is set."""
    taken = [visible_device(seat, visible) for seat in range(seats)]
    if not visible:
        assert set(taken) == {None}
        return
    assert taken[: len(visible)] == visible[:seats]
    counts = [taken.count(device) for device in visible]
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(
    ("device", "visible", "workers"),
    [("cuda", "2,5,7", 3), ("cuda", "", 1), ("cuda:1", "2,5,7", 1), ("cpu", "2,5,7", None)],
)
def test_automatic_is_one_worker_for_each_gpu(device: str, visible: str, workers: int | None) -> None:
    """On GPUs there are as many workers as GPUs asked for, and at least one; on CPUs pytest-xdist counts the cores."""
    assert automatic_workers(device, {"CUDA_VISIBLE_DEVICES": visible}) == workers


@given(workers=st.integers(1, 64), cores=st.integers(1, 64))
def test_workers_share_the_cores(workers: int, cores: int) -> None:
    """Each worker gets a thread, and together they get no more than the cores where there are enough of them."""
    each = threads(workers, cores)
    assert each >= 1
    assert workers * each <= max(cores, workers)
    assert workers * (each + 1) > cores


@pytest.fixture
def shares(project: ClaimsProject, monkeypatch: pytest.MonkeyPatch) -> ClaimsProject:
    """A project with two GPUs that logs, in place of the process, the share of the machine it has."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,7")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    seen = "{os.environ['CUDA_VISIBLE_DEVICES']}|{os.environ.get('OMP_NUM_THREADS')}"
    project.write("conftest.py", (project.path / "conftest.py").read_text().replace("{os.getpid()}", seen))
    return project


def test_each_worker_sees_its_share(shares: ClaimsProject) -> None:
    """With -n auto, each subject is measured by a process with one of the two GPUs and half of the cores."""
    shares.run("-nauto", "--claims-device=cuda", subjects=SUBJECTS).assert_outcomes(passed=6)
    share = threads(2, os.cpu_count() or 1)
    assert {line[2] for line in shares.log()} == {f"3|{share}", f"7|{share}"}
    spread = shares.report()["claims"]
    shares.run("-n0", "--claims-fresh", "--claims-device=cuda", subjects=SUBJECTS)
    assert shares.report()["claims"] == spread


def test_a_chosen_gpu_is_left_to_the_worker_as_it_is(shares: ClaimsProject) -> None:
    """Where the caller chose one GPU by its number, workers see the whole list that number counts in."""
    shares.run("-nauto", "--claims-device=cuda:1", subjects=SUBJECTS).assert_outcomes(passed=6)
    assert {line[2].split("|")[0] for line in shares.log()} == {"3,7"}


def test_who_replaces_a_dead_worker_takes_its_gpu(shares: ClaimsProject) -> None:
    """A worker that is killed is replaced by one with the same GPU, so that none has two and none is idle."""
    shares.want({"X01 planner": "die"})
    shares.run("-n1", "--claims-device=cuda", subjects=SUBJECTS).assert_outcomes(passed=5, failed=1)
    assert [line[2].split("|")[0] for line in shares.log() if line[0] == "load"] == ["3", "3"]


def test_each_machine_shares_out_its_own_gpus(shares: ClaimsProject) -> None:
    """Workers of two machines, named in turns, take the first and the second GPU on each of them."""
    proxy = f"id=far//execmodel=thread//popen//chdir={shares.path}"
    options = ["--dist=load", f"--px={proxy}", *(f"--tx={spec}" for spec in 2 * ["popen", "popen//via=far"])]
    shares.write("organisms/mine/subject.json", "{}")
    subjects = (*SUBJECTS, "planted-gemma2-latch", "organisms/mine")
    conftest = (shares.path / "conftest.py").read_text()
    shares.write("conftest.py", conftest.replace("|{os.env", "|{os.getppid()}|{os.env"))
    shares.run(*options, "--claims-device=cuda", subjects=subjects).assert_outcomes(passed=12)
    # Workers here are children of the run, those over there of the proxy.
    taken = {tuple(line[2].split("|")[:2]) for line in shares.log()}
    assert sorted(device for device, _ in taken) == ["3", "3", "7", "7"]
    assert len({parent for _, parent in taken}) == 2


@pytest.mark.parametrize(
    ("nodeid", "found"),
    [
        ("claims/test_q2.py::test_a_plan_is_held[X01-planted-llama-no-plan]", ("X01", "planted-llama-no-plan")),
        ("claims/test_q2.py::test_a_plan_is_held[B06a-my model]", ("B06a", "my model")),
        ("tests/test_table.py::test_width[asked-60]", None),
        ("tests/test_table.py::test_width", None),
    ],
)
def test_a_test_id_names_claim_and_subject(nodeid: str, found: tuple[str, str] | None) -> None:
    """The claim and the subject can be read off a claim test's id, and off no other test's."""
    assert claim_and_subject(nodeid) == found


@pytest.fixture
def far(project: ClaimsProject, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """What stands for another machine: an interpreter, a checkout and a server of their own; options and the folder.

    It does not have the folder of the run, as another machine would not.
    """
    folder = tmp_path_factory.mktemp("far")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    (site,) = folder.glob("venv/lib/python*/site-packages")
    (site / "packages.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n{ROOT}\n")
    shutil.copytree(project.path, folder / "checkout")
    conftest = folder / "checkout" / "conftest.py"
    conftest.write_text(
        conftest.read_text()
        + "\n\n@pytest.hookimpl(tryfirst=True)\ndef pytest_configure(config):\n"
        + '    config.workerinput["claims_run_folder"] = "/of/another/machine"\n'
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = "{}:{}".format(*free.getsockname())
    python = folder / "venv" / "bin" / "python"
    command = [python, "-u", "-m", "execnet.script.socketserver", address]
    with subprocess.Popen(command, cwd=folder, env={}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        assert server.stdout is not None
        server.stdout.readline()
        proxy = f"id=far//execmodel=thread//socket={address}//chdir={folder}/checkout"
        yield f"--px {proxy} --tx 2*popen//via=far//python={python}", folder
        server.kill()


def test_workers_on_another_machine(project: ClaimsProject, far: tuple[str, Path]) -> None:
    """Spread to an interpreter behind a socket, a run gives the verdicts of a run in one process and all it stores."""
    options, folder = far
    wanted = {"planner": "vacuous", "planted-llama-latch": "mapped"}
    for path in (project.path, folder / "checkout"):
        (path / "wanted.json").write_text(json.dumps(wanted))
    project.run("--claims-fresh", subjects=SUBJECTS)
    alone = project.report()
    chosen = [f"--claims-subject={subject}" for subject in SUBJECTS]
    # In a process of its own, since execnet shuts its sockets down but never closes them.
    result = project.run_apart("claims", *chosen, "--claims-compare", *options.split(), "--dist=load")
    spread = project.report()
    assert "6 rows compared: 0 verdicts and 0 values changed" in output_of(result)
    assert (spread["claims"], spread["subjects"]) == (alone["claims"], alone["subjects"])
    assert spread["run"]["complete"]
    latest = project.path / "reports" / "latest"
    assert {path.stem for path in (latest / "measurements").iterdir()} == {r["measurement"] for r in alone["claims"]}
    # Each far worker had a subject, and what they measured is kept where they are.
    log = [line.split() for line in (folder / "checkout" / "log.txt").read_text().splitlines()]
    assert len(log) == 4
    assert len({process for *_, process in log}) == 2
    assert len(list((folder / "checkout" / "reports").glob(f"{STORE}/*/*.json"))) == 6
