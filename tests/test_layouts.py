"""Transcoders in other layouts than the cross-layer files: read as described, refused where they are broken."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from prolepsis.names import Feature
from prolepsis.transcoder import Transcoder
from tests.test_transcoder import random_parts, refused, written
from tests.tiny import FAMILIES, tiny_subject

LAYERS, FEATURES, WIDTH = 3, 5, 4
Tensors = dict[str, torch.Tensor]


def random_layer(seed: int, layer: int) -> Tensors:
    """Random tensors of one layer, in plain orientation: encoder and own decoder [F, d], skip [d, d]."""
    generator = torch.Generator().manual_seed(100 * seed + layer)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        "W_enc": draw(FEATURES, WIDTH), "b_enc": draw(FEATURES), "b_dec": draw(WIDTH), "skip": draw(WIDTH, WIDTH),
        "threshold": draw(FEATURES).abs(), "W_dec": draw(FEATURES, LAYERS, WIDTH),
    }  # fmt: skip


def bundles(
    folder: Path,
    layers: list[Tensors],
    *,
    hook: str = "hook_resid_mid",
    output: str = "hook_mlp_out",
    threshold: str | None = None,
) -> Path:
    """One ``layer_{l}.safetensors`` per layer, skips in all but layer 1; ``threshold`` is what one is called."""
    folder.mkdir()
    config = {"model_name": "tiny", "feature_input_hook": hook, "feature_output_hook": output}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    for layer, t in enumerate(layers):
        stored = {name: t[name] for name in ("W_enc", "b_enc", "b_dec")} | {"W_dec": t["W_dec"][:, layer].contiguous()}
        stored |= {"W_skip": t["skip"]} if layer != 1 else {}
        stored |= {threshold: t["threshold"]} if threshold else {}
        save_file(stored, folder / f"layer_{layer}.safetensors")
    return folder


def gemma_scope(folder: Path, layers: list[Tensors]) -> Path:
    """One ``params.npz`` per layer, encoders transposed."""
    for layer, t in enumerate(layers):
        (folder / f"layer_{layer}" / "width_5" / "average_l0_2").mkdir(parents=True)
        stored = {name: t[name].numpy() for name in ("b_enc", "b_dec", "threshold")}
        stored |= {"W_enc": t["W_enc"].T.numpy(), "W_dec": t["W_dec"][:, layer].numpy()}
        np.savez(folder / f"layer_{layer}" / "width_5" / "average_l0_2" / "params.npz", **stored)
    return folder


def gemma_scope_2(
    folder: Path, layers: list[Tensors], *, dense: bool, place: str = "params_layer_{}.safetensors"
) -> Path:
    """One lower-case file per layer, encoders transposed, skips to be multiplied from the right."""
    folder.mkdir()
    for layer, t in enumerate(layers):
        stored = {
            "w_enc": t["W_enc"].T.contiguous(), "b_enc": t["b_enc"], "b_dec": t["b_dec"], "threshold": t["threshold"],
            "w_dec": t["W_dec"] if dense else t["W_dec"][:, layer].contiguous(),
            "affine_skip_connection": t["skip"].T.contiguous(),
        }  # fmt: skip
        path = folder / place.format(layer)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(stored, path)
    return folder


WRITERS: dict[str, Callable[[Path, list[Tensors]], Path]] = {
    "bundles": bundles,
    "jumping bundles": lambda folder, layers: bundles(folder, layers, threshold="threshold"),
    "saved bundles": lambda folder, layers: bundles(folder, layers, threshold="activation_function.threshold"),
    "Gemma Scope": gemma_scope,
    "Gemma Scope 2": lambda folder, layers: gemma_scope_2(folder, layers, dense=False),
    "Gemma Scope 2, cross-layer": lambda folder, layers: gemma_scope_2(folder, layers, dense=True),
    "Gemma Scope 2, in folders": lambda folder, layers: gemma_scope_2(
        folder, layers, dense=False, place="transcoder_all/layer_{}_width_5_l0_small_affine/params.safetensors"
    ),
}
SKIPS = {"bundles": (0, 2), "jumping bundles": (0, 2), "saved bundles": (0, 2), "Gemma Scope": ()}


def written_as(tmp: Path, kind: str, seed: int = 0) -> tuple[Path, list[Tensors]]:
    """A random transcoder of that kind, and what is in it."""
    layers = [random_layer(seed, layer) for layer in range(LAYERS)]
    return WRITERS[kind](tmp / "transcoder", layers), layers


@pytest.mark.parametrize("kind", WRITERS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_every_layout_reads_what_was_written(tmp_path_factory: pytest.TempPathFactory, kind: str, seed: int) -> None:
    """Activations, rows, decoders, biases and skips are those written, whatever their names and orientation on disk."""
    folder, layers = written_as(tmp_path_factory.mktemp("made"), kind, seed)
    transcoder = Transcoder.open(folder, LAYERS, WIDTH, dtype=torch.float64)
    cross = kind.endswith("cross-layer")
    x = torch.randn(LAYERS, 6, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    acts, expected = [], [t["b_dec"].double().expand(6, WIDTH).clone() for t in layers]
    for layer, t in enumerate(layers):
        pre = x[layer] @ t["W_enc"].double().T + t["b_enc"].double()
        cut = torch.zeros(FEATURES) if kind == "bundles" else t["threshold"].double()
        acts.append(torch.where(pre > cut, pre, 0.0))
        assert torch.allclose(transcoder.encode(layer, x[layer]), acts[layer], rtol=0, atol=1e-12)
        assert transcoder.targets(layer) == range(layer, LAYERS if cross else layer + 1)
        own = t["W_dec"][:, list(transcoder.targets(layer))].double()  # [F, targets, d]
        assert torch.equal(transcoder.rows(Feature(layer, 3)), own[3])
        assert torch.equal(transcoder.last_decoder(layer), own[:, -1])
        for target in transcoder.targets(layer):
            expected[target] += acts[layer] @ own[:, target - layer]
    assert torch.allclose(transcoder.decode(torch.stack(acts)), torch.stack(expected), rtol=0, atol=1e-12)
    for layer in SKIPS.get(kind, range(LAYERS)):
        expected[layer] += x[layer] @ layers[layer]["skip"].double().T
    assert torch.allclose(transcoder.reconstruct(x), torch.stack(expected), rtol=0, atol=1e-12)


def test_a_first_layer_without_a_threshold_is_not_taken_for_all(tmp_path: Path) -> None:
    """Thresholds that a later layer has and the first has not are no ReLU's: the layers have to agree."""
    folder, _ = written_as(tmp_path, "jumping bundles")
    first = folder / "layer_0.safetensors"
    save_file({name: kept for name, kept in load_file(first).items() if name != "threshold"}, first)
    assert "layer 0 is relu, layer 1 jumprelu" in refused(lambda: Transcoder.open(folder))


