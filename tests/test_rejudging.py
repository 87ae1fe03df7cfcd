"""Stored measurements are judged again without weights, and only by what the ledger says now."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from prolepsis import cli, ledger
from prolepsis.commands.command import DIFFERENT, OK, USER_ERROR
from prolepsis.errors import UserError
from prolepsis.judge import judge_family
from prolepsis.ledger import Claim
from prolepsis.report.rejudging import judge_again
from prolepsis.report.rows import claim_row, plain
from prolepsis.subjects.source import SubjectSource
from prolepsis.watching import shown_by
from tests.claims_project import ClaimsProject
from tests.judging import make_claim, make_measurement, spread
from tests.seen import Seen


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored run of the paper against itself, by the project's own ledger."""
    root = tmp_path_factory.mktemp("reports")
    command = [sys.executable, "-m", "pytest", "claims", "-m", "arithmetic", "-q", "--claims-report", str(root)]
    subprocess.run(command, cwd=ledger.LEDGER.parent.parent, capture_output=True, check=False)
    return root / "latest"


def test_the_same_ledger_gives_the_same_verdicts(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every stored verdict comes out again, and nothing is said to have changed."""
    found = judge_again(run, ledger.rows())
    assert len(found) == len(ledger.rows(tier="arithmetic"))
    assert not any(one.changed for one in found)
    assert all(one.verdict.reason == one.row["reason"] for one in found)
    assert cli.main(["judge", str(run)]) == OK
    assert capsys.readouterr().out == f"{len(found)} verdicts judged again, 0 changed\n"


def test_judging_shows_its_families(run: Path) -> None:
    """Whoever watches sees how many of the families are judged."""
    seen = Seen()
    with shown_by(seen):
        judge_again(run, ledger.rows())
    assert seen.loops == [("families judged", len({claim.family for claim in ledger.rows(tier="arithmetic")}))]


def test_a_changed_row_of_the_report_is_printed(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A stored verdict that its measurement does not bear out is one line, and the exit code is 1."""
    copy = tmp_path / "copy"
    copy.mkdir()
    report = json.loads((run / "report.json").read_text())
    (row,) = (row for row in report["claims"] if row["id"] == "B05")
    row["verdict"] = "inconsistent"
    (copy / "report.json").write_text(json.dumps(report))
    (copy / "measurements").symlink_to((run / "measurements").resolve())
    assert cli.main(["judge", str(copy)]) == DIFFERENT
    assert "B05 published paper: was inconsistent, now supported: " in capsys.readouterr().out


def test_a_subjects_rows_are_judged_again_with_their_family(project: ClaimsProject) -> None:
    """Rows of one family and subject are judged together, as they were when they were measured; untested ones stay."""
    project.want({"X01 planner": "vacuous", "X02 improviser": "untested"})
    project.run()
    stored, claims = project.report()["claims"], ledger.load(project.path / "claims/ledger.toml")
    found = judge_again(project.path / "reports/latest", claims)
    assert sorted(one.verdict.verdict for one in found) == sorted(row["verdict"] for row in stored)
    assert {"supported", "vacuous", "untested"} == {row["verdict"] for row in stored}
    assert not any(one.changed for one in found)
    stricter = judge_again(project.path / "reports/latest", [replace(claim, theta0=100.0) for claim in claims])
    assert {one.verdict.verdict for one in stricter} == {"contradicted", "untested"}


@pytest.fixture
def partial(tmp_path: Path) -> tuple[Path, list[Claim], dict[tuple[str, str], str]]:
    """A run that measured a family of four and stored two of its rows, the ledger, and the verdicts it gave."""
    claims = [make_claim(id=f"X{i:02}") for i in range(4)]
    means = dict(zip((claim.key for claim in claims), (1.3, 1.54, 1.57, 9.0), strict=True))
    measured = {key: make_measurement(spread(mean, 14, 1.0), {"null": spread(-9, 14)}) for key, mean in means.items()}
    verdicts, source = judge_family(claims, measured), SubjectSource(id="planner", tier="organism")
    rows = [claim_row(claim, source, verdicts[claim.key], measured[claim.key], None) for claim in claims[1:3]]
    (tmp_path / "measurements").mkdir()
    for row in rows:
        text = measured[row["id"], row["variant"]].to_json()
        (tmp_path / "measurements" / f"{row['measurement']}.json").write_text(text)
    (tmp_path / "report.json").write_text(json.dumps(plain({"schema": 1, "claims": rows})))
    return tmp_path, claims, {key: verdict.verdict for key, verdict in verdicts.items()}


def test_rows_that_were_not_stored_still_share_the_level(
    partial: tuple[Path, list[Claim], dict[tuple[str, str], str]],
) -> None:
    """A selection of a family is judged again as it was within the whole, not as if there were nothing else."""
    run, claims, verdicts = partial
    found = judge_again(run, claims)
    assert (
        [one.verdict.verdict for one in found] == [verdicts[claim.key] for claim in claims[1:3]] == ["inconclusive"] * 2
    )
    assert all(one.verdict.measured == one.row["measured"] for one in found)
    alone = judge_again(run, claims[1:3])  # a ledger that has dropped the others
    assert {one.verdict.verdict for one in alone} == {"supported"}
    moved = [replace(claim, family="Q3") if claim.id in ("X00", "X03") else claim for claim in claims]
    assert {one.verdict.verdict for one in judge_again(run, moved)} == {"supported"}
    waived = [replace(claim, untested="no weights") if claim.id in ("X00", "X03") else claim for claim in claims]
    assert {one.verdict.verdict for one in judge_again(run, waived)} == {"supported"}


def test_a_run_that_kept_no_p_values_is_refused(
    partial: tuple[Path, list[Claim], dict[tuple[str, str], str]],
) -> None:
    """What an earlier version stored cannot be judged again as it was, and one line says so."""
    run, claims, _ = partial
    report = json.loads((run / "report.json").read_text())
    for row in report["claims"]:
        del row["p_values"]
    (run / "report.json").write_text(json.dumps(report))
    with pytest.raises(UserError, match="stored without the p-values that levels follow from; run the claims anew"):
        judge_again(run, claims)


def test_claims_that_are_none_any_more_are_left_out(run: Path) -> None:
    """A row whose claim the ledger has dropped is not judged, and the others are judged as before."""
    kept: list[Claim] = [claim for claim in ledger.rows() if claim.id != "B05"]
    assert "B05" not in {one.row["id"] for one in judge_again(run, kept)}


def test_what_cannot_be_judged_is_named(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder without a report, and a run without its measurements, are one line each."""
    assert cli.main(["judge", str(tmp_path)]) == USER_ERROR
    assert "no report can be read" in capsys.readouterr().err
    (tmp_path / "report.json").write_text((run / "report.json").read_text())
    with pytest.raises(UserError, match="no such measurement"):
        judge_again(tmp_path, ledger.rows())
