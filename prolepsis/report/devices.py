"""What share of the machine a worker process gets: one of its GPUs, some of its cores."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path

NVIDIA = Path("/proc/driver/nvidia/version")
WHOLE = "cuda"
"""The device that stands for every GPU; ``cuda:1`` is one that the caller chose."""


def has_gpu(torch: str, environment: Mapping[str, str]) -> bool:
    """Whether there is an NVIDIA driver for a torch of this version to use, as far as can be said without torch."""
    hidden = environment.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1")
    return not hidden and not torch.endswith("+cpu") and (NVIDIA.exists() or shutil.which("nvidia-smi") is not None)


def gpus(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The GPUs a process may use, as ``CUDA_VISIBLE_DEVICES`` names them: those the caller left visible, else all.

    CUDA reads that list up to its first entry that is none, as ``-1``.
    """
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return tuple(str(index) for index in range(_installed()))
    entries = (entry.strip() for entry in named.split(","))
    return tuple(takewhile(lambda entry: entry not in ("", "-1"), entries))


def visible_device(seat: int, visible: Sequence[str]) -> str | None:
    """The GPU of the worker in this seat, counted around; None where there is none to give.

    It has to be set before torch touches CUDA.
    """
    return visible[seat % len(visible)] if visible else None


def automatic_workers(device: str, environment: Mapping[str, str]) -> int | None:
    """How many workers ``-n auto`` means: one for each GPU that is asked for, None (xdist decides) on CPUs."""
    if device == WHOLE:
        return max(1, len(gpus(environment)))
    return 1 if device.startswith(WHOLE) else None


def threads(worker_count: int, cores: int) -> int:
    """How many threads each worker may use, so that together they do not ask for more than the machine has."""
    return max(1, cores // worker_count)


def _installed() -> int:
    """How many GPUs the driver lists; asking torch would import it, and could touch CUDA too early."""
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--list-gpus"],  # noqa: S607 — where it lies differs from system to system
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
