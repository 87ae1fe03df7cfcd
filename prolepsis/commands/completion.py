"""``prolepsis completion``: a script that lets a shell complete commands, options and subjects."""

import argparse
import shlex
from pathlib import Path

from prolepsis.commands.command import OK, Command

SHELLS = ("bash", "zsh", "fish")
EXAMPLE = """example, for the running bash:

    $ prolepsis completion bash

prints the script; `eval "$(prolepsis completion bash)"` in ~/.bashrc loads it. For zsh the script belongs in a file
_prolepsis on $fpath, for fish in ~/.config/fish/completions/prolepsis.fish.
"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="the shell the script is for")


def _run(chosen: argparse.Namespace) -> int:
    import shtab

    from prolepsis.cli import command_parser

    parser = command_parser()
    _complete_values(parser)
    print(shtab.complete(parser, shell=chosen.shell))
    return OK


def _complete_values(parser: argparse.ArgumentParser) -> None:
    """Say what the values of options are: subjects by their ids, files and folders."""
    import shtab

    from prolepsis.report.subjects import known_subjects

    models = [s.id for s in known_subjects(None, None, None, None, Path()).values() if s.tier in ("organism", "gpu")]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for added in action.choices.values():
                _complete_values(added)
        elif action.dest == "subject":
            # One a line: fish takes a line as one word.
            action.complete = shtab.cmd(shlex.join(["printf", r"%s\n", *models]))  # type: ignore[attr-defined]
        elif action.type is Path or action.metavar in ("PATH", "FILE"):
            action.complete = shtab.FILE  # type: ignore[attr-defined]


COMPLETION = Command(
    "completion", "Print a script that completes commands and options in a shell.", EXAMPLE, _arguments, _run
)
