"""The dress rehearsal: real shapes and files, tokens where the paper's stand, and a run on what is written."""

import json
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from prolepsis.doctor.count import narrow
from prolepsis.experiments.counterfactual_pairs import screened
from prolepsis.experiments.facts_asked import facts_of
from prolepsis.experiments.position_sweep import strength_unit
from prolepsis.names import Feature
from prolepsis.rehearsal import run, shapes
from prolepsis.rehearsal.__main__ import main
from prolepsis.rehearsal.checkpoints import write_model, write_transcoder
from prolepsis.rehearsal.pairs import write_pairs
from prolepsis.rehearsal.presets import preset_table, published_layers, scaled_table, write_preset
from prolepsis.rehearsal.run import supported_by_nothing
from prolepsis.rehearsal.shapes import GIB, SHAPES, Shape, scaled
from prolepsis.rehearsal.tensor_files import Stored, overwrite_row, write_tensors
from prolepsis.rehearsal.tokenizer import TASK, write_tokenizer
from prolepsis.report.subjects import open_subject, read_presets
from prolepsis.subjects.counterfactual import find
from prolepsis.subjects.loading import load_subject
from prolepsis.subjects.published import Published
from prolepsis.transcoder import Transcoder
from prolepsis.watching import shown_by

SMALL = {preset: scaled(shape, 0.01) for preset, shape in SHAPES.items()}
PAPER_GIB = {"gemma-2-2b-426k": (26.5, 1.83), "gemma-2-2b-2.5m": (159, 10.97), "llama-3.2-1b-524k": (19.0, 2.0)}
"""Sizes of the transcoders' files in all, and of the first decoder file."""


@pytest.mark.parametrize("preset", SHAPES)
def test_real_shapes_have_the_real_sizes(preset: str) -> None:
    """Files of the shapes written down here are as large as those of the repositories."""
    shape, (total, first) = SHAPES[preset], PAPER_GIB[preset]
    assert shape.transcoder_bytes() / GIB == pytest.approx(total, rel=0.005)
    assert shape.decoder_bytes(0) / GIB == pytest.approx(first, rel=0.005)


@given(rows=st.integers(1, 9), middle=st.integers(1, 4), last=st.none() | st.integers(1, 4), seed=st.integers(0, 99))
def test_written_piece_by_piece_is_written_whole(
    tmp_path_factory: pytest.TempPathFactory, rows: int, middle: int, last: int | None, seed: int
) -> None:
    """What the safetensors library reads is what was drawn, zeros where nothing was, and a row put in afterwards."""
    path = tmp_path_factory.mktemp("tensors") / "some.safetensors"
    kept = middle if last is None else min(last, middle)
    values = torch.randn(rows, kept, 3, generator=torch.Generator().manual_seed(seed))
    first = Stored((2,), lambda start, stop: torch.arange(start, stop).float())
    write_tensors(
        path,
        {"a": first, "b": Stored((rows, middle, 3), lambda i, j: values[i:j], last=None if last is None else kept)},
    )
    found = load_file(path)
    expected = torch.zeros(rows, middle, 3, dtype=torch.bfloat16)
    expected[:, middle - kept :] = values.bfloat16()
    assert torch.equal(found["b"], expected)
    assert found["a"].tolist() == [0, 1]
    overwrite_row(path, "b", rows - 1, torch.ones(middle, 3))
    expected[rows - 1] = 1
    assert torch.equal(load_file(path)["b"], expected)


@pytest.mark.parametrize("preset", SHAPES)
def test_published_sites_and_tokens_are_where_the_paper_has_them(preset: str, tmp_path: Path) -> None:
    """Published sites hold the tokens of the preset, ids are the paper's, and words of the task are one token."""
    tokenizer = _tokenizer(SMALL[preset], tmp_path)
    published = Published.of(preset_table(preset)["published"])
    for steering in published.routing:
        tokens = tokenizer(steering.prompt)["input_ids"]
        assert tokenizer.decode([tokens[steering.site]]) == steering.at
    sweep = tokenizer(f"{published.sweep.prompt} ")["input_ids"]
    assert published.sweep.site in (None, len(sweep) - 1)
    for steering in (published.sweep, *published.routing):
        (word,) = tokenizer(f" {steering.word}", add_special_tokens=False)["input_ids"]
        assert steering.token in (None, word)
    groups = json.loads(TASK.read_text())["groups"].values()
    assert all(len(tokenizer(f" {w}", add_special_tokens=False)["input_ids"]) == 1 for group in groups for w in group)
    assert len(tokenizer) == SMALL[preset].n_vocab


