"""Position sweeps: the injected word's probability by the position of the edit, in proportion and by magnitude."""

from collections.abc import Mapping, Sequence
from typing import Any

from prolepsis.report.figures.chart import Series, curves, figure
from prolepsis.report.figures.kind import Kind, Measurement

MEASURED = "measured"
"""What sweeps call the arm of the edit itself."""


def draw_mean(subject: str, measurement: Measurement) -> str:
    """The mean sweep over pairs, aligned at the last token, beside its control writes."""
    sweep = measurement["detail"]["by position"]
    series = [Series(_called(arm), values) for arm, values in sweep["P"].items()]
    names = [str(offset) if offset else "last" for offset in sweep["offsets"]]
    words = (
        f"Mean P(injected word) over {sweep['pairs']} pairs by the position of the edit, counted from the last token."
    )
    return _both(f"Position sweep: {subject}", words, series, names)


def draw_published(subject: str, measurement: Measurement) -> str:
    """The sweep of the paper's own prompt, its control writes, and what the prompt gives without an edit."""
    detail = measurement["detail"]
    swept: Mapping[str, Sequence[float]] = {
        **detail["P by position"],
        "no edit": [detail["P without an edit"]] * len(detail["P by position"][MEASURED]),
    }
    series = [Series(_called(arm), values) for arm, values in swept.items()]
    return _both(
        f"Published position sweep: {subject}",
        "P(injected word) by the position of the edit, on the paper's prompt.",
        series,
        [str(position) for position in range(len(swept[MEASURED]))],
    )


def _called(arm: str) -> str:
    return "suppress + inject" if arm == MEASURED else arm


def _both(title: str, words: str, series: Sequence[Series], names: Sequence[str]) -> str:
    axes: Mapping[str, Any] = {"x_label": "position of the edit", "x_names": names}
    linear = curves(series, y_label="P(injected word)", **axes)
    log = curves(series, y_label="the same, logarithmic", log=True, legend=False, **axes)
    return figure(title, f"{words} {_peaks(series, names)}", linear, log)


def _peaks(series: Sequence[Series], names: Sequence[str]) -> str:
    found = []
    for one in series:
        top = max((value, i) for i, value in enumerate(one.values) if value is not None)
        found.append(f"{one.name}: at most {top[0]:.2g}, at {names[top[1]]}")
    return f"{'; '.join(found)}."


POSITION_SWEEP = Kind("position sweep", ("by position",), draw_mean)
PUBLISHED_SWEEP = Kind("published position sweep", ("P by position",), draw_published, beside=("P without an edit",))
