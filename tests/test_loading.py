"""Subject folders: what loads, and the one line a broken one is refused with."""

import gc
import json
import logging
import weakref
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GptOssForCausalLM, LlamaForCausalLM

from prolepsis.engine import clean_run
from prolepsis.errors import NoMemory, Untested, UserError
from prolepsis.experiments import interchange, measuring
from prolepsis.ledger import load
from prolepsis.measurement import Measurement
from prolepsis.organisms import BUNDLED, TRAINED
from prolepsis.organisms.planted import planted
from prolepsis.reachability.masks import CoupletBarrier
from prolepsis.running.hooks import Read
from prolepsis.subject import Subject
from prolepsis.subjects.loading import check_device, load_folder, load_subject
from prolepsis.watching import shown_by
from tests.seen import Seen
from tests.tiny import FAMILIES, tiny_subject
from tests.word_tokenizers import word_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A subject folder with a planted model in it."""
    parts = planted("llama", "irrevocable")
    made = tmp_path / "mine"
    parts.model.save_pretrained(made)
    parts.tokenizer.save_pretrained(made)
    (made / "task.json").write_text(parts.task.to_json())
    rule = CoupletBarrier(newline=1, first_names=(3,)).describe()
    (made / "subject.json").write_text(json.dumps({"mask_rule": rule, "untrained_twin": "other"}))
    return made


def test_loading_shows_how_far_it_is(folder: Path) -> None:
    """Whoever watches sees weights read, looked at and hashed, and layers checked, each loop to its end."""
    seen = Seen()
    with shown_by(seen):
        subject = load_subject(str(folder))
        assert subject.digest
    weights, layers = len(list(subject.model.parameters())), subject.n_layers
    told = hasattr(transformers.utils.logging, "set_tqdm_hook")
    assert dict(seen.loops) == {
        **({"weights read": weights} if told else {}),
        "weights checked": weights,
        "layers checked": layers,
        "weights hashed": len(subject.model.state_dict()),
    }


def edit_weights(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite model.safetensors after ``change``."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_folder_gives_back_what_was_saved(folder: Path) -> None:
    """Weights, task and mask rule come back, and the logits are those of the model that was saved."""
    subject, parts = load_folder(folder), planted("llama", "irrevocable")
    original = Subject("original", parts.model, parts.tokenizer, mask_rule=subject.mask_rule)
    tokens = subject.encode("f0 f1 cat <nl> f2 f3")
    assert subject.task == parts.task
    assert subject.mask_rule == CoupletBarrier(1, (3,))
    assert torch.equal(
        clean_run(subject, tokens).read(Read()).last_logits, clean_run(original, tokens).read(Read()).last_logits
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_folder_is_loaded_as_transformers_does(family: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """In any dtype weights and buffers, such as float32 frequencies of rotary embeddings, are transformers' own."""
    tiny_subject(family, dtype=torch.float32).model.save_pretrained(tmp_path)
    word_tokenizer({"bos_token": "<bos>"}, "<bos>").save_pretrained(tmp_path)
    ours = load_folder(tmp_path, dtype=dtype).model
    auto: Any = AutoModelForCausalLM
    theirs = auto.from_pretrained(tmp_path, dtype=dtype, local_files_only=True)
    for kind in ("named_parameters", "named_buffers"):
        found, expected = dict(getattr(ours, kind)()), dict(getattr(theirs, kind)())
        assert found.keys() == expected.keys()
        for name, values in found.items():
            assert values.dtype == expected[name].dtype, name
            assert torch.equal(values, expected[name]), name


@pytest.mark.parametrize("name", ["planner", "planner-untrained"])
def test_organisms_in_bfloat16_keep_their_frequencies(name: str) -> None:
    """A trained organism and its twin turn their keys by the same angles in every dtype."""
    buffers = [dict(load_subject(name, dtype=dtype).model.named_buffers()) for dtype in (torch.bfloat16, torch.float32)]
    assert any("inv_freq" in at for at in buffers[0])
    for at, values in buffers[0].items():
        torch.testing.assert_close(values, buffers[1][at], rtol=0, atol=0)


def test_control_subjects_are_looked_for_beside_the_folder(folder: Path) -> None:
    """A twin is the folder of that name beside the subject's own where there is one, else an id."""
    assert load_folder(folder).twin == "other"
    (folder.parent / "other").mkdir()
    assert load_folder(folder).twin == str(folder.parent / "other")


