"""Attention that steering moves: closed forms, what rounding moves, and which layers the wiring forces."""

from functools import cache

import pytest
import torch

from prolepsis.edits import Add
from prolepsis.engine import clean_run
from prolepsis.experiments.carriers import find_carriers
from prolepsis.experiments.head_overlap import shared_heads
from prolepsis.experiments.head_routing import RANDOM, STRENGTHS, routing
from prolepsis.experiments.mediation import STILL, Mediation, reached_heads, still
from prolepsis.experiments.rhyme_pairs import rhyme_pairs, task_of
from prolepsis.experiments.routing_claims import LAST_PART, amplification, late_heads
from prolepsis.names import Head
from prolepsis.reach import reach
from prolepsis.reachability.selection import Pattern, Z, parse_edits, supports
from prolepsis.reachability.wiring import open_wiring
from prolepsis.subject import Subject
from prolepsis.subjects.loading import load_subject
from tests.tiny import rows_like

torch.set_num_threads(1)
DECOY = Head(3, 3)


@cache
def subject_of(variant: str) -> Subject:
    """A planted subject; what has been measured on it stays with it."""
    return load_subject(f"planted-llama-{variant}")


def test_the_change_of_attention_meets_its_closed_form() -> None:
    """The decoy's attention is a softmax of 1.5 per unit of plan: 1 unit clean, 0 with both, 2 with inject alone."""
    for one in subject_of("irrevocable").once(routing).routed:

        def attention(units: float, n: int = one.main.last + 1) -> float:
            return float(torch.softmax(torch.tensor([1.5 * units, *[0.0] * (n - 1)]), 0)[0])

        for arm, units in (("both", 0), ("inject", 2), ("suppress", -1), ("both ×2", -1)):
            assert one.changes[arm][DECOY] == pytest.approx(attention(units) - attention(1), abs=1e-4)


def test_attention_that_rounding_moves_is_still() -> None:
    """Of a slight edit's changes in bfloat16 those that count are there in float32 too."""

    def changes(subject: Subject) -> dict[tuple[str, Head], float]:
        found = {}
        for seed, pair in enumerate(rhyme_pairs(task_of(subject))[:24]):
            clean = clean_run(subject, subject.encode(pair.recipient.text))
            edit = [Add(1, len(clean.tokens) // 2, rows_like(subject, seed, 1, 0.1)[0])]
            moved = Mediation(clean, edit, 7, reached_heads(clean, edit)).attention_change(edit[0].position)
            found |= {(pair.id, head): change for head, change in moved.items()}
        return found

    exact, rounded = (load_subject("planner", dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    true, seen = changes(exact), changes(rounded)
    assert still(exact) == STILL
    counted = [key for key, change in seen.items() if abs(change) >= still(rounded)]
    assert counted
    assert all(abs(true[key]) >= STILL and true[key] * seen[key] > 0 for key in counted)


def test_random_writes_are_drawn_anew() -> None:
    """No two random arms of a pair move attention alike, and the sweep has its 12 strengths."""
    one = subject_of("irrevocable").once(routing).routed[0]
    assert len({round(one.changes[arm][DECOY], 6) for arm in RANDOM}) == len(RANDOM)
    assert len([arm for arm in one.changes if arm.startswith("both ×")]) == len(STRENGTHS) == 12


def test_late_layers_are_told_from_forced_ones() -> None:
    """Where the write reaches late layers alone, the reach rows say that nothing else could have come out."""
    measured = late_heads(load_subject("window-2"))
    assert measured.reach is not None
    rows = [row for row in measured.reach["rows"] if not row["claimed"]]
    assert rows
    assert not any(row["reachable"] for row in rows)


@pytest.mark.parametrize("name", ["window-2-untrained", "window-relay-untrained"])
def test_reach_rows_speak_of_their_own_pair(name: str) -> None:
    """Each pair's rows say what the wiring says of its own edit and site, which differ by half within a template."""
    subject = load_subject(name)
    routed = {one.pair.id: one for one in subject.once(routing).routed}
    rows = (late_heads(subject).reach or {})["rows"]
    assert len(rows) == len(routed) * subject.n_layers
    for number, row in enumerate(rows):
        one = routed[row["item"]]
        readout = Pattern(Head(number % subject.n_layers, 0), one.main.last, one.site)
        assert row["name"].endswith(f"→ {readout}")
        answer = reach(subject.wiring, supports(one.main.edit), readout, tokens=one.main.clean.tokens)
        assert row["reachable"] == answer.answer
    sites = {(one.pair.recipient.template.id, one.site) for one in routed.values()}
    assert len(sites) > len({template for template, _ in sites})


def test_no_site_is_left_out_of_the_reach_rows() -> None:
    """Where sites differ by half, every edit of every template has its row, on rhymes alone and beside facts."""
    subject = load_subject("window-2-untrained")
    asked = {
        "amplification": {
            (supports(one.main.edit), Pattern(Head(subject.n_layers - 1, 0), one.main.last, one.site))
            for one in subject.once(routing).routed
        },
        "shared_heads": {
            (supports(one.edit), Z(Head(subject.n_layers - 1, 0), one.last))
            for one in subject.once(find_carriers).mediations.values()
        },
    }
    for name, experiment in {"amplification": amplification, "shared_heads": shared_heads}.items():
        found = {row["name"] for row in (experiment(subject).reach or {})["rows"]}
        assert found == {f"{', '.join(map(str, edits))} → {readout}" for edits, readout in asked[name]}


def test_the_papers_layers_are_forced_by_its_edit() -> None:
    """Its suppressed features write from layer 16 on, so layers 17 to 25 of 26 are all that can look elsewhere.

    Its injected feature writes from layer 22 on, so without suppression L21:H5 cannot change at all.
    """
    wiring = open_wiring("gemma-2-2b")

    def moved(edits: str) -> list[int]:
        layers = range(wiring.n_layers)
        return [x for x in layers if reach(wiring, parse_edits(edits), Pattern(Head(x, 5), 29, 23), tokens=30).answer]

    assert moved("L16..25@23") == list(range(17, 26))
    assert len(moved("L16..25@23")) == round(LAST_PART * 26)
    assert moved("L22..25@23") == [23, 24, 25]


def test_amplification_is_measured_against_its_parts() -> None:
    """The decoy moves more with injection alone than with suppression added: no amplification."""
    measured = amplification(subject_of("irrevocable"))
    assert max(measured.values.values()) < 0
