"""The untrained twin made in place: another model while it is asked, the same one afterwards."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from prolepsis.controls import control_arms
from prolepsis.engine import clean_run
from prolepsis.errors import HarnessFault, NoMemory, Untested
from prolepsis.subject import Subject
from prolepsis.subjects import checkpoint
from prolepsis.subjects.checkpoint import Checkpoint
from prolepsis.subjects.twins import IN_PLACE, Weights, untrained_in_place
from tests.live_bytes import LiveBytes
from tests.tiny import FAMILIES, tiny_subject, tiny_tokens

few = settings(max_examples=12, deadline=None)
model_families = st.sampled_from(FAMILIES)


def largest_logit(subject: Subject) -> dict[str, float]:
    """The largest next-token logit of one prompt."""
    return {"prompt": float(clean_run(subject, tiny_tokens(1, 6)).edit([[]]).last_logits.max())}


def weights(subject: Subject) -> dict[str, torch.Tensor]:
    """A copy of all weights."""
    return {name: parameter.clone() for name, parameter in subject.model.named_parameters()}


@few
@given(family=model_families, seed=st.integers(0, 2**16))
def test_the_trained_weights_come_back_bit_for_bit(family: str, seed: int) -> None:
    """Inside no matrix is the trained one, outside every weight is, whether the block ended or raised."""
    subject = tiny_subject(family, seed)
    trained = weights(subject)
    for fails in (False, True):
        try:
            with untrained_in_place(subject):
                drawn = weights(subject)
                if fails:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        matrices = [name for name in trained if trained[name].dim() > 1 and not name.endswith("bias")]
        assert not any(torch.equal(drawn[name], trained[name]) for name in matrices)
        assert all(torch.equal(found, trained[name]) for name, found in weights(subject).items())


@few
@given(family=model_families, seed=st.integers(0, 2**16))
def test_the_twin_is_the_same_every_time_and_a_subject_of_its_own(family: str, seed: int) -> None:
    """Two visits meet the same weights and the same memory, which is not the subject's; norms are neutral."""
    subject = tiny_subject(family, seed)
    of_subject = subject.once(largest_logit)
    with untrained_in_place(subject) as twin:
        first, drawn = twin.once(largest_logit), weights(subject)
    with untrained_in_place(subject) as again:
        assert again is twin
        assert all(torch.equal(found, drawn[name]) for name, found in weights(subject).items())
        normed = subject.part(0, "mid_norm")(10 * torch.randn(8, subject.d_model, dtype=subject.dtype))
    assert twin.once(largest_logit) is first
    assert subject.once(largest_logit) is of_subject
    assert first != of_subject
    assert torch.allclose(normed.square().mean(-1), torch.ones(8, dtype=subject.dtype), atol=1e-3)
    assert twin.digest != subject.digest


def test_a_control_arm_is_measured_on_the_twin() -> None:
    """An arm whose control is made in place is the measurement on the twin, and is absent where it cannot be asked."""

    def cannot(_: Subject) -> dict[str, float]:
        raise Untested("nothing to steer with")

    subject = tiny_subject("llama", 3)
    with untrained_in_place(subject) as twin:
        expected = largest_logit(twin)
    assert control_arms(subject, largest_logit, {"untrained twin": IN_PLACE, "other": None}) == {
        "untrained twin": expected
    }
    assert control_arms(subject, cannot, {"untrained twin": IN_PLACE}) == {}
    assert largest_logit(subject) != expected


def test_a_control_arm_that_finds_no_memory_is_not_left_out() -> None:
    """Another time there may be enough: what asks for the arm is untested, and is asked again."""

    def full(_: Subject) -> dict[str, float]:
        raise NoMemory("no memory for a single row")

    with pytest.raises(NoMemory):
        control_arms(tiny_subject("llama", 3), full, {"untrained twin": IN_PLACE})


def test_the_trained_weights_are_copied_once() -> None:
    """A second visit takes the copy of the first, so that the host holds them once."""
    subject = tiny_subject("gemma2")
    with untrained_in_place(subject):
        pass
    kept = subject.once(Weights).trained
    with untrained_in_place(subject):
        assert subject.once(Weights).trained is kept


@few
@given(
    family=model_families,
    stored=st.sampled_from([torch.float32, torch.bfloat16]),
    held=st.sampled_from([torch.float32, torch.bfloat16]),
    shard=st.sampled_from(["1KB", "1GB"]),
)
def test_weights_are_read_again_from_their_folder_and_held_nowhere_else(
    family: str, stored: torch.dtype, held: torch.dtype, shard: str
) -> None:
    """From one file or shards, whatever dtype they have there: bit for bit, and never more than a weight at once."""
    with TemporaryDirectory() as folder:
        subject = replace(stored_subject(family, Path(folder), stored, shard, held), folder=Path(folder))
        trained = weights(subject)
        with pytest.MonkeyPatch.context() as patch, LiveBytes() as live:
            patch.setattr(checkpoint, "BLOCK_BYTES", 128)
            with untrained_in_place(subject):
                assert not torch.equal(subject.unembedding, trained[embedding_name(subject)])
        assert subject.once(Weights).trained.copied == ()
        assert all(torch.equal(found, trained[name]) for name, found in weights(subject).items())
        # A slice of a mapped file counts with all of its tensor, but takes no memory of its own.
        assert live.peak <= 3 * max(4 * weight.numel() for weight in trained.values())