def truncate(folder: Path) -> None:
    """Cut the weight file in half."""
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def break_weight(name: str, value: torch.Tensor | None) -> Callable[[Path], None]:
    """Replace, add or (None) drop a weight."""

    def change(weights: dict[str, Any]) -> None:
        if value is None:
            del weights[name]
        else:
            weights[name] = value

    return lambda folder: edit_weights(folder, change)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "cannot be loaded"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"not weights"), "cannot be loaded"),
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot be loaded"),
        (lambda folder: (folder / "config.json").unlink(), "no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read"),
        (break_weight("model.norm.weight", None), "model.norm.weight"),
        (break_weight("model.layers.0.extra", torch.zeros(3)), "model.layers.0.extra"),
        (break_weight("model.norm.weight", torch.full((176,), torch.nan)), "NaN"),
        (lambda folder: (folder / "subject.json").write_text("{"), "not valid JSON"),
        (lambda folder: (folder / "subject.json").write_text('{"mask_rule": {"kind": "veil"}}'), "veil"),
        (lambda folder: (folder / "task.json").write_text('{"groups": 3}'), "groups: is 3; write it as a table"),
    ],
)
def test_a_broken_folder_is_refused_in_one_line(folder: Path, damage: Callable[[Path], None], message: str) -> None:
    """Missing, truncated, corrupt or unknown content is a UserError of one line that names it."""
    damage(folder)
    with pytest.raises(UserError, match=message) as raised:
        load_subject(str(folder))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "damage",
    [
        break_weight("model.norm.weight", None),
        lambda folder: (folder / "config.json").write_text('{"model_type": "gpt2", "vocab_size": 7}'),
    ],
)
def test_what_transformers_warns_of_is_said_once(folder: Path, damage: Callable[[Path], None]) -> None:
    """Where a folder is refused transformers logs no advice of its own, and is as talkative as before afterwards."""
    said: list[str] = []
    handler, logger = logging.Handler(), logging.getLogger("transformers")
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    damage(folder)
    before = logger.level
    logger.addHandler(handler)
    try:
        with pytest.raises(UserError):
            load_folder(folder)
    finally:
        logger.removeHandler(handler)
    assert (said, logger.level) == ([], before)


def test_a_weight_of_another_shape_is_refused(folder: Path) -> None:
    """A weight file that does not fit config.json is refused."""
    edit_weights(folder, lambda weights: weights.update({"lm_head.weight": torch.zeros(7, 176)}))
    with pytest.raises(UserError, match=r"mine: weight lm_head.weight, of another shape than config.json says"):
        load_subject(str(folder))


def test_an_unknown_subject_lists_the_known_ones() -> None:
    """A reference that is no folder and no id is refused with the ids there are."""
    with pytest.raises(UserError, match="no bundled organism; known: planted-llama-irrevocable"):
        load_subject("plannner")


def test_attention_has_to_be_eager() -> None:
    """A model with another attention function is refused, because its patterns cannot be read."""
    model = LlamaForCausalLM(tiny_subject("llama").config)
    model.set_attn_implementation("sdpa")
    with pytest.raises(UserError, match="sdpa"):
        Subject("fast", model, None)


def test_a_family_whose_wiring_is_not_modelled_is_refused() -> None:
    """An architecture without a row in FAMILIES is refused by name."""
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=1, n_embd=8, vocab_size=5))
    with pytest.raises(UserError, match=r"'gpt2'.*known: gemma2"):
        Subject("old", model, None)


