"""A transcoder that reads elsewhere than it says is noticed, and `prolepsis transcoder` describes what lies on disk."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from prolepsis import cli
from prolepsis.commands.command import DIFFERENT, OK
from prolepsis.engine import clean_run
from prolepsis.subjects.loading import ORGANISMS, load_subject
from prolepsis.subjects.reconstruction import PLACES, reconstruction
from prolepsis.watching import shown_by
from tests.seen import Seen
from tests.tiny import FAMILIES, tiny_subject, tiny_tokens

PLANNER = ORGANISMS / "planner"


def misdeclared(folder: Path) -> Path:
    """The planner's transcoder, said to read behind the norm."""
    shutil.copytree(PLANNER / "transcoder", folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"feature_input_hook": "mlp.hook_in"}))
    return folder


def test_a_trained_transcoder_reconstructs_best_from_where_it_reads() -> None:
    """Of the places a transcoder could read, its own gives the largest cosine in every layer; its loops are shown."""
    subject = load_subject("planner")
    assert subject.task is not None
    texts = [subject.task.prompt(template, "cat").text for template in subject.task.templates]
    seen = Seen()
    with shown_by(seen):
        found = reconstruction(subject, texts)
    assert seen.loops == [("texts", len(texts)), ("places", len(PLACES))]
    assert found.best == found.declared == "hook_resid_mid"
    for cosines in zip(*(found.cosines[place] for place in PLACES), strict=True):
        assert max(cosines) == cosines[PLACES.index("hook_resid_mid")]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_true_outputs_are_what_the_mlps_add(family: str) -> None:
    """With resid_mid and the MLP output of a layer, the residual stream after it is their sum, in every family.

    Where attention and MLP read the same stream, what attention adds is missing.
    """
    from prolepsis.subjects.reconstruction import _inputs_and_outputs

    subject, tokens = tiny_subject(family), tiny_tokens(0, 6)
    inputs, outputs = _inputs_and_outputs(subject, tokens)
    resid = clean_run(subject, tokens).resid
    added = torch.allclose(inputs["hook_resid_mid"] + outputs, resid[1:, 1:], atol=1e-12)
    assert added is not subject.wiring.parallel
    assert torch.equal(inputs["hook_resid_pre"], resid[:-1, 1:])


def test_the_command_describes_what_lies_on_disk(capsys: pytest.CaptureFixture[str]) -> None:
    """Layout, sizes, activation, thresholds, input and digest are printed, in words or as one JSON object."""
    assert cli.main(["transcoder", str(PLANNER / "transcoder")]) == OK
    printed = capsys.readouterr().out
    assert cli.main(["transcoder", str(PLANNER / "transcoder"), "--json"]) == OK
    facts = json.loads(capsys.readouterr().out)
    assert (facts["layers"], facts["width"], facts["reads at"]) == (4, 128, "hook_resid_mid")
    assert all(str(value) in printed for value in facts.values())


def test_the_command_tells_a_transcoder_that_reads_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Against its model, a transcoder that reads where it says gives 0, one that does not gives 1 and the place."""
    assert cli.main(["transcoder", str(PLANNER / "transcoder"), "--model", str(PLANNER)]) == OK
    assert "it reconstructs best" not in capsys.readouterr().out
    wrong = misdeclared(tmp_path / "wrong")
    assert cli.main(["transcoder", str(wrong), "--model", str(PLANNER)]) == DIFFERENT
    printed = capsys.readouterr().out
    assert "best from hook_resid_mid, not from where it is said to read: mlp.hook_in" in printed
    assert 'transcoder_hook = "hook_resid_mid"' in printed
    assert cli.main(["transcoder", str(wrong), "--model", str(PLANNER), "--json"]) == DIFFERENT
    assert len(json.loads(capsys.readouterr().out)["reconstruction cosine by place and layer"]["mlp.hook_in"]) == 4


def test_the_command_tells_a_transcoder_that_reconstructs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Random decoders reconstruct from nowhere: no place is said to be the best, and the code is 1."""
    folder = Path(shutil.copytree(PLANNER / "transcoder", tmp_path / "random"))
    for path in folder.glob("W_dec_*.safetensors"):
        generator = torch.Generator().manual_seed(0)
        stored = {name: torch.randn(rows.shape, generator=generator) for name, rows in load_file(path).items()}
        save_file({name: rows.to(torch.float16) for name, rows in stored.items()}, path)
    assert cli.main(["transcoder", str(folder), "--model", str(PLANNER)]) == DIFFERENT
    printed = capsys.readouterr().out
    assert "it reconstructs from none of them: no mean cosine reaches 0.3" in printed
    assert "best" not in printed


def test_the_command_refuses_what_does_not_fit(tmp_path: Path, refusal: Callable[..., str]) -> None:
    """No transcoder, one of another model, and texts of one token are one line and exit code 4."""
    window, folder = str(ORGANISMS / "window-2"), str(PLANNER / "transcoder")
    for arguments, said in (
        ([str(tmp_path)], "no transcoder of a known layout"),
        ([folder, "--model", window], "4 layers, the model 2"),
        ([folder, "--model", str(PLANNER), "--text", ""], "no token after the first"),
    ):
        assert said in refusal("transcoder", *arguments)
