"""Figures of a report: axes that hold their values, words beside every drawing, files that are shared where equal."""

import math
import re
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prolepsis.report.figures import KINDS, draw_figures, panel, remove_figures
from prolepsis.report.figures.chart import (
    HEIGHT,
    LEFT,
    MOST_DECADES,
    RIGHT,
    WIDTH,
    Plot,
    Series,
    bars,
    curves,
    figure,
    forest,
)
from prolepsis.report.figures.kind import Kind
from prolepsis.report.figures.scale import Scale, label
from tests.figure_samples import sample

SVG = "{http://www.w3.org/2000/svg}"
Point = tuple[int, int]
NUMBERS = st.floats(-1e6, 1e6).map(lambda x: round(x, 6) + 0.0)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_kind_is_drawn_with_words_beside_it(kind: Kind) -> None:
    """A figure is well-formed SVG with a title that names the subject, a text alternative and labelled axes."""
    measurement = sample(kind.name)
    assert kind.shows(measurement)
    svg = kind.draw("some-subject", measurement)
    assert svg == kind.draw("some-subject", measurement)
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert "some-subject" in (root.findtext(f"{SVG}title") or "")
    assert len(root.findtext(f"{SVG}desc") or "") > 40
    assert not re.search(r"\bnan\b|\binf\b|None", svg)
    assert any("quiet" in (node.get("class") or "") for node in root.iter())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_is_not_there_is_not_drawn(kind: Kind) -> None:
    """A measurement that lacks one of a kind's fields, or has it empty, has no figure of that kind."""
    whole = sample(kind.name)
    for field in kind.fields:
        for detail in ({k: v for k, v in whole["detail"].items() if k != field}, {**whole["detail"], field: {}}):
            assert not kind.shows({**whole, "detail": detail})


def test_equal_figures_share_a_file_and_others_get_one_of_their_own(tmp_path: Path) -> None:
    """What two measurements of a subject show alike is one file; what differs, or is another subject's, is another."""
    first = draw_figures(tmp_path, "a/b", sample("logit lens"))
    assert first == ["figures/logit-lens-a_b.svg"] == draw_figures(tmp_path, "a/b", sample("logit lens"))
    assert draw_figures(tmp_path, "a/b", sample("logit lens", 1)) == ["figures/logit-lens-a_b-2.svg"]
    assert draw_figures(tmp_path, "c", sample("logit lens")) == ["figures/logit-lens-c.svg"]
    assert len(list((tmp_path / "figures").iterdir())) == 3
    remove_figures(tmp_path)
    assert list((tmp_path / "figures").iterdir()) == []


@given(st.lists(NUMBERS, min_size=1, max_size=8))
def test_a_linear_axis_holds_its_values_and_zero_in_order(values: list[float]) -> None:
    """Places rise with values, stay inside the axis, and ticks are few, rising and inside."""
    scale = Scale.linear(values)
    ordered = sorted({*values, 0.0})
    places = [scale.place(value) for value in ordered]
    assert places == sorted(places)
    assert 0 <= places[0] <= places[-1] <= 1
    ticks = scale.ticks()
    assert 1 <= len(ticks) <= 6
    assert ticks == sorted(ticks)
    assert all(scale.low - 1e-9 * abs(scale.low) <= tick <= scale.high + 1e-9 * abs(scale.high) for tick in ticks)


def elements(plot: Plot, role: str) -> list[list[Point]]:
    """The lines of each path that has this class, as corners in px."""
    root = ElementTree.fromstring(figure("title", "words", plot))
    paths = [node.get("d", "") for node in root.iter(f"{SVG}path") if role in node.get("class", "").split()]
    return [line for path in paths for line in corners(path)]


def corners(path: str) -> list[list[Point]]:
    """The lines of an SVG path, each as its corners."""
    lines: list[list[Point]] = []
    for step, numbers in re.findall(r"([Mlhv])([-\d ]*)", path):
        moves = [int(number) for number in numbers.split()]
        along = {"h": [(moves[0], 0)], "v": [(0, moves[0])]}.get(step, zip(moves[::2], moves[1::2], strict=False))
        for x, y in along:
            left, top = (0, 0) if step == "M" else lines[-1][-1]
            lines += [[]] if step == "M" else []
            lines[-1].append((left + x, top + y))
    return lines


def plotted(values: list[float | None], *, log: bool) -> list[list[Point]]:
    """The curve through values at places 0, 1, 2 and so on, less its legend."""
    return elements(curves([Series("", values)], y_label="y", x_label="x", log=log), "curve")


@given(st.lists(NUMBERS, min_size=2, max_size=12))
def test_a_curve_goes_through_its_values(values: list[float]) -> None:
    """Each corner stands at its place from left to right, and from bottom to top in proportion to its value."""
    (line,) = plotted(list(values), log=False)
    scale = Scale.linear(values)
    for i, ((x, y), value) in enumerate(zip(line, values, strict=True)):
        assert abs(x - (LEFT + (WIDTH - LEFT - RIGHT) * i / (len(values) - 1))) <= 1
        assert abs(line[0][1] - y - HEIGHT * (scale.place(value) - scale.place(values[0]))) <= 1.5


