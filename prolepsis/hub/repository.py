"""One commit of a Hugging Face repository: which files it holds, and which of them lie in the cache."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from prolepsis.atomic import write_atomically
from prolepsis.hub.refusals import plainly

LISTING, REFS = "listing.json", "refs"


@dataclass(frozen=True)
class Entry:
    """A file of a repository: its size in bytes, and the etag by which the cache knows its content."""

    size: int | None
    etag: str | None = None


@dataclass(frozen=True)
class Repository:
    """A repository at one commit; ``asked`` is the branch, tag or commit it was asked for by.

    ``entries`` are all its files where the hub was ever asked, else those that lie in the cache: ``listed`` tells these
    apart.
    """

    id: str
    asked: str
    commit: str
    entries: Mapping[str, Entry]
    listed: bool = True

    def __str__(self) -> str:
        return f"{self.id}@{self.commit[:8]}"

    @cached_property
    def snapshot(self) -> Path:
        """The folder of this commit in the cache, whether it is there or not."""
        return _folder(self.id) / "snapshots" / self.commit

    @cached_property
    def kept(self) -> Path:
        """Where we keep what we know of this commit: its listing, headers and single rows."""
        return _kept(self.id, self.commit)

    def blob(self, name: str) -> Path | None:
        """Where the cache keeps the content of a file, whatever commits have it; None where its etag is not known."""
        etag = self.entries.get(name, Entry(None)).etag
        return None if etag is None else _folder(self.id) / "blobs" / etag

    def path(self, name: str) -> Path | None:
        """Where the file lies in the cache; None when it is not there, or not of the size the hub states."""
        size = self.entries.get(name, Entry(None)).size
        # The content may have come with another commit; its name in this one is made when it is fetched.
        for path in (self.snapshot / name, self.blob(name)):
            if path is not None and path.is_file() and size in (None, path.stat().st_size):
                return path
        return None

    def linked(self, name: str) -> bool:
        """Whether the file is whole and bears its name."""
        return self.path(name) == self.snapshot / name


def cached(name: str, revision: str) -> Repository | None:
    """The commit of ``revision`` that the cache knows, without any network; None when it knows none.

    Raises UserError for what cannot be the name of a repository.
    """
    utils: Any = import_module("huggingface_hub.utils")
    with plainly(name, revision):
        utils.validate_repo_id(name)
    commit = revision if _is_commit(revision) else _reference(name, revision)
    if commit is None:
        return None
    known = Repository(name, revision, commit, {})
    try:
        listing = json.loads((known.kept / LISTING).read_text())
        return replace(known, entries={file: Entry(size, etag) for file, (size, etag) in listing.items()})
    except (OSError, ValueError):
        found = (path for path in known.snapshot.rglob("*") if path.is_file())
        entries = {path.relative_to(known.snapshot).as_posix(): Entry(None) for path in found}
    return replace(known, entries=entries, listed=False) if entries else None


def listed(name: str, revision: str, commit: str | None = None) -> Repository:
    """The files of ``commit``, by default that of ``revision`` now, as the hub has them, kept for later.

    Raises Untested when the hub cannot be asked or does not let this account in, UserError for a revision or name that
    does not exist.
    """
    from huggingface_hub import HfApi

    with plainly(name, revision):
        info = HfApi().model_info(name, revision=commit or revision, files_metadata=True)
        if info.gated:
            HfApi().auth_check(name)
        entries = {
            file.rfilename: Entry(file.size, file.lfs.sha256 if file.lfs else file.blob_id)
            for file in info.siblings or ()
        }
        assert info.sha is not None
        found = Repository(name, revision, info.sha, entries)
        listing = {file: (entry.size, entry.etag) for file, entry in sorted(entries.items())}
        keep(found.kept / LISTING, json.dumps(listing))
        keep(_kept(name, REFS) / revision.replace("/", "--"), found.commit)
    return found


def keep(path: Path, content: str | bytes) -> None:
    """Write one of the files we keep, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)


def _folder(name: str) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"


def _kept(name: str, subfolder: str) -> Path:
    """A folder of ours where huggingface_hub lets libraries keep what is theirs; made when something is kept."""
    from huggingface_hub import constants

    return Path(constants.HF_ASSETS_CACHE) / "prolepsis" / name.replace("/", "--") / subfolder


def _reference(name: str, revision: str) -> str | None:
    """The commit of a branch or tag: of the files in the cache, or else as the hub was last asked."""
    for path in (_folder(name) / "refs" / revision, _kept(name, REFS) / revision.replace("/", "--")):
        if path.is_file():
            return path.read_text().strip() or None
    return None


def _is_commit(revision: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{40}", revision) is not None
