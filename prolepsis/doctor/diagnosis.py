"""Whether a run on one subject can start: its files, what it will take, and a line for each thing that is short."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prolepsis.doctor.expect import ANY, Expected, Sizes, expectations, peak_bytes, sizes_of, works_of
from prolepsis.doctor.folders import fault_of_task, faults
from prolepsis.doctor.machine import Machine
from prolepsis.doctor.work import LOADING
from prolepsis.experiments.measuring import TWIN
from prolepsis.hub import NoRoom, Part, Plan, RemoteFile, in_words, plan, without_room
from prolepsis.ledger import Claim
from prolepsis.report.subjects import is_asked
from prolepsis.subjects.source import SubjectSource
from prolepsis.watching import watched

LOADING_BYTES = 1 << 30
"""What a process takes in main memory beside the weights while they are loaded."""


@dataclass(frozen=True)
class Diagnosis:
    """What was found about one subject.

    ``claims`` counts those asked of it, ``files`` are what it needs of repositories, ``folders`` the plain folders it
    lies in. ``expected`` is empty where nothing was counted for it, ``peak_bytes`` is the peak on the device even then,
    None where sizes are unknown. ``problems`` keep a run from starting, a line each with its cure; ``remarks`` do not.
    """

    subject: str
    claims: int
    files: tuple[RemoteFile, ...]
    folders: tuple[Path, ...]
    sizes: Sizes | None
    expected: tuple[Expected, ...]
    peak_bytes: int | None
    problems: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def missing_bytes(self) -> int:
        return sum(file.size or 0 for file in self.files if not file.present)

    @property
    def seconds(self) -> float | None:
        return sum(one.seconds for one in self.expected) if self.expected else None


def diagnose(
    sources: Sequence[SubjectSource],
    claims: Sequence[Claim],
    machine: Machine,
    dtype: str,
    *,
    online: bool,
    together: bool = False,
) -> list[Diagnosis]:
    """What stands in the way of ``claims`` on each of ``sources``; the hub is asked only if ``online``.

    Their downloads have to fit each by itself, or ``together``.
    """
    asked = [[claim for claim in claims if is_asked(claim, source) and not claim.untested] for source in sources]
    plans = [
        plan(source, {claim.experiment for claim in own}, online)
        for source, own in zip(watched(sources, "subjects"), asked, strict=True)
    ]
    no_room = without_room(plans) if together else [without_room([found])[0] for found in plans]
    return [
        _diagnosis(source, own, found, lacking, machine=machine, dtype=dtype, online=online)
        for source, own, found, lacking in zip(sources, asked, plans, no_room, strict=True)
    ]


def _diagnosis(
    source: SubjectSource,
    asked: Sequence[Claim],
    found: Plan,
    no_room: NoRoom,
    *,
    machine: Machine,
    dtype: str,
    online: bool,
) -> Diagnosis:
    """Of one subject, with what its claims need and what of that has no room."""
    parts = [part for part in (found.model, found.transcoder) if part is not None]
    model, transcoder = (_folder(part) for part in (found.model, found.transcoder))
    sizes = sizes_of(source.id, model, transcoder, dtype)
    families = {claim.family for claim in asked}
    expected = () if sizes is None else tuple(_expected(source.id, families, sizes, machine))
    peak = None
    task = _task_file(source, model)
    refused = None if task is None else fault_of_task(task)
    problems = [*found.problems, *filter(None, (found.no_pairs, *no_room, refused))]
    if found.model is not None and isinstance(found.model.place, Path):
        beside = found.transcoder is not None and isinstance(found.transcoder.place, Path)
        problems += faults(found.model.place, transcoder if beside else None, source.transcoder_hook)
    if machine.lacking is not None:
        problems.append(machine.lacking)
    elif sizes is not None:
        peak = max(peak_bytes(sizes, ANY, machine), *(one.peak_bytes for one in expected), 0)
        problems += _too_large(source.id, sizes, peak, machine)
    return Diagnosis(
        subject=source.id,
        claims=len(asked),
        files=found.files,
        folders=tuple(part.place for part in parts if isinstance(part.place, Path)),
        sizes=sizes,
        expected=expected,
        peak_bytes=peak,
        problems=tuple(dict.fromkeys(problems)),
        remarks=(
            *_remarks(source, found.files, sizes, online=online),
            *(part.later for part in parts if part.later is not None),
            *(_uncounted(expected, families) if machine.lacking is None else ()),
        ),
    )


def _task_file(source: SubjectSource, model: Path | None) -> Path | None:
    """What the subject is asked: the file it names, or the one that lies beside its weights; None where none does."""
    if source.task is not None:
        return source.base / source.task
    beside = None if model is None else model / "task.json"
    return beside if beside is not None and beside.exists() else None


def _folder(part: Part | None) -> Path | None:
    """Where the files of a model or transcoder are, those that are here."""
    if part is None:
        return None
    return part.place if isinstance(part.place, Path) else part.place.snapshot


def _expected(subject: str, families: Collection[str], sizes: Sizes, machine: Machine) -> list[Expected]:
    works = {name: work for name, work in works_of(subject).items() if name in {LOADING, TWIN, *families}}
    return expectations(sizes, works, machine) if machine.lacking is None else []


def _too_large(subject: str, sizes: Sizes, peak: int, machine: Machine) -> list[str]:
    """What does not fit into the device's memory or the host's."""
    lines = []
    if peak > machine.free_bytes:
        cure = "use --dtype bfloat16 or --device cpu" if machine.device.startswith("cuda") else "use a larger machine"
        lines.append(
            f"{subject} is expected to take {in_words(peak)}, and {machine.device} has {in_words(machine.free_bytes)} "
            f"free of {in_words(machine.total_bytes)}; free some, or {cure}"
        )
    loading = sizes.weight_bytes + LOADING_BYTES
    if machine.device.startswith("cuda") and loading > machine.host_free_bytes:
        lines.append(
            f"{subject} passes through main memory, {in_words(loading)}, and "
            f"{in_words(machine.host_free_bytes)} are free; free some"
        )
    return lines


def _remarks(source: SubjectSource, files: Sequence[RemoteFile], sizes: Sizes | None, *, online: bool) -> list[str]:
    """What could not be asked or read."""
    remarks = []
    missing = any(not file.present for file in files)
    if source.licence is not None:
        if not online:
            remarks.append(f"offline: whether the licence is accepted was not asked; it is at {source.licence}")
        elif not missing and files:
            remarks.append("all files are here, so the hub need not be asked about licence and access")
    if any(file.size is None for file in files if not file.present):
        remarks.append("sizes of some files are unknown, since the hub could not be asked")
    if sizes is None:
        remarks.append("memory is unknown until config.json is here")
    elif sizes.documented:
        remarks.append("sizes are those publicly documented for the model; its config.json is not here")
    return remarks


def _uncounted(expected: Sequence[Expected], families: Collection[str]) -> list[str]:
    """A line about the families whose work nobody counted."""
    if not expected:
        return ["no work was counted for this subject, so its time is unknown"]
    lacking = sorted(set(families) - {one.family for one in expected})
    return [f"not counted, and in no sum of times: {', '.join(lacking)}"] if lacking else []


def as_json(found: Diagnosis) -> Mapping[str, object]:
    """A diagnosis in plain JSON types."""
    return {
        "subject": found.subject,
        "can_start": not found.problems,
        "claims": found.claims,
        "files": [
            {"repo": f.repo, "revision": f.revision, "name": f.name, "bytes": f.size, "present": f.present}
            for f in found.files
        ],
        "folders": [str(folder) for folder in found.folders],
        "missing_bytes": found.missing_bytes,
        "peak_bytes": found.peak_bytes,
        "seconds": found.seconds,
        "families": [
            {"family": one.family, "peak_bytes": one.peak_bytes, "seconds": one.seconds} for one in found.expected
        ],
        "problems": list(found.problems),
        "remarks": list(found.remarks),
    }
