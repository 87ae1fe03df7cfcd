"""``prolepsis transcoder``: what a folder of transcoder files holds, and whether it reads where it says."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prolepsis.commands.bars import bars
from prolepsis.commands.command import DIFFERENT, OK, Command

if TYPE_CHECKING:
    from prolepsis.subjects.reconstruction import Reconstruction
    from prolepsis.transcoder import Transcoder

TEXTS = (
    "The stars were twinkling in the night, and nobody in the village knew what they were waiting for.",
    "She opened the letter, read it twice and put it back where it had been since the end of the war.",
)
EXAMPLE = """\
worked example: a bundled organism's transcoder, held against the model it belongs to

    $ prolepsis transcoder fixtures/organisms/planner/transcoder --model fixtures/organisms/planner

Without --model nothing but the headers is read. With it, the MLP outputs of the model are reconstructed from every
place the transcoder could read; when another place than the declared one does better, the exit code is 1.
"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="PATH", type=Path, help="folder of the transcoder")
    parser.add_argument(
        "--model", metavar="PATH", help="folder of the model it was trained on, to check where it reads"
    )
    parser.add_argument("--text", action="append", help="a text to check it on (repeatable; default two sentences)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _run(chosen: argparse.Namespace) -> int:
    with bars(f"reading {chosen.folder}"):
        from prolepsis.transcoder import Transcoder

        facts = describe(Transcoder.open(chosen.folder))
        checked = None if chosen.model is None else _check(chosen.model, chosen.folder, chosen.text)
    if checked is not None:
        facts["reconstruction cosine by place and layer"] = checked.cosines
    if chosen.json:
        print(json.dumps(facts, ensure_ascii=False))
    else:
        for name, value in facts.items():
            if not isinstance(value, dict):
                print(f"{name:>22}  {value}")
    if checked is None:
        return OK
    if not chosen.json:
        _print_cosines(checked)
    return OK if checked.best == checked.declared else DIFFERENT


def describe(transcoder: "Transcoder") -> dict[str, Any]:
    """What the headers say, in words and numbers."""
    layout = transcoder.layout
    targets = transcoder.targets(0)
    return {
        "layout": layout.name,
        "trained on": transcoder.model_name or "not stated",
        "layers": transcoder.n_layers,
        "features per layer": transcoder.n_features,
        "width": transcoder.d_model,
        "features write": "their own layer and all later ones" if len(targets) > 1 else "their own layer",
        "activation": transcoder.activation,
        "thresholds": "present" if transcoder.activation == "jumprelu" else "none",
        "skip connection": "present" if layout.has_skip else "none",
        "reads at": transcoder.input_hook,
        "files": len(list(layout.paths())),
        "GiB": round(sum(path.stat().st_size for path in layout.paths()) / 2**30, 3),
        "digest": transcoder.digest,
    }


def _check(model: str, folder: Path, texts: list[str] | None) -> "Reconstruction":
    from dataclasses import replace

    from prolepsis.subjects.loading import load_subject
    from prolepsis.subjects.reconstruction import reconstruction
    from prolepsis.transcoder import Transcoder

    subject = load_subject(model)
    transcoder = Transcoder.open(folder, subject.n_layers, subject.d_model)
    if texts is None and subject.task is not None:
        text = subject.task.templates[0].text
        texts = [text.replace("{word}", words[0]) for words in subject.task.groups.values()]
    return reconstruction(replace(subject, transcoder=transcoder), texts or TEXTS)


def _print_cosines(found: "Reconstruction") -> None:
    from prolepsis.layouts.layout import INPUT_HOOKS
    from prolepsis.subjects.reconstruction import LEAST

    print("cosine of reconstructed and true MLP outputs, mean over tokens, by layer:")
    for place, cosines in found.cosines.items():
        mark = "declared" if place == found.declared else ""
        print(f"{place:>22}  {' '.join(f'{cosine:5.2f}' for cosine in cosines)}  {mark}".rstrip())
    if found.best is None:
        print(
            f"it reconstructs from none of them: no mean cosine reaches {LEAST}; is this the model it was trained on?"
        )
    elif found.best != found.declared:
        print(f"it reconstructs best from {found.best}, not from where it is said to read: {found.declared}")
        if found.best in INPUT_HOOKS:
            print(f'a preset says so with transcoder_hook = "{found.best}"')


TRANSCODER = Command(
    "transcoder",
    "Say what a folder of transcoder files holds, and whether it reads where it says.",
    EXAMPLE,
    _arguments,
    _run,
)
