from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from prolepsis.report.markdown import matrix
from prolepsis.report.pins import VERDICTS
from prolepsis.report.table import VERDICT_SHORT, Column, counts, table

CELLS = st.fixed_dictionaries(
    {
        "id": st.from_regex(r"[A-Z]\d{2,3}[a-z]?", fullmatch=True),
        "variant": st.sampled_from(["published", "asked"]),
        "subject": st.text("abcdefgh-", min_size=1, max_size=40),
        "verdict": st.sampled_from([*VERDICTS, "untested"]),
        "agrees": st.sampled_from(["yes", "no", "cannot tell"]),
        "changed": st.booleans(),
        "published": st.sampled_from([[], [{"value": 1.0}]]),
        "measured": st.sampled_from([None, {"value": 1.0}]),
    }
)
ROWS = st.lists(CELLS, max_size=40, unique_by=lambda row: (row["id"], row["variant"], row["subject"]))


@given(rows=ROWS, width=st.integers(40, 200))
def test_the_table_fits_the_terminal_and_loses_nothing(rows: list[dict[str, Any]], width: int) -> None:
    """No line is wider than the terminal, and every verdict has exactly one cell."""
    lines = table(rows, [], width)
    assert all(sum(len(piece.text) for piece in line) <= width for line in lines)
    shown = sorted(piece.verdict for line in lines for piece in line if piece.verdict)
    assert shown == sorted(row["verdict"] for row in rows)


def test_a_cell_says_verdict_agreement_and_change() -> None:
    """A cell reads: verdict, whether our number agrees, and a mark when the pin says otherwise."""
    row = {
        "id": "X01", "variant": "asked", "subject": "planner", "verdict": "contradicted",
        "agrees": "no", "changed": True, "published": [{"value": 1}], "measured": {"value": 0},
    }  # fmt: skip
    text = ["".join(piece.text for piece in line).rstrip() for line in table([row], [], 60)]
    assert text[:2] == ["asked   X01", "planner cont≠!"]


def test_verdicts_are_told_apart_by_four_letters_and_a_legend() -> None:
    """No two verdicts are cut alike, in the terminal and in report.md, and a line says what those that occur mean."""
    assert len(set(VERDICT_SHORT.values())) == len(VERDICT_SHORT) == len(VERDICTS) + 1
    assert all(verdict[:3] == cut[:3] and len(cut) == 4 for verdict, cut in VERDICT_SHORT.items())
    row = {"id": "X01", "variant": "asked", "agrees": "no", "changed": False, "published": [], "measured": None}
    rows = [
        {**row, "subject": "planner", "verdict": "inconclusive"},
        {**row, "subject": "paper", "verdict": "inconsistent"},
    ]
    text = ["".join(piece.text for piece in line).rstrip() for line in table(rows, [], 100)]
    assert {"planner incl", "paper   incs"} <= set(text)
    told = "incl inconclusive, incs inconsistent"
    assert any(line.startswith(f"{told}; = agrees") for line in text)
    assert told in "\n".join(matrix(rows))


def test_a_test_that_raised_has_a_cell_of_its_own() -> None:
    """An error is shown where its verdict would be."""
    lines = table([], [(Column("asked", "X01"), "planner")], 60)
    assert [piece.text for piece in lines[1]] == ["planner", " ERROR "]


def test_twenty_two_subjects_by_ten_claims_fit_sixty_columns() -> None:
    """The bundled subjects' long ids stay apart from each other on a narrow terminal."""
    ids = [f"planted-gemma2-{name}" for name in ("irrevocable", "corrects", "revocable", "untrained", "no-plan")]
    row = {
        "variant": "asked",
        "verdict": "supported",
        "agrees": "yes",
        "changed": False,
        "published": [],
        "measured": None,
    }
    rows = [row | {"id": f"X{i:02}", "subject": s} for s in ids for i in range(10)]
    lines = ["".join(piece.text for piece in line) for line in table(rows, [], 60)]
    assert all(any(line.startswith(name) for line in lines) for name in ids)


def test_counts_name_only_what_occurred() -> None:
    """The closing line counts verdicts in a fixed order, and says so when there are none."""
    assert (
        counts([{"verdict": "vacuous"}, {"verdict": "supported"}, {"verdict": "vacuous"}]) == "1 supported, 2 vacuous"
    )
    assert counts([]) == "none"
