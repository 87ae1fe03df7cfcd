"""The line that says how far a command is: on a terminal, and nowhere else."""

import fcntl
import os
import re
import struct
import subprocess
import sys
import termios

import pytest

from tests.pseudo_terminal import shown_on

LONG = """
import sys, time
from prolepsis.commands.bars import PATIENCE, bars
from prolepsis.watching import watched
with bars("looking for [a place] with a name that no narrow terminal has room for"):
    time.sleep(PATIENCE + 0.3)
    for _ in watched(range(1200), "places that were looked at"):
        time.sleep(0.001)
print("done")
"""
QUICK = """
from prolepsis.commands.bars import bars
from prolepsis.watching import watched
with bars("looking"):
    list(watched(range(3), "places"))
print("done")
"""
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(code: str, columns: int) -> tuple[str, str]:
    """What Python code prints, and what it shows on a terminal of so many columns that is its standard error."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment | {"TERM": "xterm"},
    ) as process:
        os.close(theirs)
        shown = shown_on(ours)
        assert process.stdout is not None
        printed = process.stdout.read().decode()
    assert process.returncode == 0, shown
    return printed, shown.decode()


@pytest.mark.parametrize("columns", [40, 80])
def test_a_long_loop_has_a_bar_with_the_time_left(columns: int) -> None:
    """However narrow the terminal, counts and times are whole, no line is broken, and in the end the line is gone."""
    printed, shown = on_terminal(LONG, columns)
    assert printed == "done\n"
    lines = re.split(r"[\r\n]+", CONTROL.sub("", shown))
    assert max(map(len, lines)) <= columns
    assert any("looking" in line for line in lines)
    assert any(re.search(r"plac.* \d+/1200 \d:\d\d:\d\d$", line) for line in lines)
    assert shown.endswith("\x1b[2K")


def test_what_is_quick_shows_nothing() -> None:
    """What is done in half a second leaves no trace on the terminal."""
    printed, shown = on_terminal(QUICK, 80)
    assert printed == "done\n"
    assert shown == ""


def test_nothing_is_shown_where_nobody_watches() -> None:
    """Where standard error is no terminal, neither it nor the output holds anything of it."""
    done = subprocess.run([sys.executable, "-c", LONG], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("done\n", "")
