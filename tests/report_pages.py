"""A stored run with every verdict, tier and kind of figure in it, and the page made from it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prolepsis.claim import Claim, Side
from prolepsis.errors import Untested
from prolepsis.judge import judge
from prolepsis.measurement import Measurement
from prolepsis.report.figures import KINDS, draw_figures
from prolepsis.report.html import html
from prolepsis.report.rows import claim_row, plain
from prolepsis.subjects.source import PAPER, SubjectSource
from tests.figure_samples import sample
from tests.judging import ALL, good, make_claim, make_measurement, spread

PLANNER = SubjectSource(id="planner", tier="organism")
ODD = SubjectSource(id='odd/<b>"name" & more', tier="organism")
REAL = SubjectSource(id="some-model", tier="gpu", model="org/some-model", model_gib=5.0)
PRINTED = {
    "value": 5.2,
    "k": 4,
    "n": 9,
    "low": 4.0,
    "high": 6.5,
    "of": None,
    "clusters": None,
    "items": (),
    "name": "",
    "where": "§5 <&>",
}

DEPTH = "Depth does nothing."

CLAIMS = (
    make_claim(
        id="B01", variant="published", statement='A plan is "held" at <site>.', published=(PRINTED,), tolerance=1.0
    ),
    make_claim(id="X01", controls=ALL, kind="exclusivity", disputes=(Side("Is there a plan?", "yes"),)),
    make_claim(id="X02", kind="absence", family="q4", disputes=(Side("Is there a plan?", "no"),), statement=DEPTH),
    make_claim(id="X03", kind="equality", family="q4", published=(PRINTED,), tolerance=1.0),
    make_claim(id="Z01", variant="published", kind="arithmetic", family="arithmetic", tiers=("arithmetic",)),
)
B01, X01, X02, X03, Z01 = CLAIMS


def measured() -> list[tuple[Claim, SubjectSource, Measurement | Untested]]:
    """What came out: each claim on each subject it is asked of."""
    paper = make_measurement({}, subject="paper")
    figured = [(B01, PLANNER, replace(good(), **sample(kind.name))) for kind in KINDS]
    return [
        *figured,
        (B01, ODD, replace(good(null=5.0), **sample("logit lens"))),
        (B01, REAL, Untested("not on this machine: org/some-model (5 GiB); get it with `hf download org/some-model`")),
        (X01, PLANNER, replace(good(), **sample("state map"))),
        (X01, ODD, good(rival=5.0)),
        (X02, PLANNER, good(value=0.0, null=5.0)),
        (X02, ODD, make_measurement(spread(0.0, size=4), {"null": spread(5.0, size=4)})),
        (X03, PLANNER, good(value=1.0, null=7.0)),
        (X03, REAL, good(value=1.0, null=7.0)),
        (Z01, PAPER, replace(paper, detail={"disagreements": ["4 of 9 is not 50 %"]})),
    ]


def stored_run(folder: Path) -> dict[str, Any]:
    """The contents of ``report.json``, one row per claim and subject; figures lie in ``folder``."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for claim, source, found in measured():
        stored = None if isinstance(found, Untested) else found
        row = claim_row(claim, source, judge(claim, found), stored, None)
        row = rows.setdefault((claim.id, source.id), plain(row))
        row["figures"] += draw_figures(folder, source.id, None if stored is None else plain(stored))
    return {
        "schema": 1,
        "run": {
            "id": "0001-20260101T000000Z",
            "started": "2026-01-01T00:00:00+00:00",
            "seconds": 12.0,
            "command": "pytest claims -m 'not gpu'",
            "complete": True,
        },
        "environment": {
            "python": "3.12",
            "device": "cpu",
            "dtype": "float32",
            "options": ["--claims-dtype", "float32"],
        },
        "subjects": [],
        "claims": list(rows.values()),
    }


def page_of(folder: Path, claims: Sequence[Claim] = CLAIMS) -> str:
    """``report.html`` of the stored run."""
    return html(stored_run(folder), claims, folder)
