"""What this machine has to run real models with."""

import itertools
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prolepsis.doctor.work import Rates
from prolepsis.hub.remote import in_words

MEASURED_SECONDS = 0.2
"""How long a rate is measured."""
NOT_MEASURED = Rates(0.0, 0.0, 0.0, 0.0)
_SIDE = {"cpu": 1024, "cuda": 4096}
_COPIED_BYTES = 1 << 27


@dataclass(frozen=True)
class Machine:
    """The device a run would use, and the host it is in.

    ``total_bytes`` and ``free_bytes`` are of the device's memory, which on a CPU is the host's; ``rates`` are all
    zero where they could not be measured. ``dtypes`` are the state dtypes the device computes in. ``lacking`` says why
    the device cannot be used, None where it can.
    """

    device: str
    name: str
    driver: str | None
    torch: str
    dtypes: tuple[str, ...]
    total_bytes: int
    free_bytes: int
    host_bytes: int
    host_free_bytes: int
    rates: Rates
    lacking: str | None = None


def default_device() -> str:
    """The GPU where torch can use one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def look_at(device: str, dtype: str) -> Machine:
    """What there is, with the rates measured in ``dtype``; raises UserError for what is no device of this torch."""
    import torch

    from prolepsis.errors import Untested, is_out_of_memory
    from prolepsis.subjects.loading import check_device

    total, free = host_memory()
    there: dict[str, Any] = {"device": device, "torch": torch.__version__, "host_bytes": total, "host_free_bytes": free}
    try:
        check_device(device, "--device")
    except Untested as missing:
        nothing: dict[str, Any] = {"name": "none", "driver": driver(), "dtypes": (), "total_bytes": 0, "free_bytes": 0}
        return Machine(**there, **nothing, rates=NOT_MEASURED, lacking=str(missing))
    if not device.startswith("cuda"):
        name = f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, {torch.get_num_threads()} threads"
        dtypes = ("float32", "float64", "bfloat16")
        rates = rates_of(device, dtype)
        return Machine(**there, name=name, driver=None, dtypes=dtypes, total_bytes=total, free_bytes=free, rates=rates)
    # Before rates are measured: torch keeps what that takes.
    free, total = torch.cuda.mem_get_info(device)
    dtypes = ("float32", "float64", *(("bfloat16",) if torch.cuda.is_bf16_supported() else ()))
    there |= {"name": torch.cuda.get_device_name(device), "driver": driver(), "dtypes": dtypes}
    there |= {"total_bytes": total, "free_bytes": free}
    try:
        return Machine(**there, rates=rates_of(device, dtype))
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        free_of = f"{in_words(free)} free of {in_words(total)}"
        lacking = f"{device}: its memory is full ({free_of}); free some, or use --device cpu"
        return Machine(**there, rates=NOT_MEASURED, lacking=lacking)


def driver() -> str | None:
    """The version of the NVIDIA driver, None where there is none."""
    return next(iter(_of_cards("driver_version")), None)


def cards() -> list[str]:
    """The names of all NVIDIA cards of the machine."""
    return _of_cards("name")


def _of_cards(field: str) -> list[str]:
    """What the driver says of each card; nothing where there is no driver."""
    try:
        asked = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader"]
        found = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in found.stdout.splitlines() if line.strip()]


def host_memory() -> tuple[int, int]:
    """Bytes of main memory in all, and those that a process can still have; a container's limit counts."""
    page = os.sysconf("SC_PAGE_SIZE")
    total, free = page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    meminfo = Path("/proc/meminfo")
    if meminfo.exists() and (found := re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text())):
        free = int(found[1]) * 1024
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and limit.read_text().strip().isdecimal():
        total = min(total, int(limit.read_text()))
        free = min(free, total - int(limit.with_name("memory.current").read_text()))
    return total, free


def rates_of(device: str, dtype: str) -> Rates:
    """What the device does in a second with a model in ``dtype``, as exactly as claims are measured."""
    from prolepsis.experiments.nearest_tokens import HALVES_ON
    from prolepsis.subjects.precision import multiply_exactly

    multiply_exactly()
    scanned = "float16" if device.partition(":")[0] in HALVES_ON else "float32"
    products = matmul_rate(device, dtype)
    scans = products if scanned == dtype else matmul_rate(device, scanned)
    return Rates(products, scans, copy_bandwidth(device), start_rate(device))


def matmul_rate(device: str, dtype: str) -> float:
    """Floating-point operations a second of a square matrix product in ``dtype``."""
    import torch

    side = _SIDE[torch.device(device).type]
    a, b = (torch.randn(side, side, device=device).to(getattr(torch, dtype)) for _ in range(2))
    return 2 * side**3 * _times_a_second(lambda: torch.mm(a, b), device)


def copy_bandwidth(device: str) -> float:
    """Bytes a second that a copy within the device's memory reads and writes."""
    import torch

    a, b = (torch.zeros(_COPIED_BYTES, dtype=torch.uint8, device=device) for _ in range(2))
    return 2 * _COPIED_BYTES * _times_a_second(lambda: b.copy_(a), device)


def start_rate(device: str) -> float:
    """Operations a second that layers start which are so small that nothing else takes time."""
    import torch
    from transformers import LlamaConfig, LlamaModel

    from prolepsis.doctor.started import each_start

    config = LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_attention_heads=1, num_hidden_layers=2)
    model: Any = LlamaModel(config)
    model.to(device)
    tokens, started = torch.zeros(1, 8, dtype=torch.long, device=device), itertools.count()
    with torch.no_grad():
        with each_start(lambda: next(started)):
            model(tokens, use_cache=False)
        return next(started) * _times_a_second(lambda: model(tokens, use_cache=False), device)


def _times_a_second(run: Callable[[], object], device: str) -> float:
    import torch

    def finished() -> float:
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        return time.perf_counter()

    run()
    start, times = finished(), 0
    while True:
        run()
        times += 1
        if (now := finished()) - start >= MEASURED_SECONDS:
            return times / (now - start)
