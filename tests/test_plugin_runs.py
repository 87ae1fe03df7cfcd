import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tests.claims_project import ROOT, ClaimsProject, environment_with_root, output_of

WORKERS = pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "n2"])
MIXED = {
    "improviser": "contradicted", "X02 planner": "vacuous", "X01 window-1": "inconclusive", "X02 window-1": "untested",
}  # fmt: skip
SUBJECTS = ("planner", "improviser", "window-1")
ROW_FIELDS = (
    "id variant subject tier section statement family verdict expected changed reason margin population agrees "
    "published measured controls reach p_values measurement protocol seconds figures"
)


@WORKERS
def test_every_outcome_follows_from_verdict_and_pin(project: ClaimsProject, workers: tuple[str, ...]) -> None:
    """Supported passes, a pinned verdict is an expected failure, an unpinned or changed one fails, with exit code 1."""
    project.want(MIXED)
    project.pin(improviser="contradicted", window_1="supported")
    result = project.run("-v", "-rA", *workers, subjects=SUBJECTS)
    result.assert_outcomes(passed=1, xfailed=3, failed=5)
    assert result.ret == 1
    text = output_of(result)
    assert "pinned supported, now inconclusive: 3 clusters" in text
    assert "vacuous, not pinned: twin gives as much" in text
    assert "untested: the corpus is missing, 3 GiB" in text
    assert "verdicts: 1 supported, 3 contradicted, 2 vacuous, 1 inconclusive, 2 untested" in text
    assert "changed since expected.toml: 1" in text
    assert text.index("short test summary info") < text.index("asked      X01") < text.index("verdicts: ")
    assert f"report: {project.path / 'reports' / '0001-'}" in text


def test_verdicts_are_the_same_with_and_without_workers(project: ClaimsProject) -> None:
    """A run on two workers gives the verdicts, pins and measurements of a run in one process."""
    project.want(MIXED)
    project.run(subjects=SUBJECTS)
    alone = project.report()["claims"]
    project.run("-n2", subjects=SUBJECTS)
    assert project.report()["claims"] == alone
    assert len(alone) == 9


@WORKERS
def test_no_subject_is_loaded_twice(project: ClaimsProject, workers: tuple[str, ...]) -> None:
    """Every subject is loaded once, by one worker, and each family is measured once on it; both workers take part."""
    subjects = (*SUBJECTS, "window-2", "window-relay", "planted-llama-latch", "planted-gemma2-latch")
    project.run(*workers, subjects=subjects)
    log = project.log()
    assert sorted(subject for what, subject, _ in log if what == "load") == sorted(subjects)
    assert sorted(subject for what, subject, _ in log if what == "measure") == sorted(subjects)
    assert len({process for _, _, process in log}) == (2 if workers else 1)


def test_a_verdict_does_not_depend_on_what_is_selected(project: ClaimsProject) -> None:
    """A single selected claim is measured and judged with its whole family: its row is that of the full run."""
    project.run().assert_outcomes(passed=6)
    full = {(r["id"], r["variant"], r["subject"]): r for r in project.report()["claims"]}
    result = project.run("-k", "X01 and planner")
    result.assert_outcomes(passed=1, deselected=5)
    (row,) = project.report()["claims"]
    assert row == full["X01", "asked", "planner"]
    # Three rows share an alpha of .05, and none of them is surer than the others.
    assert row["measured"]["sided"] == "one-sided 98.33 %"
    assert project.report()["run"]["complete"]


def test_the_report_keeps_its_contract(project: ClaimsProject) -> None:
    """report.json has the fields of schema 1 and no others, and each measurement is stored under the key it names."""
    project.want(MIXED)
    project.run(subjects=SUBJECTS)
    report = project.report()
    assert set(report) == {"schema", "run", "environment", "subjects", "claims"}
    assert report["schema"] == 1
    assert set(report["run"]) == {"id", "started", "seconds", "command", "complete"}
    assert report["run"]["complete"] is True
    assert {"python", "torch", "transformers", "device", "dtype"} <= set(report["environment"])
    assert set(report["subjects"][0]) == {
        "id", "model", "revision", "transcoder", "transcoder_revision", "layers", "heads", "d_model", "digest",
    }  # fmt: skip
    assert all(set(row) == set(ROW_FIELDS.split()) for row in report["claims"])
    folder = project.path / "reports" / "latest"
    assert folder.readlink() == Path(report["run"]["id"])
    stored = {row["measurement"] for row in report["claims"]} - {None}
    assert {path.stem for path in (folder / "measurements").iterdir()} == stored
    assert len(stored) == 7
    assert "values" in json.loads((folder / "measurements" / "X01-asked-planner.json").read_text())
    assert sorted(path.name for path in folder.iterdir()) == ["measurements", "report.html", "report.json", "report.md"]


