"""Plots as SVG: curves and bars on axes, small enough that a page holds hundreds of them.

A page shows some four hundred figures, in light and dark, on screens from a phone's on. They are written here as text
whose colours the page's style sheet gives. With matplotlib the same figure takes 38 ms and 11 kB, whose colours are
fixed; all figures of a run would take 15 s and 4.5 MB.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from itertools import pairwise
from pathlib import Path

WIDTH, LEFT, RIGHT, HEIGHT = 340, 44, 12, 120
"""Of a figure, of the room for numbers at its left and at its right, and of what is inside a pair of axes, in px."""
LINE = 15
"""Height of a line of text."""
LETTER = 6.4
"""Width of a letter, on average: SVG has no way to ask."""
COLOURS = 5
MARKED = 8
"""Curves of so many places or fewer have their places marked."""
MOST_DECADES = 12
"""A logarithmic axis ends this far below its largest value."""

Bounds = tuple[float, float] | None
Point = tuple[int, int]


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


@dataclass(frozen=True)
class Scale:
    """An axis from ``low`` to ``high``, in proportion or by orders of magnitude."""

    low: float
    high: float
    log: bool = False

    @classmethod
    def linear(cls, values: Sequence[float]) -> "Scale":
        """The axis over ``values`` and zero, which is what effects are held against."""
        low, high = min(0.0, *values, 0.0), max(0.0, *values, 0.0)
        return cls(low, high if high > low else low + 1.0)

    @classmethod
    def decades(cls, values: Sequence[float]) -> "Scale":
        """The axis over whole powers of ten around the positive ``values``."""
        positive = [value for value in values if value > 0] or [1.0]
        high = math.ceil(math.log10(max(positive)))
        low = max(math.floor(math.log10(min(positive))), high - MOST_DECADES)
        return cls(10.0 ** min(low, high - 1), 10.0**high, log=True)

    def place(self, value: float) -> float:
        """Where on the axis, from 0 to 1; what lies beyond an end is put there."""
        if self.log:
            if value <= self.low:
                return 0.0
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, share))

    def ticks(self) -> list[float]:
        """Round numbers inside the axis, five at most."""
        if self.log:
            low, high = round(math.log10(self.low)), round(math.log10(self.high))
            return [10.0**power for power in range(low, high + 1, -(-(high - low) // 4))]
        rough = (self.high - self.low) / 4
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * (1 - 1e-9))
        # Adding 0 makes a -0 a 0.
        return [
            n * step + 0.0 for n in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)
        ]


def label(value: float) -> str:
    """A number as short as it can stand on an axis."""
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        mantissa, power = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(power)}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


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

    A plot below another one with the same curves needs no ``legend``.
    """
    numbers = [value for one in series for value in one.extent()]
    ys = Scale.decades(numbers) if log else Scale.linear(numbers)
    places = list(x_values) if x_values is not None else [float(i) for i in range(len(series[0].values))]
    xs = Scale(min(places), max(places) if max(places) > min(places) else min(places) + 1)
    inside = WIDTH - LEFT - RIGHT
    names = _legend([one.name for one in series] if legend else [])
    top = LINE + names.height + 6

    def at(x: float, y: float) -> Point:
        return round(LEFT + inside * xs.place(x)), round(top + HEIGHT * (1 - ys.place(y)))

    parts = [text(0, LINE - 4, y_label, "quiet"), f'<g transform="translate(0 {LINE})">{names.body}</g>']
    parts += _y_axis(ys, top)
    ticks = _thinned(x_names, places) if x_names is not None else [(x, label(x)) for x in xs.ticks()]
    parts.append(_texts("middle", [(at(x, 0)[0], top + HEIGHT + 15, name) for x, name in ticks]))
    parts.append(text(LEFT + inside / 2, top + HEIGHT + 15 + LINE, x_label, "quiet middle"))
    for colour, one in enumerate(series):
        known = [at(x, y) for x, y in zip(places, one.values, strict=True) if y is not None and not (log and y <= 0)]
        spans = [(at(x, b[0]), at(x, b[1])) for x, b in zip(places, one.bounds, strict=False) if b is not None]
        marks = "".join(f"M{x - 2} {y - 2}h4v4h-4z" for x, y in known if len(places) <= MARKED)
        whiskers = "".join(f"M{x} {low}V{high}" for (x, low), (_, high) in spans)
        found = [("curve", _path(known)), ("whisker", whiskers), ("mark", marks)]
        lines = "".join(f'<path class="{role}" d="{d}"/>' for role, d in found if d)
        parts.append(f'<g class="c{colour % COLOURS}">{lines}</g>')
    return Plot("".join(parts), top + HEIGHT + 15 + LINE + 6)


