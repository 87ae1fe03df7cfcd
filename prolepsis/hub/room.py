"""Whether the disk of the cache has room for what is to be downloaded, all of it together."""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from prolepsis.hub.planning import Part, Plan
from prolepsis.hub.remote import RemoteFile, in_words, total

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

    def take(self, place: object, missing: Iterable[RemoteFile]) -> str | None:
        """Take the room that ``missing`` files of ``place`` need; where there is too little, take none and say why."""
        files = {(file.repo, file.revision, file.name): file for file in missing}
        new = {key: file for key, file in files.items() if key not in self._files}
        needed = total(new.values(), kept=True)
        if needed and self._taken + needed + SPARE > self._free:
            beside = f" beside {in_words(self._taken)} of other downloads" if self._taken else ""
            return (
                f"{place}: {in_words(needed)} are to be kept{beside} and {in_words(SPARE)} stay free, but the "
                f"disk of {self._cache} has {in_words(self._free)}; free space there or set HF_HOME to another disk"
            )
        self._taken += needed
        self._files |= new.keys()
        return None


class NoRoom(NamedTuple):
    """Why there is no room for a subject's model, transcoder or pairs of facts beside all else; None where there is."""

    model: str | None = None
    transcoder: str | None = None
    pairs: str | None = None


def without_room(plans: Sequence[Plan]) -> list[NoRoom]:
    """What of each plan has no room when all of them are carried out: models, then pairs, and transcoders last.

    What has no room leaves it to what comes behind, and so does all else of a model that cannot be had.
    """
    room = Room()
    going = [not (plan.blocking or plan.mistakes) for plan in plans]
    models = [_part(room, plan.model if goes else None) for plan, goes in zip(plans, going, strict=True)]
    going = [goes and model is None for goes, model in zip(going, models, strict=True)]
    pairs = [
        room.take(plan.pairs.repo, [plan.pairs]) if plan.pairs and not plan.pairs.present and goes else None
        for plan, goes in zip(plans, going, strict=True)
    ]
    transcoders = [_part(room, plan.transcoder if goes else None) for plan, goes in zip(plans, going, strict=True)]
    return [NoRoom(*lacking) for lacking in zip(models, transcoders, pairs, strict=True)]


def _part(room: Room, part: Part | None) -> str | None:
    """Why there is no room for a part, None where there is or where nothing is to be had."""
    return None if part is None else room.take(part.place, part.missing)