def test_the_command_in_the_report_repeats_one_claim(project: ClaimsProject) -> None:
    """The Markdown report holds, for each claim and subject, a command that measures just that."""
    project.run("--claims-dtype=float64")
    text = (project.path / "reports" / "latest" / "report.md").read_text()
    (line,) = (line for line in text.splitlines() if "subject='improviser'" in line and "variant='published'" in line)
    command = line.split("`")[1]
    assert command.startswith("python -m pytest claims -m ")
    assert command.endswith("--claims-dtype float64")
    again = subprocess.run(
        command.replace("python", sys.executable, 1), shell=True, cwd=project.path, capture_output=True, check=False
    )
    assert b"1 passed, 5 deselected" in again.stdout
    assert list(project.verdicts()) == ["X02 published improviser"]


def test_what_raises_is_a_failure_even_if_pinned(project: ClaimsProject) -> None:
    """An exception in measuring fails every test it concerns, pinned or not; where all raise, no run is stored."""
    project.want({"planner": "error", "improviser": "fault"})
    project.pin(planner="contradicted", improviser="contradicted")
    result = project.run()
    result.assert_outcomes(failed=6)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*RuntimeError: a bug in measuring", "*HarnessFault: the sham arm moved"])
    result.stdout.fnmatch_lines(["planner * ERROR *", "verdicts: none"])
    assert list((project.path / "reports").iterdir()) == []
    assert [what for what, *_ in project.log()].count("measure") == 2


def test_a_test_that_fails_after_its_verdict_fails(project: ClaimsProject) -> None:
    """A claim test's own assertion is not swallowed by the pin of its verdict."""
    project.want({"X01 planner": "wrong"})
    result = project.run()
    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(["*AssertionError: the test itself is wrong*"])


def test_a_test_without_a_verdict_fails(project: ClaimsProject) -> None:
    """A claim test that never calls verify() fails rather than passes."""
    project.write("claims/test_toy.py", (project.path / "claims/test_toy.py").read_text().replace("verify()", "pass"))
    project.run().assert_outcomes(failed=6)


@pytest.mark.parametrize(
    ("mark", "what"),
    [
        ('"X09", family="toy", variant="asked"', "the ledger has no such claim"),
        ('family="other", variant="asked"', "the ledger has no such claim"),
        ('family="toy"', "write @pytest.mark.claims"),
    ],
)
def test_a_mark_that_names_no_claim_is_refused(project: ClaimsProject, mark: str, what: str) -> None:
    """A claim test whose mark matches nothing in the ledger is a collection error, not an empty test."""
    text = (project.path / "claims/test_toy.py").read_text()
    project.write("claims/test_toy.py", text.replace('family="toy", variant="asked"', mark))
    result = project.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*{what}*"])


def test_ids_in_the_mark_narrow_the_function_down(project: ClaimsProject) -> None:
    """A function marked with ids stands for just those rows."""
    text = (project.path / "claims/test_toy.py").read_text()
    project.write("claims/test_toy.py", text.replace("claims(", 'claims("X02", '))
    project.run()
    assert {key.split()[0] for key in project.verdicts()} == {"X02"}