@pytest.mark.parametrize("preset", ["gemma-2-2b-426k", "llama-3.2-1b-524k"])
def test_tokens_are_text_again(preset: str, tmp_path: Path) -> None:
    """A text comes back from its tokens letter by letter, also what the vocabulary has no word for."""
    tokenizer = _tokenizer(SMALL[preset], tmp_path)
    text = "It's 12 o'clock,\nÅsa said <strong>xqzt</strong>.\n\n The end "
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


@pytest.mark.parametrize("preset", SHAPES)
def test_a_scaled_preset_names_what_is_there(preset: str, tmp_path: Path) -> None:
    """Every feature and head of a preset moved to a smaller model is there, and no two have become one."""
    shape, real = SMALL[preset], preset_table(preset)
    write_preset(scaled_table(shape), tmp_path / "preset.toml")
    (source,) = read_presets(tmp_path / "preset.toml")
    moved, whole = source.published, Published.of(real["published"])
    assert moved is not None
    assert len(_features(moved)) == len(_features(whole))
    assert all(f.layer < shape.n_layers and f.index < shape.n_features for f in _features(moved))
    assert [len(each.heads) for each in moved.routing] == [len(each.heads) for each in whole.routing]
    assert published_layers(tomllib.loads((tmp_path / "preset.toml").read_text())) == {
        f.layer for f in _features(moved)
    }


def test_a_preset_stands_in_the_place_of_the_bundled_one(tmp_path: Path) -> None:
    """A subject of a preset file that has a bundled preset's id is what that id means in the run."""
    from prolepsis.report.subjects import known_subjects

    write_preset(scaled_table(SMALL["llama-3.2-1b-524k"]), tmp_path / "preset.toml")
    ours = known_subjects(None, None, None, None, tmp_path)
    theirs = known_subjects("preset.toml", None, None, None, tmp_path)
    assert {name for name in ours if ours[name] != theirs[name]} == {"llama-3.2-1b-524k"}
    assert theirs["llama-3.2-1b-524k"].base == tmp_path


@pytest.mark.parametrize("thresholds", [False, True])
def test_what_is_written_is_loaded_as_real_files_are(thresholds: bool, tmp_path: Path) -> None:
    """Shards, tokenizer and transcoder load and pass every check, and of a sparse one the last rows are there."""
    shape = SMALL["gemma-2-2b-2.5m"]
    write_model(shape, tmp_path / "model", "cpu")
    write_transcoder(shape, tmp_path / "clt", tmp_path / "model", "cpu", {13}, thresholds=thresholds)
    assert len(list((tmp_path / "model").glob("model-*.safetensors"))) == shape.shards
    subject = load_subject(str(tmp_path / "model"))
    transcoder = Transcoder.open(tmp_path / "clt", subject.n_layers, subject.d_model)
    assert (subject.n_vocab, transcoder.n_features) == (shape.n_vocab, shape.n_features)
    assert transcoder.activation == ("jumprelu" if thresholds else "relu")
    assert transcoder.decoder(3, 13).norm(dim=-1).min() > 0.5
    assert transcoder.rows(Feature(3, 0))[:-1].count_nonzero() == 0
    acts = transcoder.encode(0, torch.randn(64, shape.width, generator=torch.Generator().manual_seed(0)))
    assert 0 < float((acts > 0).float().mean()) < 0.02


@pytest.mark.parametrize("preset", SHAPES)
def test_what_is_written_can_be_steered(preset: str, tmp_path: Path) -> None:
    """Also in the narrow models that are counted, features of the task's words are active: their claims are asked."""
    shape, table = narrow(preset), tmp_path / "preset.toml"
    write_model(shape, tmp_path / "model", "cpu")
    layers = published_layers(scaled_table(shape))
    write_transcoder(shape, tmp_path / "clt", tmp_path / "model", "cpu", layers, thresholds=False)
    table.write_text(f'[[subject]]\nid = "mine"\nmodel = "model"\ntranscoder = "clt"\ntask = "{TASK}"\n')
    (source,) = read_presets(table)
    assert strength_unit(open_subject(source, "cpu", "float32")) > 0


