"""What rehearsals took, as a table and as JSON."""

import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from os import cpu_count
from pathlib import Path
from typing import Any

from prolepsis.rehearsal.meter import Taken
from prolepsis.rehearsal.run import Rehearsed
from prolepsis.rehearsal.shapes import GIB
from prolepsis.report.storage import write_json


def show(rehearsed: Rehearsed) -> None:
    """Print what each family took, what stayed untested and why, and what must not be."""
    from rich.console import Console
    from rich.table import Table

    shape, console = rehearsed.shape, Console()
    grid = Table(
        title=f"{shape.preset}: {shape.n_layers} layers of width {shape.width}, {shape.n_features} features each, "
        f"{shape.n_vocab} tokens{', thresholds' if rehearsed.thresholds else ''}; on {rehearsed.device}",
        title_justify="left",
    )
    for name in ("family", "rows", "untested", "seconds", "host GiB", "GPU GiB", "kept GiB"):
        grid.add_column(name, justify="left" if name == "family" else "right")
    grid.add_row("loading", "", "", *_taken(rehearsed.loading))
    for family in rehearsed.families:
        untested = family.verdicts.get("untested", 0)
        grid.add_row(family.name, str(sum(family.verdicts.values())), str(untested), *_taken(family.taken))
    grid.add_row("twin made and undone", "", "", *_taken(rehearsed.twin))
    console.print(grid)
    console.print(
        f"written in {rehearsed.writing_seconds:.0f} s, {rehearsed.disk_bytes / GIB:.2f} GiB on the disk; verdicts: "
        + ", ".join(f"{count} {verdict}" for verdict, count in sorted(rehearsed.rows.items()))
    )
    for reason, ids in rehearsed.untested.items():
        console.print(f"untested: {', '.join(ids)}: {reason}", markup=False, soft_wrap=True)
    for fault in rehearsed.faults:
        console.print(f"FAULT: {fault}", style="red", markup=False, soft_wrap=True)


def write_figures(path: Path, rehearsals: Iterable[Rehearsed]) -> None:
    """Write the figures of all rehearsals and of the machine they ran on."""
    write_json(path, {"machine": _machine(), "rehearsals": [_plain(one) for one in rehearsals]})


def _taken(taken: Taken) -> tuple[str, str, str, str]:
    return f"{taken.seconds:.1f}", _gib(taken.host_bytes), _gib(taken.gpu_bytes), _gib(taken.gpu_kept_bytes)


def _gib(size: int | None) -> str:
    return "–" if size is None else f"{size / GIB:.2f}"


def _machine() -> dict[str, Any]:
    import torch

    return {
        "system": platform.platform(),
        "processors": cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": version("torch"),
        "transformers": version("transformers"),
    }


def _plain(rehearsed: Rehearsed) -> Mapping[str, Any]:
    return {**asdict(rehearsed), "verdicts": dict(rehearsed.rows)}
