"""Where the files of a subject are, once those that are missing have been fetched."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prolepsis.errors import Untested, UserError
from prolepsis.hub.download import fetch
from prolepsis.hub.needs import needs
from prolepsis.hub.planning import plan
from prolepsis.hub.repository import Repository

if TYPE_CHECKING:
    from prolepsis.report.subjects import SubjectSource


@dataclass(frozen=True)
class Gathered:
    """The folder of a subject's model and the commit it is of, and its transcoder: a folder, or a repository.

    The latter may be only partly here: ``online`` says whether small parts of it may be read from the hub, ``lacking``
    why the others could not be fetched.
    """

    model: Path
    revision: str | None = None
    transcoder: Path | Repository | None = None
    online: bool = False
    lacking: str | None = None


def gather(
    source: "SubjectSource", experiments: Collection[str], tell: Callable[[str], None] | None = None
) -> Gathered:
    """Find what ``source`` needs for ``experiments``, and with ``tell``, which is told about it, download the rest.

    Raises UserError where the user has to mend something. Raises Untested when the model is not all here, or nothing of
    the transcoder; of a transcoder that is partly here, only what reads the other parts will be untested.
    """
    found = plan(source, experiments, online=tell is not None)
    if found.mistakes:
        raise UserError(f"subject {source.id}: {found.mistakes[0]}")
    model, transcoder = found.model, found.transcoder
    hidden = transcoder is None and source.transcoder is not None and bool(needs(experiments))
    if model is None or hidden or (model.missing and found.problems):
        how = () if tell else (f"--claims-subject {source.id} downloads what is needed",)
        raise Untested("; ".join((*found.problems, *how)))
    lacking = None
    if tell is not None:
        fetch(model, tell)
    if tell is not None and transcoder is not None:
        try:
            fetch(transcoder, tell)
        except Untested as problem:
            lacking = str(problem)
            tell(lacking)
    return Gathered(
        model=model.place if isinstance(model.place, Path) else model.place.snapshot,
        revision=None if isinstance(model.place, Path) else model.place.commit,
        transcoder=None if transcoder is None else transcoder.place,
        online=tell is not None,
        lacking=lacking,
    )
