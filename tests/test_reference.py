"""Agreement with circuit-tracer on a tiny Gemma 2 with cross-layer transcoders (see tests/reference/README.md).

What its feature_intervention freezes, and what that is here:

* live attention: ``Add`` of decoder rows, times ``s`` for ``activation + s``, times ``s - activation`` for ``s``;
* its default holds attention patterns: ``FreezePattern`` on all heads;
* constrained to layers 1 and 2 it also holds those layers' MLP outputs: their residual rows are put together here from
  what one pass reads, and set with ``ReplaceRow``;
* its direct effects (all layers constrained) hold all MLP outputs and every norm's denominator too. No edit here holds
  a denominator, so ``circuit_tracer_direct_effects`` has no counterpart and is not tested.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from prolepsis.edits import Add, Edit, FreezePattern, ReplaceRow
from prolepsis.engine import CleanRun, clean_run
from prolepsis.names import Feature, Head
from prolepsis.running.hooks import Read
from prolepsis.subject import Subject
from prolepsis.transcoder import Transcoder

Tensor = torch.Tensor
REFERENCE = Path(__file__).parent / "reference" / "circuit_tracer_gemma2"
LAYERS, TOKENS, POSITION = 4, 7, 4
FEATURE, STRENGTH = Feature(1, 25), 6.0
EVERYWHERE = Read(logits=tuple(range(TOKENS)), resid_mid=tuple(range(LAYERS)))
ALL_HEADS = FreezePattern(tuple(Head(layer, head) for layer in range(LAYERS) for head in range(4)))


@pytest.fixture(scope="module")
def expected() -> dict[str, Tensor]:
    """Load what circuit-tracer computed."""
    return load_file(REFERENCE / "ref.safetensors")


@pytest.fixture(scope="module")
def clean(expected: dict[str, Tensor]) -> CleanRun:
    """Run the reference prompt once, unedited."""
    model = AutoModelForCausalLM.from_pretrained(
        REFERENCE / "hf", attn_implementation="eager", dtype=torch.float32, local_files_only=True
    )
    return clean_run(Subject("reference", model, tokenizer=None), expected["tokens"][0].tolist())


@pytest.fixture(scope="module")
def transcoder() -> Transcoder:
    """Open the transcoder the interventions were made with."""
    return Transcoder.open(REFERENCE / "clt_relu", LAYERS, 32)


def added(transcoder: Transcoder, features: Sequence[Feature], strength: float) -> list[Edit]:
    """The set's writes as edits at the reference position."""
    return [Add(layer, POSITION, row) for layer, row in transcoder.writes(features, strength).items()]


def close(found: Tensor, wanted: Tensor) -> bool:
    """Whether two tensors agree to 1e-5 everywhere."""
    return torch.allclose(found, wanted, rtol=0, atol=1e-5)


def edited(clean: CleanRun, row: Sequence[Edit]) -> Tensor:
    """Logits [T, V] of the reference prompt under one row of edits."""
    logits = clean.edit([row], EVERYWHERE).logits
    assert logits is not None
    return logits[0]


@pytest.mark.parametrize("activation", ["relu", "jumprelu"])
def test_activations_and_reconstruction_agree(expected: dict[str, Tensor], activation: str) -> None:
    """Encoding and decoding give circuit-tracer's numbers, with and without thresholds, from bfloat16 files."""
    transcoder = Transcoder.open(REFERENCE / f"clt_{activation}", LAYERS, 32)
    assert transcoder.activation == activation
    acts = torch.stack([transcoder.encode(layer, expected["resid_mid"][layer]) for layer in range(LAYERS)])
    assert close(acts, expected[f"acts_{activation}"])
    assert close(transcoder.decode(acts), expected[f"recon_{activation}"])


def test_the_unedited_run_agrees(clean: CleanRun, expected: dict[str, Tensor]) -> None:
    """The encoder's inputs and the logits of every position are circuit-tracer's."""
    read = clean.read(EVERYWHERE)
    assert read.logits is not None
    assert close(read.logits[0], expected["logits_base"])
    for layer in range(LAYERS):
        assert close(read.resid_mid[layer][0], expected["resid_mid"][layer])


def test_the_reference_case_is_the_one_tested(expected: dict[str, Tensor]) -> None:
    """Layer, position, feature and strength used here are those stored with the numbers."""
    assert expected["case"].tolist() == [FEATURE.layer, POSITION, FEATURE.index]
    assert float(expected["strength"]) == STRENGTH


@pytest.mark.parametrize("name", ["protocol_single_feature", "circuit_tracer_act_plus_s_live_attention"])
def test_steering_one_feature_agrees(
    clean: CleanRun, transcoder: Transcoder, expected: dict[str, Tensor], name: str
) -> None:
    """Adding s times the decoder rows is circuit-tracer's value = activation + s with live attention."""
    assert close(edited(clean, added(transcoder, [FEATURE], STRENGTH)), expected[name])


def test_suppressing_and_injecting_agrees(clean: CleanRun, transcoder: Transcoder, expected: dict[str, Tensor]) -> None:
    """Suppressed and injected features of several layers add up at one position."""
    suppress = added(transcoder, [Feature(0, 5), Feature(1, 9)], -STRENGTH)
    inject = added(transcoder, [Feature(2, 3)], STRENGTH)
    assert close(edited(clean, suppress + inject), expected["protocol_suppress_inject"])


def test_setting_a_value_agrees(clean: CleanRun, transcoder: Transcoder, expected: dict[str, Tensor]) -> None:
    """Setting a feature to s is adding s minus its activation times its decoder rows."""
    mid = clean.read(EVERYWHERE).resid_mid[FEATURE.layer][0, POSITION]
    activation = float(transcoder.encode(FEATURE.layer, mid)[FEATURE.index])
    row = added(transcoder, [FEATURE], STRENGTH - activation)
    assert close(edited(clean, row), expected["circuit_tracer_value_s_live_attention"])


def test_frozen_attention_agrees(clean: CleanRun, transcoder: Transcoder, expected: dict[str, Tensor]) -> None:
    """Circuit-tracer's default is steering with every head's pattern frozen, which differs from live attention."""
    frozen = edited(clean, [ALL_HEADS, *added(transcoder, [FEATURE], STRENGTH)])
    assert close(frozen, expected["circuit_tracer_act_plus_s_default"])
    assert not close(frozen, expected["circuit_tracer_act_plus_s_live_attention"])


def test_constrained_layers_agree(clean: CleanRun, transcoder: Transcoder, expected: dict[str, Tensor]) -> None:
    """Constrained to layers 1 and 2, patterns and these MLP outputs are clean and only their rows written."""
    writes = transcoder.writes([FEATURE], STRENGTH)
    first: list[Edit] = [ALL_HEADS, Add(1, POSITION, writes[1])]
    mid = clean.edit([first], EVERYWHERE).resid_mid[2][0]  # [T, d]
    held = mid + clean.resid_post(2) - clean.read(EVERYWHERE).resid_mid[2][0]
    held[POSITION] += writes[2]
    second: list[Edit] = [ALL_HEADS, *(ReplaceRow(2, position, held[position]) for position in range(TOKENS))]
    assert close(edited(clean, second), expected["circuit_tracer_layers_1_to_2"])
