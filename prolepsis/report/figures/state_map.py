"""The state map as a heat map: where the plan is, layer by layer."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prolepsis.report.figures.chart import WIDTH, Plot, box, drawn, figure, text
from prolepsis.report.figures.kind import Kind, Measurement
from prolepsis.report.figures.measures import LETTER, LINE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Detail = Mapping[str, Any]

LEFT, CELL, ROW = 70, 32, 26
LEAST_SCALE = 1.0
"""The colour scale ends at this many nats at least, so that noise never looks like an effect."""
DEEPEST = 0.45
"""Opacity of the deepest colour, at which text on it is still read with ease."""
BELOW = ("row interchanged, and number of pairs; crossed out:", "the wiring keeps it from the answer")


def draw(subject: str, measurement: Measurement) -> str:
    """The map with its numbers, and in words where the plan is at each layer and where it changes hands."""
    state_map = measurement["detail"]["state map"]
    title, description = describe(subject, state_map)
    return figure(title, description, _map(state_map), width=max(WIDTH, LEFT + CELL * len(state_map["roles"]) + 8))


def describe(subject: str, state_map: Detail) -> tuple[str, str]:
    """Title and text alternative of a state map."""
    title = f"Where is the plan before it is spoken? {subject}"
    words = "Mean interchange effect in nats by layer (rows) and token role (columns)."
    for layer, row in zip(state_map["layers"], state_map["nats"], strict=True):
        effect, role = max((cell, role) for cell, role in zip(row, state_map["roles"], strict=True) if cell is not None)
        found = f"largest at {role}, {effect:.1f}" if effect >= LEAST_SCALE else f"nowhere as much as {LEAST_SCALE:g}"
        words += f" {_layer_name(layer)}: {found}."
    moves = [f"at {_layer_name(m['layer'])} from {m['from']} to {m['to']}" for m in state_map["hand-offs"]]
    return title, f"{words} Hand-offs: {'; '.join(moves) or 'none'}."


def _map(state_map: Detail) -> Plot:
    """Token roles from left to right, layers from bottom to top; what the wiring forbids is crossed out."""
    roles, layers = state_map["roles"], state_map["layers"]
    wide, high = len(roles), len(layers)

    def draw(axes: "Axes") -> None:
        axes.set_xlim(0, wide)
        axes.set_ylim(0, high)
        axes.set_xticks([])
        axes.set_yticks([y + 0.5 for y in range(high)], map(_layer_name, layers))
        _draw_cells(axes, state_map["nats"])
        for x, (role, pairs) in enumerate(zip(roles, state_map["pairs"], strict=True)):
            words = role.split(" ") if LETTER * len(role) > CELL else [role]
            for line, word in enumerate([*words, str(pairs)]):
                axes.text(x + 0.5, (-13 - 12 * line) / ROW, word, ha="center")
        for line, words in enumerate(BELOW):
            axes.text(-LEFT / CELL, (-58 - LINE * line) / ROW, words, gid="quiet")

    top = text(0, LINE - 4, "interchange effect (nats), by layer and token", "quiet")
    width, height = LEFT + CELL * wide + 8, LINE + ROW * high + 58 + LINE + 6
    return Plot(top + drawn(width, height, (LEFT, LINE, CELL * wide, ROW * high), draw, "map"), height)


def _draw_cells(axes: "Axes", nats: Sequence[Sequence[float | None]]) -> None:
    """The coloured cells with their numbers, the largest of each layer framed."""
    largest = max(LEAST_SCALE, *(abs(cell) for row in nats for cell in row if cell is not None))
    for y, row in enumerate(nats):
        strongest = max(cell for cell in row if cell is not None)
        for x, cell in enumerate(row):
            if cell is None:
                axes.plot([x, x + 1, x + 1, x, x, x + 1], [y, y, y + 1, y + 1, y, y + 1], gid="cut")
                continue
            if depth := round(DEEPEST * abs(cell) / largest, 2):
                box(axes, (x, y, 1, 1), alpha=depth, gid=f"cell c{int(cell > 0)}")
            # Adding 0 makes a rounded -0 a 0.
            axes.text(x + 0.5, y + 9 / ROW, f"{round(cell, 1) + 0:.1f}", ha="center")
            if cell == strongest >= LEAST_SCALE:
                box(axes, (x + 1 / CELL, y + 1 / ROW, 1 - 2 / CELL, 1 - 2 / ROW), gid="frame")


def _layer_name(layer: int) -> str:
    return "embedding" if layer < 0 else f"layer {layer}"


STATE_MAP = Kind("state map", ("state map",), draw)
