"""The ``--claims-*`` options of pytest, and what they mean for one run."""

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

from prolepsis.archive.files import open_archive
from prolepsis.errors import UserError
from prolepsis.report.comparison import Failure, latest_whole
from prolepsis.report.devices import has_gpu
from prolepsis.report.packages import check_packages
from prolepsis.report.subjects import DTYPES, known_subjects, select_subjects
from prolepsis.subjects.published import PRESETS
from prolepsis.subjects.source import SubjectSource

DEFAULTS = {"claims_device": None, "claims_dtype": "float32"}


@dataclass(frozen=True)
class Settings:
    """What the options ask for, paths resolved.

    ``asked`` is the option by which something was asked for that has to be measured, None without one.
    ``skipped`` names the files of an archive that were passed over.
    ``fetched`` are the ids of the subjects whose missing files may be downloaded.
    ``repeat`` are the options a command needs to meet the same subjects under the same conditions.
    """

    subjects: tuple[SubjectSource, ...]
    device: str
    dtype: str
    reports: Path
    expected: Path
    update_expected: bool
    fresh: bool
    compare: Path | None
    compare_fail: Failure
    asked: str | None
    repeat: tuple[str, ...]
    skipped: tuple[str, ...]
    fetched: frozenset[str]

    @classmethod
    def of(cls, config: pytest.Config) -> "Settings":
        """The settings of this run; raises UserError for a package, subject, file or folder that cannot be used."""
        check_packages()
        option, here = config.option, config.invocation_params.dir
        if option.claims_transcoder and not option.claims_model:
            raise UserError("--claims-transcoder needs the model it reads: give --claims-model PATH too")
        archive = open_archive(here / option.claims_archive) if option.claims_archive else None
        given = (option.claims_preset, option.claims_model, option.claims_transcoder, archive)
        known = known_subjects(*given, here)
        recorded = [source.id for source in known.values() if source.tier == "archive"]
        brought = [(here / option.claims_model).resolve().name] if option.claims_model else []
        named = [*option.claims_subject, *brought, *recorded]
        expected = here / option.claims_expected if option.claims_expected else _claims(config) / "expected.toml"
        if option.claims_expected and not expected.exists() and not option.claims_update_expected:
            raise UserError(f"{expected}: no such file; --claims-update-expected writes it")
        if option.claims_compare_fail is not None and option.claims_compare is None:
            raise UserError("--claims-compare-fail says when a comparison fails: give --claims-compare too")
        shard, shards = _shard(option.claims_shard)
        subjects = select_subjects(known, named, here)[shard - 1 :: shards]
        reports = here / option.claims_report if option.claims_report else config.rootpath / "reports"
        return cls(
            subjects=subjects,
            device=option.claims_device or _device(option, subjects),
            dtype=option.claims_dtype,
            reports=reports,
            expected=expected,
            update_expected=option.claims_update_expected,
            fresh=option.claims_fresh,
            # Only the controller compares; a worker on another machine does not have the stored run.
            compare=None if hasattr(config, "workerinput") else _stored_run(option.claims_compare, reports, here),
            compare_fail=Failure.parse(option.claims_compare_fail or "verdict"),
            asked=_asked(option),
            repeat=_repeat(option, here),
            skipped=archive.skipped if archive else (),
            fetched=frozenset(source.id for source in subjects if _may_fetch(source, option)),
        )


def add_options(parser: pytest.Parser) -> None:
    """Register every option of the claims run."""
    group = parser.getgroup("claims", "verification of the paper's claims")
    add = group.addoption
    add("--claims-subject", action="append", default=[], metavar="ID", help="only this subject: an id or a folder")
    add("--claims-model", metavar="PATH", help="only the model in this folder, beside those of --claims-subject")
    add("--claims-transcoder", metavar="PATH", help="the transcoder folder of --claims-model")
    add("--claims-preset", metavar="FILE", help="add the subjects of a TOML file")
    add("--claims-archive", metavar="DIR", help="judge the recorded outputs in this folder, without any model")
    add(
        "--claims-device",
        metavar="DEVICE",
        help="where subjects are loaded (default: cpu, and for real models alone a GPU where there is one)",
    )
    add("--claims-dtype", default="float32", choices=DTYPES, help="state dtype (default: float32)")
    add("--claims-report", metavar="ROOT", help="folder of the stored reports (default: reports/)")
    add("--claims-expected", metavar="FILE", help="pinned verdicts (default: claims/expected.toml)")
    add("--claims-fresh", action="store_true", help="measure anew what an earlier run has measured")
    latest = "compare with a stored run (default: the latest whole one)"
    add("--claims-compare", nargs="?", const="", metavar="RUN", help=latest)
    kinds = "what fails the comparison: verdict (default), interval, tolerance or value:5%%"
    add("--claims-compare-fail", metavar="KIND", help=kinds)
    add("--claims-shard", metavar="I/N", help="only the I-th of N parts of the subjects; put together with merge")
    add("--claims-update-expected", action="store_true", help="pin the verdicts of this run")


