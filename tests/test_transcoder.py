"""Transcoder files: what is read, what is refused, and how little memory it takes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from benchmarks.bench_transcoder import measure
from prolepsis.errors import UserError
from prolepsis.names import Feature
from prolepsis.transcoder import Transcoder, write_transcoder

LAYERS, FEATURES, WIDTH = 3, 5, 4
Parts = dict[str, list[torch.Tensor]]


def random_parts(seed: int, layers: int = LAYERS, features: int = FEATURES, width: int = WIDTH) -> Parts:
    """Random tensors of a whole transcoder, values exact in bfloat16."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).bfloat16().float()

    return {
        "encoders": [draw(features, width) for _ in range(layers)],
        "biases": [draw(features) for _ in range(layers)],
        "decoders": [draw(features, layers - layer, width) for layer in range(layers)],
        "decoder_biases": [draw(width) for _ in range(layers)],
        "thresholds": [draw(features).abs() for _ in range(layers)],
    }


def written(folder: Path, parts: Parts, *, jump: bool = False, dtype: torch.dtype = torch.float32) -> Path:
    """Write ``parts`` to ``folder``, with thresholds if ``jump``."""
    kept = {name: tensors for name, tensors in parts.items() if jump or name != "thresholds"}
    write_transcoder(folder, **kept, model_name="tiny", dtype=dtype)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a small ReLU transcoder."""
    return written(tmp_path / "clt", random_parts(0))


def rewrite(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change the tensors of one file."""
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def refused(call: Callable[[], object]) -> str:
    """Give the one-line message of the UserError that ``call`` raises."""
    with pytest.raises(UserError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("jump", [False, True])
def test_what_was_written_is_read_back(tmp_path: Path, dtype: torch.dtype, jump: bool) -> None:
    """Rows, own-layer and cross-layer decoders, and the activation are those written, in every stored precision."""
    parts = random_parts(1)
    transcoder = Transcoder.open(written(tmp_path, parts, jump=jump, dtype=dtype))
    stored = [decoder.to(dtype).float() for decoder in parts["decoders"]]
    assert transcoder.activation == ("jumprelu" if jump else "relu")
    assert transcoder.model_name == "tiny"
    for layer in range(LAYERS):
        assert torch.equal(transcoder.rows(Feature(layer, 3)), stored[layer][3])
        for target in range(layer, LAYERS):
            assert torch.equal(transcoder.decoder(layer, target), stored[layer][:, target - layer])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), jump=st.booleans())
def test_encode_and_decode_are_their_definitions(
    tmp_path_factory: pytest.TempPathFactory, seed: int, jump: bool
) -> None:
    """In float64 encode is the (jump) ReLU of the affine map, and decode the sum of decoders and one b_dec."""
    parts = random_parts(seed)
    folder = written(tmp_path_factory.mktemp("clt"), parts, jump=jump)
    transcoder = Transcoder.open(folder, dtype=torch.float64)
    x = torch.randn(2, 6, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    acts = torch.stack([transcoder.encode(layer, x) for layer in range(LAYERS)])  # [L, 2, 6, F]
    for layer in range(LAYERS):
        pre = x @ parts["encoders"][layer].double().T + parts["biases"][layer].double()
        cut = parts["thresholds"][layer].double() if jump else torch.zeros(FEATURES, dtype=torch.float64)
        assert torch.allclose(acts[layer], torch.where(pre > cut, pre, 0.0), rtol=0, atol=1e-12)
    recon = transcoder.decode(acts)
    for target in range(LAYERS):
        expected = parts["decoder_biases"][target].double().expand(2, 6, WIDTH).clone()
        for layer in range(target + 1):
            expected += acts[layer] @ parts["decoders"][layer][:, target - layer].double()
        assert torch.allclose(recon[target], expected, rtol=0, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), strength=st.floats(-20, 20))
def test_writes_are_linear_in_sets_and_strength(
    tmp_path_factory: pytest.TempPathFactory, seed: int, strength: float
) -> None:
    """A set's writes are the sum of its members', scale with the strength, and start at the lowest source layer."""
    folder = written(tmp_path_factory.mktemp("clt"), random_parts(seed))
    transcoder = Transcoder.open(folder, dtype=torch.float64)
    low, high = Feature(1, seed % FEATURES), Feature(2, 2)
    both = transcoder.writes([high, low], strength)
    assert list(both) == [1, 2]
    assert torch.allclose(both[1], strength * transcoder.rows(low)[0], rtol=0, atol=1e-12)
    expected = strength * (transcoder.rows(low)[1] + transcoder.rows(high)[0])
    assert torch.allclose(both[2], expected, rtol=0, atol=1e-12)
    assert transcoder.writes([], strength) == {}


def test_layers_go_by_name(tmp_path: Path) -> None:
    """With eleven layers, layer 10 comes after layer 9, not after layer 1."""
    parts = random_parts(2, layers=11)
    transcoder = Transcoder.open(written(tmp_path, parts), n_layers=11, d_model=WIDTH)
    assert torch.equal(transcoder.rows(Feature(10, 0)), parts["decoders"][10][0])
    assert torch.equal(transcoder.decoder(2, 10), parts["decoders"][2][:, 8])


