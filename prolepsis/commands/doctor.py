"""``prolepsis doctor``: whether a run on real models can start here, and what it will take."""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from prolepsis.commands.bars import bars
from prolepsis.commands.command import DIFFERENT, OK, Command
from prolepsis.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from prolepsis.doctor.diagnosis import Diagnosis
    from prolepsis.doctor.machine import Machine
    from prolepsis.hub import RemoteFile
    from prolepsis.subjects.source import SubjectSource

LEDGER = Path(__file__).parents[2] / "claims" / "ledger.toml"
DTYPES = ("float32", "float64", "bfloat16")
EXAMPLE = """\
worked example: can the claims be verified on Llama 3.2 1B on this machine?

    $ prolepsis doctor llama-3.2-1b-524k

Of several SUBJECTs there is a line each, and one for a run on all of them together; without SUBJECT all presets are
looked at, each by itself. The exit code is 0 if the run can start (without SUBJECT: a run on any of them), else 1, and
each thing that is short is one line with its cure. HF_HUB_OFFLINE=1 asks no network and says what it could not ask.

Times are the least that computing, reading weights and starting operations take, by counts and the rates measured here;
the counts are of runs on random weights, so what a trained model does may differ.
"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("subject", nargs="*", metavar="SUBJECT", help="subjects of presets, or the folder of a model")
    parser.add_argument(
        "--device", help="where subjects would be loaded (default: cuda where there is a GPU, else cpu)"
    )
    parser.add_argument("--dtype", default="float32", choices=DTYPES, help="state dtype (default: float32)")
    parser.add_argument("--preset", metavar="FILE", help="add the subjects of a TOML file")
    parser.add_argument("--transcoder", metavar="PATH", help="the transcoder folder of a model folder")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all that was found to this file")


def _run(chosen: argparse.Namespace) -> int:
    sources = _sources(chosen)

    from huggingface_hub import constants
    from rich.console import Console

    from prolepsis import ledger
    from prolepsis.doctor.diagnosis import as_json, diagnose
    from prolepsis.doctor.machine import default_device, look_at

    online = not constants.HF_HUB_OFFLINE
    with bars("looking at this machine"):
        machine = look_at(chosen.device or default_device(), chosen.dtype)
        claims = ledger.load(LEDGER)
        found = diagnose(sources, claims, machine, chosen.dtype, online=online, together=bool(chosen.subject))
    console = Console(highlight=False, soft_wrap=True)
    _show_machine(console, machine, online=online)
    if chosen.subject and len(found) == 1:
        _show(console, found[0])
    else:
        _show_table(console, found, together=bool(chosen.subject))
    if chosen.json is not None:
        from prolepsis.report.storage import write_json

        write_json(chosen.json, {"machine": asdict(machine), "subjects": [as_json(one) for one in found]})
    can_start = [not one.problems for one in found]
    return OK if (all(can_start) if chosen.subject else any(can_start)) else DIFFERENT


def _sources(chosen: argparse.Namespace) -> "list[SubjectSource]":
    """The subjects that are asked about, else those of all presets; raises UserError for one that is not known."""
    from prolepsis.report.subjects import known_subjects

    here = Path.cwd()
    folders = [name for name in chosen.subject if (here / name).is_dir()]
    if len(folders) > 1:
        raise UserError(f"{' and '.join(folders)} are folders; give one of them, and write a preset for the others")
    folder = folders[0] if folders else None
    if chosen.transcoder is not None and folder is None:
        raise UserError("--transcoder needs the model it reads: give the folder of a model as SUBJECT")
    known = known_subjects(chosen.preset, folder, chosen.transcoder, None, here)
    real = {source.id: source for source in known.values() if source.tier == "gpu"}
    names = [(here / name).resolve().name if name == folder else name for name in chosen.subject]
    for name in names:
        if name not in real:
            about = "is bundled and needs nothing" if name in known else f"is not among {', '.join(sorted(real))}"
            raise UserError(f"subject {name!r} {about}; give the id of a preset or the folder of a model")
    return [real[name] for name in dict.fromkeys(names or real)]


def _show_machine(console: "Console", machine: "Machine", *, online: bool) -> None:
    import shutil

    from huggingface_hub import constants, get_token
    from rich.table import Table

    from prolepsis.hub import in_words

    cache = Path(constants.HF_HUB_CACHE)
    there = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    disk, rates = shutil.disk_usage(there), machine.rates
    products = " and ".join(f"{rate / 1e12:.3g}" for rate in dict.fromkeys((rates.products, rates.scans)))
    rows = {
        "device": f"{machine.device}: {machine.name}",
        "its memory": f"{in_words(machine.free_bytes)} free of {in_words(machine.total_bytes)}",
        "its rates": "not measured"
        if machine.lacking
        else f"{products} TFLOP/s in products, {rates.copies / 1e9:.3g} GB/s in copies, "
        f"{rates.starts:,.0f} operations started a second",
        "driver": machine.driver or "none found",
        "torch": f"{machine.torch}, state dtypes {', '.join(machine.dtypes) or 'none'}",
        "main memory": f"{in_words(machine.host_free_bytes)} free of {in_words(machine.host_bytes)}",
        "cache": f"{cache}, {in_words(disk.free)} free of {in_words(disk.total)}",
        "hub": f"{constants.ENDPOINT}, {'asked where files are missing' if online else 'not asked (HF_HUB_OFFLINE)'}",
        "token": "there is one" if get_token() else "none; `hf auth login` keeps one",
    }
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)


def _show(console: "Console", found: "Diagnosis") -> None:
    from rich.table import Table

    from prolepsis.hub import in_words

    console.print(f"\n{found.subject}: {found.claims} claims")
    files = Table.grid(padding=(0, 2))
    for folder in found.folders:
        files.add_row("folder", str(folder))
    for repo in dict.fromkeys(file.repo for file in found.files):
        own = [file for file in found.files if file.repo == repo]
        missing = [file for file in own if not file.present]
        size = in_words(sum(file.size or 0 for file in missing))
        fetch = f"{len(missing)} to fetch, {size}" if missing else "none to fetch"
        files.add_row(repo, f"{len(own) - len(missing)} of {len(own)} files are here, {fetch}")
    console.print(files)
    if found.expected:
        table = Table(box=None, padding=(0, 2))
        table.add_column("family")
        table.add_column("peak memory", justify="right")
        table.add_column("at least", justify="right")
        for one in found.expected:
            table.add_row(one.family, in_words(one.peak_bytes), _in_time(one.seconds))
        table.add_row("together", _memory(found.peak_bytes), _in_time(found.seconds))
        console.print(table)
    for line in found.remarks:
        console.print(f"note: {line}")
    for line in found.problems:
        console.print(f"short: {line}", style="red")
    console.print(f"the run {'cannot' if found.problems else 'can'} start")


def _show_table(console: "Console", found: "list[Diagnosis]", *, together: bool) -> None:
    """A line for each subject, and one for all of them ``together``, which share what they need alike."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2))
    for name in ("subject", "to fetch", "peak memory", "at least", "can start"):
        table.add_column(name, justify="left" if name in ("subject", "can start") else "right")
    for one in found:
        fetch = _to_fetch(one.files, known=bool(one.files or one.folders))
        table.add_row(one.subject, fetch, _memory(one.peak_bytes), _in_time(one.seconds), _can(one.problems))
    if together:
        peaks, seconds = ([getattr(one, name) for one in found] for name in ("peak_bytes", "seconds"))
        table.add_row(
            "together",
            _to_fetch(
                dict.fromkeys(file for one in found for file in one.files),
                known=all(one.files or one.folders for one in found),
            ),
            _memory(None if None in peaks else max(peaks)),
            _in_time(None if None in seconds else sum(seconds)),
            _can([line for one in found for line in one.problems]),
        )
    console.print()
    console.print(table)
    for line in grouped(line for one in found for line in one.problems):
        console.print(f"short: {line}", style="red")


def grouped(problems: Iterable[str]) -> Iterator[str]:
    """Problems "thing: what stands in the way", those of many things that are the same in one line."""
    things: dict[str, dict[str, None]] = {}
    for line in problems:
        thing, _, problem = line.partition(": ")
        things.setdefault(problem, {})[thing] = None
    for problem, named in things.items():
        yield f"{', '.join(named)}: {problem}"


def _to_fetch(files: "Iterable[RemoteFile]", *, known: bool) -> str:
    from prolepsis.hub import in_words

    sizes = [file.size for file in files if not file.present]
    return in_words(sum(size or 0 for size in sizes)) if known and None not in sizes else "unknown"


def _can(problems: Sequence[str]) -> str:
    return "no" if problems else "yes"


def _memory(peak_bytes: int | None) -> str:
    from prolepsis.hub import in_words

    return "unknown" if peak_bytes is None else in_words(peak_bytes)


def _in_time(seconds: float | None) -> str:
    from prolepsis.doctor.expect import in_time

    return "unknown" if seconds is None else in_time(seconds)


DOCTOR = Command(
    "doctor",
    "Say whether a run on real models can start here, and what it will take.",
    EXAMPLE,
    _arguments,
    _run,
)