def run_with_room(project: ClaimsProject, size: int, *args: str) -> "subprocess.CompletedProcess[str]":
    """A run in which no file may grow beyond ``size`` bytes."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))"
    return subprocess.run(
        [sys.executable, "-c", f"{limit}; import pytest; raise SystemExit(pytest.main())", "claims", *args],
        cwd=project.path,
        env=os.environ | {"PYTHONPATH": environment_with_root()},
        capture_output=True,
        text=True,
        check=False,
    )


@WORKERS
def test_verdicts_are_shown_where_there_is_no_room_for_the_report(
    project: ClaimsProject, workers: tuple[str, ...]
) -> None:
    """A disk that is full once measuring has begun costs no verdict of the table; one line says so, with code 4."""
    project.want({"planner": "mapped"})
    done = run_with_room(project, 1500, "--claims-subject=planner", *workers)
    assert done.returncode == 4
    assert "verdicts: 3 supported" in done.stdout
    assert done.stdout.count("reports: no room to write (File too large); free some, or write elsewhere") == 1
    assert "Error" not in done.stdout + done.stderr
    assert not (project.path / "reports" / "latest").exists()


def test_nothing_is_measured_where_there_is_no_room_for_a_report(project: ClaimsProject) -> None:
    """A disk that is full beforehand ends the run before anything is measured, in one line and with code 4."""
    done = run_with_room(project, 100, "--claims-subject=planner")
    assert done.returncode == 4
    said = done.stdout + done.stderr
    assert said.count("reports: no room to write (File too large); free some, or write elsewhere") == 1
    assert "Traceback" not in said
    assert not project.log()


@WORKERS
def test_a_broken_subject_is_the_users_error(project: ClaimsProject, workers: tuple[str, ...]) -> None:
    """A subject that cannot be used ends the run with code 4 and one line, and the others are still measured."""
    project.want({"load planner": "broken"})
    result = project.run(*workers)
    assert result.ret == 4
    text = output_of(result)
    assert text.count("planner: config.json is broken; write it again") == 1
    assert "Traceback" not in text
    assert "Error" not in text
    assert {key.split()[2] for key in project.verdicts()} == {"improviser"}
    assert project.report()["run"]["complete"] is False


@pytest.mark.parametrize("moment", ["die", "die late"])
def test_a_killed_worker_loses_only_its_test(project: ClaimsProject, moment: str) -> None:
    """A test that kills its worker fails, what it recorded before is kept, and all other tests get their verdicts."""
    project.want({"X02 planner": moment})
    result = project.run("-n2")
    assert result.ret == 1
    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(["*crashed while running*X02-planner*"])
    assert len(project.report()["claims"]) == (6 if moment == "die late" else 5)
    assert ("X02 asked planner" in project.verdicts()) == (moment == "die late")
    assert project.report()["run"]["complete"] is False


def run_until_it_hangs(
    project: ClaimsProject,
    *options: str,
    hanging: tuple[str, ...] = ("X02 planner", "X01 improviser"),
    begun: str = "reports/*/measurements/X01-asked-planner.json",
) -> subprocess.Popen[bytes]:
    """A run that hangs for a while in some tests, once the file ``begun`` is there: the first verdict's."""
    project.want(dict.fromkeys(hanging, "hang"))
    command = [sys.executable, "-m", "pytest", "claims", "--claims-subject=planner", "--claims-subject=improviser"]
    # Where the tests themselves run in the background, Ctrl-C is ignored, and what they start would inherit that.
    restored = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    run = subprocess.Popen(
        [*command, *options],
        cwd=project.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=restored,  # noqa: PLW1509 — the child does nothing else before it becomes pytest
    )
    deadline = time.monotonic() + 60
    while not list(project.path.glob(begun)) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    return run


@WORKERS
def test_ctrl_c_leaves_a_valid_partial_report(project: ClaimsProject, workers: tuple[str, ...]) -> None:
    """Interrupted while measuring, a run ends with code 2 and reports what it had, marked as incomplete."""
    run = run_until_it_hangs(project, *workers)
    run.send_signal(signal.SIGINT)
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 2, output.decode()
    assert list(project.verdicts()) == ["X01 asked planner"]
    assert project.report()["run"]["complete"] is False
    assert b"verdicts: 1 supported" in output


def test_a_killed_run_leaves_a_valid_partial_report(project: ClaimsProject) -> None:
    """Killed without warning, a run leaves a report of what it had, marked as incomplete."""
    run = run_until_it_hangs(project)
    run.kill()
    run.communicate(timeout=60)
    (path,) = project.path.glob("reports/0001-*/report.json")
    report = json.loads(path.read_text())
    assert [row["id"] for row in report["claims"]] == ["X01"]
    assert report["run"]["complete"] is False


def test_a_stop_at_the_first_failure_is_incomplete(project: ClaimsProject) -> None:
    """A run that ``-x`` cuts short reports what it measured, marked as incomplete."""
    project.want({"X02": "vacuous", "X02 planner": "vacuous"})
    assert project.run("-x").ret == 1
    assert project.report()["run"]["complete"] is False
    assert len(project.report()["claims"]) == 2


