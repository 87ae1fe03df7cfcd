"""A pytest plugin that measures the time and the peak memory each family of claims takes, and loading before it.

    python -m pytest claims --claims-subject planner -p prolepsis.rehearsal.meter --meter FILE

A twin that is made in place, after all else, has a name of its own.
"""

import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from prolepsis.experiments import measuring
from prolepsis.rehearsal import metered
from prolepsis.report.storage import write_json


@dataclass
class Taken:
    """Seconds, the most bytes the process held in main memory and of tensors on the GPU, and those it holds on to."""

    seconds: float = 0.0
    host_bytes: int | None = None
    gpu_bytes: int | None = None
    gpu_kept_bytes: int | None = None

    def add(self, other: "Taken") -> None:
        """Take in a further stretch of the same family."""
        self.seconds += other.seconds
        self.gpu_kept_bytes = other.gpu_kept_bytes
        self.host_bytes = _larger(self.host_bytes, other.host_bytes)
        self.gpu_bytes = _larger(self.gpu_bytes, other.gpu_bytes)


class Meter:
    """Adds up what is taken under each name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.taken: dict[str, Taken] = {}
        self.inner = 0.0
        self.names: list[str] = []

    @contextmanager
    def measuring(self, name: str) -> Iterator[None]:
        """Count what happens inside for ``name``, less what is counted for another name within."""
        self._peaks()
        self.names.append(name)
        outer, self.inner = self.inner, 0.0
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - start
            self._peaks(seconds - self.inner)
            self.names.pop()
            self.inner = outer + seconds

    def _peaks(self, seconds: float = 0.0) -> None:
        """Add peaks since the last look, and ``seconds``, to what is counted now; peaks begin anew."""
        if self.names:
            taken = Taken(seconds, _host_peak(), _gpu_peak(), gpu_kept())
            self.taken.setdefault(self.names[-1], Taken()).add(taken)
        _reset_peaks()

    def pytest_runtest_logfinish(self) -> None:
        """Write what is known so far, so that a run that is cut short tells it too."""
        write_json(self.path, {name: asdict(taken) for name, taken in self.taken.items()})


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register ``--meter``."""
    parser.addoption("--meter", metavar="FILE", help="where to write what each family took")


def pytest_configure(config: pytest.Config) -> None:
    """Measure where a file is named to write to."""
    if not config.option.meter:
        return
    meter, patch = Meter(config.invocation_params.dir / config.option.meter), pytest.MonkeyPatch()
    patch.setattr(measuring, "done_for", meter.measuring)
    config.add_cleanup(patch.undo)
    config.pluginmanager.register(meter, metered.METER)
    config.pluginmanager.register(metered, metered.__name__)


def read_meter(path: Path) -> dict[str, Taken]:
    """Family, loading, or the twin → what it took."""
    return {name: Taken(**taken) for name, taken in json.loads(path.read_text()).items()}


def _larger(first: int | None, second: int | None) -> int | None:
    return max(first, second) if first is not None and second is not None else first or second


def _reset_peaks() -> None:
    if sys.platform == "linux":
        # The kernel's own high-water mark, which would otherwise stay at the largest of all families.
        Path("/proc/self/clear_refs").write_text("5")
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        for device in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(device)


def _host_peak() -> int | None:
    """Peak resident bytes since the last reset; None where the system does not say."""
    if sys.platform != "linux":
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return None if found is None else int(found[1]) * 1024


def _gpu_peak() -> int | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return max(int(torch.cuda.max_memory_allocated(device)) for device in range(torch.cuda.device_count()))


def gpu_kept() -> int | None:
    """Bytes of tensors on the GPU, the weights among them; None where there is none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return max(int(torch.cuda.memory_allocated(device)) for device in range(torch.cuda.device_count()))