def test_a_per_layer_feature_writes_its_own_layer_alone(tmp_path: Path) -> None:
    """Steering per-layer features touches their layers only, and asking for another target is refused."""
    folder, layers = written_as(tmp_path, "bundles")
    transcoder = Transcoder.open(folder)
    writes = transcoder.writes([Feature(0, 1), Feature(2, 4)], 2.0)
    assert list(writes) == [0, 2]
    assert torch.equal(writes[2], 2 * layers[2]["W_dec"][4, 2])
    assert "layer 0 alone, not layer 2" in refused(lambda: transcoder.decoder(0, 2))


def test_decoders_without_a_stated_activation_can_be_written_only(tmp_path: Path) -> None:
    """Without biases and with decoder norms, rows are read and encoding is refused: the files do not say how."""
    folder = written(tmp_path / "norms", random_parts(0))
    for layer in range(LAYERS):
        encoder, decoder = (folder / f"{kind}_{layer}.safetensors" for kind in ("W_enc", "W_dec"))
        save_file({f"W_enc_{layer}": load_file(encoder)[f"W_enc_{layer}"]}, encoder)
        save_file(load_file(decoder) | {f"W_dec_norm_{layer}": torch.ones(FEATURES)}, decoder)
    transcoder = Transcoder.open(folder)
    assert transcoder.activation == "top-k"
    assert torch.equal(transcoder.rows(Feature(1, 2)), random_parts(0)["decoders"][1][2])
    assert "only its decoders" in refused(lambda: transcoder.encode(0, torch.zeros(WIDTH)))


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_neox"])
def test_features_read_where_their_transcoder_says(tmp_path: Path, family: str) -> None:
    """Features get the raw stream, that stream normalised without the norm's weights, or the input of the MLP."""
    subject = tiny_subject(family, n_layers=LAYERS, d_head=2, dtype=torch.float64)
    norm = subject.part(1, "mid_norm")
    norm.weight.add_(torch.linspace(0.5, 2, WIDTH))
    layers = [random_layer(0, layer) for layer in range(LAYERS)]
    x = 3 + torch.randn(6, WIDTH, dtype=torch.float64)
    centred = x - x.mean(-1, keepdim=True) if family == "gpt_neox" else x
    eps = subject.config.layer_norm_eps if family == "gpt_neox" else subject.config.rms_norm_eps
    normalised = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    assert torch.allclose(subject.read_at("ln2.hook_normalized", 1, x), normalised, rtol=0, atol=1e-6)
    normalised = subject.read_at("ln2.hook_normalized", 1, x)
    for hook, read in (("hook_resid_mid", x), ("ln2.hook_normalized", normalised), ("mlp.hook_in", norm(x))):
        transcoder = Transcoder.open(bundles(tmp_path / hook, layers, hook=hook), dtype=torch.float64)
        object.__setattr__(subject, "transcoder", transcoder)
        assert torch.equal(subject.features(1, x), transcoder.encode(1, read))