@pytest.mark.parametrize("preset", ["gemma-2-2b-426k", "llama-3.2-1b-524k"])
def test_the_written_pairs_are_answered_as_they_say(preset: str, tmp_path: Path) -> None:
    """A random model passes the screen of facts on every pair that was written for it, and there are enough to ask."""
    write_model(SMALL[preset], tmp_path / "model", "cpu")
    write_pairs(tmp_path / "model", tmp_path / "pairs", "cpu")
    subject = load_subject(str(tmp_path / "model"))
    asked = replace(subject, pairs=find("pairs", tmp_path, None))
    found = screened(asked)
    assert found.counts["rows"] == found.counts["both answered rightly"]
    assert len(facts_of(asked)) == found.counts["asked"] == len({pair.cluster for pair in found.pairs})


def test_a_rehearsal_comes_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Claims of the gpu tier are asked of written checkpoints, offline, and nothing learned is supported."""
    # One family asks for no more, and a test has no minutes.
    monkeypatch.setattr(shapes, "LEAST_LAYERS", 4)
    figures = tmp_path / "figures.json"
    options = ["--preset", "gemma-2-2b-426k", "--scale", "0.01", "--json", str(figures), "-k", "X205"]
    assert main([*options, "--folder", str(tmp_path / "work")]) == 0, capsys.readouterr().out
    (found,) = json.loads(figures.read_text())["rehearsals"]
    (family,) = found["families"]
    assert (family["name"], found["verdicts"], found["untested"]) == ("discovery", family["verdicts"], {})
    assert not {"supported", "untested"} & set(family["verdicts"])
    for taken in (found["loading"], family["taken"]):
        assert taken["seconds"] > 0
        assert sys.platform != "linux" or taken["host_bytes"] > 2**27
        assert taken["gpu_bytes"] is None


def test_a_supported_row_is_a_fault() -> None:
    """A claim about what was learned may not be supported on random weights; one about the configuration may."""
    rows = [
        {"id": claim, "variant": "published", "verdict": verdict, "reason": "so it is"}
        for claim, verdict in (("B01", "supported"), ("B02", "vacuous"), ("S02g", "supported"))
    ]
    assert supported_by_nothing(rows) == ["B01 (published) is supported on random weights: so it is"]


def _tokenizer(shape: Shape, folder: Path) -> Any:
    from transformers import AutoTokenizer

    write_tokenizer(shape, folder)
    return AutoTokenizer.from_pretrained(folder)


def _features(published: Published) -> set[Feature]:
    found = {f for each in (published.sweep, *published.routing) for f in (*each.suppress, each.inject)}
    return found | ({published.correction.feature} if published.correction else set())


WRITES = """
import sys, time
with open(sys.argv[1], "a") as journal:
    for _ in range(3):
        time.sleep(0.2)
        journal.write("{}\\n")
        journal.flush()
time.sleep(1.5)
"""


def test_a_run_shows_how_many_of_its_claims_are_verified(tmp_path: Path) -> None:
    """Whoever watches sees as many claims as the journals hold, and all of them once the run is over."""
    (tmp_path / "0001").mkdir()
    began, came = time.monotonic(), []

    def show(items: Sequence[Any], what: str) -> Iterator[Any]:
        assert what == "claims verified"
        for item in items:
            yield item
            came.append(time.monotonic() - began)

    with (
        subprocess.Popen([sys.executable, "-c", WRITES, str(tmp_path / "0001" / "journal-main.jsonl")]) as process,
        shown_by(show),
    ):
        run._wait(process, tmp_path, "llama-3.2-1b-524k")
        assert process.poll() == 0
    assert len(came) > 3
    assert came[2] < came[3] - 0.5


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_nothing_is_written_for_a_device_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a GPU a rehearsal on one ends before it begins, with one line that names the option and what to do."""
    assert main(["--device", "cuda", "--folder", str(tmp_path / "work")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "--device cpu" in line
    assert not (tmp_path / "work").exists()
