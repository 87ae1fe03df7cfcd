"""Runs held against each other, and runs put together from parts."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prolepsis import ledger
from prolepsis.cli import main
from prolepsis.errors import UserError
from prolepsis.report.comparison import Failure, compare
from tests.claims_project import ClaimsProject, output_of

WORKERS = pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "n2"])


def row(value: float, ci: tuple[float, float], **fields: Any) -> dict[str, Any]:
    """A report row as far as comparing looks at it."""
    measured = {"value": value, "unit": "nats", "k": None, "n": None, "ci": list(ci)}
    return {
        "id": "X01", "variant": "asked", "subject": "planner", "tier": "organism", "verdict": "supported",
        "reason": "because", "protocol": "p", "measured": measured, **fields,
    }  # fmt: skip


def report(*rows: dict[str, Any], digest: str = "d", dtype: str = "float32") -> dict[str, Any]:
    """A report of these rows on one subject."""
    return {
        "schema": 1,
        "environment": {"dtype": dtype},
        "subjects": [{"id": "planner", "digest": digest}],
        "claims": list(rows),
    }


def counted(k: int, n: int) -> dict[str, Any]:
    """A row that measured ``k`` of ``n``."""
    found = row(k / n, (0, 1))
    found["measured"] |= {"k": k, "n": n}
    return found


def test_equal_reports_differ_in_nothing() -> None:
    """A run compared with itself, or with one that differs by rounding alone, has no differences."""
    again = row(1.0 + 1e-7, (0.5, 1.5))
    assert compare(report(row(1.0, (0.5, 1.5))), report(again)).differences == ()


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (row(1.0, (0.5, 1.5)), row(1.2, (0.7, 1.7)), "value"),
        (row(1.0, (0.5, 1.5)), row(2.0, (1.7, 2.3)), "interval"),
        (row(1.0, (0.5, 2.5)), row(2.0, (1.7, 2.3)), "value"),
        (counted(3, 10), counted(4, 10), "value"),
        (counted(1, 40), counted(39, 40), "interval"),
        (row(1.0, (0.5, 1.5)), row(1.0, (0.5, 1.5), verdict="vacuous"), "verdict"),
    ],
)
def test_the_gravest_difference_is_named(first: dict[str, Any], second: dict[str, Any], kind: str) -> None:
    """A verdict that changed, a value outside both intervals (counts: by an exact test), or a value inside them."""
    (difference,) = compare(report(first), report(second)).differences
    assert difference.kind == kind


OTHER = "other weights, task or transcoder under the same name"
SEE = "`prolepsis history` shows what came out on each"


def test_what_was_measured_otherwise_is_set_apart() -> None:
    """Another protocol, another subject of the same name or another dtype is listed with both sides, not compared."""
    before, after = row(1.0, (0.5, 1.5)), row(9.0, (8, 10), verdict="contradicted")
    other = copy.deepcopy(after) | {"protocol": "q"}
    for second, why in (
        (report(other), "protocol p and q"),
        (report(after, digest="e" * 16), f"{OTHER} (d and {'e' * 8}); {SEE}"),
        (report(after, dtype="bfloat16"), "dtype float32 and bfloat16"),
    ):
        found = compare(report(before), second)
        assert (found.compared, found.differences, list(found.apart.values())) == (0, (), [why])
        assert found.failed(Failure.parse("verdict"))
        assert found.lines()[-1] == "nothing compared: no row of the two runs measured the same; name another run"


def test_rows_of_one_run_only_are_listed() -> None:
    """A row that only one of the runs has is named as such."""
    found = compare(report(row(1.0, (0, 2))), report(row(1.0, (0, 2), subject="improviser")))
    assert [key.subject for key in (*found.only_first, *found.only_second)] == ["planner", "improviser"]


@pytest.mark.parametrize(
    ("kind", "fails"), [("verdict", False), ("interval", False), ("value:5%", True), ("value:50%", False)]
)
def test_a_comparison_fails_by_the_kind_that_is_asked(kind: str, fails: bool) -> None:
    """A value that moved by a sixth inside its interval fails value:5% and nothing laxer."""
    found = compare(report(row(1.0, (0.5, 1.5))), report(row(1.2, (0.7, 1.7))))
    assert found.failed(Failure.parse(kind)) == fails


@pytest.mark.parametrize(
    ("tolerance", "second", "fails"),
    [
        (0.3, row(1.2, (1.1, 1.3)), False),
        (0.1, row(1.2, (1.1, 1.3)), True),
        (0.1, row(1.2, (0.5, 1.7)), True),
        (None, row(1.2, (1.1, 1.3)), True),
        (None, row(1.2, (0.5, 1.7)), False),
        (0.3, row(1.0, (0.9, 1.1), verdict="vacuous"), True),
    ],
)
def test_each_claim_has_its_own_tolerance(
    project: ClaimsProject, tolerance: float | None, second: dict[str, Any], fails: bool
) -> None:
    """A value fails beyond the ledger's tolerance of its claim, whatever its interval; without one by the interval."""
    claims = [replace(claim, tolerance=tolerance) for claim in ledger.load(project.path / "claims/ledger.toml")]
    found = compare(report(row(1.0, (0.9, 1.1))), report(second), claims)
    assert found.failed(Failure.parse("tolerance")) == fails
    told = f"{'beyond' if fails else 'within'} the claim's tolerance of {tolerance}"
    assert (told in found.lines()[0]) == (tolerance is not None and second["verdict"] == "supported")


