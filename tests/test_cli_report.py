"""``prolepsis report`` writes the pages of a stored run anew, from what lies in its folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from prolepsis import cli
from prolepsis.commands.command import OK, USER_ERROR
from tests.claims_project import ClaimsProject, environment_with_root
from tests.report_pages import stored_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A stored run without pages, and with one measurement that holds a figure."""
    folder = tmp_path / "0001-20260101T000000Z"
    (folder / "measurements").mkdir(parents=True)
    report = stored_run(folder)
    figured = {
        "detail": {"rhymes": [-4.0, 3.0], "another_line": [-4.0, -6.0], "mid_line": [-6.0, -7.0]},
        "parameters": {},
    }
    name = next(row["measurement"] for row in report["claims"] if row["id"] == "X02")
    (folder / "measurements" / f"{name}.json").write_text(json.dumps(figured))
    (folder / "report.json").write_text(json.dumps(report))
    return folder


def test_pages_are_written_from_what_is_stored(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both pages are there, figures are those of the stored measurements, and the stored report is as it was."""
    before = (run / "report.json").read_bytes()
    assert cli.main(["report", str(run)]) == OK
    assert capsys.readouterr().out == f"report: {run / 'report.html'}\n"
    assert [path.name for path in (run / "figures").iterdir()] == ["logit-lens-planner.svg"]
    assert "Logit lens: planner" in (run / "report.html").read_text()
    assert "figures/logit-lens-planner.svg" in (run / "report.md").read_text()
    assert (run / "report.json").read_bytes() == before


def test_the_same_run_gives_the_same_page(run: Path) -> None:
    """A page written twice is the same to the byte."""
    pages = []
    for _ in range(2):
        cli.main(["report", str(run)])
        pages.append((run / "report.html").read_bytes())
    assert pages[0] == pages[1]


def test_what_is_no_run_is_named(tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder without a report, a file in the place of a folder, and a damaged measurement are one line each."""
    assert cli.main(["report", str(tmp_path)]) == USER_ERROR
    assert "no report can be read" in capsys.readouterr().err
    assert cli.main(["report", str(run / "report.json")]) == USER_ERROR
    assert "name the run's folder" in capsys.readouterr().err
    (damaged,) = (run / "measurements").iterdir()
    damaged.write_text("{")
    assert cli.main(["report", str(run)]) == USER_ERROR
    assert damaged.name in capsys.readouterr().err


def test_a_browser_is_opened_on_the_page_when_asked(run: Path, tmp_path: Path) -> None:
    """``--open`` hands the page's address to the browser; no torch is imported on the way."""
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path / "opened"}\n')
    browser.chmod(0o755)
    code = "import sys; from prolepsis.cli import main; sys.exit(main(sys.argv[1:]) or 'torch' in sys.modules)"
    environment = {**os.environ, "BROWSER": str(browser), "PYTHONPATH": environment_with_root()}
    subprocess.run([sys.executable, "-c", code, "report", str(run), "--open"], env=environment, check=True)
    assert (tmp_path / "opened").read_text().strip() == (run / "report.html").resolve().as_uri()


def test_every_run_ends_with_a_page(project: ClaimsProject) -> None:
    """A run writes the page beside its report, with its figures and its verdicts."""
    project.want({"X01 planner": "mapped"})
    project.run()
    page = (project.path / "reports" / "latest" / "report.html").read_text()
    assert 'id="X01-a-planner"' in page
    assert "Where is the plan before it is spoken? planner" in page
