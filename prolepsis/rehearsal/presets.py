"""The paper's presets for checkpoints that are scaled down: features and heads moved to layers that are there."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prolepsis.rehearsal.shapes import SHAPES, Shape
from prolepsis.subjects.published import PRESETS

_NAME = re.compile(r"L(\d+):(H?)(\d+)")


def preset_table(preset: str) -> dict[str, Any]:
    """The ``[[subject]]`` table of a preset as it is in the project's file."""
    tables = tomllib.loads(PRESETS.read_text())["subject"]
    found: dict[str, Any] = next(table for table in tables if table["id"] == preset)
    return found


def scaled_table(shape: Shape) -> dict[str, Any]:
    """The preset of ``shape`` with every feature and head it names moved in proportion, no two to the same place."""
    moved: dict[str, Any] = _Moved(SHAPES[shape.preset], shape).table(preset_table(shape.preset))
    return moved


def published_layers(table: Mapping[str, Any]) -> set[int]:
    """Source layers of the features a preset names."""
    return {int(match[1]) for match in map(_NAME.fullmatch, _texts(table)) if match and not match[2]}


def write_preset(table: Mapping[str, Any], path: Path) -> None:
    """Write a preset file that holds the one subject."""
    # A task is found beside the project's own presets.
    plain = {**table, "task": str(PRESETS.parent / table["task"])}
    path.write_text("[[subject]]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in plain.items()))


class _Moved:
    """Where the names of one preset have moved to."""

    def __init__(self, real: Shape, shape: Shape) -> None:
        self.real, self.shape = real, shape
        self.places: dict[str, str] = {}

    def table(self, value: Any) -> Any:
        if isinstance(value, dict):
            moved = {key: self.table(each) for key, each in value.items()}
            if "first" in value:
                moved["first"] = self.layer(value["first"])
            return moved
        if isinstance(value, list):
            return [self.table(each) for each in value]
        match = _NAME.fullmatch(value) if isinstance(value, str) else None
        return value if match is None else self.name(match)

    def layer(self, layer: int) -> int:
        return round(layer * (self.shape.n_layers - 1) / (self.real.n_layers - 1))

    def name(self, match: re.Match[str]) -> str:
        if match[0] not in self.places:
            count = self.shape.config["num_attention_heads"] if match[2] else self.shape.n_features
            taken = set(self.places.values())
            names = (f"L{self.layer(int(match[1]))}:{match[2]}{(int(match[3]) + i) % count}" for i in range(count))
            self.places[match[0]] = next(name for name in names if name not in taken)
        return self.places[match[0]]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(each)


def _toml(value: Any) -> str:
    """A value of a TOML file on one line; its strings and numbers are written as those of JSON."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
