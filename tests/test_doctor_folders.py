"""What doctor says of folders from which a run could load nothing."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from prolepsis.doctor.folders import fault_of_task, faults
from prolepsis.subjects.checkpoint import INDEX
from prolepsis.subjects.loading import ORGANISMS

PLANNER = ORGANISMS / "planner"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of a whole model, with its transcoder beside the weights."""
    return Path(shutil.copytree(PLANNER, tmp_path / "mine"))


def configured(**changes: object) -> Callable[[Path], None]:
    """Other values in config.json."""

    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def cut(name: str) -> Callable[[Path], None]:
    """A file whose end is missing."""

    def change(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[:-40])

    return change


def sharded(folder: Path) -> None:
    """Weights in two files, of which one is not there."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    save_file(dict(list(weights.items())[:3]), folder / "one.safetensors")
    where = {name: "one.safetensors" if n < 3 else "two.safetensors" for n, name in enumerate(weights)}
    (folder / INDEX).write_text(json.dumps({"weight_map": where}))


def without_tokenizer(folder: Path) -> None:
    """No file of a tokenizer."""
    for path in folder.glob("tokenizer*"):
        path.unlink()


def test_a_whole_folder_has_no_fault() -> None:
    """A model, its tokenizer and its transcoder can be loaded."""
    assert faults(PLANNER, PLANNER / "transcoder") == []


def without_first_token(folder: Path) -> None:
    """A tokenizer with neither BOS nor what stands in for it."""
    path = folder / "tokenizer_config.json"
    plain = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in plain.items() if key[:3] not in ("bos", "pad", "eos")}))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "config.json").unlink(), "no config.json; give a folder"),
        (lambda folder: (folder / "config.json").write_text("hello"), "its config.json cannot be read"),
        (lambda folder: (folder / "config.json").write_text("[]"), "its config.json cannot be read"),
        (configured(num_hidden_layers="three"), "its config.json cannot be read"),
        (configured(model_type="gpt2"), "gpt2"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors: no such file; download it"),
        (cut("model.safetensors"), "model.safetensors: truncated or no safetensors file"),
        (sharded, "two.safetensors: no such file; download it"),
        (lambda folder: (folder / INDEX).write_text("{}"), f"{INDEX}: cannot be read; get it again"),
        (without_tokenizer, "the tokenizer cannot be loaded"),
        (without_first_token, "mine: its tokenizer has no BOS token"),
        (lambda folder: shutil.rmtree(folder / "transcoder"), "transcoder"),
        (cut("transcoder/W_dec_1.safetensors"), "W_dec_1.safetensors: truncated or no safetensors file"),
        (lambda folder: (folder / "transcoder" / "W_enc_1.safetensors").unlink(), "W_enc_1.safetensors"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(folder: Path, damage: Callable[[Path], None], said: str) -> None:
    """Each thing that a run would be refused for is named, without reading weights."""
    damage(folder)
    (fault,) = faults(folder, folder / "transcoder")
    assert said in fault
    assert "\n" not in fault


def test_a_transcoder_of_another_model_is_a_fault(folder: Path) -> None:
    """Its width or number of layers are not those of the model."""
    other = folder / "other"
    shutil.copytree(ORGANISMS / "window-1" / "transcoder", other)
    (fault,) = faults(folder, other)
    assert "window-1" in fault or "layer" in fault or "width" in fault


def test_a_task_that_is_refused_is_a_fault(tmp_path: Path) -> None:
    """What a run would say of the file is said; one that is read is none."""
    assert fault_of_task(PLANNER / "task.json") is None
    path = tmp_path / "task.json"
    path.write_text("{}")
    assert str(path) in (fault_of_task(path) or "")


def test_weights_are_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of any size are looked at in a moment: only headers are."""
    monkeypatch.setattr(torch, "isfinite", lambda _: pytest.fail("numbers were looked at"))
    assert faults(folder, folder / "transcoder") == []