def test_rows_that_are_not_compared_are_told_by_the_subject() -> None:
    """A part of a run held against the whole is a line for each subject it leaves out, not one for each row."""
    part, other = row(1.0, (0, 2)), row(1.0, (0, 2), subject="improviser")
    whole = report(part, other, other | {"id": "X02"}, part | {"id": "X02"})
    assert compare(whole, report(part)).lines() == [
        "only in the first run: 2 rows of improviser",
        "only in the first run: X02 asked planner organism",
        "1 rows compared: 0 verdicts and 0 values changed",
    ]
    apart = compare(whole, {**whole, "environment": {"dtype": "float64"}}).lines()
    assert apart[:2] == [
        "not compared: 2 rows of planner: dtype float32 and float64",
        "not compared: 2 rows of improviser: dtype float32 and float64",
    ]


def test_an_unknown_kind_is_refused() -> None:
    """A kind of failure that is none of these is named with those there are."""
    with pytest.raises(UserError, match="write verdict, interval, tolerance or value:5%"):
        Failure.parse("everything")


@WORKERS
def test_claims_compare(project: ClaimsProject, workers: tuple[str, ...]) -> None:
    """--claims-compare holds a run against the latest one before it, and a changed verdict ends it with code 1."""
    project.run(*workers)
    assert project.run("--claims-compare", *workers).ret == 0
    project.want({"planner": "vacuous"})
    project.pin(planner="vacuous", improviser="supported")
    result = project.run("--claims-compare=0001", *workers)
    assert result.ret == 4
    (first,) = (path.name for path in (project.path / "reports").glob("0001-*"))
    result = project.run(f"--claims-compare={first}", *workers)
    assert result.ret == 1
    assert f"since {first}: verdict: X01 asked planner organism: supported → vacuous" in output_of(result)
    assert f"since {first}: 6 rows compared: 3 verdicts and 0 values changed" in output_of(result)


def test_claims_compare_fail(project: ClaimsProject) -> None:
    """--claims-compare-fail takes a kind of difference, and refuses what is none, or nothing to compare with."""
    project.run()
    assert project.run("--claims-compare", "--claims-compare-fail=interval").ret == 0
    assert project.run("--claims-compare", "--claims-compare-fail=much").ret == 4
    alone = project.run("--claims-compare-fail=value:5%")
    assert alone.ret == 4
    assert [line for line in alone.errlines if line] == [
        "ERROR: --claims-compare-fail says when a comparison fails: give --claims-compare too"
    ]


