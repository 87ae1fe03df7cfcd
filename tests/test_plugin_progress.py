"""What a person sees of a claims run while it measures, and what a pipe does not."""

import os
import re
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from prolepsis.report.progress import line
from prolepsis.watching import Pace
from tests.claims_project import ClaimsProject
from tests.pseudo_terminal import shown_on

WORDS = st.text(st.characters(categories=["L", "N", "Zs"]), max_size=60)


def with_a_loop(project: ClaimsProject) -> None:
    """Let each measurement go through a loop that takes a second."""
    conftest = (project.path / "conftest.py").read_text()
    begins = "    def measure(claims, subject):\n"
    assert begins in conftest
    loop = (
        "        import time\n"
        "        from prolepsis.watching import watched\n"
        "        for _ in watched(range(5), 'layers'):\n"
        "            time.sleep(0.2)\n"
    )
    project.write("conftest.py", conftest.replace(begins, begins + loop))


def on_terminal(project: ClaimsProject, *arguments: str) -> str:
    """What a claims run shows on a terminal."""
    reader, terminal = os.openpty()
    run = subprocess.Popen(
        [sys.executable, "-m", "pytest", "claims", *arguments],
        cwd=project.path,
        stdout=terminal,
        stderr=terminal,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100", "PY_COLORS": "1"},
    )
    os.close(terminal)
    output = shown_on(reader)
    assert run.wait() == 0, output
    return output.decode()


def test_progress_is_shown_to_people_only(project: ClaimsProject) -> None:
    """On a terminal a line says what is measured, how far its loop is and how far the run; in a pipe there is none."""
    with_a_loop(project)
    command = [sys.executable, "-m", "pytest", "claims", "--claims-subject=planner", "--claims-fresh"]
    piped = subprocess.run(command, cwd=project.path, capture_output=True, check=True)
    assert "toy on planner" not in piped.stdout.decode()
    assert not re.search(r"[\r\x1b]", piped.stdout.decode() + piped.stderr.decode())
    text = on_terminal(project, "--claims-subject=planner", "--claims-fresh")
    assert "\rtoy on planner" in text
    assert re.search(r"\rtoy on planner … \| layers [1-4]/5, 0:00:0\d left \| claims 0/3 ", text)
    assert re.search(r"\rtoy on planner … \| claims 1/3, 0:00:\d\d left ", text)
    assert "3 passed" in text


def test_of_a_spread_run_its_claims_are_counted(project: ClaimsProject) -> None:
    """Lines beneath pytest's say how far the run is, and what each worker does; they are gone before pytest goes on."""
    with_a_loop(project)
    arguments = ("--claims-subject=planner", "--claims-subject=planted-llama-latch", "--claims-fresh", "-n2")
    command = [sys.executable, "-m", "pytest", "claims", *arguments]
    piped = subprocess.run(command, cwd=project.path, capture_output=True, check=True)
    assert not re.search(r"[\r\x1b]", piped.stdout.decode() + piped.stderr.decode())
    text = on_terminal(project, *arguments)
    assert "claims 0/6\x1b[1A" in text
    assert re.search(r"claims 1/6, 0:0\d:\d\d left[\r\x1b]", text)
    loops = re.findall(r"\n(gw[01]): toy on [\w-]+ … \| layers [1-4]/5, 0:00:0\d left[\r\x1b]", text)
    assert set(loops) == {"gw0", "gw1"}
    # Whatever comes after such lines, others or pytest's own words, erases them.
    lines = r"claims \d/6[^\x1b]*?((?:\r+\ngw[^\x1b\r]*)*)\x1b\[(\d)A\r(?:\x1b\[\d+C)?"
    for beneath in re.split(lines, text)[3::3]:
        assert re.match(r"(\r+\n)?\x1b\[J", beneath), beneath
    assert all(int(up) == 1 + workers.count("gw") for workers, up in re.findall(lines, text))
    assert "6 passed" in text


@given(text=WORDS, loop=st.just("") | st.just("layers 3/26, 0:01:07 left"), width=st.integers(10, 200))
def test_a_line_has_room_on_any_terminal(text: str, loop: str, width: int) -> None:
    """No line is wider than the terminal, and numbers are whole as long as they have room."""
    claims = "claims 12/1873, 2:03:04 left"
    shown = line(text, loop, claims, width)
    assert len(shown) <= width
    assert (loop or claims) in shown or len(loop or claims) > width
    if width >= len(text) + len(loop) + len(claims) + 20:
        assert shown.startswith(text)
        assert shown.endswith(claims)


@given(total=st.integers(1, 10**6), done=st.integers(0, 10**6))
def test_what_is_left_follows_from_what_is_done(total: int, done: int) -> None:
    """Nothing is left when all is done, and how much is unknown before the first."""
    pace = Pace(total)
    assert pace.left is None
    assert str(pace) == f"0/{total}"
    pace.done = min(done, total)
    if pace.done == total:
        assert pace.left == 0
        assert str(pace) == f"{total}/{total}, 0:00:00 left"
