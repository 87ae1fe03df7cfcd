"""Whether the disk of the cache has room for what is to be downloaded, all of it together."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from prolepsis.hub.planning import Part, Plan, in_words, total

SPARE = 1 << 30
"""Bytes that stay free on the disk of the cache."""


class Room:
    """The room on the disk of the cache, taken by one part after another; a file that two parts need takes it once."""

    def __init__(self) -> None:
        from huggingface_hub import constants

        self._cache = Path(constants.HF_HUB_CACHE)
        there = next(folder for folder in (self._cache, *self._cache.parents) if folder.is_dir())
        self._free = shutil.disk_usage(there).free
        self._taken = 0
        self._files: set[tuple[str, str, str]] = set()

    def take(self, part: Part) -> str | None:
        """Take the room that the missing files of ``part`` need; where there is too little, take none and say why."""
        files = {(file.repo, file.revision, file.name): file for file in part.missing}
        new = {key: file for key, file in files.items() if key not in self._files}
        needed = total(new.values(), kept=True)
        if needed and self._taken + needed + SPARE > self._free:
            beside = f" beside {in_words(self._taken)} of other downloads" if self._taken else ""
            return (
                f"{part.place}: {in_words(needed)} are to be kept{beside} and {in_words(SPARE)} stay free, but the "
                f"disk of {self._cache} has {in_words(self._free)}; free space there or set HF_HOME to another disk"
            )
        self._taken += needed
        self._files |= new.keys()
        return None


class NoRoom(NamedTuple):
    """Why there is no room for a subject's model, and for its transcoder, beside all else; None where there is."""

    model: str | None = None
    transcoder: str | None = None


def without_room(plans: Sequence[Plan]) -> list[NoRoom]:
    """What of each plan has no room when all of them are carried out: every model comes before any transcoder.

    What has no room leaves it to what comes behind, and so does the transcoder of a model that cannot be had.
    """
    room = Room()
    blocked = [bool(plan.blocking or plan.mistakes) for plan in plans]
    models = [
        None if plan.model is None or closed else room.take(plan.model)
        for plan, closed in zip(plans, blocked, strict=True)
    ]
    return [
        NoRoom(model, None if plan.transcoder is None or closed or model else room.take(plan.transcoder))
        for plan, closed, model in zip(plans, blocked, models, strict=True)
    ]
