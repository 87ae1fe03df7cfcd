"""Which edits the paper prints for its runs (appendices E.1, E.2 and F.2 to F.4): the recorded files name only some.

A printed figure of one run says nothing of another, so a recording of another edit is not held against it.
"""

from collections.abc import Mapping

from prolepsis.archive.files import Recording
from prolepsis.errors import Untested
from prolepsis.names import Feature

INJECTED: Mapping[str, str] = {
    "gemma-2-2b-426k": "L22:10243",
    "gemma-2-2b-2.5m": "L25:82839",
}
"""Preset → the one feature injected in every printed single-prompt run of it."""
SUPPRESSED: Mapping[tuple[str, str, int], tuple[str, ...]] = {
    ("gemma-2-2b-426k", "L22:10243", 23): ("L16:13725", "L25:9385"),
    ("gemma-2-2b-2.5m", "L25:82839", 23): ("L25:57092", "L23:49923", "L20:77102"),
    ("llama-3.2-1b-524k", "L14:13043", 14): ("L13:30985", "L9:5488", "L14:27874", "L13:32049"),
    ("llama-3.2-1b-524k", "L14:13043", 16): ("L1:5297", "L3:22663", "L10:18203"),
    ("llama-3.2-1b-524k", "L14:13043", 22): ("L14:18284", "L15:8165", "L11:20779"),
    ("llama-3.2-1b-524k", "L1:5297", 15): ("L14:6132",),
}
"""Preset, injected feature and planning site → the features suppressed."""


def check_injected(recording: Recording, feature: Feature) -> None:
    """Raises Untested when the printed figures are those of another feature."""
    printed = INJECTED.get(recording.preset)
    if printed not in (None, str(feature)):
        raise Untested(f"{recording.id} is of feature {feature}, the printed figures are of {printed}")


def suppressed(recording: Recording, injected: Feature, site: int) -> tuple[Feature, ...]:
    """The features suppressed in a run of head routing; raises Untested where the paper prints none for it."""
    names = SUPPRESSED.get((recording.preset, str(injected), site))
    if names is None:
        raise Untested(
            f"{recording.id} does not name its suppressed features, and appendix F prints none for {injected} at "
            f"position {site}"
        )
    return tuple(map(Feature.parse, names))
