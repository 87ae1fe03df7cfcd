"""Where the files of a subject are, once those that are missing have been fetched."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from prolepsis.errors import Untested, UserError
from prolepsis.hub.data_sets import fetch_pairs
from prolepsis.hub.download import fetch
from prolepsis.hub.needs import needs
from prolepsis.hub.planning import plan
from prolepsis.hub.repository import Repository
from prolepsis.hub.room import NoRoom

if TYPE_CHECKING:
    from prolepsis.subjects.source import SubjectSource

Wanted = TypeVar("Wanted")
Tell = Callable[[str], None]
_ALL_FITS = NoRoom()


@dataclass(frozen=True)
class Gathered:
    """The folder of a subject's model and the commit it is of, and its transcoder: a folder, or a repository.

    The latter may be only partly here, or not at all: ``online`` says whether small parts of it may be read from the
    hub, ``lacking`` why the others could not be fetched.
    """

    model: Path
    revision: str | None = None
    transcoder: Path | Repository | None = None
    online: bool = False
    lacking: str | None = None


def gather(
    source: "SubjectSource", experiments: Collection[str], tell: Tell | None = None, no_room: NoRoom = _ALL_FITS
) -> Gathered:
    """Find what ``source`` needs for ``experiments``, and with ``tell``, which is told about it, download the rest.

    What there is ``no_room`` for beside the other downloads of a run is not tried. Raises UserError where the user has
    to mend something, Untested when the model is not all here. What is missing of its transcoder, or of the data set
    its facts are from, leaves untested only what reads that.
    """
    found = plan(source, experiments, online=tell is not None)
    if found.mistakes:
        raise UserError(f"subject {source.id}: {found.mistakes[0]}")
    model, transcoder = found.model, found.transcoder
    how = () if tell else (f"--claims-subject {source.id} downloads what is needed",)
    if model is None or found.blocking:
        raise Untested("; ".join((*found.problems, *how)))
    wanted = source.transcoder is not None and bool(needs(experiments))
    lacking = "; ".join((*found.problems, *how)) if wanted and found.problems else None
    if tell is not None:
        if no_room.model is not None:
            raise Untested(no_room.model)
        fetch(model, tell)
        if transcoder is not None:
            lacking = no_room.transcoder or _why_not(fetch, transcoder, tell) or lacking
        if found.no_pairs is not None:
            tell(found.no_pairs)
        elif found.pairs is not None and no_room.pairs is None:
            _why_not(fetch_pairs, found.pairs, tell)
    return Gathered(
        model=model.place if isinstance(model.place, Path) else model.place.snapshot,
        revision=None if isinstance(model.place, Path) else model.place.commit,
        transcoder=None if transcoder is None else transcoder.place,
        online=tell is not None,
        lacking=lacking,
    )


def _why_not(bring: Callable[[Wanted, Tell], None], wanted: Wanted, tell: Tell) -> str | None:
    """Bring what the run can do without; why that could not be, None where it could."""
    try:
        bring(wanted, tell)
    except Untested as problem:
        tell(str(problem))
        return str(problem)
    return None
