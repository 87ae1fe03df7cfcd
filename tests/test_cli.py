"""The command line: what it prints, what it returns, and one line for every user error."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prolepsis import cli
from prolepsis.commands import reach
from prolepsis.commands.command import OK, USER_ERROR
from prolepsis.reachability.masks import CoupletBarrier

SCRIPT = Path(sys.executable).with_name("prolepsis")
ASKED = ["reach", "--wiring", "gemma-2-2b", "--tokens", "32", "--vary", "L23..25@31", "--read", "L21:H5 31->31"]


def test_an_answer_is_one_line_and_a_no_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    """`prolepsis reach` prints yes or no with the reason, and both leave with 0."""
    assert cli.main([*ASKED, "--given", "L16..25@31"]) == OK
    assert capsys.readouterr().out == "no: every path starts at L23@31, above L21:H5 31→31\n"
    assert cli.main([*ASKED, "--vary", "L16@31"]) == OK
    assert capsys.readouterr().out == "yes: L16@31 → L21:H5 31→31\n"


def test_json_holds_the_question_and_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """--json prints one object with the parsed question, the answer and the why."""
    assert cli.main([*ASKED, "--given", "skip L3..4", "freeze L2:H1", "--json"]) == OK
    assert json.loads(capsys.readouterr().out) == {
        "wiring": "gemma-2-2b",
        "tokens": 32,
        "varied": ["L23@31", "L24@31", "L25@31"],
        "given": ["skip L3", "skip L4", "freeze L2:H1"],
        "readout": "L21:H5 31→31",
        "answer": False,
        "why": "every path starts at L23@31, above L21:H5 31→31",
    }


def test_the_worked_examples_of_the_help_are_true(capsys: pytest.CaptureFixture[str]) -> None:
    """Every command shown in `prolepsis reach --help` prints the line shown under it."""
    with pytest.raises(SystemExit) as left:
        cli.main(["reach", "--help"])
    assert left.value.code == 0
    examples = re.findall(r"\$ prolepsis (.+)\n +(.+)\n", capsys.readouterr().out)
    assert len(examples) == 2
    for command, printed in examples:
        assert cli.main(shlex.split(command)) == OK
        assert capsys.readouterr().out.strip() == printed


def test_tokens_may_be_ids_for_a_mask_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with a mask rule is asked with token ids; their number alone is refused."""
    config = {"model_type": "llama", "num_hidden_layers": 2, "num_attention_heads": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "subject.json").write_text(json.dumps({"mask_rule": CoupletBarrier(newline=4).describe()}))
    question = ["reach", "--wiring", str(tmp_path), "--vary", "L0@1", "--read", "logits@3", "--tokens"]
    assert cli.main([*question, "4"]) == USER_ERROR
    assert "give their ids" in capsys.readouterr().err
    assert cli.main([*question, "1,5,4,6"]) == OK
    assert capsys.readouterr().out.startswith("no: ")
    assert cli.main([*question, "1,5,7,6"]) == OK
    assert capsys.readouterr().out.startswith("yes: ")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "COMMAND"),
        (["reah"], "reah"),
        (["reach", "--wiring", "gemma-2-2b"], "--tokens"),
        ([*ASKED, "--tokens", "many"], "'many'"),
        ([*ASKED, "--tokens", "0"], "prompt is empty"),
        ([*ASKED, "--vary", "L1"], "'L1'"),
        ([*ASKED, "--read", "logit@3"], "'logit@3'"),
        ([*ASKED, "--wiring", "gemma-3"], "'gemma-3'"),
        ([*ASKED, "--given", "skip L26"], "layer 26"),
        ([*ASKED, "--colour"], "--colour"),
        ([*ASKED, "--tokens", "999999"], "999999 are too many"),
        (["train", "nobody"], "'nobody'"),
        (["train", "planner", "--seed", "-1"], "seed '-1'"),
    ],
)
def test_a_user_error_is_one_line_and_leaves_with_4(
    arguments: list[str], named: str, refusal: Callable[..., str]
) -> None:
    """Whatever the user got wrong is named in one line on stderr, nothing on stdout, exit code 4."""
    assert named in refusal(*arguments)


