"""What is held in main memory, on a subject's device for as long as it is asked for."""

from torch import Tensor

from prolepsis.subject import Subject

HELD = 4
"""So many owners have copies on the device at a time: a pair of prompts, and the same words in another role."""


def on_device(subject: Subject, owner: object, name: tuple[str, int], held: Tensor) -> Tensor:
    """``held``, which is the tensor ``name`` of its ``owner``, on the device of ``subject``.

    The subject keeps such copies for the owners that asked last.
    """
    if held.device == subject.device:
        return held
    owners = subject.once(_copies)
    # Who asked last stands last.
    _, copies = owners[id(owner)] = owners.pop(id(owner), (owner, {}))
    while len(owners) > HELD:
        del owners[next(iter(owners))]
    if name not in copies:
        copies[name] = held.to(subject.device)
    return copies[name]


def _copies(_: Subject) -> dict[int, tuple[object, dict[tuple[str, int], Tensor]]]:
    """Copies by the id of their owner, who is kept with them: else another could have its id. None at first."""
    return {}
