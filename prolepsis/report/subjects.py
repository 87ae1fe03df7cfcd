"""Which subjects a run meets, and how each is found: bundled ones by id, others by a folder or a preset file.

Naming a subject reads no weights and imports no torch; only :func:`open_subject` does.
"""

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prolepsis import organisms
from prolepsis.archive import asks
from prolepsis.archive.files import Archive, Recording
from prolepsis.errors import Untested, UserError
from prolepsis.experiments.families import MODULES
from prolepsis.hub import Gathered, gather
from prolepsis.ledger import Claim
from prolepsis.subjects.counterfactual import find
from prolepsis.subjects.published import PRESETS, Published
from prolepsis.subjects.source import PAPER, RANDOM, SubjectSource

if TYPE_CHECKING:
    from prolepsis.subject import Subject

DTYPES = ("float32", "float64", "bfloat16")
"""What a subject's states can be."""
ENGLISH = PRESETS.parent / "tasks" / "english.json"
"""What a model is asked that brings no task of its own."""


def is_asked(claim: Claim, source: SubjectSource) -> bool:
    """Whether ``claim`` is measured on subjects of this tier, and on this one if either of them names its like."""
    if source.tier not in claim.tiers:
        return False
    if source.tier == "organism" and source.model is None:
        return source.id in organisms.SUITES[claim.suite]
    if source.recording is not None:
        return asks(claim, source.recording)
    return source.tier in ("arithmetic", "property") or claim.model in ("", source.id)


def known_subjects(
    preset: str | None, model: str | None, transcoder: str | None, archive: Archive | None, here: Path
) -> Mapping[str, SubjectSource]:
    """Every subject that can be asked for by id: what the user brings, presets, the paper, random ones, bundled ones.

    A subject of the user's preset file stands in the place of the bundled preset of its id, so that claims about that
    model can be asked of another revision. Raises UserError when two have the same id.
    """
    sources = [_brought(model, transcoder, here)] if model else []
    given = read_presets(here / preset) if preset else []
    replaced = {source.id for source in given}
    sources += [*given, *(source for source in read_presets(PRESETS) if source.id not in replaced), PAPER, RANDOM]
    sources += [_recorded(recording) for recording in (archive.recordings if archive else ())]
    sources += [SubjectSource(id=name, tier="organism") for name in organisms.BUNDLED]
    known: dict[str, SubjectSource] = {}
    for source in sources:
        if source.id in known:
            raise UserError(f"two subjects are called {source.id!r}; rename the folder or the preset's id")
        known[source.id] = source
    return known


def select_subjects(known: Mapping[str, SubjectSource], named: Sequence[str], here: Path) -> tuple[SubjectSource, ...]:
    """The subjects of a run: those ``named``, by id or folder, or where none is, all that are not on request.

    Raises UserError for a name that is neither an id nor a folder, and lists the ids.
    """
    if not named:
        return tuple(source for source in known.values() if not source.on_request)
    chosen: dict[str, SubjectSource] = {}
    for ref in named:
        source = known.get(ref)
        if source is None:
            if not ref or not (here / ref).is_dir():
                near = "".join(f"; near it: {name}" for name in get_close_matches(ref, known, n=1))
                raise UserError(f"no subject {ref!r}: not a folder, and not among {', '.join(sorted(known))}{near}")
            source = _brought(ref, None, here)
            if source.id in known:
                raise UserError(
                    f"{ref}: the subject id {source.id!r} is taken; ask for it by its id or rename the folder"
                )
        chosen[source.id] = source
    return tuple(chosen.values())