@pytest.mark.parametrize(
    ("raised", "code", "printed"),
    [(KeyboardInterrupt(), 2, "prolepsis: interrupted\n"), (RuntimeError("ours"), 3, "Traceback")],
)
def test_interruptions_and_our_bugs_have_their_own_codes(
    raised: BaseException,
    code: int,
    printed: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An interruption leaves with 2 and one line, a bug of ours with 3 and its traceback."""

    def fail(*_: Any, **__: Any) -> None:
        raise raised

    monkeypatch.setattr(reach, "reach", fail)
    assert cli.main(ASKED) == code
    assert capsys.readouterr().err.startswith(printed)


def test_training_never_overwrites(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`prolepsis train` refuses a folder that holds something, before any training."""
    (tmp_path / "model.safetensors").write_text("precious")
    assert cli.main(["train", "planner", "--out", str(tmp_path)]) == USER_ERROR
    assert "not an empty folder" in capsys.readouterr().err
    assert (tmp_path / "model.safetensors").read_text() == "precious"


def test_training_passes_on_what_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`prolepsis train NAME --seed N` makes that organism in ./NAME and prints its scores."""
    from prolepsis.organisms import train

    def record(name: str, out: Path, seed: int) -> dict[str, Any]:
        assert (name, out, seed) == ("planner", Path("planner"), 3)
        return {"scores": {"rhyme_rate": 0.98765}}

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "run", record)
    assert cli.main(["train", "planner", "--seed", "3"]) == OK
    assert capsys.readouterr().out.split() == ["rhyme_rate", "0.988", "planner", "is", "in", "planner"]


def test_the_installed_command_answers() -> None:
    """The console script of the package is this command line."""
    printed = subprocess.run([SCRIPT, *ASKED], check=True, capture_output=True, text=True).stdout
    assert printed.startswith("no: ")


PRINTING = (["claims", "list"], ["claims", "show", "X01"], ["--help"], ["run", "-m", "arithmetic", "--collect-only"])
"""Commands that print more than a line, by themselves, by argparse and by pytest."""
BUFFERED = {**os.environ, "PYTHONUNBUFFERED": ""}
"""What an output is as a rule: it fails when it is flushed, at the latest when the interpreter ends."""


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_a_reader_that_has_seen_enough_is_no_bug(arguments: list[str]) -> None:
    """A pipe that nobody reads any more, as after `| head -1`, ends a command with code 1 and no word."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [SCRIPT, *arguments], env=BUFFERED, stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a system without /dev/full")
@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_output_that_cannot_be_written_is_one_line(arguments: list[str]) -> None:
    """Where there is no room for the output, a command says so in one line and leaves with 4."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [SCRIPT, *arguments], env=BUFFERED, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.stderr == "prolepsis: no room to write (No space left on device); free some, or write elsewhere\n"
    assert done.returncode == USER_ERROR


def test_what_the_output_cannot_show_is_written_in_its_letters() -> None:
    """Where the output is ASCII alone, other characters are escaped, and every line is there."""
    asked = [SCRIPT, "claims", "show", "X01"]
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    shown = subprocess.run(asked, env=ascii_only, check=True, capture_output=True).stdout.decode("ascii")
    assert r"X01 (asked) \xb7 ours" in shown
    assert len(shown.splitlines()) == len(subprocess.run(asked, check=True, capture_output=True).stdout.splitlines())


WITHOUT_PACKAGES = """
import sys
from prolepsis import cli
try:
    cli.main(["--help"])
except SystemExit:
    pass
heavy = {"torch", "transformers", "numpy", "scipy", "matplotlib", "rich", "jinja2", "pytest", "yaml", "shtab"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""


def test_help_waits_for_no_package() -> None:
    """`prolepsis --help` imports nothing that takes a moment: it answers as fast as the interpreter starts."""
    subprocess.run([sys.executable, "-c", WITHOUT_PACKAGES], check=True, capture_output=True)
