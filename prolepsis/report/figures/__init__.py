"""Figures of a report, drawn from stored measurements: SVG files in the run's folder ``figures/``.

A module for each subject matter; a new kind of figure is one more entry of ``KINDS``.
"""

from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from prolepsis.atomic import write_atomically
from prolepsis.report.figures import correction, heads, layers, position_sweep, state_map, strengths
from prolepsis.report.figures.kind import Kind

FOLDER = "figures"

KINDS: tuple[Kind, ...] = (
    state_map.STATE_MAP,
    position_sweep.POSITION_SWEEP,
    position_sweep.PUBLISHED_SWEEP,
    heads.TOP_HEADS,
    heads.PARTS,
    strengths.DOSES,
    strengths.METHODS,
    strengths.ATTENTION,
    layers.ATTENTION_GRADIENT,
    layers.CHANGE_GRADIENT,
    layers.DEPTH_LADDER,
    layers.SKIPPED_LOSSES,
    layers.SKIPPED_RHYMES,
    layers.LOGIT_LENS,
    layers.FACT,
    correction.SWEEP,
    correction.PUBLISHED_SWEEP,
    correction.DOSES,
)


def draw_figures(folder: Path, subject: str, measurement: Mapping[str, Any] | None) -> list[str]:
    """Draw what a stored measurement's ``detail`` holds figures of; their paths relative to the run's ``folder``.

    Rows of one subject that hold the same thing share its file; what differs gets a file of its own.
    """
    paths: list[str] = []
    if measurement is None:
        return paths
    for kind in KINDS:
        if kind.shows(measurement):
            name = f"{kind.name.replace(' ', '-')}-{subject.replace('/', '_')}"
            paths.append(_stored(folder, name, kind.svg(subject, measurement)))
    return paths


def remove_figures(folder: Path) -> None:
    """Remove the figures of a run that is to be drawn anew."""
    for path in (folder / FOLDER).glob("*.svg"):
        path.unlink()


def _stored(folder: Path, name: str, svg: str) -> str:
    """The file that holds this figure, written unless it is there already."""
    (folder / FOLDER).mkdir(exist_ok=True)
    for number in count(1):
        path = f"{FOLDER}/{name}.svg" if number == 1 else f"{FOLDER}/{name}-{number}.svg"
        if not (folder / path).exists():
            write_atomically(folder / path, svg)
            return path
        if (folder / path).read_text(encoding="utf-8") == svg:
            return path
    raise AssertionError("the numbers never end")