def bars(names: Sequence[str], series: Sequence[Series], *, x_label: str) -> Plot:
    """Horizontal bars: a group of them for each of ``names``, one per series, with the intervals where known."""
    xs = Scale.linear([value for one in series for value in one.extent()])
    left = min(150.0, LETTER * max(map(len, names)) + 8)
    inside, legend = WIDTH - left - RIGHT, _legend([one.name for one in series])
    thick = 9 if len(series) > 1 else 11
    top, pitch = legend.height + 4, thick * len(series) + 5
    zero = left + inside * xs.place(0)
    bottom = top + pitch * len(names)
    parts = [legend.body]
    parts.append(_texts("end", [(left - 6, top + pitch * (i + 0.5) + 2, name) for i, name in enumerate(names)]))
    parts.append(_texts("middle", [(left + inside * xs.place(x), bottom + 12, label(x)) for x in xs.ticks()]))
    parts.append(f'<path class="zero" d="M{zero:.0f} {top:.0f}V{bottom:.0f}"/>')
    parts.append(text(left + inside / 2, bottom + 12 + LINE, x_label, "quiet middle"))
    for colour, one in enumerate(series):
        boxes, whiskers = "", ""
        for i, value in enumerate(one.values):
            y = top + pitch * i + thick * colour
            if value is not None:
                boxes += f"M{zero:.0f} {y:.0f}H{left + inside * xs.place(value):.0f}v{thick - 2}H{zero:.0f}z"
            if one.bounds and (span := one.bounds[i]) is not None:
                low, high = (left + inside * xs.place(end) for end in span)
                whiskers += f"M{low:.0f} {y + thick / 2 - 1:.0f}H{high:.0f}"
        parts.append(f'<g class="c{colour % COLOURS}"><path class="bar" d="{boxes}"/></g>')
        parts.append(f'<path class="whisker" d="{whiskers}"/>' if whiskers else "")
    return Plot("".join(parts), bottom + 12 + LINE + 6)


def figure(title: str, description: str, *plots: Plot, width: float = WIDTH) -> str:
    """An SVG file with a title and a text alternative, the plots below each other."""
    parts, y = [], 0.0
    for plot in plots:
        parts.append(f'<g transform="translate(0 {y:.0f})">{plot.body}</g>')
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


def _texts(role: str, found: Iterable[tuple[float, float, str]]) -> str:
    """Texts of one role, each at its place."""
    return f'<g class="{role}">{"".join(text(*one) for one in found)}</g>'


def _path(points: Sequence[Point]) -> str:
    """A line through the points: its start, and each step from there."""
    steps = [f"{x - a} {y - b}" for (a, b), (x, y) in pairwise(points)]
    return "" if not points else f"M{points[0][0]} {points[0][1]}" + (f"l{' '.join(steps)}" if steps else "")


def _y_axis(ys: Scale, top: float) -> Iterator[str]:
    places = {tick: round(top + HEIGHT * (1 - ys.place(tick))) for tick in ys.ticks()}
    for role in ("axis", "zero"):
        lines = [f"M{LEFT} {y}H{WIDTH - RIGHT}" for tick, y in places.items() if (tick == 0) == (role == "zero")]
        yield f'<path class="{role}" d="{"".join(lines)}"/>' if lines else ""
    yield _texts("end", [(LEFT - 5, y + 4, label(tick)) for tick, y in places.items()])


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
        swatch = f'<path class="curve" d="M{x:.0f} {y - 4}h16"/><path class="mark" d="M{x + 6:.0f} {y - 6}h4v4h-4z"/>'
        parts.append(f'<g class="c{colour % COLOURS}">{swatch}</g>{text(x + 21, y, name)}')
        x += wide
    return Plot("".join(parts), y + 4 if parts else 0.0)
