"""The paper is a subject of its own: arithmetic claims are met by its numbers, without a model."""

from pathlib import Path

import pytest

from prolepsis import ledger
from prolepsis.report.measuring import Measuring
from prolepsis.subjects.source import PAPER
from tests.claims_project import ClaimsProject, output_of

ROW = """
[[claim]]
id = "{id}"
variant = "asked"
section = "7"
statement = "The printed interval is one-sided."
kind = "arithmetic"
population = "the paper"
scale = "proportion"
family = "counts"
published = [{{value = 0.0, k = 0, n = 10, low = 0.0, high = {high}, where = "section 7"}}]
experiment = "one_sided_clopper_pearson"
tiers = ["arithmetic"]
"""

MODULE = """
import pytest

@pytest.mark.claims(family="counts", variant="asked")
def test_counts(verify):
    verify()
"""

PIN = """
[[expected]]
claim = "X90"
variant = "asked"
subject = "paper"
tier = "arithmetic"
verdict = "{verdict}"
reason = "1 - .05^(1/10) is 26 %"
"""


def table_of(result: pytest.RunResult) -> list[str]:
    """Lines of the claims table, with single spaces."""
    lines = [" ".join(line.split()) for line in output_of(result).partition("= claims =")[2].splitlines()[1:]]
    return [line for line in lines if line]


@pytest.fixture
def project(pytester: pytest.Pytester) -> ClaimsProject:
    """The toy project with two claims about the paper: X90 is wrong in its upper bound, X91 is not."""
    project = ClaimsProject(pytester)
    ledger = (project.path / "claims/ledger.toml").read_text()
    project.write("claims/ledger.toml", ledger + ROW.format(id="X90", high=0.31) + ROW.format(id="X91", high=0.26))
    project.write("claims/test_paper.py", MODULE)
    return project


def test_the_paper_is_measured_by_its_own_numbers(project: ClaimsProject) -> None:
    """Arithmetic claims make one case each, nothing is loaded for them, and the paper has a line in the table."""
    result = project.run("-m", "arithmetic", subjects=())
    assert project.verdicts() == {"X90 asked paper": "inconsistent", "X91 asked paper": "supported"}
    assert project.log() == []
    assert table_of(result)[:2] == ["asked X90 X91", "paper incs supp"]


def test_the_report_says_what_disagrees(project: ClaimsProject) -> None:
    """The row of an arithmetic claim has the tier, the sentence that disagrees, and its measurement."""
    project.run("-m", "arithmetic", subjects=())
    row = project.report()["claims"][0]
    assert (row["tier"], row["agrees"], row["measured"]) == ("arithmetic", "cannot tell", None)
    assert row["reason"].startswith("0 of 10: [0 %, 31 %] is Clopper–Pearson, two-sided")
    assert (project.path / "reports/latest/measurements" / f"{row['measurement']}.json").exists()
    assert project.report()["subjects"][0]["layers"] is None


@pytest.mark.parametrize(("verdict", "code"), [("inconsistent", 0), ("supported", 1)])
def test_exit_codes_follow_pins(project: ClaimsProject, verdict: str, code: int) -> None:
    """A pinned inconsistency is expected; one pinned as supported is a failure, as for any subject."""
    project.write("claims/expected.toml", PIN.format(verdict=verdict))
    result = project.run("-m", "arithmetic", subjects=())
    assert result.ret == code
    assert f"changed since expected.toml: {code}" in output_of(result)


def test_the_paper_can_be_asked_for_by_name(project: ClaimsProject) -> None:
    """``--claims-subject paper`` runs arithmetic claims alone; naming another subject leaves the paper out."""
    project.run(subjects=("paper",))
    assert set(project.verdicts()) == {"X90 asked paper", "X91 asked paper"}
    project.run(subjects=("planner",))
    assert set(project.verdicts()) == {"X01 asked planner", "X02 asked planner", "X02 published planner"}


def test_not_gpu_includes_the_paper(project: ClaimsProject) -> None:
    """The default selection meets the paper beside other subjects, in a block of the table of its own."""
    result = project.run("-m", "not gpu", subjects=("paper", "planner"))
    assert {"X90 asked paper", "X01 asked planner"} <= set(project.verdicts())
    asked = table_of(result)
    assert asked[:2] == ["asked X01 X02", "planner supp= supp="]
    assert asked[2:4] == ["asked X90 X91", "paper incs supp"]


def test_workers_share_the_paper_like_any_subject(project: ClaimsProject) -> None:
    """Spread over two workers, the arithmetic claims give the same verdicts."""
    project.run("-m", "arithmetic", "-n", "2", "-p", "xdist", subjects=())
    assert project.verdicts() == {"X90 asked paper": "inconsistent", "X91 asked paper": "supported"}


def test_measuring_the_paper_loads_nothing(tmp_path: Path) -> None:
    """Neither loading nor measuring of models is called for the paper."""
    path = tmp_path / "ledger.toml"
    path.write_text(ROW.format(id="X91", high=0.26))
    (claim,) = ledger.load(path)

    def never(*_: object) -> object:
        raise AssertionError("a model was asked for")

    outcome = Measuring(never, never).outcome(claim, PAPER, [claim])  # type: ignore[arg-type]
    assert outcome.verdict.verdict == "supported"
    assert outcome.subject["id"] == "paper"
