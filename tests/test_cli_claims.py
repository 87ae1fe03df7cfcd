"""``prolepsis claims``: what it lists, what it says of one claim, and what it refuses."""

import re
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prolepsis import cli, ledger
from prolepsis.commands.claims import EXPECTED, lines
from prolepsis.commands.command import OK
from prolepsis.report.pins import read_pins

ROWS = ledger.rows()
OF_EACH_SORT = {(row.family, row.kind, row.variant, row.untested, row.dtype): row for row in ROWS}.values()


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """The lines of a command that succeeds."""
    assert cli.main(["claims", *arguments]) == OK
    return capsys.readouterr().out.splitlines()


def test_a_list_has_one_line_for_each_row(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row of the ledger is one line, in its order, with id, variant, tiers, kind and family before its words."""
    monkeypatch.setenv("COLUMNS", "100")
    found = printed(capsys, "list")
    assert [line.split()[:2] for line in found] == [list(claim.key) for claim in ROWS]
    (line,) = (line for line in found if line.startswith("B06 "))
    assert re.match(r"B06  published org,arch,gpu +effect +q2 +Planning localises: ", line)


@given(width=st.integers(1, 300))
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """Whatever the width no line exceeds it, and from 30 columns on id and statement are there; a cut one says so."""
    found = lines(ROWS, width)
    assert len(found) == len(ROWS)
    assert all(len(line) <= width for line in found)
    if width >= 30:
        assert all(claim.id in line and claim.statement[:8] in line for line, claim in zip(found, ROWS, strict=True))
        assert all(line.endswith(("…", claim.statement)) for line, claim in zip(found, ROWS, strict=True))


def test_a_pipe_gets_whole_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the output is no terminal nothing is cut."""
    monkeypatch.delenv("COLUMNS", raising=False)
    script = "import sys; from prolepsis import cli; sys.exit(cli.main(['claims', 'list']))"
    output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert all(claim.statement in output for claim in ROWS)


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        (["--family", "q2"], lambda claim: claim.family == "q2"),
        (["--tier", "arithmetic"], lambda claim: "arithmetic" in claim.tiers),
        (["--variant", "asked", "--family", "q1"], lambda claim: claim.variant == "asked" and claim.family == "q1"),
        (["--source", "ARXIV"], lambda claim: "arXiv" in claim.source),
    ],
)
def test_a_list_can_be_narrowed(
    filters: list[str], kept: Callable[[ledger.Claim], bool], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each filter keeps the rows it names, and several keep those that all of them name."""
    expected = [claim.id for claim in ROWS if kept(claim)]
    assert expected
    assert [line.split()[0] for line in printed(capsys, "list", *filters)] == expected


def test_nothing_left_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Filters that no row meets together give one line, and no error."""
    assert printed(capsys, "list", "--family", "q2", "--tier", "arithmetic") == ["no claim is all of this"]


@pytest.mark.parametrize("claim", OF_EACH_SORT, ids=lambda claim: "-".join(claim.key))
def test_all_about_a_row_is_shown(
    claim: ledger.Claim, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row shows its words, figures with their places, controls, tiers, pinned verdicts, and the command for it."""
    monkeypatch.setenv("COLUMNS", "4000")
    found = printed(capsys, "show", claim.id, "--variant", claim.variant)
    text = "\n".join(found)
    assert found[:2] == [f"{claim.id} ({claim.variant}) · {claim.section}", claim.statement]
    for words in (
        claim.source,
        claim.experiment,
        claim.dtype or "",
        claim.untested,
        claim.tolerance_why,
        claim.population,
        claim.kind,
    ):
        assert words in text
    assert all(entry["where"] in text for entry in claim.published)
    assert all(entry["k"] is None or f"{entry['k']} of {entry['n']}" in text for entry in claim.published)
    assert all(f"{control.role}: {control.label}" in text for control in claim.controls)
    assert all(f"{tier}: " in text for tier in claim.tiers)
    pins = {key: pin for key, pin in read_pins(EXPECTED, {row.key for row in ROWS}).items() if key[:2] == claim.key}
    assert all(f"{key.subject} ({key.tier}) {pin.verdict}: {' '.join(pin.reason.split())}" in text
               for key, pin in pins.items())  # fmt: skip
    assert f"claim(id='{claim.id}', variant='{claim.variant}')" in found[-1]


def test_both_variants_are_shown_unless_one_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """An id alone shows each of its variants."""
    heads = [line for line in printed(capsys, "show", "A11") if line.startswith("A11 (")]
    assert heads == ["A11 (published) · §4", "A11 (asked) · §4"]


def test_the_command_shown_selects_that_claim_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """What `show` says to run collects the claim's tests and no others."""
    command = printed(capsys, "show", "B09")[-1].split(" -m ", 2)[2].strip('"')
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "claims", "-m", command, "--collect-only", "-q", "--no-header"],
        check=True, capture_output=True, text=True, cwd=ledger.LEDGER.parent.parent,
    ).stdout  # fmt: skip
    assert re.findall(r"\[(.+)\]", found) == ["B09-paper"]


def test_rows_that_disagree_name_each_other(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row of a dispute shows the question, its own answer, and the rows that answer otherwise."""
    monkeypatch.setenv("COLUMNS", "400")
    (line,) = (line for line in printed(capsys, "show", "X61") if line.startswith("disputed"))
    assert "need a transcoder? This row: no. Yes: " in line
    assert "A01 published" in line
    assert "Y01" not in line


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["show", "b6"], "no claim 'b6'; near it: B06"),
        (["show", "QQQ"], "no claim 'QQQ'; prolepsis claims list names them all"),
        (["show", "B06", "--variant", "asked"], "claim B06 has no variant asked; it is there as published"),
        (["list", "--family", "q9"], "no claim has family 'q9'; there are anchors, "),
        (["list", "--source", "nobody"], "no claim has source 'nobody'; there are Lindsey"),
        (["list", "--tier", "cloud"], "'cloud'"),
        (["lst"], "'lst'"),
        ([], "list|show"),
    ],
)
def test_a_wrong_question_is_one_line(arguments: list[str], named: str, refusal: Callable[..., str]) -> None:
    """What is not there is named with what is near it, in one line on stderr, and the exit code is 4."""
    assert named in refusal("claims", *arguments)


def test_neither_torch_nor_scipy_is_imported() -> None:
    """Listing and showing need no numerics, so they answer at once."""
    script = (
        "import sys; from prolepsis import cli\n"
        "cli.main(['claims', 'list']); cli.main(['claims', 'show', 'B06'])\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'scipy', 'pytest')))"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
