"""The truth table: how it is read, how verdicts are compared with it, and that what is pinned is what must come out."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import truth_seeds
from benchmarks.truth_seeds import ORGANISMS, needs
from prolepsis import ledger
from prolepsis.cli import main
from prolepsis.errors import UserError
from prolepsis.organisms.recipes import recipe
from prolepsis.organisms.train import UNTRAINED
from prolepsis.report.pins import read_pins
from prolepsis.truth import TRUTH, Answer, Asked, compare, found_in, read_truth

CLAIMS = {claim.key for claim in ledger.rows()}
PINS = ledger.LEDGER.parent / "expected.toml"
ROW = """
[[truth]]
claim = "X01"
variant = "asked"
subjects = ["planner", "improviser"]
verdict = "supported"
because = "so it was made"
"""


def table(tmp_path: Path, text: str) -> Path:
    """A truth table with this text."""
    path = tmp_path / "truth.toml"
    path.write_text(text)
    return path


def asked(subject: str) -> Asked:
    """X01 as asked of a subject."""
    return Asked("X01", "asked", subject)


def test_an_entry_answers_for_each_of_its_subjects(tmp_path: Path) -> None:
    """One table gives the same answer for every subject it lists."""
    answer = Answer("supported", "so it was made")
    assert read_truth(table(tmp_path, ROW), CLAIMS) == {asked("planner"): answer, asked("improviser"): answer}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('claim = "X01"', 'claim = "X99"', "truth.toml:2: no claim X99 (asked) in the ledger"),
        ('"improviser"', '"nobody"', "truth.toml:2: subject 'nobody' is not bundled"),
        ('"improviser"', '"planner"', "truth.toml:2: X01 asked planner has an answer already"),
        ('"supported"', '"true"', "truth.toml:2: verdict 'true' is not one of supported"),
        ('because = "so it was made"', "", "truth.toml:2: because is missing or not a text"),
        ('["planner", "improviser"]', '"planner"', "truth.toml:2: subjects is missing or not a list"),
        ("because", "why = 'x'\nbecause", "truth.toml:2: unknown key 'why'"),
        ("[[truth]]", "[[truth]", "not valid TOML"),
    ],
)
def test_a_broken_table_is_named_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    """What is wrong in the table is said in one line with file and line."""
    with pytest.raises(UserError) as caught:
        read_truth(table(tmp_path, ROW.replace(old, new)), CLAIMS)
    assert message in str(caught.value)


def test_decided_otherwise_is_false_and_left_open_is_missed() -> None:
    """A decided verdict other than the true one is false; an inconclusive or absent one is missed."""
    truth = {asked(name): Answer("supported", "made so") for name in ("a", "b", "c", "d")}
    found = {asked("a"): ("supported", ""), asked("b"): ("vacuous", "why"), asked("c"): ("inconclusive", "few")}
    compared = compare(truth, found)
    assert compared.false == ("X01 asked b: vacuous, must be supported (made so): why",)
    assert [line.split(":")[0] for line in compared.missed] == ["X01 asked c", "X01 asked d"]


@pytest.mark.parametrize("verdict", ["contradicted", "vacuous", "inconclusive"])
def test_not_supported_is_met_by_everything_that_was_measured_but_support(verdict: str) -> None:
    """Where no more is known than that support would be wrong, only support is false and only untested is missed."""
    truth = {asked("a"): Answer("not supported", "made so")}
    assert not compare(truth, {asked("a"): (verdict, "")}).false
    assert compare(truth, {asked("a"): ("supported", "")}).false
    assert compare(truth, {}).missed


def test_what_is_pinned_is_what_must_come_out() -> None:
    """Every verdict that is pinned on a bundled subject is the one the truth table gives, where it gives one."""
    pins = read_pins(PINS, CLAIMS)
    found = {Asked(key.claim, key.variant, key.subject): (pin.verdict, pin.reason) for key, pin in pins.items()}
    truth = read_truth(TRUTH, CLAIMS)
    compared = compare({asked: answer for asked, answer in truth.items() if asked in found}, found)
    assert compared.compared > 0
    assert not compared.false
    assert not compared.missed


def test_every_family_has_a_subject_that_supports_and_one_that_does_not() -> None:
    """In every family with subjects some claim must be supported on one subject, and not on another."""
    truth = read_truth(TRUTH, CLAIMS)
    for family in {claim.family for claim in ledger.rows(tier="organism")}:
        ids = {claim.id for claim in ledger.rows(family=family)}
        verdicts = {answer.verdict for key, answer in truth.items() if key.claim in ids}
        assert "supported" in verdicts, family
        assert verdicts - {"supported"}, family


def test_the_command_says_what_is_wrong_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`prolepsis truth RUN` lists false and missed verdicts, and its exit code is 1 where there are any."""
    truth = read_truth(TRUTH, CLAIMS)
    rows = [
        {"id": key.claim, "variant": key.variant, "subject": key.subject, "tier": "organism", "reason": ""}
        | {"verdict": "vacuous" if answer.verdict == "not supported" else answer.verdict}
        for key, answer in truth.items()
    ]
    assert len(found_in(rows)) == len(truth)
    (tmp_path / "report.json").write_text(json.dumps({"schema": 1, "claims": rows}))
    assert main(["truth", str(tmp_path)]) == 0
    wrong = {**rows[0], "verdict": "inconclusive", "reason": "too few"}
    (tmp_path / "report.json").write_text(json.dumps({"schema": 1, "claims": [wrong, *rows[1:]]}))
    assert main(["truth", str(tmp_path)]) == 1
    assert "missed: " in capsys.readouterr().out
    assert main(["truth", str(tmp_path / "nowhere")]) == 4
    assert "no report can be read there" in capsys.readouterr().err


