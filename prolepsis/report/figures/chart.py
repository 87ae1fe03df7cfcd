"""Plots of a page: curves and bars on axes that matplotlib lays out, and figures made of them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prolepsis.report.figures.measures import LETTER, LINE, Box
from prolepsis.report.figures.scale import Scale, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, LEFT, RIGHT, HEIGHT = 340, 44, 12, 120
"""Of a figure, of the room for numbers at its left and at its right, and of what is inside a pair of axes, in px."""
COLOURS = 5
MARKED = 8
"""Curves of so many places or fewer have their places marked."""
MOST_DECADES = 12
"""A logarithmic axis ends this far below its largest value."""

Bounds = tuple[float, float] | None


@dataclass(frozen=True)
class Plot:
    """Part of a figure: SVG that starts at the origin, and its height in px."""

    body: str
    height: float


@dataclass(frozen=True)
class Series:
    """A curve, or the bars of one colour: a value per place, None where there is none, and their intervals if any."""

    name: str
    values: Sequence[float | None]
    bounds: Sequence[Bounds] = ()

    def extent(self) -> list[float]:
        """Every number that has to be inside the axes."""
        return [v for v in (*self.values, *(end for pair in self.bounds if pair for end in pair)) if v is not None]


def curves(
    series: Sequence[Series],
    *,
    y_label: str,
    x_label: str,
    x_names: Sequence[str] | None = None,
    x_values: Sequence[float] | None = None,
    log: bool = False,
    legend: bool = True,
) -> Plot:
    """Curves over common places: named ones (``x_names``, evenly apart) or numbers (``x_values``).

    A plot below another one with the same curves needs no ``legend``. What is not positive has no place on a
    logarithmic axis, which ends ``MOST_DECADES`` below its largest value.
    """
    numbers = [value for one in series for value in one.extent()]
    ys = _decades(numbers) if log else Scale.linear(numbers)
    y_ticks = _powers(ys) if log else ys.ticks()
    places = list(x_values) if x_values is not None else [float(i) for i in range(len(series[0].values))]
    xs = Scale(min(places), max(places) if max(places) > min(places) else min(places) + 1)
    names = _legend([one.name for one in series] if legend else [])
    top = LINE + names.height + 6

    def inside(value: float | None) -> float:
        return math.nan if value is None or (log and value <= 0) else max(value, ys.low)

    def draw(axes: "Axes") -> None:
        axes.set_xlim(xs.low, xs.high)
        axes.set_ylim(ys.low, ys.high)
        named = _thinned(x_names, places) if x_names is not None else [(x, label(x)) for x in xs.ticks()]
        axes.set_xticks([x for x, _ in named], [name for _, name in named])
        axes.set_yticks(y_ticks, map(label, y_ticks))
        for tick, line in zip(y_ticks, axes.get_ygridlines(), strict=True):
            line.set_gid("zero" if tick == 0 else "axis")
        for colour, one in enumerate(series):
            of_series = f"c{colour % COLOURS}"
            values = [inside(value) for value in one.values]
            axes.plot(places, values, gid=f"curve {of_series}")
            spans = [(x, *map(inside, b)) for x, b in zip(places, one.bounds, strict=False) if b is not None]
            if spans:
                axes.vlines(*zip(*spans, strict=True), gid="whisker")
            if len(places) <= MARKED:
                axes.plot(places, values, "s", markersize=4, gid=f"mark {of_series}")

    height = top + HEIGHT + 2 * LINE + 6
    body = drawn(WIDTH, height, (LEFT, top, WIDTH - LEFT - RIGHT, HEIGHT), draw, "log" if log else "curves")
    beneath = text((LEFT + WIDTH - RIGHT) / 2, height - 6, x_label, "quiet middle")
    return Plot(text(0, LINE - 4, y_label, "quiet") + moved(LINE, names.body) + body + beneath, height)


def bars(names: Sequence[str], series: Sequence[Series], *, x_label: str) -> Plot:
    """Horizontal bars: a group of them for each of ``names``, one per series, with the intervals where known."""
    thick = 9 if len(series) > 1 else 11

    def draw(axes: "Axes", one: Series, lanes: Sequence[float], colour: str) -> None:
        for y, value in zip(lanes, one.values, strict=True):
            if value is not None:
                box(axes, (0, y - thick / 2 + 1, value, thick - 2), gid=f"bar {colour}")
        _spans(axes, one, lanes, "whisker")

    return _lanes(names, series, x_label, thick, draw)


def forest(names: Sequence[str], series: Sequence[Series], *, x_label: str) -> Plot:
    """Marks and their intervals on one axis: a line for each of ``names``, and in it a lane for each series."""

    def draw(axes: "Axes", one: Series, lanes: Sequence[float], colour: str) -> None:
        _spans(axes, one, lanes, f"span {colour}")
        values = [math.nan if value is None else value for value in one.values]
        axes.plot(values, lanes, "s", markersize=6, gid=f"mark {colour}")

    return _lanes(names, series, x_label, 9, draw)


def _lanes(
    names: Sequence[str],
    series: Sequence[Series],
    x_label: str,
    thick: int,
    draw_one: "Callable[[Axes, Series, Sequence[float], str], None]",
) -> Plot:
    """A line for each of ``names`` on one axis; ``draw_one`` is given each series, its lanes in them and its colour."""
    xs = Scale.linear([value for one in series for value in one.extent()])
    left = min(150.0, LETTER * max(map(len, names)) + 8)
    legend = _legend([one.name for one in series])
    top, pitch = legend.height + 4, thick * len(series) + 5

    def draw(axes: "Axes") -> None:
        axes.set_xlim(xs.low, xs.high)
        axes.set_ylim(pitch * len(names), 0)
        axes.set_xticks(xs.ticks(), map(label, xs.ticks()))
        axes.set_yticks([pitch * (i + 0.5) - 2 for i in range(len(names))], names)
        axes.axvline(0, gid="zero")
        for colour, one in enumerate(series):
            lanes = [pitch * i + thick * (colour + 0.5) - 1 for i in range(len(names))]
            draw_one(axes, one, lanes, f"c{colour % COLOURS}")

    inner = pitch * len(names)
    height = top + inner + 2 * LINE + 6
    body = drawn(WIDTH, height, (left, top, WIDTH - left - RIGHT, inner), draw, "bars")
    return Plot(legend.body + body + text((left + WIDTH - RIGHT) / 2, height - 6, x_label, "quiet middle"), height)


def _spans(axes: "Axes", one: Series, lanes: Sequence[float], role: str) -> None:
    """The intervals of a series, as far as they are known."""
    spans = [(y, *b) for y, b in zip(lanes, one.bounds, strict=False) if b is not None]
    if spans:
        axes.hlines(*zip(*spans, strict=True), gid=role)


def drawn(width: float, height: float, inside: Box, draw: "Callable[[Axes], None]", kind: str) -> str:
    """The SVG of what ``draw`` puts on axes of a ``kind``, which lie ``inside`` a panel of this size in px."""
    # Matplotlib takes longer to be imported than a run without figures takes to be reported.
    from prolepsis.report.figures.panel import draw_panel

    return draw_panel(width, height, inside, draw, kind)


def box(axes: "Axes", corner_and_size: Box, **looks: Any) -> None:
    """A box on axes: its corner, width and height in their units."""
    from matplotlib.patches import Rectangle

    x, y, width, height = corner_and_size
    # Axes' own ``bar`` takes four times as long, to make room for what fits already.
    axes.add_artist(Rectangle((x, y), width, height, **looks))


def figure(title: str, description: str, *plots: Plot, width: float = WIDTH) -> str:
    """An SVG file with a title and a text alternative, the plots below each other."""
    parts, y = [], 0.0
    for plot in plots:
        parts.append(moved(y, plot.body))
        y += plot.height + 8
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="figure" role="img" width="{width:.0f}" height="{y:.0f}" '
        f'viewBox="0 0 {width:.0f} {y:.0f}"><title>{escape(title)}</title><desc>{escape(description)}</desc>'
        f"{style()}{''.join(parts)}</svg>\n"
    )


@cache
def style() -> str:
    """What a figure needs to stand alone; a page gives the same once for all its figures."""
    return f"<style>{style_sheet()}</style>"


@cache
def style_sheet() -> str:
    """The figures' style sheet."""
    return (Path(__file__).parent / "figure.css").read_text(encoding="utf-8")


