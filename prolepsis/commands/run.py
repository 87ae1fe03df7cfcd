"""``prolepsis run``: pytest on the claims of this checkout."""

import argparse

from prolepsis.commands.command import Command
from prolepsis.ledger import LEDGER

EXAMPLE = """example, one claim on a bundled organism:

    $ prolepsis run -k D01 --claims-subject planner

Whatever follows is handed to pytest: `prolepsis run -m arithmetic` is `python -m pytest claims -m arithmetic`, from any
folder, with the same exit code. `prolepsis run --help` is this; pytest's own options are in `pytest --help`.
"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pytest", nargs="*", metavar="ARGUMENT", help="what pytest is given")


def _run(chosen: argparse.Namespace) -> int:
    import pytest

    root = LEDGER.parent.parent
    here = [f"--rootdir={root}", f"--config-file={root / 'pyproject.toml'}", str(LEDGER.parent)]
    return int(pytest.main([*here, *chosen.pytest]))


RUN = Command("run", "Verify the claims: pytest on claims/, with any of its arguments.", EXAMPLE, _arguments, _run)
