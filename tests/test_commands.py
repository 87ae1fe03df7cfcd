"""The experiment commands: their examples, what they write, and one line for every user error."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from prolepsis import cli
from prolepsis.cli import COMMANDS, EXPERIMENTS
from prolepsis.commands import experiment
from prolepsis.commands.command import DIFFERENT, INTERRUPTED, OK, OUR_BUG, Command
from prolepsis.commands.experiment import FOLDED, PACKAGES, Answer, print_answer
from prolepsis.commands.run import RUN
from prolepsis.watching import shown_by
from tests.published_subjects import PRESET
from tests.seen import Seen

PLANTED = ["--subject", "planted-llama-irrevocable"]
FORMATS = {".svg": b"<?xml", ".png": b"\x89PNG", ".pdf": b"%PDF"}


def example(command: Command) -> list[str]:
    """The arguments of a command's example."""
    (line,) = re.findall(r"^    \$ prolepsis (.+)$", command.epilog, re.MULTILINE)
    return shlex.split(line)


@pytest.mark.parametrize("command", EXPERIMENTS, ids=lambda command: command.name)
def test_every_example_works_and_says_the_same_three_ways(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The example of each --help prints a table, draws a plot and writes JSON, and shows no progress in a pipe."""
    monkeypatch.chdir(tmp_path)
    arguments = example(command)
    subject = arguments[arguments.index("--subject") + 1]
    suffix = list(FORMATS)[EXPERIMENTS.index(command) % len(FORMATS)]
    plot, written = tmp_path / f"plot{suffix}", tmp_path / "found.json"
    assert arguments[0] == command.name
    assert cli.main([*arguments, "--plot", str(plot), "--json", str(written)]) == OK
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.startswith(f"{subject}: ")
    assert len(printed.out.splitlines()) > 4
    assert plot.read_bytes().startswith(FORMATS[suffix])
    found = json.loads(written.read_text())
    assert (found["command"], found["subject"], found["dtype"]) == (command.name, subject, "float32")
    assert len(found["digest"]) == 16
    assert len(found) > 4


@pytest.mark.parametrize("command", EXPERIMENTS, ids=lambda command: command.name)
def test_no_number_of_a_table_is_cut(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a narrow terminal a table goes on below itself, and all cells are whole."""
    monkeypatch.chdir(tmp_path)
    seen: list[Answer] = []
    monkeypatch.setattr(experiment, "print_answer", seen.append)
    assert cli.main(example(command)) == OK
    (answer,) = seen
    short = {cell for row in answer.rows for cell in row if len(cell) <= FOLDED}
    assert short
    for width in (40, 80):
        monkeypatch.setenv("COLUMNS", str(width))
        print_answer(replace(answer, title="", notes=()))
        printed = capsys.readouterr().out
        assert max(map(len, printed.splitlines())) <= width
        assert "…" not in printed
        assert [cell for cell in short if cell not in printed] == []


def test_each_part_of_a_wide_table_names_its_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eleven columns at 40 take three parts, and the layers stand at the left of each."""
    monkeypatch.setenv("COLUMNS", "40")
    rows = [[f"L{layer}", *(f"{layer + column / 100:+.2f}" for column in range(10))] for layer in range(2)]
    print_answer(Answer("t", ("layer", *map(str, range(10))), rows, (), {}, lambda _: None))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.strip().startswith(("layer", "L"))] == ["layer", "L0", "L1"] * 3
    assert [cell for line in lines if line.strip().startswith("L1") for cell in line.split()[1:]] == rows[1][1:]


def test_run_hands_everything_on_to_pytest_from_any_folder(tmp_path: Path) -> None:
    """The example of `prolepsis run` verifies its claim, and an unknown claim is pytest's own exit code."""
    script = [Path(sys.executable).with_name("prolepsis")]
    reports = ["--claims-report", str(tmp_path / "reports")]
    done = subprocess.run([*script, *example(RUN), *reports], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == OK, done.stdout + done.stderr
    assert "verdicts: 1 supported" in done.stdout
    assert (tmp_path / "reports" / "latest" / "report.json").exists()
    none = subprocess.run(
        [*script, "run", "-m", "arithmetic", "-k", "nothing"], cwd=tmp_path, capture_output=True, check=False
    )
    assert none.returncode == pytest.ExitCode.NO_TESTS_COLLECTED


def test_every_command_is_named_in_the_help_and_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    """No command is hidden; each says what it is for, and --help of an experiment ends in one example to try."""
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"    {command.name}" in shown for command in COMMANDS)
    assert len({command.name for command in COMMANDS}) == len(COMMANDS)
    for command in EXPERIMENTS:
        with pytest.raises(SystemExit):
            cli.main([command.name, "--help"])
        assert f"$ prolepsis {command.name} --subject" in capsys.readouterr().out


WITH_STEERING = ["sweep", *PLANTED]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["sweep"], "--subject"),
        (["lens", "--subject", "planer"], "'planer'"),
        (["lens", "--subject", "paper"], "'paper'"),
        (["lens", "--subject", "random-transformers"], "'random-transformers'"),
        ([*WITH_STEERING, "--suppress", "L1:99999"], "L1:99999"),
        ([*WITH_STEERING, "--suppress", "L1:1,L9:1"], "layer 9"),
        ([*WITH_STEERING, "--suppress", "L1-2"], "'L1-2'"),
        ([*WITH_STEERING, "--suppress", "L1:2,L1:2"], "named twice"),
        ([*WITH_STEERING, "--inject", "L1:2", "--suppress", "L1:2"], "L1:2"),
        ([*WITH_STEERING, "--word", "prolepsis"], "'prolepsis' is not one token"),
        ([*WITH_STEERING, "--strength", "-3"], "strength"),
        ([*WITH_STEERING, "--strength", "much"], "'much'"),
        ([*WITH_STEERING, "--plot", "plot.gif"], "plot.gif"),
        ([*WITH_STEERING, "--json", "no/such/folder.json"], "no/such"),
        ([*WITH_STEERING, "--json", "."], "--json .: a folder"),
        ([*WITH_STEERING, "--json", ""], "--json .: a folder"),
        ([*WITH_STEERING, "--json", "/proc/found.json"], "--json /proc/found.json: "),
        ([*WITH_STEERING, "--transcoder", "no-such-folder"], "no-such-folder"),
        ([*WITH_STEERING, "--device", "abacus"], "--device abacus"),
        ([*WITH_STEERING, "--dtype", "float8"], "float8"),
        ([*WITH_STEERING, "--dtype", "bfloat16"], "--dtype float32"),
        ([*WITH_STEERING, "--preset", "no.toml"], "no.toml"),
        (["route", *PLANTED, "--position", "40"], "position 40"),
        (["route", *PLANTED, "--heads", "0"], "'0'"),
        (["correct", *PLANTED, "--head", "L0:H9"], "L0:H9"),
        (["correct", *PLANTED, "--head", "five"], "'five'"),
        (["correct", *PLANTED, "--from-layer", "0"], "layer 0"),
        (["correct", *PLANTED, "--steps", "1"], "--steps"),
        (["lens", *PLANTED, "--prompt", ""], "a prompt is empty"),
        (["patch", *PLANTED, "--prompt", "cat"], "give both"),
        (["patch", *PLANTED, "--prompt", "f1 cat", "--donor", "f1 cat"], "the same"),
        (["patch", *PLANTED, "--position", "10"], "position 10"),
        (["converge", *PLANTED, "--strength", "0"], "'0'"),
        (["lens", *PLANTED, "--position", "99"], "position 99"),
        (["lens", *PLANTED, "--word", "antidisestablishment"], "not one token"),
        (["skip", *PLANTED, "--layers", "2..9"], "layer 9"),
        (["skip", *PLANTED, "--layers", "3..2"], "'3..2'"),
        (["scan", *PLANTED, "--cut", "2"], "'2'"),
        (["scan", "--subject", "window-1-untrained", "--transcoder", "fixtures"], "fixtures"),
        (["screen", *PLANTED, "--task", "no.json"], "no.json"),
        (["screen", *PLANTED, "--task", "fixtures"], "fixtures: no task file can be read there (Is a directory)"),
        (["completion", "tcsh"], "tcsh"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_user_error_is_one_line_and_leaves_with_4(
    arguments: list[str], named: str, refusal: Callable[..., str]
) -> None:
    """Whatever the user got wrong is named in one line on stderr, nothing on stdout, exit code 4."""
    line = refusal(*arguments)
    assert named in line
    assert "--claims" not in line


@pytest.mark.parametrize("full", [True, False], ids=["out of memory", "another error"])
def test_a_full_device_is_one_line(
    full: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Out of memory the subject is untested, with the code and the cure; another error of torch's is a bug of ours."""
    import torch

    from prolepsis.experiments import published_sweep

    def raising(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError if full else RuntimeError("a bug")

    monkeypatch.setattr(published_sweep, "sweep_text", raising)
    assert cli.main(WITH_STEERING) == (DIFFERENT if full else OUR_BUG)
    printed = capsys.readouterr()
    line = "prolepsis: untested: planted-llama-irrevocable: cpu has no memory for it; free some, or use --dtype"
    assert printed.out == ""
    assert (printed.err.startswith(line) and printed.err.count("\n") == 1) == full


@pytest.mark.parametrize("command", ["sweep", "route", "correct", "scan", "rhymes"])
def test_a_transcoder_is_asked_for_where_one_is_needed(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Commands that steer or scan features say how to give a transcoder to a subject that has none."""
    bare = _without_transcoder(tmp_path)
    assert cli.main([command, "--subject", str(bare)]) == DIFFERENT
    told = "prolepsis: untested: bare: it has no transcoder; give one with --transcoder or in a preset\n"
    assert capsys.readouterr().err == told


def test_why_the_transcoder_of_a_preset_is_missing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A preset whose model is here and whose transcoder is not is untested for the reason that pytest gives."""
    preset = tmp_path / "mine.toml"
    text = PRESET.replace('"model"', f'"{_without_transcoder(tmp_path)}"').replace('"clt"', '"nobody/no-such-clt"')
    preset.write_text(text)
    assert cli.main(["scan", "--subject", "mine", "--preset", str(preset)]) == DIFFERENT
    said = capsys.readouterr().err
    assert said.startswith("prolepsis: untested: mine: not on this machine: nobody/no-such-clt")
    assert "it has no transcoder" not in said


def test_a_transcoder_of_ones_own_is_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--transcoder gives a subject without one the features of that folder."""
    from prolepsis.subjects.loading import ORGANISMS

    bare, written = _without_transcoder(tmp_path), tmp_path / "found.json"
    scan = ["scan", "--json", str(written), "--subject"]
    assert cli.main([*scan, str(bare), "--transcoder", str(ORGANISMS / "window-1" / "transcoder")]) == OK
    theirs = json.loads(written.read_text())["words"]
    assert cli.main([*scan, "window-1"]) == OK
    assert json.loads(written.read_text())["words"] == theirs != {}
    capsys.readouterr()


def _without_transcoder(folder: Path) -> Path:
    """A bundled organism's folder but for its transcoder."""
    from prolepsis.subjects.loading import ORGANISMS

    bare = folder / "bare"
    bare.mkdir()
    for path in (ORGANISMS / "window-1").iterdir():
        if path.is_file():
            (bare / path.name).symlink_to(path)
    return bare


def test_missing_weights_leave_with_1_and_say_what_to_get(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A preset whose weights are not on this machine is untested: one line that says how to get them."""
    preset = tmp_path / "mine.toml"
    preset.write_text(PRESET.replace('"model"', '"nobody/no-such-model"').replace('"clt"', '"nobody/no-such-clt"'))
    assert cli.main(["sweep", "--subject", "mine", "--preset", str(preset)]) == DIFFERENT
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(
        "prolepsis: untested: not on this machine: nobody/no-such-model; get it with `hf download nobody/no-such-model`"
    )
    assert "nobody/no-such-clt" in printed.err
    assert printed.err.count("\n") == 1
    download = f"python -m pytest claims --claims-preset {preset} --claims-subject mine"
    assert printed.err.endswith(f"; `{download}` downloads what is needed\n")


def test_json_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A JSON file that cannot be finished leaves the one that was there as it was."""
    written = tmp_path / "found.json"
    written.write_text("precious")

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert cli.main(["lens", *PLANTED, "--json", str(written)]) != OK
    assert written.read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]


SLOW = """
import signal, sys, time
# A shell that runs the tests in the background has them ignore the interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
from prolepsis import cli
from prolepsis.experiments.nearest_tokens import Vocabulary
nearest = Vocabulary.nearest
def slowly(*arguments):
    time.sleep(2)
    return nearest(*arguments)
Vocabulary.nearest = slowly
sys.exit(cli.main(["scan", "--subject", "planted-llama-irrevocable", "--rows", "1"]))
"""


def test_importing_packages_is_shown() -> None:
    """The seconds before a subject is loaded are a loop of packages, of which the time left is known."""
    seen = Seen()
    with shown_by(seen):
        assert cli.main(["lens", *PLANTED]) == OK
    assert seen.loops[0] == ("packages imported", len(PACKAGES))


def test_progress_is_shown_on_a_terminal_and_an_interruption_is_one_line() -> None:
    """A long scan shows its layers with the time left where standard error is a terminal; Ctrl-C leaves with 2."""
    ours, theirs = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    with subprocess.Popen(
        [sys.executable, "-c", SLOW], stdout=subprocess.PIPE, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        shown = b""
        while b"layers" not in shown:
            shown += os.read(ours, 1024)
        process.send_signal(signal.SIGINT)
        assert process.wait() == INTERRUPTED
        shown += os.read(ours, 65536)
        assert process.stdout is not None
        assert process.stdout.read() == b""
    os.close(ours)
    assert re.search(rb"-:--:--|\d:\d\d:\d\d", shown)
    assert shown.endswith(b"prolepsis: interrupted\r\n")
