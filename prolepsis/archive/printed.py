"""Which edits the paper prints for its runs: the presets hold them, and recorded files name only some.

A printed figure of one run says nothing of another, so a recording of another edit is not held against it.
"""

import tomllib
from collections.abc import Mapping
from functools import cache

from prolepsis.archive.files import Recording
from prolepsis.errors import Untested
from prolepsis.names import Feature
from prolepsis.subjects.published import PRESETS, Published, Steering


def check_injected(recording: Recording, feature: Feature) -> None:
    """Raises Untested when the printed figures are those of other features."""
    printed = {run.inject for run in _runs(recording)}
    if printed and feature not in printed:
        names = " and ".join(sorted(map(str, printed)))
        raise Untested(f"{recording.id} is of feature {feature}, the printed figures are of {names}")


def suppressed(recording: Recording, injected: Feature, site: int) -> tuple[Feature, ...]:
    """The features suppressed in a run of head routing; raises Untested where the paper prints none for it."""
    for run in _runs(recording):
        if (run.inject, run.site) == (injected, site):
            return run.suppress
    raise Untested(
        f"{recording.id} does not name its suppressed features, and appendix F prints none for {injected} at "
        f"position {site}"
    )


def _runs(recording: Recording) -> tuple[Steering, ...]:
    """The routing runs the paper prints of a recording's preset; none where it is not the paper's."""
    published = _protocols().get(recording.preset)
    return published.routing if published is not None else ()


@cache
def _protocols() -> Mapping[str, Published]:
    tables = tomllib.loads(PRESETS.read_text())["subject"]
    return {table["id"]: Published.of(table["published"]) for table in tables if "published" in table}
