"""The state map as a heat map: where the plan is, layer by layer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prolepsis.report.figures.chart import LETTER, LINE, WIDTH, Plot, figure, text
from prolepsis.report.figures.kind import Kind, Measurement

Detail = Mapping[str, Any]

LEFT, CELL, ROW = 70, 32, 26
LEAST_SCALE = 1.0
"""The colour scale ends at this many nats at least, so that noise never looks like an effect."""
DEEPEST = 0.45
"""Opacity of the deepest colour, at which text on it is still read with ease."""


def draw(subject: str, measurement: Measurement) -> str:
    """The map with its numbers, and in words where the plan is at each layer and where it changes hands."""
    state_map = measurement["detail"]["state map"]
    title, description = describe(subject, state_map)
    body = _cells(state_map)
    return figure(title, description, body, width=max(WIDTH, LEFT + CELL * len(state_map["roles"]) + 8))


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


def _cells(state_map: Detail) -> Plot:
    """Token roles from left to right, layers from bottom to top; what the wiring forbids is crossed out."""
    layers, nats = state_map["layers"], state_map["nats"]
    largest = max(LEAST_SCALE, *(abs(cell) for row in nats for cell in row if cell is not None))
    bottom = LINE + ROW * len(layers)
    parts = [text(0, LINE - 4, "interchange effect (nats), by layer and token", "quiet")]
    for place, (layer, row) in enumerate(zip(layers, nats, strict=True)):
        y = bottom - ROW * (place + 1)
        parts.append(text(LEFT - 6, y + 17, _layer_name(layer), "end"))
        parts.append(f'<g class="middle">{"".join(_row(row, y, largest))}</g>')
    for x, (role, pairs) in enumerate(zip(state_map["roles"], state_map["pairs"], strict=True)):
        middle = LEFT + CELL * (x + 0.5)
        words = role.split(" ") if LETTER * len(role) > CELL else [role]
        parts += [text(middle, bottom + 13 + 12 * i, word, "middle") for i, word in enumerate([*words, str(pairs)])]
    parts.append(text(0, bottom + 58, "row interchanged, and number of pairs; crossed out:", "quiet"))
    parts.append(text(0, bottom + 58 + LINE, "the wiring keeps it from the answer", "quiet"))
    return Plot("".join(parts), bottom + 58 + LINE + 6)


def _row(row: Sequence[float | None], y: float, largest: float) -> Iterator[str]:
    """The coloured cells of a layer with their numbers, the largest framed."""
    strongest = max(cell for cell in row if cell is not None)
    for x, cell in enumerate(row):
        left = LEFT + CELL * x
        if cell is None:
            yield f'<path class="cut" d="M{left} {y + ROW}l{CELL} -{ROW}M{left} {y}h{CELL}v{ROW}h-{CELL}z"/>'
            continue
        if depth := round(DEEPEST * abs(cell) / largest, 2):
            box = f'd="M{left} {y}h{CELL}v{ROW}h-{CELL}z"'
            yield f'<path class="cell c{int(cell > 0)}" fill-opacity="{depth:g}" {box}/>'
        # Adding 0 makes a rounded -0 a 0.
        yield text(left + CELL / 2, y + 17, f"{round(cell, 1) + 0:.1f}")
        if cell == strongest >= LEAST_SCALE:
            yield f'<path class="frame" d="M{left + 1} {y + 1}h{CELL - 2}v{ROW - 2}h-{CELL - 2}z"/>'


def _layer_name(layer: int) -> str:
    return "embedding" if layer < 0 else f"layer {layer}"


STATE_MAP = Kind("state map", ("state map",), draw)