def test_digest_follows_the_content(folder: Path, tmp_path: Path) -> None:
    """A copy elsewhere has the same digest; one changed value, or another model name, another."""
    digest = Transcoder.open(folder).digest
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert Transcoder.open(copy).digest == digest

    def nudge(tensors: dict[str, torch.Tensor]) -> None:
        tensors["W_dec_2"][4, 0, 3] += 1

    rewrite(copy / "W_dec_2.safetensors", nudge)
    assert Transcoder.open(copy).digest != digest
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"model_name": "other"}))
    assert Transcoder.open(folder).digest != digest


def test_digest_of_large_files_samples_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the size that is hashed whole, the digest still follows a change of the first and of the last value."""
    monkeypatch.setattr("prolepsis.transcoder._WHOLE_BYTES", 0)
    monkeypatch.setattr("prolepsis.transcoder._SAMPLE_BYTES", 4)
    digest = Transcoder.open(folder).digest
    for at in (0, -1):

        def nudge(tensors: dict[str, torch.Tensor], at: int = at) -> None:
            tensors["W_dec_0"].view(-1)[at] += 1

        rewrite(folder / "W_dec_0.safetensors", nudge)
        changed = Transcoder.open(folder).digest
        assert changed != digest
        digest = changed


def test_digest_of_large_files_takes_the_header_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the size that is hashed whole, two files that differ inside their headers alone differ in digest."""
    monkeypatch.setattr("prolepsis.transcoder._WHOLE_BYTES", 0)
    monkeypatch.setattr("prolepsis.transcoder._SAMPLE_BYTES", 4)
    monkeypatch.setattr("prolepsis.transcoder._SAMPLES", 2)
    path = folder / "W_enc_1.safetensors"
    tensors = load_file(path)
    digests = set()
    for run in ("a", "b"):
        save_file(tensors, path, metadata={"run": run})
        digests.add(Transcoder.open(folder).digest)
    assert len(digests) == 2