def test_weights_of_another_name_are_read_again_too(tmp_path: Path) -> None:
    """What files of an older layout call otherwise is found by how its name ends; other values there are not taken."""
    held = replace(stored_subject("llama", tmp_path, torch.float32, "1GB", torch.float32), folder=tmp_path)
    file, trained = tmp_path / "model.safetensors", weights(held)
    stored = {f"language_model.{name}": weight for name, weight in load_file(file).items()}
    seeing = {name: weight for name, weight in trained.items() if ".layers." in name}
    stored |= {f"vision_tower.{name.removeprefix('model.')}": 0 * weight for name, weight in seeing.items()}
    stored["language_model.model.layers.1.mlp.up_proj.weight"][0, 0] += 1
    save_file(stored, file)
    with untrained_in_place(held):
        pass
    assert held.once(Weights).trained.copied == ("model.layers.1.mlp.up_proj.weight",)
    assert all(torch.equal(found, trained[name]) for name, found in weights(held).items())


def test_a_weight_that_is_put_back_takes_no_memory_of_its_device(tmp_path: Path) -> None:
    """What is read of it is made in the host's memory, in the dtype it is held in."""
    held = replace(stored_subject("llama", tmp_path, torch.float32, "1GB", torch.bfloat16), folder=tmp_path)
    meta = {name: weight.to("meta") for name, weight in held.model.named_parameters()}
    blocks = Checkpoint(tmp_path, dict(held.model.named_parameters()))
    blocks._parameters = meta
    assert {read.device.type for name in meta for _, read in blocks._blocks(name)} == {"cpu"}
    assert {read.dtype for name in meta for _, read in blocks._blocks(name)} == {torch.bfloat16}


def test_weights_that_could_not_be_put_back_are_not_taken_for_trained_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next visit to the twin is refused, whatever kept the weights from coming back."""
    subject = tiny_subject("llama")

    def full(_: Checkpoint) -> None:
        raise torch.OutOfMemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "restore", full)
        with pytest.raises(torch.OutOfMemoryError), untrained_in_place(subject):
            pass
    with pytest.raises(HarnessFault, match="tiny-llama-0: its trained weights"), untrained_in_place(subject):
        pass


def test_a_folder_that_does_not_give_the_weights_back_is_not_read_again(tmp_path: Path) -> None:
    """Where a weight was changed after loading, or a file is gone or damaged, a copy is kept instead."""
    every = tuple(name for name, _ in tiny_subject("llama", n_layers=6).model.named_parameters())
    for spoil, copied in {"weight": ("lm_head.weight",), "missing": every, "truncated": every}.items():
        folder = tmp_path / spoil
        subject = replace(stored_subject("llama", folder, torch.float32, "1GB", torch.float32), folder=folder)
        file = folder / "model.safetensors"
        if spoil == "weight":
            subject.unembedding[0, 0] += 1
        elif spoil == "missing":
            file.unlink()
        else:
            file.write_bytes(file.read_bytes()[:-8])
        trained = weights(subject)
        with untrained_in_place(subject):
            pass
        assert subject.once(Weights).trained.copied == copied
        assert all(torch.equal(found, trained[name]) for name, found in weights(subject).items())


def test_what_is_known_of_the_twin_is_not_measured_again() -> None:
    """A second experiment that asks for the same arm leaves the weights where they are."""
    subject = tiny_subject("llama", 4)
    arms = control_arms(subject, largest_logit, {"untrained twin": IN_PLACE})
    subject.unembedding[0, 0] += 1
    changed = weights(subject)
    assert control_arms(subject, largest_logit, {"untrained twin": IN_PLACE}) == arms
    assert all(torch.equal(found, changed[name]) for name, found in weights(subject).items())


def stored_subject(family: str, folder: Path, stored: torch.dtype, shard: str, held: torch.dtype) -> Subject:
    """A random subject as it is loaded from the folder it is saved in: by way of float32."""
    subject = tiny_subject(family, n_layers=6, dtype=stored)
    subject.model.save_pretrained(folder, max_shard_size=shard)
    return replace(subject, model=subject.model.float().to(held))


def embedding_name(subject: Subject) -> str:
    """The parameter that is the unembedding."""
    return next(name for name, weight in subject.model.named_parameters() if weight is subject.unembedding)
