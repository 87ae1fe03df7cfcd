"""Figures of a report: axes that hold their values, words beside every drawing, files that are shared where equal."""

import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prolepsis.report.figures import KINDS, draw_figures, remove_figures
from prolepsis.report.figures.chart import Scale, Series, bars, curves, figure, label
from prolepsis.report.figures.kind import Kind
from tests.figure_samples import sample

SVG = "{http://www.w3.org/2000/svg}"
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
    assert any("quiet" in (node.get("class") or "") for node in root.iter(f"{SVG}text"))


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


@given(st.lists(st.floats(1e-30, 1e6), min_size=1, max_size=8))
def test_a_logarithmic_axis_is_of_whole_decades(values: list[float]) -> None:
    """Equal ratios are equal lengths, and what is not positive stands at the low end."""
    scale = Scale.decades(values)
    assert all(math.isclose(math.log10(end), round(math.log10(end)), abs_tol=1e-9) for end in (scale.low, scale.high))
    assert scale.place(max(values)) > 0
    steps = [scale.place(scale.low * 10**k) for k in range(2)]
    assert steps[1] - steps[0] == pytest.approx(1 / math.log10(scale.high / scale.low))
    assert scale.place(0.0) == scale.place(-1.0) == 0.0


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
    starts = [start for node in root.iter(f"{SVG}path") for start in re.findall(r"M(-?\d+) (-?\d+)", node.get("d", ""))]
    assert all(-2 <= int(x) <= width for x, _ in starts)
    for node in root.iter(f"{SVG}text"):
        assert 0 <= float(node.get("x", -1)) <= width


def test_two_series_of_one_plot_look_different() -> None:
    """Each series has its colour, and its name beside the same colour in the legend."""
    root = ElementTree.fromstring(
        figure("t", "w", curves([Series("up", [0, 1]), Series("down", [1, 0])], y_label="y", x_label="x"))
    )
    groups = [node.get("class") for node in root.iter(f"{SVG}g") if (node.get("class") or "").startswith("c")]
    assert groups == ["c0", "c1", "c0", "c1"]
    words = ["".join(node.itertext()) for node in root.iter(f"{SVG}text")]
    assert {"up", "down"} <= set(words)