def test_packed_experts_are_unpacked(tmp_path: Path) -> None:
    """Experts stored in four bits are loaded as floating-point numbers, or the package this takes is named."""
    model = tiny_subject("gpt_oss", n_layers=1, d_head=16, dtype=torch.float32).model
    model.config.intermediate_size = 32
    model = GptOssForCausalLM(model.config)
    model.config.quantization_config = {"quant_method": "mxfp4", "modules_to_not_convert": ["self_attn", "router"]}
    model.config.save_pretrained(tmp_path)
    stored = {name: weight.clone() for name, weight in model.state_dict().items() if "experts" not in name}
    for name, weight in model.state_dict().items():
        if name.endswith("proj_bias"):
            stored[name] = weight.clone()
        elif "experts" in name:  # [E, in, out] as out rows of blocks of 32 numbers, two in a byte
            n_experts, width, n_rows = weight.shape
            stored[f"{name}_blocks"] = torch.full((n_experts, n_rows, width // 32, 16), 0x21, dtype=torch.uint8)
            stored[f"{name}_scales"] = torch.full((n_experts, n_rows, width // 32), 127, dtype=torch.uint8)
    save_file(stored, tmp_path / "model.safetensors", metadata={"format": "pt"})
    word_tokenizer({"bos_token": "<bos>"}, "<bos>").save_pretrained(tmp_path)
    if version("transformers").startswith("4.") and find_spec("accelerate") is None:
        with pytest.raises(Untested, match="accelerate"):
            load_subject(str(tmp_path))
        return
    experts = load_subject(str(tmp_path)).layer(0).mlp.experts
    assert experts.down_proj.dtype == torch.float32
    assert experts.down_proj[0, :2, 0].tolist() == [0.5, 1.0]


@pytest.mark.parametrize("name", [name for name in BUNDLED if name in TRAINED or name.endswith("-untrained")])
def test_bundled_organisms_load(name: str) -> None:
    """Every trained organism and untrained twin loads, passes the wiring checks and has a transcoder and a task."""
    subject = load_subject(name)
    assert subject.transcoder is not None
    assert subject.task is not None


def test_a_subject_is_measured_in_the_dtype_that_is_told() -> None:
    """Once one is loaded a GPU rounds no product to TF32 and sums none in half precision, as it was told before."""
    matmul = torch.backends.cuda.matmul
    matmul.allow_fp16_reduced_precision_reduction = matmul.allow_bf16_reduced_precision_reduction = True
    matmul.allow_fp16_accumulation = True
    torch.set_float32_matmul_precision("high")
    load_subject("planted-gemma2-dormant")
    assert torch.get_float32_matmul_precision() == "highest"
    inexact = ("tf32", "fp16_reduced_precision_reduction", "bf16_reduced_precision_reduction", "fp16_accumulation")
    assert not any(getattr(matmul, f"allow_{what}") for what in inexact)


def test_bundled_organisms_are_small() -> None:
    """All organisms take at most 16 MB, and no file more than 6 MB."""
    files = [path for path in (Path(__file__).parent.parent / "fixtures" / "organisms").rglob("*") if path.is_file()]
    sizes = [path.stat().st_size for path in files]
    assert sum(sizes) <= 16e6
    assert max(sizes) <= 6e6


def test_a_gpu_that_is_not_there_is_untested_and_no_device_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line each: what is missing and what does without it, or that there is no such device, or none for claims."""
    for name in ("meta", "mps", "gpu", "cuda:", "cpu:1"):
        with pytest.raises(UserError, match=f"--claims-device {name} cannot be used: claims run on cpu, cuda or cuda"):
            load_subject("planner", name)
    monkeypatch.setattr(torch, "empty", _raises(AssertionError("Torch not compiled with CUDA enabled\nmore")))
    with pytest.raises(Untested, match=r"as cuda:1 \(Torch not compiled with CUDA enabled\); `prolepsis doctor`"):
        load_subject("planner", "cuda:1")


def test_a_gpu_that_torch_has_no_kernels_for_is_untested(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card that this torch was not built for is named with what torch says, also where it can hold tensors."""

    def no_kernel(*_: object, **__: object) -> torch.Tensor:
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nCompile with")

    monkeypatch.setattr(torch, "empty", lambda *_, **__: None)
    monkeypatch.setattr(torch, "ones", no_kernel)
    with pytest.raises(Untested, match=r"no GPU .* as cuda \(CUDA error: no kernel image is .* device\)"):
        check_device("cuda")


def test_a_model_too_large_for_its_device_is_untested(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory while it is moved there, one line says what could fit, and holds nothing of the model."""
    models = list[weakref.ref[torch.nn.Module]]()

    def full(self: torch.nn.Module, *_: Any, **__: Any) -> torch.nn.Module:
        models.append(weakref.ref(self))
        raise torch.OutOfMemoryError

    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(Untested, match="planner: cpu has no memory for its weights as float32; free some, or use") as e:
        load_subject("planner")
    gc.collect()
    assert e.value.__context__ is None
    assert [model() for model in models] == [None]


def test_an_experiment_out_of_memory_leaves_its_claim_untested(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other claims of the family are measured all the same."""
    rows = load(Path(__file__).parent.parent / "claims" / "ledger.toml")
    subject, claims = tiny_subject("llama"), [row for row in rows if row.experiment in ("layer_count", "interchange")]
    monkeypatch.setattr(interchange, "interchange", _raises(torch.OutOfMemoryError()))
    measured = measuring.measure(claims, subject)
    kinds = {claim.experiment: type(measured[claim.key]) for claim in claims}
    assert kinds == {"layer_count": Measurement, "interchange": NoMemory}


def _raises(error: Exception) -> Callable[..., Any]:
    def raising(*_: Any, **__: Any) -> Any:
        raise error

    return raising
