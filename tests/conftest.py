"""Hypothesis profiles, and the fixtures that several test modules share."""

import os

import pytest
from hypothesis import Phase, settings

from tests.claims_project import ClaimsProject, environment_with_root

pytest_plugins = ["pytester"]

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
# A mutant needs one example that fails, not the smallest.
settings.register_profile("mutants", deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate])
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> ClaimsProject:
    """A fresh project with claim tests, outside of this one."""
    monkeypatch.setenv("PYTHONPATH", environment_with_root())
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    return ClaimsProject(pytester)


@pytest.fixture
def one_thread() -> None:
    """Sums are taken in one order, so that training twice by one seed gives the same weights."""
    import torch

    torch.set_num_threads(1)