@given(st.lists(st.floats(1e-9, 1e6), min_size=2, max_size=12))
def test_on_a_logarithmic_axis_equal_ratios_are_equal_lengths(values: list[float]) -> None:
    """A curve stands as high above its start as the logarithm says, up to the lowest decade that is shown."""
    top = math.ceil(math.log10(max(values)))
    low = max(min(math.floor(math.log10(min(values))), top - 1), top - MOST_DECADES)
    (line,) = plotted(list(values), log=True)
    heights = [max(math.log10(value), low) for value in values]
    for (_, y), height in zip(line, heights, strict=True):
        assert abs(line[0][1] - y - HEIGHT * (height - heights[0]) / (top - low)) <= 1.5


@pytest.mark.parametrize("log", [False, True])
def test_what_has_no_value_leaves_a_gap(log: bool) -> None:
    """A curve is not drawn through a place without a value, nor through what a logarithmic axis has no place for."""
    found = plotted([1.0, 2.0, None, 4.0, 5.0, -1.0, 2.0, 3.0], log=log)
    assert [len(line) for line in found] == ([2, 2, 2] if log else [2, 5])


@given(st.lists(NUMBERS, min_size=1, max_size=6))
def test_a_bar_is_as_long_as_its_value(values: list[float]) -> None:
    """Bars start at zero, follow each other downwards, and their lengths are in proportion to the values."""
    names, scale = [str(i) for i in range(len(values))], Scale.linear(values)
    plot = bars(names, [Series("", values)], x_label="x")
    ((zero, _), _), boxes = elements(plot, "zero")[0], elements(plot, "bar")
    spans = [(min(x for x, _ in box), max(x for x, _ in box), min(y for _, y in box)) for box in boxes]
    wide = WIDTH - RIGHT - min(150.0, 6.4 * max(map(len, names)) + 8)
    assert [top for *_, top in spans] == sorted(top for *_, top in spans)
    for (left, right, _), value in zip(spans, values, strict=True):
        length = wide * (scale.place(value) - scale.place(0))
        assert abs(zero - (left if value > 0 else right)) <= 1
        assert abs(right - left - abs(length)) <= 1.5


@given(st.lists(st.tuples(NUMBERS, st.floats(1e-3, 1e5)), min_size=1, max_size=6))
def test_a_mark_of_a_forest_stands_at_its_value_inside_its_interval(found: list[tuple[float, float]]) -> None:
    """Marks follow each other downwards, each at its place on the axis, and an interval reaches from end to end."""
    values, bounds = [value for value, _ in found], [(value - half, value + half) for value, half in found]
    plot = forest(["a"] * len(found), [Series("", values, bounds)], x_label="x")
    scale = Scale.linear([end for pair in bounds for end in pair])
    ((zero, _), _), marks, spans = elements(plot, "zero")[0], elements(plot, "mark"), elements(plot, "span")
    left = 6.4 + 8

    def place(value: float) -> float:
        return left + (WIDTH - RIGHT - left) * scale.place(value)

    assert abs(zero - place(0)) <= 1
    assert [mark[0][1] for mark in marks] == sorted(mark[0][1] for mark in marks)
    for mark, span, value, (low, high) in zip(marks, spans, values, bounds, strict=True):
        assert abs(min(x for x, _ in mark) + 3 - place(value)) <= 1.5
        assert abs(span[0][0] - place(low)) <= 1
        assert abs(span[-1][0] - place(high)) <= 1


@settings(deadline=None, max_examples=20)
@given(st.permutations(KINDS))
def test_no_figure_depends_on_those_before_it(kinds: list[Kind]) -> None:
    """Axes are the same ones for all figures, and yet each figure is the same in whatever order they are drawn."""
    for kind in kinds:
        assert kind.draw("a", sample(kind.name)) == alone(kind)


@cache
def alone(kind: Kind) -> str:
    """A figure of this kind on axes that nothing was drawn on before."""
    panel.axes_of.cache_clear()
    return kind.draw("a", sample(kind.name))


@given(NUMBERS)
def test_a_label_is_short_and_true(value: float) -> None:
    """A tick's text gives its value back, to the digits it has."""
    assert len(label(value)) <= 8
    assert float(label(value)) == pytest.approx(value, rel=0.06)


@given(st.lists(st.one_of(st.none(), NUMBERS), min_size=2, max_size=12), st.booleans())
def test_nothing_is_drawn_outside_of_a_figure(values: list[float | None], log: bool) -> None:
    """Every point of curves and bars lies inside the figure, with gaps, intervals and any numbers."""
    bounds = [None if value is None else (value - 1, value + 1) for value in values]
    series = [Series("one", values, bounds), Series("", values)]
    names = [f"place {i}" for i in range(len(values))]
    plots = curves(series, y_label="y", x_label="x", x_names=names, log=log), bars(names, series, x_label="x")
    root = ElementTree.fromstring(figure("title", "words", *plots))
    width = float(root.get("width", 0))
    found = [point for node in root.iter(f"{SVG}path") for line in corners(node.get("d", "")) for point in line]
    assert all(-2 <= x <= width for x, _ in found)
    for node in root.iter(f"{SVG}text"):
        assert 0 <= float(node.get("x", -1)) <= width


def test_two_series_of_one_plot_look_different() -> None:
    """Each series has its colour, and its name beside the same colour in the legend."""
    root = ElementTree.fromstring(
        figure("t", "w", curves([Series("up", [0, 1]), Series("down", [1, 0])], y_label="y", x_label="x"))
    )
    found = [node.get("class") for node in root.iter(f"{SVG}path") if "curve" in (node.get("class") or "")]
    assert found == ["curve c0", "curve c1", "curve c0", "curve c1"]
    words = ["".join(node.itertext()) for node in root.iter(f"{SVG}text")]
    assert {"up", "down"} <= set(words)
