"""What holds on the second device; run by test_second_device in a process that has it (``-p tests.second_device``)."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prolepsis.engine import clean_run
from prolepsis.subjects.loading import load_subject
from tests.kept_on_a_device import kept
from tests.second_device import NAME

HERE = torch.arange(24.0).view(2, 3, 4)
INDICES = (
    (0, 1),
    (..., 0),
    (None, 0, 1),
    (slice(None), [0, 2]),
    ([0, 1], [1, 2]),
    (range(2), (0, 1)),
    (0, torch.tensor([1, 2])),
    HERE[:, :, 0] > 2,
)
REFUSED: dict[str, Callable[[torch.Tensor], object]] = {
    "a sum": lambda there: there + HERE,
    "a product": lambda there: there @ HERE.transpose(1, 2),
    "a sum in place": lambda there: HERE.clone().add_(there),
    "a stack": lambda there: torch.stack([HERE, there]),
    "an index on it into the CPU": lambda there: HERE[there[0, 0].long() % 2],
    "rows of the CPU where they are added": lambda there: there.__setitem__(0, there[0] + HERE[0]),
    "noise by a generator of the CPU": lambda _: torch.randn(2, device=NAME, generator=torch.Generator()),
}


@pytest.mark.parametrize("what", REFUSED)
def test_it_does_not_mix_with_the_cpu(what: str) -> None:
    """Tensors of both devices in one operator raise, as they do with a GPU."""
    with pytest.raises(RuntimeError, match=r"same device|generator of the device"):
        REFUSED[what](HERE.to(NAME))


def test_it_is_no_array() -> None:
    """A tensor on the device has to be moved before numpy takes it."""
    with pytest.raises(TypeError, match=r"Use Tensor.cpu"):
        HERE.to(NAME).numpy()


def test_what_is_kept_there_is_counted_once() -> None:
    """Views and copies by reference add nothing to what a tensor takes, and nothing is left of one that is gone."""
    before = kept()
    there = torch.ones(1000, device=NAME)
    view = there[:10]
    assert kept() - before == there.numel() * 4
    assert view.sum() == 10
    del there, view
    assert kept() == before


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_it_is_read_and_written_as_on_the_cpu(index: object) -> None:
    """An index reads, overwrites and changes the same entries on both devices."""
    here, there = HERE.clone(), HERE.to(NAME)
    assert torch.equal(there[index].cpu(), here[index])  # type: ignore[index]
    for tensor in (here, there):
        tensor[index] += 5  # type: ignore[index]
        tensor[index] *= 2  # type: ignore[index]
    assert torch.equal(there.cpu(), here)


@given(st.integers(0, 2**32 - 1))
def test_it_computes_what_the_cpu_does(seed: int) -> None:
    """Products, views changed in place and numbers drawn are the same to the bit."""

    def made(device: str) -> torch.Tensor:
        drawn = torch.randn(3, 5, generator=torch.Generator(device).manual_seed(seed), device=device)
        row = torch.zeros(1, 5, device=device).squeeze_(0)
        row += drawn[0] @ drawn.T @ drawn
        return torch.cat([row.softmax(-1), torch.tensor([1.5, 2.5], device=device)])

    assert torch.equal(made(NAME).cpu(), made("cpu"))


def test_clean_runs_wait_in_main_memory() -> None:
    """What is held of hundreds of prompts takes no room on the device, and is there where it is used."""
    tokens = range(3, 15)
    here, there = (clean_run(load_subject("planner", device), tokens) for device in ("cpu", NAME))
    assert there.kept.device.type == "cpu"
    assert {one.device.type for one in (there.resid, there.resid_pre(2, 3), there.resid_post(1))} == {NAME}
    assert torch.equal(there.resid_pre(2, 3).cpu(), here.resid[2, 3:])
    assert torch.equal(there.resid_post(1).cpu(), here.resid[2])


def test_a_subject_says_the_same() -> None:
    """A language model there has the logits it has on the CPU, to the bit."""
    tokens = torch.arange(3, 15)[None]
    here, there = load_subject("planner"), load_subject("planner", NAME)
    assert there.device.type == NAME
    with torch.no_grad():
        assert torch.equal(there.model(tokens.to(NAME)).logits.cpu(), here.model(tokens).logits)
