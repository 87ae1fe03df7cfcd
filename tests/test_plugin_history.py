"""The history of stored runs: what makes a line of its own, what is passed over, and how it is shown."""

import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prolepsis.cli import main
from prolepsis.report.history import DIGESTS, read_history
from prolepsis.report.history_page import drawn_claims
from prolepsis.report.history_table import of_claim, overview
from prolepsis.report.table import VERDICT_LETTERS
from prolepsis.watching import shown_by
from tests.claims_project import ROOT, ClaimsProject
from tests.seen import Seen

NUMBERS = st.floats(-1e6, 1e6)


def stored(root: Path, number: int, *, digest: str = "d", dtype: str = "float32", **fields: Any) -> Path:
    """Store a run of one row, as far as the history looks at it; ``fields`` are those of the row, or ``value``."""
    measured = {"value": fields.pop("value", 1.0), "unit": "nats", "ci": fields.pop("ci", [0.5, 1.5])}
    row = {
        "id": "X01", "variant": "asked", "subject": "planner", "tier": "organism", "verdict": "supported",
        "protocol": "p", "measured": measured, **fields,
    }  # fmt: skip
    subject = {"model": "planner", "revision": None, "transcoder": None, "transcoder_revision": None, "digest": digest}
    subjects = [{"id": name, **subject} for name in dict.fromkeys(["planner", row["subject"]])]
    folder = root / f"{number:04d}-20260101T000000Z"
    folder.mkdir(parents=True, exist_ok=True)
    report = {
        "schema": 1,
        "run": {"id": folder.name, "started": f"2026-01-01T00:00:{number:02d}+00:00", "complete": True},
        "environment": {"dtype": dtype, "device": "cpu", "torch": "2", "transformers": "5", "machine": "Linux"},
        "subjects": subjects,
        "claims": [row],
    }
    (folder / "report.json").write_text(json.dumps(report))
    return folder


def text_of(lines: list[list[Any]]) -> list[str]:
    """The lines of a table without their colours."""
    return ["".join(piece.text for piece in line).rstrip() for line in lines]


@pytest.mark.parametrize(
    "other", [{"digest": "e"}, {"dtype": "bfloat16"}, {"protocol": "q"}, {"subject": "improviser"}, {"tier": "gpu"}]
)
def test_what_was_measured_otherwise_is_another_line(tmp_path: Path, other: dict[str, str]) -> None:
    """Other weights, dtype, protocol, subject or tier begin a line; the next run of the same goes on with its own."""
    stored(tmp_path, 1)
    stored(tmp_path, 2, **other)
    stored(tmp_path, 3)
    history = read_history(tmp_path)
    assert [sorted(line.cells) for line in history.lines] == [[0, 2], [1]]


