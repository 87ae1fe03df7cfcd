"""Copies of what clean runs hold in main memory."""

from types import SimpleNamespace
from typing import Any

import torch

from prolepsis.device_copies import HELD, on_device


def a_run(device: str, memo: dict[str, Any]) -> Any:
    """As much of a clean run as copying asks of it."""
    return SimpleNamespace(subject=SimpleNamespace(device=torch.device(device), memo=memo))


def test_what_is_on_the_device_is_not_copied() -> None:
    """On a CPU main memory is the device's."""
    held, memo = torch.zeros(3), dict[str, Any]()
    assert on_device(a_run("cpu", memo), "keys", 0, held) is held
    assert memo == {}


def test_copies_stay_for_the_runs_that_asked_last() -> None:
    """A layer is copied once; when one run too many asks, the copies of the one that asked longest ago go."""
    memo, held = dict[str, Any](), [torch.zeros(3) for _ in range(2)]
    runs = [a_run("meta", memo) for _ in range(HELD + 1)]

    def copy(run: int, name: str = "keys", layer: int = 0) -> torch.Tensor:
        return on_device(runs[run], name, layer, held[layer])

    first, layers, others = copy(0), copy(0, layer=1), copy(0, "values")
    assert first.device.type == "meta"
    assert len({id(first), id(layers), id(others)}) == 3
    second = copy(1)
    for run in range(2, HELD):
        copy(run)
    assert copy(0) is first
    copy(HELD)
    assert copy(0) is first
    assert copy(1) is not second