def _stored_run(given: str | None, reports: Path, here: Path) -> Path | None:
    """The folder of the run to compare with: by path, by its name in ``reports``, or the latest whole one.

    Raises UserError where there is none.
    """
    if given is None:
        return None
    if not given:
        latest = latest_whole(reports)
        if latest is None:
            raise UserError(f"--claims-compare: no stored run in {reports} is whole; make one first, or name another")
        return latest
    # Resolved now: "latest" will be this very run when it ends.
    path = (here / given if (here / given).is_dir() else reports / given).resolve()
    if not (path / "report.json").exists():
        raise UserError(f"--claims-compare: no stored run at {path}; leave RUN out for the latest, or name its folder")
    return path


def _shard(given: str | None) -> tuple[int, int]:
    """(i, n) of ``i/n``; everything is shard 1 of 1."""
    match = re.fullmatch(r"(\d+)/(\d+)", given or "1/1")
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"--claims-shard {given!r} is not I/N with 1 ≤ I ≤ N, as 2/4")
    return int(match[1]), int(match[2])


def reaches_claims(config: pytest.Config) -> bool:
    """Whether the arguments of this run name the claims folder, something in it, or a folder around it."""
    claims = _claims(config)
    if not claims.is_dir():
        return False
    paths = [(config.invocation_params.dir / arg.split("::")[0]).resolve() for arg in config.args]
    return any(claims.is_relative_to(path) or path.is_relative_to(claims) for path in paths)


def _claims(config: pytest.Config) -> Path:
    return (config.rootpath / "claims").resolve()


def _asked(option: argparse.Namespace) -> str | None:
    """Why an empty run would be a failure, None when it would not."""
    asking = ("claims_subject", "claims_model", "claims_archive")
    given = [_flag(name) for name in asking if getattr(option, name)]
    if _asks_gpu(option):
        given.append("-m gpu")
    return given[0] if given else None


def device_asked(config: pytest.Config) -> str:
    """The device of this run; the CPU where its options are mistaken, of which it hears when it is set up."""
    try:
        return Settings.of(config).device
    except UserError:
        return "cpu"


def _device(option: argparse.Namespace, subjects: Sequence[SubjectSource]) -> str:
    """Where subjects are loaded if nobody says; bundled ones are pinned on a CPU."""
    if not subjects or not (_asks_gpu(option) or all(source.tier == "gpu" for source in subjects)):
        return "cpu"
    return "cuda" if has_gpu(version("torch"), os.environ) else "cpu"


def _asks_gpu(option: argparse.Namespace) -> bool:
    return re.search(r"(?<!not )\bgpu\b", getattr(option, "markexpr", "")) is not None


def _may_fetch(source: SubjectSource, option: argparse.Namespace) -> bool:
    """Whether the user asked for this very subject, or for real models and it is the paper's or of his own preset."""
    if source.tier != "gpu" or source.id in option.claims_subject:
        return source.tier == "gpu"
    return _asks_gpu(option) and (source.published is not None or source.base != PRESETS.parent)


def _repeat(option: argparse.Namespace, here: Path) -> tuple[str, ...]:
    words: list[str] = []
    for ref in option.claims_subject:
        words += ["--claims-subject", str((here / ref).resolve()) if (here / ref).is_dir() else ref]
    for name in ("claims_model", "claims_transcoder", "claims_preset", "claims_archive"):
        if value := getattr(option, name):
            words += [_flag(name), str((here / value).resolve())]
    for name, default in DEFAULTS.items():
        if (value := getattr(option, name)) != default:
            words += [_flag(name), value]
    return tuple(words)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
