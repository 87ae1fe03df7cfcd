"""Edited runs as the ledger states them: how they are read, what they ask of the wiring, how mistakes are named."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prolepsis import audit, ledger
from prolepsis.errors import UserError
from prolepsis.judge import judge
from prolepsis.ledger import Claim
from prolepsis.measurement import Measurement
from prolepsis.names import Head
from prolepsis.reach import reach
from prolepsis.reachability.edited_runs import EditedRun
from prolepsis.reachability.selection import Added, Logits, Pattern, parse_edits
from prolepsis.reachability.wiring import open_wiring

few = settings(max_examples=10, deadline=None)
layers = st.integers(0, 25)
RUN = EditedRun("", "gemma-2-2b", 31, ("L22..25@23",), ("L16..25@23",), ("L20:H6 30->23",), ())
ROW = """
[[claim]]
id = "X99"
variant = "asked"
section = "6"
statement = "L20:H6 responds to the injection."
kind = "arithmetic"
population = "the paper"
scale = "reach"
family = "reach"
run = [
    { wiring = "gemma-2-2b", tokens = 31, varied = ["L16@23"], responds = ["L17..25:H* 30->23"] },
    { label = "injection", wiring = "gemma-2-2b", tokens = 31, varied = ["L22@23"], given = ["L16@23"], still = ["L20:H6 30->23"] },
]
experiment = "wiring"
tiers = ["arithmetic"]
"""  # noqa: E501


def claims_of(folder: Path, text: str) -> tuple[Claim, ...]:
    """The claims of a ledger with this text."""
    path = folder / f"{abs(hash(text))}.toml"
    path.write_text(text, encoding="utf-8")
    return ledger.load(path)


def test_a_run_is_read_field_by_field(tmp_path: Path) -> None:
    """Edits, readouts and what is said of them reach the claim; what may be left out is empty."""
    (claim,) = claims_of(tmp_path, ROW)
    assert claim.runs == (
        EditedRun("", "gemma-2-2b", 31, ("L16@23",), (), ("L17..25:H* 30->23",), ()),
        EditedRun("injection", "gemma-2-2b", 31, ("L22@23",), ("L16@23",), (), ("L20:H6 30->23",)),
    )


BROKEN = {
    "no wiring": ('wiring = "gemma-2-2b", tokens = 31, varied = ["L16', 'tokens = 31, varied = ["L16',
                  "run 1: wiring is missing"),
    "unknown wiring": ('"gemma-2-2b", tokens = 31, varied = ["L16', '"gpt", tokens = 31, varied = ["L16',
                       "run 1: wiring 'gpt' is neither"),
    "no tokens": ('tokens = 31, varied = ["L22', 'varied = ["L22', "run 2: the prompt is empty"),
    "no edit": ("L22@23", "L22", "run 2: edit 'L22' is none of"),
    "no text": ('varied = ["L22@23"]', "varied = [22]", "run 2: varied holds 22; give texts"),
    "no readout": ('"L20:H6 30->23"', '"L20:H6"', "run 2: readout 'L20:H6' is none of"),
    "nothing varied": ('varied = ["L22@23"], ', "", "run 2: nothing is varied or nothing is read"),
    "nothing read": (', still = ["L20:H6 30->23"]', "", "run 2: nothing is varied or nothing is read"),
    "no such layer": ("L22@23", "L26@23", "run 2: L26@23: layer 26 is not among layers 0 to 25"),
    "no such head": ('["L20:H6', '["L20:H8', "run 2: L20:H8 30→23: head L20:H8 is not among heads 0 to 7"),
    "no such position": ('["L16@23"], responds', '["L16@31"], responds', "run 1: L16@31: position 31 is not among"),
    "layers downwards": ("L17..25:H*", "L25..17:H*", "run 1: readout 'L25..17:H* 30->23': layers 25..17 run downwards"),
    "any head beside one": ('["L16@23"], responds', '["freeze L17:H0"], responds', "run 1: H* is any head, but"),
    "unknown field": ("label =", "name =", "run 2: name is not a field"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_malformed_run_is_named_by_its_claims_line(tmp_path: Path, case: str) -> None:
    """A run that says nothing, or speaks of places that are not there, is one line with the row's line and the run."""
    old, new, message = BROKEN[case]
    assert old in ROW
    with pytest.raises(UserError) as refused:
        claims_of(tmp_path, "# first" + ROW.replace(old, new, 1))
    assert f":2: claim X99: {message}" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_runs_belong_to_statements_about_the_paper(tmp_path: Path) -> None:
    """A claim that is measured on subjects describes its runs in its experiment."""
    text = ROW.replace('"arithmetic"\npop', '"absence"\ntheta0 = 0.1\ndelta = 1\npop').replace(
        '"the paper"', '"this prompt"'
    )
    with pytest.raises(UserError, match="run belongs to arithmetic claims"):
        claims_of(tmp_path, text.replace('["arithmetic"]', '["gpu"]'))


def test_the_rule_needs_a_run(tmp_path: Path) -> None:
    """A row of the rule without an edited run is refused with the cure."""
    (claim,) = claims_of(tmp_path, ROW)
    with pytest.raises(UserError, match=r"claim X99: rule wiring needs a run"):
        audit.rule("wiring")(replace(claim, runs=()))


@few
@given(layers, layers, st.integers(0, 7))
def test_any_head_answers_as_each_head_does(written: int, read: int, head: int) -> None:
    """A readout of any head of a layer has the answer that each of the layer's heads has by itself."""
    (row,) = replace(RUN, varied=(f"L{written}@23",), given=(), responds=(f"L{read}:H* 30->23",)).rows()
    found = reach(open_wiring("gemma-2-2b"), [Added(written, 23)], Pattern(Head(read, head), 30, 23), tokens=31)
    assert row["reachable"] == found.answer
    assert "H0" not in str(row["name"]) + str(row["why"])


@few
@given(st.integers(22, 25), st.integers(26, 31))
def test_edits_at_many_positions_reach_what_one_of_them_reaches(layer: int, first: int) -> None:
    """Edits at each of many positions may be stated as one run: it reaches the logits iff one of them does."""
    wiring, together = open_wiring("gemma-2-2b"), parse_edits(f"L{layer}@{first}..31")
    for last in (31, 32):
        alone = [reach(wiring, [edit], Logits(last), tokens=33).answer for edit in together]
        assert reach(wiring, together, Logits(last), tokens=33).answer == any(alone)


@few
@given(layers, layers)
def test_a_head_responds_to_a_write_below_it_alone(written: int, read: int) -> None:
    """Of the paper's runs: a head of layer l can respond to a feature that writes from layer w on iff l > w."""
    run = replace(RUN, varied=(f"L{written}..25@23",), given=(), responds=(f"L{read}:H5 30->23",))
    assert run.rows()[0]["reachable"] == (read > written)


def test_what_was_found_can_be_stored_and_judged_again(tmp_path: Path) -> None:
    """The measurement of a row holds its runs and rows, and gives the same verdict when read back from JSON."""
    (claim,) = claims_of(tmp_path, ROW)
    found = audit.rule("wiring")(claim)
    assert found.parameters["runs"] == [asdict(run) for run in claim.runs]
    assert [row["claimed"] for row in found.reach["rows"]] == [True] * 9 + [False]
    again = judge(claim, Measurement.from_json(found.to_json()))
    assert again == judge(claim, found)
    assert again.verdict == "vacuous"
