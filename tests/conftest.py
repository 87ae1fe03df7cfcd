"""Hypothesis profiles, and the fixtures that several test modules share."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from tests.claims_project import ClaimsProject, environment_with_root
from tests.hub_server import Hub, running_hub, use

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
def refusal(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """``refusal("train", "nobody")``: the line that is all the command line says of a user's error, with code 4."""
    from prolepsis import cli
    from prolepsis.commands.command import USER_ERROR

    def refused(*arguments: str) -> str:
        assert cli.main(arguments) == USER_ERROR
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.count("\n") == 1
        return printed.err

    return refused


@pytest.fixture
def one_thread() -> None:
    """Sums are taken in one order, so that training twice by one seed gives the same weights."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with a model and a transcoder, neither of them in the cache."""
    import torch
    from safetensors.torch import save_file

    from tests.test_transcoder import random_parts, written

    with running_hub() as found:
        use(found, tmp_path / "home", monkeypatch)
        model = tmp_path / "model"
        model.mkdir()
        (model / "config.json").write_text("{}")
        (model / "tokenizer.json").write_text('{"model": {}}')
        (model / "README.md").write_text("# A model")
        save_file({"weight": torch.zeros(8)}, model / "model.safetensors")
        found.add("o/model", model)
        found.add("o/clt", written(tmp_path / "clt", random_parts(0)))
        yield found