@pytest.mark.parametrize("key", ["feature_input_hook", "feature_output_hook", "model_kind"])
def test_other_hooks_are_refused(folder: Path, key: str) -> None:
    """A configuration with another hook or kind is refused by name and value."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {key: "hook_mlp_in"}))
    message = refused(lambda: Transcoder.open(folder))
    assert key in message
    assert "hook_mlp_in" in message


@pytest.mark.parametrize("text", [None, "model_name: [", "just words", "model_name: 3", "\x00"])
def test_a_broken_configuration_is_refused(folder: Path, text: str | None) -> None:
    """A missing or unreadable config.yaml is one line naming the file."""
    if text is None:
        (folder / "config.yaml").unlink()
    else:
        (folder / "config.yaml").write_text(text)
    assert "config.yaml" in refused(lambda: Transcoder.open(folder))


@pytest.mark.parametrize("names", [["W_dec_0"], ["W_enc_1"], ["W_dec_2"], ["W_enc_2", "W_dec_2"]])
def test_missing_layers_are_named(folder: Path, names: list[str]) -> None:
    """Every file that is missing is named, in the middle and at the end."""
    for name in names:
        (folder / f"{name}.safetensors").unlink()
    message = refused(lambda: Transcoder.open(folder))
    assert all(f"{name}.safetensors" in message for name in names)


def test_files_of_another_layout_are_refused(folder: Path) -> None:
    """Tensor files that this layout does not know are refused, so that nothing stored is passed over."""
    save_file({"W_skip_0": torch.zeros(2)}, folder / "W_skip_0.safetensors")
    assert "W_skip_0.safetensors" in refused(lambda: Transcoder.open(folder))


@pytest.mark.parametrize(
    ("file", "change", "named"),
    [
        ("W_enc_1", lambda t: t.update(W_skip_1=torch.zeros(2)), "W_skip_1"),
        ("W_enc_1", lambda t: t.update(threshold_0=torch.zeros(FEATURES)), "threshold_0"),
        ("W_enc_1", lambda t: t.pop("b_dec_1"), "b_dec_1"),
        ("W_enc_1", lambda t: t.update(b_enc_1=torch.zeros(FEATURES + 1)), "b_enc_1"),
        ("W_enc_1", lambda t: t.update(W_enc_1=t["W_enc_1"].T.contiguous()), "W_enc_1"),
        ("W_enc_1", lambda t: t.update(W_enc_1=t["W_enc_1"].double()), "F64"),
        ("W_dec_1", lambda t: t.update(W_dec_1=torch.zeros(FEATURES, LAYERS, WIDTH)), "W_dec_1"),
        ("W_dec_1", lambda t: t.update(W_dec_1=torch.zeros(FEATURES, 2, WIDTH + 1)), "W_dec_1"),
        ("W_dec_0", lambda t: t.update(W_dec_0=torch.zeros(FEATURES, LAYERS * WIDTH)), "W_dec_0"),
        ("W_dec_0", lambda t: t.update(W_dec_0=torch.zeros(0, LAYERS, WIDTH)), "W_dec_0"),
        ("W_enc_2", lambda t: t.update(threshold_2=torch.zeros(FEATURES)), "jumprelu"),
    ],
)
def test_wrong_tensors_are_refused(
    folder: Path, file: str, change: Callable[[dict[str, torch.Tensor]], object], named: str
) -> None:
    """Unknown, missing, misshapen tensors, a stored type we do not read, and mixed activations are refused by name."""
    rewrite(folder / f"{file}.safetensors", change)
    assert named in refused(lambda: Transcoder.open(folder))


@pytest.mark.parametrize(("n_layers", "d_model"), [(LAYERS + 1, WIDTH), (LAYERS - 1, WIDTH), (LAYERS, WIDTH + 1)])
def test_another_shape_than_the_model_is_refused(folder: Path, n_layers: int, d_model: int) -> None:
    """A transcoder with other layers or another width than the model is refused, with both numbers."""
    assert "the model" in refused(lambda: Transcoder.open(folder, n_layers, d_model))
    Transcoder.open(folder, LAYERS, WIDTH)


@pytest.mark.parametrize("kept", [0, 5, 60, -1])
def test_truncated_files_are_refused(folder: Path, kept: int) -> None:
    """A file cut off anywhere is one line that names it and says to download it again."""
    path = folder / "W_dec_1.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    message = refused(lambda: Transcoder.open(folder))
    assert str(path) in message
    assert "download it again" in message


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_is_refused_where_it_is_read(folder: Path, bad: float) -> None:
    """Not-a-number and infinity are refused by the read that meets them, and only by that one."""

    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors["W_dec_0"][2, 1, 0] = bad

    rewrite(folder / "W_dec_0.safetensors", spoil)
    transcoder = Transcoder.open(folder)
    transcoder.rows(Feature(0, 1))
    transcoder.decoder(0, 0)
    assert "W_dec_0" in refused(lambda: transcoder.rows(Feature(0, 2)))
    assert "W_dec_0" in refused(lambda: transcoder.decoder(0, 1))


@pytest.mark.parametrize("feature", [Feature(LAYERS, 0), Feature(-1, 0), Feature(0, FEATURES), Feature(0, -1)], ids=str)
def test_features_out_of_range_are_refused(folder: Path, feature: Feature) -> None:
    """A feature the transcoder does not have is refused by name, counting from neither end."""
    transcoder = Transcoder.open(folder)
    assert str(feature) in refused(lambda: transcoder.rows(feature))
    assert str(feature) in refused(lambda: transcoder.writes([feature], 1.0))


def test_calls_that_mean_nothing_are_refused(folder: Path) -> None:
    """Layers out of range, targets below their source, other widths and a feature named twice are refused."""
    transcoder = Transcoder.open(folder)
    assert "layer 3" in refused(lambda: transcoder.encode(3, torch.zeros(WIDTH)))
    assert "width 5" in refused(lambda: transcoder.encode(0, torch.zeros(WIDTH + 1)))
    assert "width 4" in refused(lambda: transcoder.decode(torch.zeros(LAYERS, FEATURES - 1)))
    assert "2 layers" in refused(lambda: transcoder.decode(torch.zeros(LAYERS - 1, FEATURES)))
    assert "not layer 1" in refused(lambda: transcoder.decoder(2, 1))
    assert "target layer 3" in refused(lambda: transcoder.decoder(2, 3))
    assert "named twice" in refused(lambda: transcoder.writes([Feature(0, 1), Feature(0, 1)], 1.0))


def test_a_writer_refuses_what_a_reader_would(tmp_path: Path) -> None:
    """Shapes that do not fit and values too large for the stored type are refused when written."""
    parts = random_parts(3)
    parts["decoders"][1] = parts["decoders"][1][:, :1]
    assert "W_dec_1" in refused(lambda: written(tmp_path / "shape", parts))
    parts = random_parts(3)
    parts["biases"][0][0] = 1e6
    assert "b_enc_0" in refused(lambda: written(tmp_path / "range", parts, dtype=torch.float16))


def test_what_was_read_outlives_its_file(folder: Path) -> None:
    """Rows read before a file is written anew keep their values."""
    rows = Transcoder.open(folder).rows(Feature(0, 1))
    before = rows.clone()
    path = folder / "W_dec_0.safetensors"
    with path.open("r+b") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        file.write(b"\1" * (path.stat().st_size - file.tell()))
    assert torch.equal(rows, before)


def test_rows_of_a_large_file_take_little_memory() -> None:
    """One feature's rows of a 200 MB decoder file take less than a tenth of it, one layer's decoder less than half."""
    layers, features, width = 13, 8192, 960
    peaks = {name: figures["peak_bytes"] for name, figures in measure(layers, features, width).items()}
    size = 2 * layers * features * width
    assert peaks["rows"] < size / 10, json.dumps(peaks)
    assert peaks["decoder"] < size / 2, json.dumps(peaks)