def test_what_a_run_did_not_ask_is_counted_and_missed_only_by_a_whole_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A part of a run is compared by what it asked, the rest is one number; of a whole run each row must be there."""
    truth = read_truth(TRUTH, CLAIMS)
    key, answer = next((key, answer) for key, answer in truth.items() if answer.verdict == "supported")
    row = {"id": key.claim, "variant": key.variant, "subject": key.subject, "tier": "organism", "reason": ""}
    (tmp_path / "report.json").write_text(json.dumps({"schema": 1, "claims": [row | {"verdict": answer.verdict}]}))
    assert main(["truth", str(tmp_path)]) == 0
    not_asked, compared = capsys.readouterr().out.splitlines()
    assert not_asked == f"not asked in this run: {len(truth) - 1} of {len(truth)} verdicts"
    assert compared.startswith("1 verdicts compared: 0 false, 0 missed")
    assert main(["truth", str(tmp_path), "--whole"]) == 1
    assert f"0 false, {len(truth) - 1} missed" in capsys.readouterr().out
    (tmp_path / "report.json").write_text(json.dumps({"schema": 1, "claims": [row | {"verdict": "untested"}]}))
    assert main(["truth", str(tmp_path)]) == 1
    assert "0 false, 1 missed" in capsys.readouterr().out
    (tmp_path / "report.json").write_text(json.dumps({"schema": 1, "claims": []}))
    assert main(["truth", str(tmp_path)]) == 1
    assert "0 verdicts compared" in capsys.readouterr().out


def test_make_truth_asks_for_every_verdict() -> None:
    """The run that `make truth` makes has to hold every row of the truth table."""
    assert "prolepsis truth reports/latest --whole\n" in (TRUTH.parent.parent / "Makefile").read_text()


@pytest.mark.parametrize("name", ORGANISMS)
def test_fresh_organisms_refer_to_fresh_ones(name: str) -> None:
    """What is made beside an organism holds every subject that any of it is compared with, each of them once."""
    beside = needs(name)
    assert beside[0] == name
    assert len(set(beside)) == len(beside)
    for other in (each for each in beside if not each.endswith(UNTRAINED)):
        made = recipe(other)
        assert {*made.ladder, *([made.same_behaviour] if made.same_behaviour else [])} <= set(beside)
    assert (name + UNTRAINED in beside) == bool(recipe(name).features)


def test_a_ladder_without_a_rung_is_not_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a rung missed its scores the ladder is left out and the rung named; no bundled one stands in for it."""
    monkeypatch.setattr(truth_seeds, "_make", lambda name, *_: name != "free-3")
    monkeypatch.setattr(truth_seeds, "_verdicts", lambda folder: pytest.fail(f"{folder} was asked"))
    monkeypatch.setattr(sys, "argv", ["truth_seeds", "--seeds", "5", "--only", "narrow-window-4", "free-4"])
    assert truth_seeds.main() == 1
    first, second, whole = capsys.readouterr().out.splitlines()
    assert first == "seed 5, narrow-window-4: not asked without free-3"
    assert second == "seed 5, free-4: not asked without free-3"
    assert whole.startswith("0 verdicts compared")
