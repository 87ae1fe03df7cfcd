"""Which subjects a run meets, and how each is found: bundled ones by id, others by a folder or a preset file.

Naming a subject reads no weights and imports no torch; only :func:`open_subject` does.
"""

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prolepsis import organisms
from prolepsis.archive import asks
from prolepsis.archive.files import Archive, Recording
from prolepsis.errors import Untested, UserError
from prolepsis.ledger import Claim
from prolepsis.published import PRESETS, Published

if TYPE_CHECKING:
    from prolepsis.subject import Subject


@dataclass(frozen=True)
class SubjectSource:
    """A subject by name, before anything is loaded.

    ``model`` and ``transcoder`` are folders, relative to ``base``, or Hugging Face repositories; a bundled subject has
    neither, and a ``recording`` stands for a model that is not there. Revisions pin a branch, tag or commit of a
    repository. Sizes are what a download takes, in GiB; ``licence`` is the page where its terms are accepted,
    ``published`` what the paper ran on it.
    """

    id: str
    tier: Literal["arithmetic", "property", "organism", "archive", "gpu"]
    model: str | None = None
    transcoder: str | None = None
    task: str | None = None
    licence: str | None = None
    model_gib: float | None = None
    transcoder_gib: float | None = None
    revision: str | None = None
    transcoder_revision: str | None = None
    base: Path = field(default_factory=Path)
    recording: Recording | None = None
    published: Published | None = None


PAPER = SubjectSource(id="paper", tier="arithmetic")
"""What arithmetic claims are about: the paper itself, which is never loaded."""

RANDOM = SubjectSource(id="random-transformers", tier="property")
"""Tiny transformers with random weights, made when they are measured: what comes out there comes out of the wiring."""


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

    Raises UserError when two have the same id.
    """
    sources = [_brought(model, transcoder, here)] if model else []
    sources += read_presets(here / preset) if preset else []
    sources += [*read_presets(PRESETS), PAPER, RANDOM]
    sources += [_recorded(recording) for recording in (archive.recordings if archive else ())]
    sources += [SubjectSource(id=name, tier="organism") for name in organisms.BUNDLED]
    known: dict[str, SubjectSource] = {}
    for source in sources:
        if source.id in known:
            raise UserError(f"two subjects are called {source.id!r}; rename the folder or the preset's id")
        known[source.id] = source
    return known


def select_subjects(
    known: Mapping[str, SubjectSource], refs: Sequence[str], named: Sequence[str], here: Path
) -> tuple[SubjectSource, ...]:
    """The subjects of a run: all of ``known``, or those in ``named`` when ``refs`` (ids or folders) are given.

    Raises UserError for a reference that is neither an id nor a folder, and lists the ids.
    """
    if not refs:
        return tuple(known.values())
    chosen: dict[str, SubjectSource] = {}
    for ref in named:
        source = known.get(ref)
        if source is None:
            if not (here / ref).is_dir():
                raise UserError(f"no subject {ref!r}: not a folder, and not among {', '.join(sorted(known))}")
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
        tables = tomllib.loads(path.read_text())["subject"]
    except FileNotFoundError:
        raise UserError(f"{path}: no such preset file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid TOML ({error})") from None
    except KeyError:
        raise UserError(f"{path}: holds no [[subject]] table") from None
    return [_preset(path, number, table) for number, table in enumerate(tables, start=1)]


def _preset(path: Path, number: int, table: Mapping[str, Any]) -> SubjectSource:
    types = {
        "id": str, "model": str, "transcoder": str, "task": str, "licence": str, "revision": str,
        "transcoder_revision": str, "model_gib": float, "transcoder_gib": float, "published": dict,
    }  # fmt: skip
    for key, value in table.items():
        if key not in types:
            raise UserError(f"{path}: subject {number}: unknown key {key!r}; known: {', '.join(types)}")
        if not isinstance(value, types[key]):
            raise UserError(f"{path}: subject {number}: {key} must be of type {types[key].__name__}, not {value!r}")
    for key in ("id", "model"):
        if key not in table:
            raise UserError(f"{path}: subject {number}: {key} is missing")
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
    return SubjectSource(id=folder.name, tier=tier, model=str(folder), transcoder=beside)


def _recorded(recording: Recording) -> SubjectSource:
    return SubjectSource(
        recording.id, "archive", model=recording.model, transcoder=recording.transcoder, recording=recording
    )


def open_subject(source: SubjectSource, device: str, dtype: str) -> "Subject":
    """Load a subject; raises Untested when its weights are not on this machine, UserError when they are broken."""
    model, transcoder = _folders(source)
    import torch

    from prolepsis.loading import kept_subject, load_subject
    from prolepsis.screening import screened
    from prolepsis.task import Task
    from prolepsis.transcoder import Transcoder
    from prolepsis.twins import IN_PLACE

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--claims-device {device} cannot be used: {str(error).splitlines()[0]}") from None
    if model is None:
        return kept_subject(source.id, device, getattr(torch, dtype))
    subject = load_subject(str(model), device, getattr(torch, dtype))
    changes: dict[str, Any] = {"id": source.id, "published": source.published}
    if source.tier == "gpu":
        changes["twin"] = IN_PLACE
    if model.parent.name == "snapshots":
        changes["revision"] = model.name
    if transcoder is not None:
        changes["transcoder"] = Transcoder.open(transcoder, subject.n_layers, subject.d_model)
    if source.task is not None:
        changes["task"] = screened(subject, Task.load(source.base / source.task))
    return dataclasses.replace(subject, **changes)


def _folders(source: SubjectSource) -> tuple[Path | None, Path | None]:
    """Where model and transcoder lie, None for what the subject does not name.

    Raises Untested naming all that is missing, how large it is and how to get it.
    """
    parts = [(source.model, "config.json", source.model_gib), (source.transcoder, "config.yaml", source.transcoder_gib)]
    found = [name and _find(source, name, marker) for name, marker, _ in parts]
    missing = [(name, gib) for (name, _, gib), folder in zip(parts, found, strict=True) if name and not folder]
    if missing:
        names = " and ".join(name if gib is None else f"{name} ({gib:g} GiB)" for name, gib in missing)
        commands = " and ".join(f"`hf download {name}`" for name, _ in missing)
        licence = "" if source.licence is None else f"; the licence is accepted at {source.licence}"
        raise Untested(f"not on this machine: {names}; get it with {commands}{licence}")
    return found[0] or None, found[1] or None


def _find(source: SubjectSource, name: str, marker: str) -> Path | None:
    """The folder ``name``, or that repository's files in the Hugging Face cache; None where neither is there."""
    if (source.base / name).is_dir():
        return source.base / name
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, marker)
    except HFValidationError:
        raise UserError(f"subject {source.id}: {name} is neither a folder nor a Hugging Face repository") from None
    return Path(found).parent if isinstance(found, str) else None
