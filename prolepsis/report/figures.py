"""Figures of a report, drawn from stored measurements: SVG files in the run's folder ``figures/``.

Matplotlib is imported while a figure is drawn, and without pyplot: collecting and measuring never wait for it.
"""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prolepsis.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Detail = Mapping[str, Any]

INK, MUTED = "#222222", "#767676"
UNREACHABLE = "#eeeeee"
CELL, LEFT, RIGHT, BOTTOM, TOP = (0.72, 0.42), 0.85, 0.9, 0.75, 0.35
"""Inches: width and height of a cell, and the room around the cells."""
LEAST_SCALE = 1.0
"""The colour scale ends at this many nats at least, so that noise never looks like an effect."""


def draw_figures(folder: Path, subject: str, measurement: Mapping[str, Any] | None) -> list[str]:
    """Draw what a stored measurement's ``detail`` holds figures of; their paths relative to the run's ``folder``.

    Rows of one subject that hold the same thing share its file, drawn once.
    """
    paths = []
    for name, (draw, describe) in FIGURES.items():
        detail = None if measurement is None else measurement["detail"].get(name)
        if detail is not None:
            path = f"figures/{name.replace(' ', '-')}-{subject.replace('/', '_')}.svg"
            if not (folder / path).exists():
                (folder / "figures").mkdir(exist_ok=True)
                write_atomically(folder / path, _svg(draw(subject, detail), *describe(subject, detail)))
            paths.append(path)
    return paths


def describe_state_map(subject: str, state_map: Detail) -> tuple[str, str]:
    """Title and text alternative of a state map: where the plan is at each layer, and where it changes hands."""
    title = f"Where is the plan before it is spoken? {subject}"
    text = "Mean interchange effect in nats by layer (rows) and token role (columns)."
    for layer, row in zip(state_map["layers"], state_map["nats"], strict=True):
        effect, role = max((cell, role) for cell, role in zip(row, state_map["roles"], strict=True) if cell is not None)
        found = f"largest at {role}, {effect:.1f}" if effect >= LEAST_SCALE else f"nowhere as much as {LEAST_SCALE:g}"
        text += f" {_layer_name(layer)}: {found}."
    moves = [f"at {_layer_name(m['layer'])} from {m['from']} to {m['to']}" for m in state_map["hand-offs"]]
    return title, f"{text} Hand-offs: {'; '.join(moves) or 'none'}."


def state_map_figure(subject: str, state_map: Detail) -> "Figure":
    """A state map as a heat map: token roles from left to right, layers from bottom to top, zero in white."""
    from matplotlib.figure import Figure

    roles, layers = state_map["roles"], state_map["layers"]
    width, height = CELL[0] * len(roles), CELL[1] * len(layers)
    # Places are given rather than fitted: fitting draws everything several times over.
    whole = (LEFT + width + RIGHT, BOTTOM + height + TOP)
    figure = Figure(figsize=whole)
    axes = figure.add_axes((LEFT / whole[0], BOTTOM / whole[1], width / whole[0], height / whole[1]))
    beside = figure.add_axes(((LEFT + width + 0.15) / whole[0], BOTTOM / whole[1], 0.15 / whole[0], height / whole[1]))
    largest = max(LEAST_SCALE, *(abs(cell) for row in state_map["nats"] for cell in row if cell is not None))
    mesh = _cells(axes, state_map["nats"], largest)
    ticks = [f"{_literal(role)}\n{n}" for role, n in zip(roles, state_map["pairs"], strict=True)]
    axes.set_xticks(range(len(roles)), ticks)
    axes.set_yticks(range(len(layers)), map(_layer_name, layers))
    legend = "token whose row is interchanged, number of pairs; hatched: the wiring keeps the row from the answer"
    axes.set_xlabel(legend, fontsize=8, color=MUTED)
    axes.set_title(f"Where is the plan before it is spoken?  {_literal(subject)}", loc="left", fontsize=10, color=INK)
    bar = figure.colorbar(mesh, cax=beside, ticks=[-largest, 0, largest], format="%.1f")
    bar.set_label("interchange effect (nats)", fontsize=8, color=MUTED)
    for part in (axes, beside):
        part.tick_params(length=0, labelsize=8, labelcolor=INK)
        part.spines[:].set_visible(False)
    return figure


def _cells(axes: Any, nats: Sequence[Sequence[float | None]], largest: float) -> Any:
    """The coloured cells with their numbers, each layer's largest framed; cells of None hatched."""
    from matplotlib.colors import Normalize
    from matplotlib.patches import Rectangle

    filled = [[float("nan") if cell is None else cell for cell in row] for row in nats]
    edges = [[i - 0.5 for i in range(n + 1)] for n in (len(nats[0]), len(nats))]
    mesh = axes.pcolormesh(*edges, filled, cmap="RdBu_r", norm=Normalize(-largest, largest), ec="white", lw=1)
    for y, row in enumerate(nats):
        strongest = max(cell for cell in row if cell is not None)
        for x, cell in enumerate(row):
            corner = (x - 0.5, y - 0.5)
            if cell is None:
                axes.add_patch(Rectangle(corner, 1, 1, fc=UNREACHABLE, ec="white", lw=1, hatch="////"))
                continue
            ink = "white" if abs(cell) > 0.6 * largest else INK
            # Adding 0 makes a rounded -0 a 0.
            axes.text(x, y, f"{round(cell, 1) + 0:.1f}", ha="center", va="center", fontsize=8, color=ink)
            if cell == strongest >= LEAST_SCALE:
                axes.add_patch(Rectangle(corner, 1, 1, fill=False, ec=INK, lw=1.4, zorder=3))
    return mesh


Draw = Callable[[str, Detail], "Figure"]
Describe = Callable[[str, Detail], tuple[str, str]]
FIGURES: Mapping[str, tuple[Draw, Describe]] = {"state map": (state_map_figure, describe_state_map)}
"""Name in a measurement's ``detail`` → how it is drawn, and how it is put in words."""


def _svg(figure: "Figure", title: str, text: str) -> str:
    """The figure as SVG with a title and a text alternative; the same figure gives the same bytes."""
    import matplotlib as mpl

    buffer = StringIO()
    with mpl.rc_context({"svg.hashsalt": title, "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    head, tag, rest = buffer.getvalue().partition("<svg ")
    attributes, bracket, body = rest.partition(">")
    named = f"\n <title>{escape(title)}</title>\n <desc>{escape(text)}</desc>"
    return f'{head}{tag}role="img" {attributes}{bracket}{named}{body}'


def _literal(text: str) -> str:
    """Text that matplotlib takes literally: a dollar sign would begin a formula."""
    return text.replace("$", r"\$")


def _layer_name(layer: int) -> str:
    return "embedding" if layer < 0 else f"layer {layer}"
