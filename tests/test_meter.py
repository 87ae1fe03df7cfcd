"""What each family of claims took, where one is measured within another."""

from pathlib import Path

import pytest

from prolepsis.rehearsal import meter
from prolepsis.rehearsal.meter import Meter


class Peaks:
    """Memory that goes up and down, and its high-water mark since the last reset."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def use(self, size: int) -> None:
        """Have so much in use now."""
        self.now, self.most = size, max(self.most, size)

    def reset(self) -> None:
        """Begin anew from what is in use now."""
        self.most = self.now


@pytest.fixture
def peaks(monkeypatch: pytest.MonkeyPatch) -> Peaks:
    """The memory that the meter reads."""
    memory = Peaks()
    monkeypatch.setattr(meter, "_reset_peaks", memory.reset)
    monkeypatch.setattr(meter, "_host_peak", lambda: memory.most)
    monkeypatch.setattr(meter, "_gpu_peak", lambda: memory.most)
    monkeypatch.setattr(meter, "gpu_kept", lambda: memory.now)
    return memory


@pytest.mark.parametrize(("before", "within", "after"), [(9, 3, 2), (2, 9, 3), (2, 3, 9)])
def test_peaks_before_within_and_after_are_those_of_their_family(
    peaks: Peaks, tmp_path: Path, before: int, within: int, after: int
) -> None:
    """A family keeps the peak it had before another one was measured within it, and none of that one's."""
    counted = Meter(tmp_path / "meter.json")
    with counted.measuring("outer"):
        peaks.use(before)
        peaks.use(1)
        with counted.measuring("inner"):
            peaks.use(within)
            peaks.use(1)
        peaks.use(after)
        peaks.use(1)
    assert counted.taken["outer"].gpu_bytes == counted.taken["outer"].host_bytes == max(before, after)
    assert counted.taken["inner"].gpu_bytes == within
    assert counted.taken["outer"].gpu_kept_bytes == 1


def test_a_reset_within_the_same_family_loses_nothing(peaks: Peaks, tmp_path: Path) -> None:
    """An experiment that reads a peak of its own resets what was counted, within its family's own name."""
    counted = Meter(tmp_path / "meter.json")
    with counted.measuring("recorded"):
        peaks.use(13)
        peaks.use(1)
        with counted.measuring("recorded"):
            peaks.reset()
            peaks.use(11)
            peaks.use(1)
    assert counted.taken["recorded"].gpu_bytes == 13