@pytest.mark.parametrize("mistake", [("-k", "X01 and"), ("-m", "nosuchmark"), ("-k", "nothing")])
def test_a_run_without_a_record_leaves_no_trace(project: ClaimsProject, mistake: tuple[str, str]) -> None:
    """A mistyped selection leaves no run behind, so that the latest one stays what it was."""
    project.run()
    stored = sorted(path.name for path in (project.path / "reports").iterdir())
    result = project.run(*mistake)
    assert result.ret != 0
    assert "report: " not in output_of(result)
    assert sorted(path.name for path in (project.path / "reports").iterdir()) == stored


@WORKERS
def test_a_run_interrupted_before_its_first_record_leaves_no_trace(
    project: ClaimsProject, workers: tuple[str, ...]
) -> None:
    """Interrupted while the first claim is measured, a run ends with code 2 and stores nothing."""
    run = run_until_it_hangs(
        project, *workers, hanging=("X01 planner", "X01 improviser"), begun="reports/0001-*/report.json"
    )
    run.send_signal(signal.SIGINT)
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 2, output.decode()
    assert [path.name for path in (project.path / "reports").iterdir() if not path.name.startswith(".")] == []


def test_other_tests_write_no_report(project: ClaimsProject) -> None:
    """Runs without claims, and runs that only collect, leave nothing in the reports folder."""
    project.write("tests/test_other.py", "def test_other(): pass\n")
    project.pytester.runpytest_inprocess("tests").assert_outcomes(passed=1)
    project.run("--collect-only")
    assert not (project.path / "reports").exists()
    result = project.pytester.runpytest_inprocess(".", "-k", "test_other")
    result.assert_outcomes(passed=1, deselected=len(result.reprec.getcalls("pytest_deselected")[0].items))
    assert list((project.path / "reports").iterdir()) == []


def test_a_pin_file_that_is_broken_stops_the_run(project: ClaimsProject) -> None:
    """A defect in the pins ends the run with code 4 and file and line, before anything is measured."""
    project.write("claims/expected.toml", "[[expected]]\nclaim = 3\n")
    result = project.run()
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"ERROR: {project.path}/claims/expected.toml:1: claim is missing or not a text"])
    assert project.log() == []


def test_collection_and_plugin_need_no_torch(project: ClaimsProject) -> None:
    """A whole run of stubbed claims, reports and all, imports neither torch nor transformers."""
    project.write(
        "check.py",
        "import sys\n\ndef pytest_unconfigure():\n"
        "    print('LOADED', [name for name in ('torch', 'transformers', 'scipy') if name in sys.modules])\n",
    )
    result = project.run_apart("claims", "-p", "check", "--claims-subject=planner", "--collect-only")
    result.stdout.fnmatch_lines(["*test_as_published?X02-planner?*", "LOADED []"])
    result = project.run_apart("claims", "-p", "check", "--claims-subject=planner")
    result.stdout.fnmatch_lines(["*3 passed*"])
    assert "'torch'" not in result.stdout.str()
    assert "'transformers'" not in result.stdout.str()


def test_the_plugin_does_without_xdist(project: ClaimsProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no other plugin is loaded, xdist included, claims run all the same."""
    project.run("-p", "no:xdist").assert_outcomes(passed=6)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    project.run_apart("claims", "--claims-subject=planner").assert_outcomes(passed=3)


def test_collecting_the_papers_claims_needs_no_torch() -> None:
    """Collecting the project's own claims, and even the options they run under, imports no torch."""
    code = (
        "import sys, pytest; code = pytest.main(['claims', '--collect-only', '-q', '-p', 'no:cacheprovider']); "
        "print('LOADED', sorted({'torch', 'transformers', 'scipy'} & set(sys.modules))); sys.exit(code)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "test_a_plan_is_held[X01-planner]" in result.stdout
    assert result.stdout.endswith("LOADED []\n")


@WORKERS
def test_what_a_measurement_notes_is_said_once_at_the_end(project: ClaimsProject, workers: tuple[str, ...]) -> None:
    """A note reaches the reader from whichever process it was made in, and the same one is said once."""
    conftest = (project.path / "conftest.py").read_text()
    begins = "    def measure(claims, subject):\n"
    assert begins in conftest
    noted = begins + "        from prolepsis.notes import note\n        note('batches are halved')\n"
    project.write("conftest.py", conftest.replace(begins, noted))
    result = project.run(*workers)
    assert output_of(result).count("\nbatches are halved") == 1
