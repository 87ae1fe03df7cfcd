"""Downloads what a plan lacks, after saying what and how much it is."""

import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from prolepsis.errors import Untested
from prolepsis.hub.planning import Part, RemoteFile, in_words, total
from prolepsis.hub.refusals import plainly
from prolepsis.hub.repository import Repository

SPARE = 1 << 30
"""Bytes that stay free on the disk of the cache."""
_NAMED = 8


def fetch(part: Part, tell: Callable[[str], None]) -> None:
    """Bring the whole files of ``part`` here; ``tell`` is given every line about them before any of them comes.

    A transfer that was cut short goes on where it stopped, and a file bears its name only once it is whole. Raises
    Untested where the disk has no room for all of it, before anything is transferred, and what the hub refuses.
    """
    repository = part.repository
    if repository is None:
        return
    coming = [file for file in part.files if file.name in repository.entries and not repository.linked(file.name)]
    if not coming:
        return
    lacking = lack_of_room(part)
    if lacking is not None:
        raise Untested(lacking)
    for line in _announced(repository, [file for file in coming if not file.present]):
        tell(line)
    with plainly(repository.id, repository.asked), warnings.catch_warnings():
        # Of a full disk it would warn, which has been looked at before.
        warnings.simplefilter("ignore")
        for number, file in enumerate(coming):
            # The first is asked for by the name of its branch, so that the cache knows which commit that is.
            _fetch(repository, file.name, repository.commit if number else repository.asked)


def lack_of_room(part: Part) -> str | None:
    """What is missing on the disk of the cache for the files of ``part``, None where they have room."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    there = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    needed, free = total(part.missing), shutil.disk_usage(there).free
    if not needed or needed + SPARE <= free:
        return None
    return (
        f"{part.repository}: {in_words(needed)} are to be downloaded and {in_words(SPARE)} stay free, but the disk of "
        f"{cache} has {in_words(free)}; free space there or set HF_HOME to another disk"
    )


def _announced(repository: Repository, files: Sequence[RemoteFile]) -> list[str]:
    if not files:
        return []
    largest = sorted(files, key=lambda file: -(file.size or 0))
    lines = [f"downloading {in_words(total(files))} from {repository} ({len(files)} files):"]
    lines += [f"  {file.name}  {in_words(file.size or 0)}" for file in largest[:_NAMED]]
    if len(files) > _NAMED:
        lines.append(f"  {len(files) - _NAMED} smaller ones  {in_words(total(largest[_NAMED:]))}")
    return lines


def _fetch(repository: Repository, name: str, revision: str) -> None:
    from huggingface_hub import hf_hub_download

    here = repository.snapshot / name
    path = Path(hf_hub_download(repository.id, name, revision=revision, force_download=here.exists()))
    if path != here:
        raise Untested(f"{repository.id}: {revision} moved to another commit while it was read; run again")
    if not repository.linked(name):
        raise Untested(f"{path}: is not of the size the hub states; remove it and run again")