@settings(max_examples=60)
@given(
    runs=st.lists(st.tuples(st.sampled_from(["X01", "X02"]), st.sampled_from([1.0, 2.0]), st.booleans()), min_size=1)
)
def test_every_run_keeps_what_came_out_in_it(
    runs: list[tuple[str, float, bool]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """However runs repeat each other, each line has the verdict and value of exactly the runs that asked for it."""
    root = tmp_path_factory.mktemp("runs")
    for number, (name, value, sure) in enumerate(runs, start=1):
        stored(root, number, id=name, value=value, verdict="supported" if sure else "inconclusive", ci=None)
    found = {line.claim: line for line in read_history(root).lines}
    assert {(run, name, cell) for name, line in found.items() for run, cell in line.cells.items()} == {
        (run, name, ("supported" if sure else "inconclusive", value, None, None))
        for run, (name, value, sure) in enumerate(runs)
    }
    for name, line in found.items():
        came = [(run, sure) for run, (asked, _, sure) in enumerate(runs) if asked == name]
        assert line.first == came[0][0]
        assert line.changes == {now for (_, before), (now, after) in pairwise(came) if before != after}


def test_machines_and_times_make_no_difference(tmp_path: Path) -> None:
    """Runs of the same on other machines, devices and library versions are one line."""
    stored(tmp_path, 1)
    path = stored(tmp_path, 2) / "report.json"
    path.write_text(path.read_text().replace('"cpu"', '"cuda"').replace('"Linux"', '"Darwin"').replace('"2"', '"3"'))
    (line,) = read_history(tmp_path).lines
    assert list(line.cells) == [0, 1]


def test_runs_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """Run 10000 comes after 9999, though not by its name."""
    for number in (10_000, 9_999, 2):
        stored(tmp_path, number)
    assert [run.id.split("-")[0] for run in read_history(tmp_path).runs] == ["0002", "9999", "10000"]


BROKEN = {
    "empty": lambda path: path.unlink(),
    "cut short": lambda path: path.write_text(path.read_text()[:-9]),
    "another schema": lambda path: path.write_text(path.read_text().replace('"schema": 1', '"schema": 2')),
    "a row without its verdict": lambda path: path.write_text(path.read_text().replace('"verdict"', '"word"')),
    "an unknown verdict": lambda path: path.write_text(path.read_text().replace('"supported"', '"<b>fine</b>"')),
    "a list": lambda path: path.write_text("[]"),
    "not text": lambda path: path.write_bytes(b"\xff\xfe"),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_damaged_folders_are_named_and_passed_over(tmp_path: Path, damage: str) -> None:
    """A folder without a report that can be read is one line, and the runs beside it are shown all the same."""
    stored(tmp_path, 1)
    BROKEN[damage](stored(tmp_path, 2) / "report.json")
    (tmp_path / "notes").mkdir()
    history = read_history(tmp_path)
    assert [run.id[:4] for run in history.runs] == ["0001"]
    assert len(history.passed_over) == 2
    assert all("\n" not in line for line in history.passed_over)
    assert "0002-20260101T000000Z" in history.passed_over[0]
    assert "notes" in history.passed_over[1]


def test_nothing_stored_is_the_users_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that is none, one without runs, and a claim that no run has are one line each, with exit code 4."""
    assert main(["history", "--report", str(tmp_path / "none")]) == 4
    assert main(["history", "--report", str(tmp_path)]) == 4
    stored(tmp_path, 1)
    assert main(["history", "X09", "--report", str(tmp_path)]) == 4
    first, second, third = capsys.readouterr().err.splitlines()
    assert "no folder of stored runs" in first
    assert "no stored run there" in second
    assert "no stored run has a claim 'X09'" in third


def test_what_is_kept_follows_the_report(tmp_path: Path) -> None:
    """A report written again is read again, one that was not is not, and what is kept may be deleted or broken."""
    path = stored(tmp_path, 1, value=1.0) / "report.json"
    (before,) = read_history(tmp_path).lines
    kept = tmp_path / DIGESTS / f"{path.parent.name}.json"
    stored(tmp_path, 1, value=22.0)
    (after,) = read_history(tmp_path).lines
    assert (before.cells[0].value, after.cells[0].value) == (1.0, 22.0)
    whole = kept.read_text()
    for damaged in (whole[:50], "{}", whole.replace('"verdicts":"s"', '"verdicts":"?"'), whole.replace("22.0", "23.0")):
        assert damaged != whole
        kept.write_text(damaged)
        assert read_history(tmp_path).lines[0].cells == after.cells
    for damage in (kept.unlink, lambda: kept.write_bytes(b"\xff\xfe")):
        damage()
        assert read_history(tmp_path).lines[0].cells == after.cells
    as_read = path.stat()
    path.write_text("x" * as_read.st_size)
    os.utime(path, ns=(as_read.st_atime_ns, as_read.st_mtime_ns))
    assert read_history(tmp_path).lines[0].cells == after.cells


def test_reading_shows_how_far_it_is(tmp_path: Path) -> None:
    """Whoever watches sees how many of the runs are read."""
    for number in (1, 2, 3):
        stored(tmp_path, number)
    seen = Seen()
    with shown_by(seen):
        read_history(tmp_path)
    assert seen.loops == [("runs read", 3)]


def test_reports_that_cannot_be_written_to_are_read(tmp_path: Path) -> None:
    """Where nothing can be kept beside the reports, the history is shown all the same."""
    stored(tmp_path, 1)
    (tmp_path / DIGESTS).write_text("in the way")
    assert len(read_history(tmp_path).lines) == 1


def test_a_run_is_kept_when_it_ends(project: ClaimsProject) -> None:
    """A finished run has left what its history needs, and that is what would be made from its report."""
    project.want({"planner": "vacuous"})
    project.run()
    kept = project.path / "reports" / DIGESTS
    (path,) = kept.iterdir()
    left = path.read_text()
    history = read_history(project.path / "reports")
    shutil.rmtree(kept)
    assert read_history(project.path / "reports") == history
    assert path.read_text() == left
    assert {line.cells[0].verdict for line in history.lines} == {"vacuous", "supported"}


def test_the_overview_counts_verdicts_and_marks_changes(tmp_path: Path) -> None:
    """A line per claim, a column per run: how many subjects got which verdict, what changed, what is new."""
    stored(tmp_path, 1)
    stored(tmp_path, 2, verdict="vacuous")
    stored(tmp_path, 3, verdict="vacuous")
    stored(tmp_path, 4, digest="e", verdict="vacuous")
    table = text_of(overview(read_history(tmp_path), 80))
    assert table[0].split() == ["0001", "0002", "0003", "0004"]
    assert table[1].split() == ["X01", "asked", "1s", "1v!", "1v", "1v~"]


def test_one_claim_is_shown_with_its_values(tmp_path: Path) -> None:
    """A line per version of a subject, with verdict and value in each run that measured it."""
    stored(tmp_path, 1)
    stored(tmp_path, 2, verdict="contradicted", value=-0.25)
    stored(tmp_path, 3, digest="e", measured=None, verdict="untested", protocol=None)
    table = text_of(of_claim(read_history(tmp_path).of_claim("X01"), 100))
    assert [" ".join(line.split()) for line in table[1:3]] == [
        "planner asked [1] supp 1 cont -0.25! ·",
        "planner asked [2] · · unte~",
    ]
    assert any(line.startswith("supp supported, cont contradicted, unte untested; ! ") for line in table)
    assert "planner asked [1]: organism, d float32, protocol p" in table
    assert "planner asked [2]: organism, e float32" in table


@settings(max_examples=30)
@given(width=st.integers(40, 200), runs=st.integers(1, 12))
def test_no_line_is_wider_than_the_terminal(width: int, runs: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever the width, the newest run is shown, earlier ones as far as they fit, and the rest is counted."""
    root = tmp_path_factory.mktemp("reports")
    for number in range(1, runs + 1):
        stored(root, number, value=number / 7, subject="a subject with rather a long name")
    history = read_history(root)
    for table in (overview(history, width), of_claim(history, width)):
        lines = text_of(table)
        assert max(map(len, lines)) <= width
        shown = [int(number) for number in lines[0].split()]
        assert shown == list(range(runs - len(shown) + 1, runs + 1))
        told = " ".join(lines)
        assert (f"no room here: {runs - len(shown)};" in told) == (len(shown) < runs)


def page(root: Path, file: Path, *claim: str) -> str:
    """The page of these runs."""
    assert main(["history", *claim, "--report", str(root), "--html", str(file)]) == 0
    return file.read_text()


def test_the_page_stands_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page asks for nothing from elsewhere, every link in it resolves, and foreign names are text, not markup."""
    stored(tmp_path / "runs", 1)
    stored(tmp_path / "runs", 2, id="X<02>", unit="nats", subject="<script>alert(1)</script>", verdict="vacuous")
    (tmp_path / "runs" / "<b>").mkdir()
    text = page(tmp_path / "runs", tmp_path / "h.html")
    assert f"page: {tmp_path / 'h.html'}" in capsys.readouterr().out
    assert not re.findall(r"(?:src|href)=\"(?!#)|url\(|@import|https?://", text)
    anchors = set(re.findall(r' id="([^"]+)"', text))
    assert set(re.findall(r'href="#([^"]+)"', text)) <= anchors
    assert text.count("<script>") == 1
    assert "<b>" not in text
    assert "prefers-color-scheme: dark" in text


@settings(max_examples=40)
@given(
    cells=st.lists(
        st.none() | st.tuples(st.sampled_from(sorted(VERDICT_LETTERS)), st.none() | NUMBERS, NUMBERS),
        min_size=1,
        max_size=8,
    ).filter(lambda cells: cells[-1] is not None)
)
def test_the_page_draws_every_run(
    cells: list[tuple[str, float | None, float] | None], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Boxes cover the runs with their verdicts and no others, in order; values and intervals stay inside."""
    root = tmp_path_factory.mktemp("runs")
    for number, cell in enumerate(cells, start=1):
        verdict, value, half = cell or ("supported", None, 0.0)
        ci = None if value is None else [value - abs(half), value + abs(half)]
        stored(root, number, verdict=verdict, value=value, ci=ci, id="X01" if cell else "X02")
    (claim,) = drawn_claims(read_history(root).of_claim("X01"), {})
    (line,) = claim.lines
    strip, traces = ET.fromstring(line["strip"]), [ET.fromstring(text) for text in [line["trace"]] if text]
    step = float(strip.get("width", 0)) / len(cells)
    drawn = {}
    for box in strip.findall("rect"):
        start, width = (float(box.get(name, 0)) / step for name in ("x", "width"))
        drawn |= dict.fromkeys(range(round(start), round(start + width + 1 / step)), box.get("class"))
    assert drawn == {run: cell[0] for run, cell in enumerate(cells) if cell}
    assert bool(traces) == any(cell and cell[1] is not None for cell in cells)
    for trace in traces:
        for shape in trace:
            for point in shape.get("points", "").split():
                x, y = map(float, point.split(","))
                assert 0 <= x <= float(trace.get("width", 0))
                assert 0 <= y <= float(trace.get("height", 0))


def test_a_page_that_cannot_be_written_is_the_users_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A page in a folder that is not there is one line, with exit code 4."""
    stored(tmp_path, 1)
    assert main(["history", "--report", str(tmp_path), "--html", str(tmp_path / "no" / "h.html")]) == 4
    assert "no page can be written there" in capsys.readouterr().err


def test_history_and_compare_import_no_torch(tmp_path: Path) -> None:
    """Reading, showing and drawing the history, and comparing counts, import neither torch nor scipy."""
    for number in (1, 2):
        counted = {"value": 0.5 / number, "unit": "nats", "k": 10 // number, "n": 20, "ci": [0, 1]}
        stored(tmp_path, number, measured=counted)
    first, second = (str(path) for path in sorted(tmp_path.glob("000*")))
    code = (
        "import sys\nfrom prolepsis.cli import main\n"
        f"codes = [main(['history', '--report', {str(tmp_path)!r}, '--html', {str(tmp_path / 'h.html')!r}]),\n"
        f"         main(['compare', {first!r}, {second!r}])]\n"
        "assert codes == [0, 0], codes\n"
        "assert not {'torch', 'transformers', 'scipy', 'matplotlib'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "value: X01 asked planner organism: 0.5 → 0.25 nats" in done.stdout
