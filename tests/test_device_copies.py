"""Copies of what clean runs hold in main memory."""

from types import SimpleNamespace
from typing import Any

import torch

from prolepsis.running.device_copies import HELD, on_device
from prolepsis.subject import Subject


class Held(SimpleNamespace):
    """As much of a subject as copying asks of it."""

    once = Subject.once


def on(device: str) -> Any:
    """One that is on a device."""
    return Held(device=torch.device(device), known={})


def test_what_is_on_the_device_is_not_copied() -> None:
    """On a CPU main memory is the device's."""
    held, subject = torch.zeros(3), on("cpu")
    assert on_device(subject, "a run", ("keys", 0), held) is held
    assert subject.known == {}


def test_copies_stay_for_the_owners_that_asked_last() -> None:
    """A tensor is copied once; when one owner too many asks, the copies of the one that asked longest ago go."""
    subject, held, owners = on("meta"), torch.zeros(3), [object() for _ in range(HELD + 1)]

    def copy(owner: int, name: str = "keys", layer: int = 0) -> torch.Tensor:
        return on_device(subject, owners[owner], (name, layer), held)

    first, layers, others = copy(0), copy(0, layer=1), copy(0, "values")
    assert first.device.type == "meta"
    assert len({id(first), id(layers), id(others)}) == 3
    second = copy(1)
    for owner in range(2, HELD):
        copy(owner)
    assert copy(0) is first
    copy(HELD)
    assert copy(0) is first
    assert copy(1) is not second
