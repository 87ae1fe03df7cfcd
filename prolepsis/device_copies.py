"""What clean runs hold in main memory, on their device for as long as they are asked for it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from prolepsis.engine import CleanRun

HELD = 4
"""So many runs have copies on the device at a time: a pair of prompts, and the same words in another role."""
_COPIES = "copies on the device"


def on_device(clean: "CleanRun", name: str, layer: int, held: "Tensor") -> "Tensor":
    """``held``, which a clean run has of a layer under ``name``, on the run's device.

    A subject keeps such copies of the runs that asked last.
    """
    device = clean.subject.device
    if held.device == device:
        return held
    runs: dict[int, tuple[CleanRun, dict[tuple[str, int], Tensor]]] = clean.subject.memo.setdefault(_COPIES, {})
    # The run is kept with its copies, or another could have its id; who asked last stands last.
    _, copies = runs[id(clean)] = runs.pop(id(clean), (clean, {}))
    while len(runs) > HELD:
        del runs[next(iter(runs))]
    if (name, layer) not in copies:
        copies[name, layer] = held.to(device)
    return copies[name, layer]
