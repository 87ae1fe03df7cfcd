"""Axes laid out by matplotlib and written as SVG without looks, whose colours the page's style sheet gives.

A page shows some four hundred figures, in light and in dark. What matplotlib's own SVG backend writes takes four times
the room, and its colours are fixed. Here an artist's ``gid`` is the class of its element; one without is not drawn.
"""

from collections.abc import Callable
from functools import cache
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backend_bases import GraphicsContextBase, RendererBase
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.transforms import Transform

from prolepsis.report.figures.measures import LETTER, Box

SMALL_PRINT = 11
"""Height of letters, in px."""
DESCENT = 2
"""How far letters reach below the line they stand on, in px."""
DOTS = 72
"""Per inch, so that matplotlib's points are px."""
ANCHORS = {"center": "middle", "right": "end"}
GRIDS = ("curves", "log")
"""Kinds of axes with a line across at each tick."""


def draw_panel(width: float, height: float, inside: Box, draw: Callable[[Axes], None], kind: str) -> str:
    """The SVG of what ``draw`` puts on the axes of a ``kind``, which lie ``inside`` a panel of this size, in px.

    Axes of one kind are the same ones each time, so that ``draw`` has to set their limits and ticks. Those of the kind
    "log" are logarithmic from bottom to top.
    """
    figure, axes = axes_of(kind)
    _empty(axes)
    left, top, wide, high = inside
    figure.set_size_inches(width / DOTS, height / DOTS)
    axes.set_position((left / width, 1 - (top + high) / height, wide / width, high / height))
    # Tokens are drawn as they are: a dollar sign would begin a formula.
    with mpl.rc_context({"text.parse_math": False, "text.usetex": False}):
        draw(axes)
        renderer = Renderer(width, height)
        figure.draw(renderer)
    return renderer.svg()


@cache
def axes_of(kind: str) -> tuple[Figure, Axes]:
    """Axes are kept, and emptied between figures: to make them anew takes longer than all that is drawn on them."""
    figure = Figure(dpi=DOTS, frameon=False)
    axes = figure.add_axes((0, 0, 1, 1), yscale="log" if kind == "log" else "linear", frameon=False, autoscale_on=False)
    axes.minorticks_off()
    axes.tick_params(left=False, bottom=False, labelsize=SMALL_PRINT)
    axes.grid(visible=kind in GRIDS, axis="y")
    for axis in (axes.xaxis, axes.yaxis):
        # Labels of axes are beside the panel; looking for room for none takes a third of the time.
        axis.set_label_coords(0, 0)
    return figure, axes


def _empty(axes: Axes) -> None:
    for artist in (*axes.lines, *axes.collections, *axes.patches, *axes.texts):
        artist.remove()


class Renderer(RendererBase):
    """Collects outlines and texts by class; those of one class become one path, or one group."""

    def __init__(self, width: float, height: float) -> None:
        super().__init__()
        self.size = width, height
        self.classes: list[str | None] = []
        self.paths: dict[str, list[str]] = {}
        self.texts: dict[str, list[str]] = {}

    def svg(self) -> str:
        """All that was drawn, texts last, so that no line crosses them."""
        parts = [f'<path{about} d="{"".join(lines)}"/>' for about, lines in self.paths.items()]
        for about, texts in self.texts.items():
            one = len(texts) == 1
            parts.append(f"<text{about}{texts[0]}" if one else f"<g{about}>{''.join(f'<text{t}' for t in texts)}</g>")
        return "".join(parts)

    def get_canvas_width_height(self) -> tuple[float, float]:
        """The panel's size, in px."""
        return self.size

    def get_text_width_height_descent(self, s: str, *_: object) -> tuple[float, float, float]:
        """How large a line of text is about, in px."""
        return LETTER * len(s), SMALL_PRINT, DESCENT

    def open_group(self, _: str, gid: str | None = None) -> None:
        """What follows is an artist's, whose class is its ``gid``."""
        self.classes.append(gid)

    def close_group(self, *_: object) -> None:
        """What follows is not this artist's any more."""
        self.classes.pop()

    def draw_path(self, gc: GraphicsContextBase, path: Path, transform: Transform, *_: object) -> None:
        """Take in the outline of an artist that has a class."""
        if (role := self.classes[-1]) is not None:
            opacity = "" if gc.get_alpha() == 1 else f' fill-opacity="{gc.get_alpha():g}"'
            self.paths.setdefault(f' class="{role}"{opacity}', []).append(self._outline(path, transform))

    def _outline(self, path: Path, transform: Transform) -> str:
        """A path's corners in whole px, each as a step from the one before."""
        parts, before = [], (0, 0)
        for corner, code in path.iter_segments(transform, simplify=False, curves=False):
            if code == Path.CLOSEPOLY:
                parts.append("z")
                continue
            x, y = round(corner[0]), round(self.size[1] - corner[1])
            right, down = x - before[0], y - before[1]
            if code == Path.MOVETO:
                parts.append(f"M{x} {y}")
            elif down == 0:
                parts.append(f"h{right}")
            else:
                parts.append(f"v{down}" if right == 0 else f"l{right} {down}")
            before = x, y
        return "".join(parts)

    def draw_text(self, *placed: Any, mtext: Text | None = None, **_unused: object) -> None:
        """Take in a line of text, anchored where it is aligned: how wide it is in the reader's font is not known."""
        assert mtext is not None, "only single lines have a place of their own"
        x, _bottom = mtext.get_transform().transform(mtext.get_unitless_position())
        y, words = placed[2:4]
        roles = " ".join(filter(None, (self.classes[-1], ANCHORS.get(mtext.get_horizontalalignment()))))
        about = f' class="{roles}"' if roles else ""
        self.texts.setdefault(about, []).append(f' x="{x:.0f}" y="{y:.0f}">{escape(words)}</text>')
