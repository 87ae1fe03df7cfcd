"""What real shells offer for the last word of a line, by the scripts that `prolepsis completion` prints."""

import argparse
import os
import shlex
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from prolepsis import cli
from prolepsis.cli import COMMANDS
from prolepsis.commands.command import OK
from prolepsis.commands.completion import SHELLS
from tests.pseudo_terminal import shown_on

ZSHRC = """
fpath=($ZDOTDIR $fpath)
autoload -Uz compinit && compinit -u
# Whatever a completion adds is written down; what it only looks up for itself is not.
compadd() {
    local -a matching
    if [[ ${(M)@[1,(i)(-|--)]:#-[ODA]*} == "" ]]; then
        builtin compadd -O matching "$@"
        print -rl -- $matching >>$ZDOTDIR/offered
    fi
    builtin compadd "$@"
}
zle-line-init() { BUFFER=$TYPED; CURSOR=$#BUFFER; zle complete-word; exit 0 }
zle -N zle-line-init
"""


def offered_by_bash(script: str, words: Sequence[str], folder: Path) -> list[str]:
    """What bash offers once the script is loaded as the command's help says."""
    (folder / "completion.bash").write_text(script)
    typed = f"COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; _shtab_prolepsis"
    line = f"eval \"$(cat completion.bash)\"; {typed}; printf '%s\\n' ${{COMPREPLY[@]}}"
    return subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True, check=True).stdout.split()


def offered_by_zsh(script: str, words: Sequence[str], folder: Path) -> list[str]:
    """What zsh offers at its prompt, where the script is a file on $fpath; it completes only on a terminal."""
    (folder / "_prolepsis").write_text(script)
    (folder / ".zshrc").write_text(ZSHRC)
    (folder / "offered").write_text("")
    environment = os.environ | {"ZDOTDIR": str(folder), "TYPED": " ".join(words), "TERM": "xterm"}
    ours, theirs = os.openpty()
    with subprocess.Popen(
        ["zsh", "-d", "-i"], cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = shown_on(ours)
        assert process.wait() == 0, shown.decode()
    return (folder / "offered").read_text().split()


def offered_by_fish(script: str, words: Sequence[str], folder: Path) -> list[str]:
    """What fish offers, where the script is among the completions of its user; descriptions are left out."""
    place = folder / "fish" / "completions" / "prolepsis.fish"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(script)
    # fish completes only a command that it finds, and those beside the interpreter of the tests may be on no path.
    found = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    homes = dict.fromkeys(("XDG_CONFIG_HOME", "XDG_DATA_HOME", "HOME"), str(folder))
    environment = os.environ | homes | {"PATH": found}
    line = shlex.join(["complete", "--do-complete", " ".join(words)])
    done = subprocess.run(["fish", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return [offer.partition("\t")[0] for offer in done.stdout.splitlines()]


OFFERED = {"bash": offered_by_bash, "zsh": offered_by_zsh, "fish": offered_by_fish}


@pytest.fixture(params=SHELLS)
def offered(
    request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., list[str]]:
    """What a shell offers for the last of the words after ``prolepsis``, sorted."""
    shell = request.param
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    assert cli.main(["completion", shell]) == OK
    script = capsys.readouterr().out
    return lambda *words: sorted(OFFERED[shell](script, ["prolepsis", *words], tmp_path))


def parsers(parser: argparse.ArgumentParser, *words: str) -> Iterator[tuple[Sequence[str], argparse.ArgumentParser]]:
    """Every parser of the command line that has no subcommands, and the words that lead to it."""
    subcommands = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for action in subcommands:
        for name, added in action.choices.items():
            yield from parsers(added, *words, name)
    if not subcommands:
        yield words, parser


def test_a_shell_completes_commands_options_and_their_values(offered: Callable[..., list[str]], tmp_path: Path) -> None:
    """Subcommands, options, choices, files and the ids of subjects are offered by what was typed of them."""
    (tmp_path / "my-preset.toml").touch()
    assert offered("") == sorted(command.name for command in COMMANDS)
    assert offered("sw") == ["sweep"]
    assert offered("claims", "") == ["list", "show"]
    assert offered("sweep", "--inj") == ["--inject"]
    assert offered("lens", "--dtype", "bf") == ["bfloat16"]
    assert offered("lens", "--subject", "plann") == ["planner", "planner-untrained"]
    assert offered("lens", "--subject", "planner", "--preset", "my-p") == ["my-preset.toml"]
    assert offered("completion", "z") == ["zsh"]


def test_a_shell_offers_every_option_of_every_command(offered: Callable[..., list[str]]) -> None:
    """After two dashes a command's long options are offered, each of them and no other."""
    for words, parser in parsers(cli.command_parser()):
        long = sorted(option for option in parser._option_string_actions if option.startswith("--"))
        assert offered(*words, "--") == long, words
