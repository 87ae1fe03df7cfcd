"""A reader's terminal: a checkout, programs on PATH, and an environment in which any command ends in seconds.

Commands are run as they are written. What is arranged is where they run: another machine, another interpreter, the
packages of an environment and a trained organism are at hand sooner than they would be.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

from tests.pages import ROOT
from tests.recorded_files import SMALL, SPIKE, pair, pair_sweep, write

ORGANISMS = ROOT / "fixtures" / "organisms"

PYTHON = f"""
case "$1 $2 $3" in
"-m venv "*) for folder; do :; done; mkdir -p "$folder" && cp -r "$(dirname "$0")" "$folder/bin" ;;
"-m pip install") ;;
*) exec {sys.executable} "$@" ;;
esac
"""
"""The interpreter of the tests. An environment that it makes holds what this one does, and pip does nothing."""

SSH = """
while getopts CF:l:p: _; do :; done
shift "$OPTIND"
exec sh -c "$*"
"""
"""A login on another machine, which is this one."""

SHORT = """
from dataclasses import replace

from prolepsis.organisms.recipes import RECIPES

for name, made in RECIPES.items():
    narrow = replace(made, width=16, feed_forward=32, heads=2, features=min(made.features, 24), active=4)
    short = replace(narrow, steps=3, batch=8, transcoder_steps=3, plateau=None)
    RECIPES[name] = short if {barred} else replace(short, least={{}}, most={{}})
"""
STEERING = ("PYTEST_", "MAKE", "PYTHON", "TORCH", "REHEARSAL", "TRUTH_SEEDS")
"""How variables begin by which pytest and make are told what to do, as the make that runs the tests may have been."""

UNUSED = "-p no:hypothesispytest -p no:benchmark -p no:anyio"
"""Plugins of pytest that no command needs, and that make the many processes start slowly."""

MUTATED = "prolepsis/counts.py"
"""The one file that is mutated: all of them take a quarter of an hour."""

SITES = {
    "short": SHORT.format(barred=False),
    "short-barred": SHORT.format(barred=True),
}
"""Folder → what Python reads there before anything else, so that organisms are narrow and take three steps."""


class Terminal:
    """A checkout of the project beside which lie a model, a transcoder and recordings of the reader's own."""

    def __init__(self, folder: Path) -> None:
        self.checkout, self.folder = folder / "checkout", folder
        left = (".*", "reports", "mutants", "build", "*.egg-info")
        shutil.copytree(ROOT, self.checkout, ignore=shutil.ignore_patterns(*left))
        model, mine = ORGANISMS / "window-2", self.checkout / "my-model"
        shutil.copytree(model, mine, ignore=shutil.ignore_patterns("subject.json", "task.json", "transcoder"))
        shutil.copytree(model / "transcoder", self.checkout / "my-transcoder")
        write(self.checkout / "recordings", "sweep.json", pair_sweep(pair(SPIKE, "around", layer=22), transcoder=SMALL))
        settings = self.checkout / "pyproject.toml"
        settings.write_text(re.sub(r"(?s)(?<=\nonly_mutate = )\[.*?\]", f'["{MUTATED}"]', settings.read_text()))
        self._install()
        for name, text in SITES.items():
            (folder / name).mkdir()
            (folder / name / "sitecustomize.py").write_text(text)

    def run(self, command: str, arranged: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        """Run a command in a terminal of 100 columns, without network, GPU and downloaded files.

        ``arranged`` are further variables of its environment, where ``{folder}`` stands for the terminal's folder.
        """
        kept = {name: value for name, value in os.environ.items() if not name.startswith(STEERING)}
        further = {name: value.format(folder=self.folder) for name, value in arranged.items()}
        environment = kept | {
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(filter(None, (further.pop("PYTHONPATH", ""), str(self.checkout)))),
            "PYTEST_ADDOPTS": f"{UNUSED} {further.pop('PYTEST_ADDOPTS', '')}",
            "COLUMNS": "100",
            "HF_HOME": str(self.folder / "hub"),
            "HF_HUB_OFFLINE": "1",
            "CUDA_VISIBLE_DEVICES": "",
        }
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.checkout, env=environment | further,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def _install(self) -> None:
        """Write the programs that are on PATH and in the ``bin`` of every environment."""
        entry = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["prolepsis"]
        module, function = entry.split(":")
        modules = {
            "prolepsis": f"-c 'import sys; from {module} import {function}; sys.exit({function}())' \"$@\"",
            "ruff": '-m ruff "$@"',
            "mutmut": '-m mutmut "$@"',
            # All of it would take a minute.
            "mypy": '-m mypy --follow-imports=skip prolepsis/atomic.py "$@"',
        }
        programs = {name: f"exec {sys.executable} {arguments}" for name, arguments in modules.items()}
        programs |= dict.fromkeys(("python", "python3", "python3.12"), PYTHON) | {"ssh": SSH}
        (self.folder / "bin").mkdir()
        for name, script in programs.items():
            path = self.folder / "bin" / name
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)


def free_port() -> int:
    """A port on loopback that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port
