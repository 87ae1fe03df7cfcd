"""Hypothesis profiles, and the fixtures that several test modules share."""

import os

import pytest
from hypothesis import settings

from tests.claims_project import ClaimsProject, environment_with_root

pytest_plugins = ["pytester"]

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> ClaimsProject:
    """A fresh project with claim tests, outside of this one."""
    monkeypatch.setenv("PYTHONPATH", environment_with_root())
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    return ClaimsProject(pytester)