def text(x: float, y: float, words: str, role: str = "") -> str:
    """Text at a place: ``role`` is "quiet", "end", "middle" or several of them."""
    return f'<text x="{x:.0f}" y="{y:.0f}"{f" class={chr(34)}{role}{chr(34)}" if role else ""}>{escape(words)}</text>'


def moved(down: float, body: str) -> str:
    """SVG so many px further down."""
    return f'<g transform="translate(0 {down:.0f})">{body}</g>'


def _decades(values: Sequence[float]) -> Scale:
    """The ends of a logarithmic axis: whole powers of ten around the positive ``values``."""
    positive = [value for value in values if value > 0] or [1.0]
    high = math.ceil(math.log10(max(positive)))
    low = max(math.floor(math.log10(min(positive))), high - MOST_DECADES)
    return Scale(10.0 ** min(low, high - 1), 10.0**high)


def _powers(ys: Scale) -> list[float]:
    """Powers of ten between the ends, five at most."""
    low, high = round(math.log10(ys.low)), round(math.log10(ys.high))
    return [10.0**power for power in range(low, high + 1, -(-(high - low) // 4))]


def _thinned(names: Sequence[str], places: Sequence[float]) -> list[tuple[float, str]]:
    """Every name, or every second, third, … one where there is no room for all; the last one stays."""
    room = (WIDTH - LEFT - RIGHT) / max(1, len(names) - 1)
    step = max(1, math.ceil(max(LETTER * len(name) + 6 for name in names) / room))
    kept = range((len(names) - 1) % step, len(names), step)
    return [(places[i], names[i]) for i in kept]


def _legend(names: Sequence[str]) -> Plot:
    """Names beside their colours, in as many lines as they need; nothing for a single series without a name."""
    parts, x, y = [], 0.0, LINE - 4
    for colour, name in enumerate(names):
        if not name:
            continue
        wide = 22 + LETTER * len(name) + 12
        if x and x + wide > WIDTH:
            x, y = 0.0, y + LINE
        for role, line in (("curve", f"M{x:.0f} {y - 4}h16"), ("mark", f"M{x + 6:.0f} {y - 6}h4v4h-4z")):
            parts.append(f'<path class="{role} c{colour % COLOURS}" d="{line}"/>')
        parts.append(text(x + 21, y, name))
        x += wide
    return Plot("".join(parts), y + 4 if parts else 0.0)
