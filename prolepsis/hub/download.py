"""Downloads what a plan lacks, after saying what and how much it is."""

import hashlib
import re
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from prolepsis.errors import Untested
from prolepsis.hub.last_rows import fetch_last
from prolepsis.hub.planning import LAST, Part
from prolepsis.hub.refusals import plainly
from prolepsis.hub.remote import RemoteFile, in_words, total
from prolepsis.hub.repository import Repository
from prolepsis.hub.room import Room

_NAMED = 8
_LARGE = 10 << 20


def fetch(part: Part, tell: Callable[[str], None]) -> None:
    """Bring the files of ``part`` here; ``tell`` is given every line about them before any of them comes.

    A transfer that was cut short goes on where it stopped, and a file bears its name only once it is whole. Single rows
    are left to be read when they are wanted. Raises Untested where the disk has no room for all of it, before anything
    is transferred, and what the hub refuses.
    """
    repository = part.place
    if isinstance(repository, Path):
        return
    whole = [file for file in part.files if file.name in repository.entries and not repository.linked(file.name)]
    picked = [file for file in part.missing if file.name.endswith(LAST)]
    lacking = Room().take(part.place, part.missing)
    if lacking is not None and (whole or picked):
        raise Untested(lacking)
    for line in _announced(repository, [file for file in (*whole, *picked) if not file.present]):
        tell(line)
    if part.later is not None:
        tell(part.later)
    with plainly(repository.id, repository.asked), warnings.catch_warnings():
        # Of a full disk it would warn, which has been looked at before.
        warnings.simplefilter("ignore")
        for number, file in enumerate(whole):
            # The first is asked for by the name of its branch, so that the cache knows which commit that is.
            _fetch(repository, file.name, repository.commit if number else repository.asked)
        for file in picked:
            fetch_last(repository, file.name.removesuffix(LAST))


def _announced(repository: Repository, files: Sequence[RemoteFile]) -> list[str]:
    if not files:
        return []
    largest = sorted(files, key=lambda file: -(file.size or 0))
    kept = total(files, kept=True)
    part = "" if kept == total(files) else f", of which {in_words(kept)} are kept"
    lines = [f"downloading {in_words(total(files))} from {repository} ({len(files)} files){part}:"]
    lines += [f"  {file.name}  {in_words(file.size or 0)}" for file in largest[:_NAMED]]
    if len(files) > _NAMED:
        lines.append(f"  {len(files) - _NAMED} smaller ones  {in_words(total(largest[_NAMED:]))}")
    return lines


def _fetch(repository: Repository, name: str, revision: str) -> None:
    """Let the file bear its name in the cache, whole."""
    from huggingface_hub import hf_hub_download

    here, blob = repository.snapshot / name, repository.blob(name)
    if here.exists():
        # It is there, and not of the size the hub states.
        here.resolve().unlink()
        here.unlink(missing_ok=True)
    if blob is not None and _goes_on(repository, name):
        _bring(repository, name, blob)
    if Path(hf_hub_download(repository.id, name, revision=revision)) != here:
        raise Untested(f"{repository.id}: {revision} moved to another commit while it was read; run again")
    if not repository.linked(name):
        raise Untested(f"{here}: is not of the size the hub states; remove it and run again")


def _goes_on(repository: Repository, name: str) -> bool:
    """Whether a file is large enough to go on with, its digest known, and small enough for plain HTTP."""
    from huggingface_hub import constants

    entry = repository.entries[name]
    hashed = re.fullmatch(r"[0-9a-f]{64}", entry.etag or "") is not None
    return hashed and entry.size is not None and _LARGE <= entry.size <= constants.MAX_HTTP_DOWNLOAD_SIZE


def _bring(repository: Repository, name: str, blob: Path) -> None:
    """Transfer the content of a file, from where an earlier transfer stopped, and hold it against its digest.

    huggingface_hub resumes within a process only: what a killed one has written it never finds again.
    """
    from huggingface_hub import hf_hub_url

    utils: Any = import_module("huggingface_hub.utils")
    http_get = import_module("huggingface_hub.file_download").http_get
    blob.parent.mkdir(parents=True, exist_ok=True)
    part = blob.with_name(f"{blob.name}.incomplete")
    # The lock huggingface_hub takes itself for this content.
    lock = blob.parents[2] / ".locks" / blob.parents[1].name / f"{blob.name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with utils.WeakFileLock(str(lock)):
        if blob.exists():
            return
        with part.open("ab") as file:
            http_get(
                hf_hub_url(repository.id, name, revision=repository.commit),
                file,
                resume_size=file.tell(),
                headers=utils.build_hf_headers(),
                expected_size=repository.entries[name].size,
                displayed_filename=name,
            )
        with part.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != blob.name:
            part.unlink()
            raise Untested(f"{repository}: what arrived of {name} is not what the hub lists; run again")
        part.replace(blob)