def read_presets(path: Path) -> list[SubjectSource]:
    """The ``[[subject]]`` tables of a preset file; raises UserError naming the file and what is wrong in it."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))["subject"]
    except OSError as error:
        raise UserError(f"{path}: no preset file can be read there ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid TOML ({error})") from None
    except KeyError:
        raise UserError(f"{path}: holds no [[subject]] table") from None
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UserError(f"{path}: subject is no list of tables; begin each with [[subject]]")
    return [_preset(path, number, table) for number, table in enumerate(tables, start=1)]


def _preset(path: Path, number: int, table: Mapping[str, Any]) -> SubjectSource:
    types: dict[str, Any] = {
        "id": str, "model": str, "transcoder": str, "task": str, "licence": str, "revision": str, "pairs": str,
        "transcoder_revision": str, "model_gib": float | int, "transcoder_gib": float | int, "published": dict,
        "transcoder_from": str, "transcoder_hook": str, "on_request": bool,
    }  # fmt: skip
    for key, value in table.items():
        if key not in types:
            raise UserError(f"{path}: subject {number}: unknown key {key!r}; known: {', '.join(types)}")
        if not isinstance(value, types[key]):
            kind = getattr(types[key], "__name__", "number")
            raise UserError(f"{path}: subject {number}: {key} must be of type {kind}, not {value!r}")
    for key in ("id", "model"):
        if key not in table:
            raise UserError(f"{path}: subject {number}: {key} is missing")
    for key, revision in (("model", "revision"), ("transcoder", "transcoder_revision")):
        if revision in table and key in table and (path.parent / table[key]).is_dir():
            raise UserError(
                f"{path}: subject {number}: {revision} names a commit of a repository, and {key} is a folder; remove it"
            )
    try:
        published = Published.of(table["published"]) if "published" in table else None
    except UserError as error:
        raise UserError(f"{path}: subject {number}: {error}") from None
    return SubjectSource(tier="gpu", base=path.parent.resolve(), **{**table, "published": published})


def _brought(model: str, transcoder: str | None, here: Path) -> SubjectSource:
    """A subject the user names by its folder; its id is the folder's name."""
    for path in (model, transcoder):
        if path is not None and not (here / path).is_dir():
            raise UserError(f"{path}: no such folder")
    folder = (here / model).resolve()
    # Only folders written for the harness hold a subject.json; anything else is taken for real weights.
    tier: Literal["organism", "gpu"] = "organism" if (folder / "subject.json").exists() else "gpu"
    beside = transcoder and str((here / transcoder).resolve())
    task = None if tier == "organism" or (folder / "task.json").exists() else str(ENGLISH)
    return SubjectSource(id=folder.name, tier=tier, model=str(folder), transcoder=beside, task=task)


def _recorded(recording: Recording) -> SubjectSource:
    return SubjectSource(
        recording.id, "archive", model=recording.model, transcoder=recording.transcoder, recording=recording
    )


def open_subject(
    source: SubjectSource, device: str, dtype: str, gathered: Gathered | None = None, screens: Path | None = None
) -> "Subject":
    """Load a subject whose files are ``gathered``, by default for all experiments and without any network.

    Which pairs of its data set it answers rightly is kept in the folder ``screens`` where one is given. Raises Untested
    when its weights are not on this machine, UserError when they are broken.
    """
    if gathered is None and source.model is not None:
        gathered = gather(source, MODULES)
    import torch

    from prolepsis.subject import NO_TRANSCODER
    from prolepsis.subjects.loading import kept_subject, load_subject
    from prolepsis.subjects.screening import screened
    from prolepsis.subjects.task_file import read_task
    from prolepsis.subjects.twins import IN_PLACE

    if gathered is None:
        return kept_subject(source.id, device, getattr(torch, dtype))
    subject = load_subject(str(gathered.model), device, getattr(torch, dtype))
    changes: dict[str, Any] = {
        "id": source.id,
        "published": source.published,
        "revision": gathered.revision,
    }
    if source.pairs is not None:
        changes["pairs"] = find(source.pairs, source.base, screens)
    if source.tier == "gpu":
        changes["twin"] = IN_PLACE
    if gathered.transcoder is not None:
        changes |= _transcoder(gathered, subject, source.transcoder_hook)
    elif gathered.lacking is not None:
        changes["no_transcoder"] = gathered.lacking
    elif source.transcoder_from is not None:
        changes["no_transcoder"] = f"{NO_TRANSCODER}; one is published by {source.transcoder_from}"
    task = subject.task if source.task is None else read_task(source.base / source.task)
    # A real model's words and answers are its tokenizer's and its own, wherever its task lies.
    if task is not None and (source.tier == "gpu" or not task.answers):
        try:
            changes["task"] = screened(subject, task)
        except Untested as few:
            # Facts can be asked, and prompts that are given, where rhymes cannot.
            changes |= {"task": dataclasses.replace(task, groups={}, answers={}), "no_task": str(few)}
    return dataclasses.replace(subject, **changes)


def _transcoder(gathered: Gathered, subject: "Subject", hook: str | None) -> dict[str, Any]:
    """The transcoder, or where too little of it is here to open it why there is none: the rest can be measured."""
    from prolepsis.hub.files import HubFiles
    from prolepsis.transcoder import Transcoder

    place = gathered.transcoder
    assert place is not None
    if isinstance(place, Path):
        return {"transcoder": Transcoder.open(place, subject.n_layers, subject.d_model, input_hook=hook)}
    # Without the network each file is named where it is read, with the command that gets it.
    files = HubFiles(place, online=gathered.online, lacking=gathered.lacking if gathered.online else None)
    try:
        return {"transcoder": Transcoder.open(files, subject.n_layers, subject.d_model, input_hook=hook)}
    except Untested as missing:
        return {"no_transcoder": gathered.lacking or str(missing)}
    except UserError as error:
        # Of a repository that the hub never listed, what seems to be wrong may only be not here.
        if place.listed:
            raise
        return {"no_transcoder": f"{error}; not all of it may be here: get it with `hf download {place.id}`"}
