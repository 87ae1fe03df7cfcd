"""Whether the packages that a claims run needs are there, also where only a checkout of this one is."""

import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from prolepsis.errors import UserError
from prolepsis.ledger import LEDGER

PROJECT = LEDGER.parent.parent / "pyproject.toml"
SPARED = frozenset({"hypothesis", "pronouncing", "pytest-xdist", "shtab"})
"""Dependencies that no claims run needs to start: without a rhyme dictionary claims that ask for it are untested."""


def check_packages(project: Path = PROJECT) -> None:
    """Raise UserError with the command that installs what is missing or too old, of the dependencies in ``project``."""
    listed = map(Requirement, tomllib.loads(project.read_text())["project"]["dependencies"])
    short = [str(needed) for needed in unmet(listed) if needed.name not in SPARED]
    if short:
        wanted = " ".join(f'"{requirement}"' for requirement in short)
        raise UserError(f"packages are missing here or too old; install them: python -m pip install {wanted}")


def unmet(requirements: Iterable[Requirement]) -> list[Requirement]:
    """Those whose package is not installed, or in a version that is not asked for."""
    return [requirement for requirement in requirements if not _met(requirement)]


def _met(requirement: Requirement) -> bool:
    try:
        found = Version(version(requirement.name))
    except PackageNotFoundError:
        return False
    # What a maker of GPUs builds calls itself a pre-release of the version it is (2.6.0a0+ecf3bae).
    return requirement.specifier.contains(found.base_version)
