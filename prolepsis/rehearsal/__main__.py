"""``python -m prolepsis.rehearsal``: rehearse the gpu tier on random checkpoints in the shapes of the real ones."""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from prolepsis.commands.bars import bars
from prolepsis.errors import Untested, UserError
from prolepsis.rehearsal.shapes import GIB, SHAPES, scaled

if TYPE_CHECKING:
    from prolepsis.rehearsal.run import Rehearsed


def main(arguments: Sequence[str] | None = None) -> int:
    """Rehearse the presets that are asked for.

    Returns 0 if all came through, 1 if not or if there is no such device, 4 for a mistake in what was asked.
    """
    asked, options = _parser().parse_known_args(arguments)
    try:
        return _rehearse(asked, options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 4
    except Untested as missing:
        print(f"untested: {missing}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m prolepsis.rehearsal",
        description="Write random checkpoints and transcoders in the shapes and files of the paper's subjects, run the "
        "gpu tier on them offline, and say what each family of claims took. Fails when a claim about what was learned "
        "is supported on random weights, or the run does not come through. Other options are passed to pytest.",
        epilog="example: python -m prolepsis.rehearsal --preset gemma-2-2b-426k --scale 0.01",
    )
    parser.add_argument("--preset", action="append", choices=sorted(SHAPES), metavar="ID", help="only this one")
    parser.add_argument("--scale", type=float, default=1.0, metavar="S", help="size; 1, the default, is the real one")
    parser.add_argument("--device", default="cpu", help="where subjects are loaded (default: cpu)")
    parser.add_argument("--thresholds", action="store_true", help="let the transcoders be JumpReLUs with thresholds")
    parser.add_argument("--folder", metavar="DIR", help="an empty folder to work in, which is kept (default: none)")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to a file")
    return parser


def _rehearse(asked: argparse.Namespace, options: Sequence[str]) -> int:
    from prolepsis.rehearsal.figures import show, write_figures
    from prolepsis.rehearsal.run import rehearse
    from prolepsis.subjects.loading import check_device

    check_device(asked.device, "--device")
    done: list[Rehearsed] = []
    for preset in asked.preset or SHAPES:
        shape = scaled(SHAPES[preset], asked.scale)
        print(f"{preset}: transcoder files of {shape.transcoder_bytes() / GIB:.2f} GiB …", flush=True)
        with _folder(asked.folder, preset) as folder, bars(f"rehearsing {preset}"):
            done.append(rehearse(shape, folder, asked.device, thresholds=asked.thresholds, options=options))
        show(done[-1])
        if asked.json:
            write_figures(Path(asked.json), done)
    return 1 if any(one.faults for one in done) else 0


@contextmanager
def _folder(given: str | None, preset: str) -> Iterator[Path]:
    """A folder for one preset: below the one that was given, else a temporary one."""
    if given is None:
        folder = Path(tempfile.mkdtemp(prefix=f"rehearsal-{preset}-"))
    else:
        folder = Path(given).resolve() / preset
        if folder.exists():
            raise UserError(f"{folder} is there already; remove it, or give another --folder")
        folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        if given is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
