"""A small project with a ledger, claim tests and a stub in place of models, for runs of the plugin."""

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

# A run inside this process forgets the modules it was the first to import, and numpy cannot be imported again.
import prolepsis.judge  # noqa: F401
from prolepsis.report.store import STORE

ROOT = Path(__file__).parent.parent

ROW = """
[[claim]]
id = "{id}"
variant = "{variant}"
section = "5"
statement = "A plan is held at the site."
kind = "effect"
population = "prompts like these"
scale = "nats"
theta0 = 1.0
family = "toy"
published = [{{value = 5.0, where = "abstract"}}]
tolerance = 1.0
tolerance_why = "as printed"
controls = [{{name = "twin", role = "null"}}]
experiment = "{id} {variant}"
tiers = ["organism", "gpu"]
"""

MODULE = """
import os, signal, time
import pytest

@pytest.mark.claims(family="toy", variant="asked")
def test_a_plan_is_held(verify, case, wanted):
    word = wanted(case.claim.id, case.source.id)
    if word == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "hang":
        time.sleep(5)
    verify()
    if word == "die late":
        os.kill(os.getpid(), signal.SIGKILL)
    assert word != "wrong", "the test itself is wrong"

@pytest.mark.claims(family="toy", variant="published")
def test_as_published(verify):
    verify()
"""

CONFTEST = """
import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from prolepsis.errors import HarnessFault, Untested, UserError
from prolepsis.measurement import Measurement
from prolepsis.subjects.published import PRESETS

pytest_plugins = ["prolepsis.report.plugin", "fixtures.session"]
HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def wanted():
    words = json.loads((HERE / "wanted.json").read_text())
    return lambda claim, subject: words.get(f"{claim} {subject}", words.get(subject, "supported"))


@pytest.fixture(scope="session")
def load_subject(wanted, pytestconfig):
    def load(source):
        with (HERE / "log.txt").open("a") as log:
            log.write(f"load {source.id} {os.getpid()}\\n")
        if source.base == PRESETS.parent:
            raise Untested(f"{source.model} is missing, get it")
        word = wanted("load", source.id)
        if word == "broken":
            raise UserError(f"{source.id}: config.json is broken; write it again")
        return SimpleNamespace(
            id=source.id, n_layers=2, n_heads=1, d_model=4, revision=None, transcoder=None,
            digest=f"weights of {source.id}", twin=None, same_behaviour=None, ladder=()
        )
    return load


@pytest.fixture(scope="session")
def measure_family(wanted, store):
    def measure(claims, subject):
        with (HERE / "log.txt").open("a") as log:
            log.write(f"measure {subject.id} {os.getpid()}\\n")
        return {claim.key: stored(claim, subject) for claim in claims}

    def stored(claim, subject):
        word = wanted(claim.id, subject.id)
        if word in ("error", "fault", "untested"):
            return measurement(word, subject.id)
        return store.measured(subject, claim.experiment, lambda: made(word, claim, subject))

    def made(word, claim, subject):
        with (HERE / "made.txt").open("a") as log:
            log.write(f"{claim.id} {claim.variant} {subject.id}\\n")
        time.sleep(0.05 if word == "slow" else 0)
        return measurement(word, subject.id)
    return measure


def measurement(word, subject):
    if word == "error":
        raise RuntimeError("a bug in measuring")
    if word == "fault":
        raise HarnessFault("the sham arm moved")
    if word == "untested":
        return Untested("the corpus is missing, 3 GiB")
    mean = {"contradicted": -3.0, "narrowly": 0.85}.get(word, 5.0)
    clusters = 3 if word == "inconclusive" else 8
    values = {f"{c}/{i}": mean + 0.1 * (-1) ** c for c in range(clusters) for i in range(2)}
    null = {item: value if word == "vacuous" else 0.0 for item, value in values.items()}
    state_map = {
        "roles": ["rhyme word", "last"], "pairs": [9, 9], "layers": [-1, 0], "nats": [[7.0, 0.0], [None, 7.0]],
        "hand-offs": [],
    }
    return Measurement(
        experiment="toy", subject=subject, unit="nats", design="one-way", parameters={"strength": 10},
        values=values, clusters={item: (item[0],) for item in values}, arms={"twin": null}, seconds=0.5,
        detail={"state map": state_map} if word == "mapped" else {},
    )
"""


# Plugins that claims have no use for only make the many processes start slowly.
PYTEST_INI = """
[pytest]
addopts =
    --import-mode=importlib --strict-markers
    -p no:cacheprovider -p no:hypothesispytest -p no:benchmark -p no:anyio
"""


class ClaimsProject:
    """A project folder in which claim tests run; ``wanted`` maps "X01 planner" or "planner" to what should come out."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path = pytester.path
        (self.path / "claims").mkdir()
        ledger = [("X01", "asked"), ("X02", "asked"), ("X02", "published")]
        self.write("claims/ledger.toml", "".join(ROW.format(id=i, variant=v) for i, v in ledger))
        self.write("claims/test_toy.py", MODULE)
        self.write("conftest.py", CONFTEST)
        self.write("pytest.ini", PYTEST_INI)
        self.want({})

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
        return path

    def want(self, wanted: Mapping[str, str]) -> None:
        """Let something else come out from now on; what was measured before is forgotten."""
        self.write("wanted.json", json.dumps(wanted))
        shutil.rmtree(self.path / "reports" / STORE, ignore_errors=True)

    def pin(self, **verdicts: str) -> Path:
        """Pin X01 and X02 as asked, for subjects named with underscores."""
        return self.write("claims/expected.toml", "".join(pin(s.replace("_", "-"), v) for s, v in verdicts.items()))

    def run(self, *args: str, subjects: tuple[str, ...] = ("planner", "improviser")) -> pytest.RunResult:
        """Run the claims in this process, on ``subjects`` only."""
        chosen = [f"--claims-subject={subject}" for subject in subjects]
        return self.pytester.runpytest_inprocess("claims", *chosen, *args)

    def run_apart(self, *args: str, timeout: float = 60) -> pytest.RunResult:
        """Run pytest in a process of its own, where torch is not loaded yet."""
        return self.pytester.runpytest_subprocess(*args, timeout=timeout)

    def report(self, root: str = "reports") -> dict[str, Any]:
        report: dict[str, Any] = json.loads((self.path / root / "latest" / "report.json").read_text())
        return report

    def verdicts(self) -> dict[str, str]:
        """Verdicts of the latest report by "X01 asked planner"."""
        return {f"{r['id']} {r['variant']} {r['subject']}": r["verdict"] for r in self.report()["claims"]}

    def made(self) -> list[str]:
        """The measurements that were made, not taken over: "X01 asked planner"."""
        path = self.path / "made.txt"
        return path.read_text().splitlines() if path.exists() else []

    def log(self) -> list[list[str]]:
        """What was loaded and measured: [what, subject, process id]."""
        path = self.path / "log.txt"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def pin(subject: str, verdict: str, tier: str = "organism") -> str:
    """Pins of the three rows for one subject."""
    rows = [("X01", "asked"), ("X02", "asked"), ("X02", "published")]
    return "".join(
        f'[[expected]]\nclaim = "{claim}"\nvariant = "{variant}"\nsubject = "{subject}"\ntier = "{tier}"\n'
        f'verdict = "{verdict}"\nreason = "so it was built"\n\n'
        for claim, variant in rows
    )


def environment_with_root() -> str:
    """A PYTHONPATH by which another process finds the project's packages."""
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))


def output_of(result: pytest.RunResult) -> str:
    """Standard output without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", result.stdout.str())
