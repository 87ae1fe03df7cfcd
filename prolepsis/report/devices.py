"""What share of the machine a worker process gets: one of its GPUs, some of its cores."""

from collections.abc import Mapping


def visible_device(worker: str, environment: Mapping[str, str]) -> str | None:
    """The entry of the caller's ``CUDA_VISIBLE_DEVICES`` for worker ``gw<index>``, in turn; None to leave it alone.

    It has to be set before torch touches CUDA.
    """
    devices = [device.strip() for device in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if device.strip()]
    return devices[int(worker.removeprefix("gw")) % len(devices)] if devices else None


def threads(worker_count: int, cores: int) -> int:
    """How many threads each worker may use, so that together they do not ask for more than the machine has."""
    return max(1, cores // worker_count)