@WORKERS
def test_what_shares_no_row_with_its_baseline_fails(project: ClaimsProject, workers: tuple[str, ...]) -> None:
    """A run that cannot be held against the one it names ends with code 1 and says why."""
    project.run(subjects=("improviser",))
    result = project.run("--claims-compare", *workers, subjects=("planner",))
    assert result.ret == 1
    assert "nothing compared: no row of the two runs measured the same" in output_of(result)


def test_the_baseline_is_the_latest_run_that_is_whole(project: ClaimsProject) -> None:
    """Runs that were cut short, measured nothing or lie broken in the folder are no baseline unless they are named."""
    project.run()
    (whole,) = (path.name for path in (project.path / "reports").glob("0001-*"))
    project.want({"X02 planner": "error"})
    project.run()
    project.want({"planner": "untested", "improviser": "untested"})
    project.run()
    project.write("reports/0004-broken/report.json", "{")
    project.want({})
    assert f"since {whole}: 6 rows compared" in output_of(project.run("--claims-compare"))
    cut = project.run("--claims-compare=" + next((project.path / "reports").glob("0002-*")).name)
    assert "since 0002-" in output_of(cut)


def test_claims_compare_without_an_earlier_run(project: ClaimsProject) -> None:
    """Where there is nothing to compare with, the run ends with code 4 and one line before it measures."""
    result = project.run("--claims-compare")
    assert result.ret == 4
    (line,) = [line for line in result.errlines if line]
    assert "no stored run" in line
    assert project.log() == []


@WORKERS
def test_claims_shard_and_merge(
    project: ClaimsProject, workers: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """The shards of a run share no row, and merged they give the rows of the undivided run."""
    subjects = ("planner", "improviser", "window-1")
    project.run(*workers, subjects=subjects)
    whole = project.report()
    for shard in ("1/2", "2/2"):
        project.run(f"--claims-shard={shard}", *workers, subjects=subjects)
    folders = [str(path) for path in sorted((project.path / "reports").glob("000[23]-*"))]
    assert main(["merge", *folders, "--report", str(project.path / "reports")]) == 0
    assert project.report()["claims"] == whole["claims"]
    assert project.report()["run"]["complete"]
    names = {path.name for path in (project.path / "reports" / "latest" / "measurements").iterdir()}
    assert names == {f"{row['measurement']}.json" for row in whole["claims"]}
    assert main(["merge", folders[0], folders[0]]) == 4
    assert "merge parts of one run" in capsys.readouterr().err


@pytest.mark.parametrize("shard", ["0/2", "3/2", "half"])
def test_a_shard_that_is_none_is_refused(project: ClaimsProject, shard: str) -> None:
    """A shard that is not I/N with 1 ≤ I ≤ N ends the run with code 4 and one line."""
    result = project.run(f"--claims-shard={shard}")
    assert result.ret == 4
    assert "is not I/N" in result.stderr.str()


def test_the_compare_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`prolepsis compare` prints what changed, and leaves with 1 for what is asked to fail."""
    for name, value in (("a", 1.0), ("b", 1.2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(json.dumps(report(row(value, (0.5, 1.7)))))
    sides = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert main(["compare", *sides]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "value: X01 asked planner organism: 1 → 1.2 nats",
        "1 rows compared: 0 verdicts and 1 values changed",
    ]
    assert main(["compare", *sides, "--fail", "value:5%"]) == 1
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "report.json").write_text(json.dumps(report(row(1.0, (0.5, 1.7), subject="improviser"))))
    assert main(["compare", sides[0], str(tmp_path / "c")]) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("nothing compared: ")
    assert main(["compare", str(tmp_path), *sides[:1]]) == 4
