"""The page on which the paper is read against itself."""

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prolepsis import audit, ledger
from prolepsis.judge import judge
from prolepsis.report.merging import merge
from prolepsis.report.paper_page import SECTIONS, TITLE, paper_page, section_of, section_of_report
from prolepsis.report.rows import claim_row, plain
from prolepsis.subjects.source import PAPER
from tests.claims_project import ClaimsProject
from tests.test_plugin_paper import MODULE, ROW

CLAIMS = ledger.rows()
FIGURES = st.sampled_from(["", "ours, for ", "§5, ", "see "])


def rows_of(claims: tuple[ledger.Claim, ...]) -> list[dict[str, Any]]:
    """The report's rows of the arithmetic ones among ``claims``, measured and judged."""
    asked = [claim for claim in claims if claim.kind == "arithmetic"]
    measured = audit.measure(asked)
    rows = [claim_row(claim, PAPER, judge(claim, measured[claim.key]), measured[claim.key], None) for claim in asked]
    return [plain(row) for row in rows]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """What the audit of the paper gives."""
    return rows_of(CLAIMS)


@pytest.fixture(scope="module")
def page(rows: list[dict[str, Any]]) -> str:
    """The page made of it."""
    return paper_page(rows, CLAIMS)


def test_every_row_is_said_once(rows: list[dict[str, Any]], page: str) -> None:
    """Each row stands on the page once, with its statement and its id, and is counted at the top."""
    findings = page.partition("## What the arguments need")[0]
    for row in rows:
        assert findings.count(f"({row['id']}).") == 1, row["id"]
        assert row["statement"].rstrip(".") in findings
    counted = Counter(row["verdict"] for row in rows)
    said = {"inconsistent": "do not hold**", "contradicted": "cannot be", "vacuous": "could not", "supported": "agree"}
    assert f"{len(rows)} statements" in page
    assert counted.keys() == said.keys()
    assert all(f"{counted[verdict]} {words}" in page for verdict, words in said.items())


def test_a_finding_says_what_is_printed_and_where(rows: list[dict[str, Any]], page: str) -> None:
    """The line of each finding names every place at which one of its figures is printed."""
    for row in rows:
        (line,) = (line for line in page.splitlines() if f"({row['id']})." in line and not line.startswith("|"))
        assert line.startswith("* **") == (row["verdict"] != "supported")
        if row["verdict"] != "supported":
            assert all(entry["where"] in line for entry in row["published"]), row["id"]


def test_sections_come_in_reading_order_and_findings_first(page: str) -> None:
    """Headings are in the paper's order, and within a section nothing that agrees stands before a finding."""
    headings = [line[3:] for line in page.splitlines() if line.startswith("## ")]
    titles = [title for title in SECTIONS.values() if title in headings]
    assert headings[: len(titles)] == titles
    for section in page.split("\n## ")[1:]:
        assert "\n* **" not in section.partition("In agreement:")[2]


@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_the_rows_does_not_matter(rows: list[dict[str, Any]], page: str, seed: int) -> None:
    """However the report sorts its rows, the page is the same."""
    assert paper_page(random.Random(seed).sample(rows, len(rows)), CLAIMS) == page


def test_the_gravest_finding_comes_first(rows: list[dict[str, Any]]) -> None:
    """Within a section figures that disagree stand before what cannot be, and that before what was bound to be."""
    verdicts = ("vacuous", "supported", "contradicted", "inconsistent")
    of_one = [row for row in rows if section_of(row["section"]) == "§5"][: len(verdicts)]
    page = paper_page([row | {"verdict": verdict} for row, verdict in zip(of_one, verdicts, strict=True)], CLAIMS)
    placed = {verdict: page.index(row["statement"][:-1]) for row, verdict in zip(of_one, verdicts, strict=True)}
    assert sorted(placed, key=placed.__getitem__) == ["inconsistent", "contradicted", "vacuous", "supported"]


@given(before=FIGURES, section=st.integers(1, 9), after=st.sampled_from(["", ", App. D.2", " and Table 2b"]))
def test_the_first_place_that_is_named_counts(before: str, section: int, after: str) -> None:
    """A row stands in the first section its place names, whatever is named after it."""
    expected = "§5" if before == "§5, " else f"§{section}"
    assert section_of(f"{before}§{section}{after}") == expected