def test_gemma_scope_reads_before_the_norms_weights(tmp_path: Path) -> None:
    """The archives do not say where they read: it is the normalised stream, and the caller's word overrules it."""
    folder, _ = written_as(tmp_path, "Gemma Scope")
    assert Transcoder.open(folder).input_hook == "ln2.hook_normalized"
    assert Transcoder.open(folder, input_hook="mlp.hook_in").input_hook == "mlp.hook_in"


@pytest.mark.parametrize("family", FAMILIES)
def test_what_the_mlp_gives_is_taken_where_that_is_what_it_adds(tmp_path: Path, family: str) -> None:
    """A transcoder of the MLP's own output is refused for a model that norms it, and is as any other elsewhere."""
    folder = bundles(tmp_path / "out", [random_layer(0, layer) for layer in range(LAYERS)], output="mlp.hook_out")
    subject = tiny_subject(family, n_layers=LAYERS, d_head=2)
    if family.startswith("gemma"):
        assert "mlp.hook_out" in refused(lambda: replace(subject, transcoder=Transcoder.open(folder)))
    else:
        assert replace(subject, transcoder=Transcoder.open(folder)).transcoder is not None


def test_a_known_input_hook_overrules_the_declared_one(tmp_path: Path) -> None:
    """Where a transcoder reads elsewhere than its files say, the caller's word counts, and the digest says so."""
    folder = written(tmp_path / "clt", random_parts(0))
    declared, known = Transcoder.open(folder), Transcoder.open(folder, input_hook="mlp.hook_in")
    assert (declared.input_hook, known.input_hook) == ("hook_resid_mid", "mlp.hook_in")
    assert declared.digest != known.digest
    assert "'hook_z'" in refused(lambda: Transcoder.open(folder, input_hook="hook_z"))


@pytest.mark.parametrize("kind", WRITERS)
def test_a_missing_layer_is_named(tmp_path: Path, kind: str) -> None:
    """A gap between the first and the last layer is named by its number."""
    folder, _ = written_as(tmp_path, kind)
    (path,) = [path for path in Transcoder.open(folder).layout.paths() if "layer_1" in str(path)]
    path.unlink()
    assert "no file of layer 1" in refused(lambda: Transcoder.open(folder))


