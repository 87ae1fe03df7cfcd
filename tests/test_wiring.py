"""Which wiring a model has: the windows of each family, what is refused, and what a folder says."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig

from prolepsis.errors import UserError
from prolepsis.reach import reach
from prolepsis.reachability.masks import CoupletBarrier
from prolepsis.reachability.selection import parse_edits, parse_readout
from prolepsis.reachability.wiring import Wiring, open_wiring, wiring_from_config
from tests.reach_cases import LAYERS, TOKENS, few, wirings


@few
@given(wirings, st.integers(1, 6))
def test_the_tail_of_what_is_visible_is_what_the_tail_sees(wiring: Wiring, offset: int) -> None:
    """Asking for queries from an offset on gives the last rows of the whole table."""
    for layer in range(LAYERS):
        whole = wiring.visible(layer, range(TOKENS))
        assert (wiring.visible(layer, range(TOKENS), offset) == whole[offset:]).all()


def test_the_papers_wirings() -> None:
    """Gemma 2 2B slides over 4096 tokens in even layers, Llama 3.2 1B nowhere."""
    assert open_wiring("gemma-2-2b") == Wiring(26, 8, (4096, None) * 13)
    assert open_wiring("llama-3.2-1b") == Wiring(16, 32, (None,) * 16)


PLAIN = {"model_type": "gemma2", "num_hidden_layers": 3, "num_attention_heads": 2, "sliding_window": 5}


@pytest.mark.parametrize(
    ("changes", "windows"),
    [
        ({}, (5, None, 5)),
        ({"layer_types": ["full_attention", "sliding_attention", "full_attention"]}, (None, 5, None)),
        ({"sliding_window": None}, (None, None, None)),
        ({"model_type": "mistral"}, (5, 5, 5)),
        ({"model_type": "mistral", "sliding_window": None}, (None, None, None)),
        ({"model_type": "llama"}, (None, None, None)),
        ({"model_type": "gpt_neox"}, (None, None, None)),
        ({"model_type": "gemma3_text", "sliding_window_pattern": 3}, (5, 5, None)),
        ({"model_type": "gemma3_text"}, (5, 5, 5)),
        ({"model_type": "gpt_oss"}, (5, None, 5)),
        ({"model_type": "qwen3"}, (None, None, None)),
        ({"model_type": "qwen3", "use_sliding_window": True, "max_window_layers": 1}, (None, 5, 5)),
        ({"model_type": "qwen3", "use_sliding_window": True}, (None, None, None)),
    ],
)
def test_windows_are_those_the_model_class_applies(changes: dict[str, Any], windows: tuple[int | None, ...]) -> None:
    """Each family turns sliding_window and layer_types into windows in its own way: that of its transformers class."""
    given = PLAIN | changes
    assert wiring_from_config(given).windows == windows
    whole = AutoConfig.for_model(given["model_type"], **{k: v for k, v in given.items() if k != "model_type"})
    assert wiring_from_config(whole.to_dict()).windows == windows


@pytest.mark.parametrize("parallel", [True, False])
def test_a_parallel_decoder_has_no_mid_stream_of_its_own(parallel: bool) -> None:
    """Where attention and MLP read the same stream, a head's output does not reach what the MLP of its layer reads."""
    config = PLAIN | {"model_type": "gpt_neox", "use_parallel_residual": parallel}
    wiring = wiring_from_config(config)
    head = parse_edits("head L1:H0@3")
    assert reach(wiring, head, parse_readout("mid L1@3"), tokens=5).answer is not parallel
    assert reach(wiring, head, parse_readout("L1@3"), tokens=5).answer


def test_a_sink_leaves_a_single_key_less_than_all() -> None:
    """What a query's only key holds moves its own weight where there is a sink, and nowhere else."""
    edits, readout = parse_edits("L0@0"), parse_readout("L1:H0 0->0")
    for model_type in ("gpt_oss", "gemma2"):
        found = reach(wiring_from_config(PLAIN | {"model_type": model_type}), edits, readout, tokens=3)
        assert found.answer is (model_type == "gpt_oss")


def test_the_wiring_of_a_larger_model_is_that_of_its_language_model() -> None:
    """A configuration that holds one of a language model beside that of another part is wired like the former."""
    inner = PLAIN | {"model_type": "gemma3_text"}
    assert wiring_from_config({"model_type": "gemma3", "text_config": inner}) == wiring_from_config(inner)


def test_what_a_larger_models_file_leaves_to_its_class_is_taken_from_there(tmp_path: Path) -> None:
    """Files of Gemma 3 that do not say how many heads there are have the wiring that the loaded model has."""
    said = {"hidden_size": 64, "num_hidden_layers": 3, "sliding_window": 5}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": said}))
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert open_wiring(str(tmp_path)) == wiring_from_config(loaded.to_dict())
    assert open_wiring(str(tmp_path)).n_heads == loaded.get_text_config().num_attention_heads


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gemma3n"}, "'gemma3n'.*known: gemma2, gemma3, gemma3_text"),
        ({"model_type": None}, "known: gemma2, gemma3, gemma3_text"),
        ({"num_attention_heads": None}, "no whole number num_attention_heads"),
        (
            {"layer_types": ["full_attention", "chunked_attention", "full_attention"]},
            "'chunked_attention' is not model",
        ),
        ({"layer_types": ["full_attention"]}, "1 windows for 3 layers"),
        ({"sliding_window": 0}, "window 0 is below 1"),
        ({"use_bidirectional_attention": True}, "only causal attention"),
        ({"num_hidden_layers": 0}, "at least 1"),
    ],
)
def test_configurations_that_are_not_modelled_are_refused(changes: dict[str, Any], message: str) -> None:
    """An unknown family, layer type or field is refused and named."""
    with pytest.raises(UserError, match=message):
        wiring_from_config(PLAIN | changes)


def test_a_wiring_is_read_from_a_folder_with_its_mask_rule(tmp_path: Path) -> None:
    """A model folder gives its configuration's wiring, and subject.json the mask rule."""
    (tmp_path / "config.json").write_text(json.dumps(PLAIN))
    assert open_wiring(str(tmp_path)) == open_wiring(str(tmp_path / "config.json")) == wiring_from_config(PLAIN)
    rule = CoupletBarrier(newline=4, first_names=(7, 8))
    (tmp_path / "subject.json").write_text(json.dumps({"mask_rule": rule.describe()}))
    assert open_wiring(str(tmp_path)).mask_rule == rule


@pytest.mark.parametrize("text", ["{", "[]", '{"model_type": "gpt2"}'])
def test_a_broken_configuration_is_named(tmp_path: Path, text: str) -> None:
    """A config.json that cannot be used is refused with its path; so is a folder without one."""
    with pytest.raises(UserError, match="neither gemma-2-2b nor"):
        open_wiring(str(tmp_path))
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json"):
        open_wiring(str(tmp_path))