@pytest.mark.parametrize(
    ("place", "section"),
    [
        ("Table 1", "§5"),
        ("Table 2b", "§7"),
        ("Figure 3, §7", "§6"),
        ("App. D.1, D.4", "App. D"),
        ("abstract, §7, A.4", "abstract"),
        ("arXiv 2601.20164", ""),
        ("Table 9", ""),
    ],
)
def test_tables_and_appendices_have_their_sections(place: str, section: str) -> None:
    """A table or figure counts for the section it stands in; what names no place of the paper is kept apart."""
    assert section_of(place) == section


def finding(claim: ledger.Claim, verdict: str, reason: str) -> str:
    """The page of one row with this verdict."""
    (row,) = rows_of((claim,))
    return paper_page([row | {"verdict": verdict, "reason": reason}], (claim,))


def test_proportions_are_read_as_the_paper_prints_them() -> None:
    """Decimal fractions of a sentence about proportions become per cent; p-values and other scales stay."""
    (rate,) = (claim for claim in CLAIMS if claim.id == "B09")
    assert "71 % (§5) is not 62.1 % (App. D.2): p = 0.03" in finding(
        rate, "inconsistent", "0.71 (§5) is not 0.621 (App. D.2): p = 0.03"
    )
    (probability,) = (claim for claim in CLAIMS if claim.id == "B03")
    assert "0.483 (§5) is not 0.986" in finding(probability, "inconsistent", "0.483 (§5) is not 0.986 (App. D.1)")


@pytest.mark.parametrize(
    ("verdict", "reason", "said"),
    [
        ("contradicted", "impossible: the wiring does not let the claimed outcome come out: L23@23 is above L21:H5",
         "As the model is wired it cannot: L23@23 is above L21:H5 (B09)."),
        ("vacuous", "forced: the wiring lets nothing but the claimed outcome come out: L25@23 reaches no head",
         "As the model is wired nothing else could come out: L25@23 reaches no head (B09)."),
    ],
)  # fmt: skip
def test_what_the_wiring_settles_is_a_finding(verdict: str, reason: str, said: str) -> None:
    """What cannot come out, or could not come out otherwise, is told as such, with the notation explained."""
    (claim,) = (claim for claim in CLAIMS if claim.id == "B09")
    found = finding(claim, verdict, reason)
    assert said in found
    assert "L21@23 is layer 21 at token 23" in found
    assert "**0 do not hold**, 1 " in found


def test_controls_the_paper_does_not_report_are_listed(page: str) -> None:
    """Every control that a published claim needs and the paper lacks stands in the last table; reported ones do not."""
    table = page.partition("## What the arguments need")[2]
    for claim in CLAIMS:
        (line,) = [line for line in table.splitlines() if f"({claim.id}) |" in line and claim.statement in line] or [""]
        for control in claim.controls:
            needed = claim.variant == "published" and not control.reported
            assert (control.label in line.rpartition(" | ")[2]) == needed, claim.id


def test_a_run_without_the_paper_has_no_page() -> None:
    """Without a row about the paper the report says nothing of it."""
    assert list(section_of_report([], CLAIMS)) == []


@pytest.fixture
def project(pytester: pytest.Pytester) -> ClaimsProject:
    """The toy project with two claims about the paper: X90 is wrong in its upper bound, X91 is not."""
    project = ClaimsProject(pytester)
    text = (project.path / "claims/ledger.toml").read_text()
    project.write("claims/ledger.toml", text + ROW.format(id="X90", high=0.31) + ROW.format(id="X91", high=0.26))
    project.write("claims/test_paper.py", MODULE)
    return project


def test_a_run_writes_the_page_beside_its_report(project: ClaimsProject) -> None:
    """paper.md lies in the run's folder where the paper was asked, and report.md links to it; elsewhere neither is."""
    project.run("-m", "arithmetic", subjects=())
    latest = project.path / "reports/latest"
    assert (latest / "paper.md").read_text().startswith(f"# {TITLE}\n\n2 statements")
    report = (latest / "report.md").read_text()
    assert f"## {TITLE}\n\n2 statements" in report
    assert "[Section by section](paper.md)" in report
    project.run(subjects=("planner",))
    assert not (latest / "paper.md").exists()
    assert "paper.md" not in (latest / "report.md").read_text()


def test_merged_runs_have_the_page(project: ClaimsProject) -> None:
    """Parts put together give the page that an undivided run would."""
    for shard in ("1/2", "2/2"):
        project.run("-m", "arithmetic", f"--claims-shard={shard}", subjects=())
    runs = sorted((project.path / "reports").glob("0*"))
    merged = merge(runs, project.path / "merged")
    assert (merged / "paper.md").read_text().startswith(f"# {TITLE}\n\n2 statements")