@pytest.mark.parametrize("kind", WRITERS)
def test_truncated_files_of_every_layout_are_refused(tmp_path: Path, kind: str) -> None:
    """A file cut off half-way is one line that names it and says to download it again."""
    folder, _ = written_as(tmp_path, kind)
    path = list(Transcoder.open(folder).layout.paths())[2]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    message = refused(lambda: Transcoder.open(folder))
    assert str(path) in message
    assert "download it again" in message


@pytest.mark.parametrize("kind", ["bundles", "Gemma Scope 2"])
def test_unknown_tensors_of_every_layout_are_refused(tmp_path: Path, kind: str) -> None:
    """A tensor the layout does not have is refused by name, so that nothing stored is passed over."""
    folder, _ = written_as(tmp_path, kind)
    path = list(Transcoder.open(folder).layout.paths())[1]
    save_file(load_file(path) | {"W_gate": torch.zeros(2)}, path)
    assert "W_gate" in refused(lambda: Transcoder.open(folder))


@pytest.mark.parametrize("kind", ["bundles", "Gemma Scope 2"])
def test_files_of_no_layer_are_refused(tmp_path: Path, kind: str) -> None:
    """A file beside those of the layers is refused by name, and so is what may be a second one of a layer."""
    folder, _ = written_as(tmp_path, kind)
    save_file({"W_enc": torch.zeros(2)}, folder / "other.safetensors")
    assert "other.safetensors do not belong" in refused(lambda: Transcoder.open(folder))
    (folder / "other.safetensors").rename(folder / "again_layer_1.safetensors")
    said = "again_layer_1.safetensors do not belong" if kind == "bundles" else "layer 1 is there 2 times (again_layer_1"
    assert said in refused(lambda: Transcoder.open(folder))


@pytest.mark.parametrize("stored", ["int32", "float64"])
def test_an_archive_of_another_type_is_refused(tmp_path: Path, stored: str) -> None:
    """An archive is read in the types other layouts are read in, and any other is named with its tensor."""
    folder, _ = written_as(tmp_path, "Gemma Scope")
    path = list(Transcoder.open(folder).layout.paths())[1]
    with np.load(path) as archive:
        members = dict(archive)
    np.savez(path, **members | {"W_dec": members["W_dec"].astype(stored)})
    message = refused(lambda: Transcoder.open(folder))
    assert f"{path}: W_dec is stored as {stored}; supported: float16, float32" in message


def test_two_sparsities_of_one_layer_are_refused(tmp_path: Path) -> None:
    """A folder that holds a layer twice is refused with both places, since either could be meant."""
    folder, layers = written_as(tmp_path, "Gemma Scope")
    again = gemma_scope(tmp_path / "again", layers) / "layer_1" / "width_5" / "average_l0_2"
    again.rename(folder / "layer_1" / "width_5" / "average_l0_9")
    message = refused(lambda: Transcoder.open(folder))
    assert "layer 1" in message
    assert "average_l0_2" in message
    assert "average_l0_9" in message


def test_the_digest_of_an_archive_follows_its_content(tmp_path: Path) -> None:
    """Another value in one member of one archive is another digest."""
    folder, layers = written_as(tmp_path, "Gemma Scope")
    digest = Transcoder.open(folder).digest
    layers[2]["W_dec"][4, 2, 3] += 1
    assert Transcoder.open(gemma_scope(tmp_path / "other", layers)).digest != digest


def test_a_folder_of_no_known_layout_is_refused(tmp_path: Path) -> None:
    """What lies in no known layout is refused in one line that lists those that are."""
    assert "cross-layer files" in refused(lambda: Transcoder.open(tmp_path))
    assert "no such folder" in refused(lambda: Transcoder.open(tmp_path / "nowhere"))
