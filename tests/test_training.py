"""Training a model and its transcoder: the mask, the weights it starts from, and what a seed fixes."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from transformers import Gemma2Config

from prolepsis.organisms import grammar, scores
from prolepsis.organisms.folder import save_transcoder
from prolepsis.organisms.recipes import RECIPES, Recipe
from prolepsis.organisms.scores import Trained
from prolepsis.organisms.training import train_model, visible
from prolepsis.organisms.transcoder_training import Activations, collect, fidelity, train_transcoder
from prolepsis.organisms.untrained import untrained_model, untrained_weights
from prolepsis.reachability.masks import CoupletBarrier
from prolepsis.transcoder import Transcoder
from prolepsis.watching import shown_by
from tests.seen import Seen
from tests.tiny_recipes import TINY, TINY_BARRED, TINY_ROUNDS, TINY_WINDOW

pytestmark = pytest.mark.usefixtures("one_thread")


def prompts(texts: list[str]) -> torch.Tensor:
    """Token ids [B, T] of texts of equal length."""
    return torch.tensor([grammar.encode(text) for text in texts])


# ---------------------------------------------------------------- mask


@settings(deadline=None)
@given(
    hnp.arrays(np.int64, st.tuples(st.integers(1, 4), st.integers(1, 12)), elements=st.integers(0, 5)),
    st.lists(st.integers(0, 5), max_size=3).map(tuple),
    st.integers(0, 15),
)
def test_batch_mask_is_the_rule(tokens: np.ndarray, names: tuple[int, ...], barred_bits: int) -> None:
    """In barred rows the batch mask is the couplet barrier and causality, in the others causality alone."""
    rule = CoupletBarrier(0, names)
    barred = torch.tensor([bool(barred_bits >> i & 1) for i in range(len(tokens))])
    seen = visible(rule, torch.from_numpy(tokens), barred).numpy()
    query, key = np.indices((tokens.shape[1],) * 2)
    for row, mask, on in zip(tokens, seen, barred.tolist(), strict=True):
        expected = (key <= query) & (rule(query, key, row) | (not on))
        assert np.array_equal(mask, expected)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_barrier_cuts_line_two_from_the_rhyme_word(seed: int) -> None:
    """With the barrier, line 2 follows the newline's row of layer 0 alone; without it, the rhyme word as well."""
    model = untrained_model(TINY.config(), seed)
    template = grammar.task().templates[0]
    natural, donor = (prompts([template.text.replace("{word}", word)]) for word in ("cat", "king"))
    newline = int((natural[0] == grammar.TOKEN_ID[grammar.NEWLINE]).nonzero()[0])
    for rule, same in ((grammar.BARRIER, True), (None, False)):
        trained = Trained(model, rule, grammar.task())
        clean = trained.resid_post(donor)
        with scores.row_replaced(trained, 0, newline, clean[0][:, newline]):
            moved = trained.resid_post(natural)
        assert torch.equal(moved[1][:, newline + 1 :], clean[1][:, newline + 1 :]) is same


# ---------------------------------------------------------------- weights


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_untrained_weights_are_a_function_of_the_seed(seed: int) -> None:
    """The same seed draws the same weights, another seed others, and torch's own generator is left alone."""
    config = TINY.config()
    state = torch.get_rng_state()
    once, again, other = (untrained_weights(config, s) for s in (seed, seed, seed + 1))
    assert torch.equal(torch.get_rng_state(), state)
    for name, weight in once.items():
        assert torch.equal(weight, again[name])
        if weight.dim() > 1:
            assert not torch.equal(weight, other[name])


def test_untrained_weights_have_the_declared_scale() -> None:
    """Matrices have the config's initializer_range as standard deviation, survive float16, and norms are neutral."""
    weights = untrained_weights(RECIPES["planner"].config(), 0)
    for name, weight in weights.items():
        assert torch.equal(weight.half().float(), weight)
        if weight.dim() > 1:
            assert abs(float(weight.std()) / 0.05 - 1) < 6 / np.sqrt(2 * weight.numel()), name
        else:
            assert torch.equal(weight, torch.ones_like(weight))


def test_gemma_norms_are_neutral_at_zero() -> None:
    """Gemma multiplies by 1 + weight, so its neutral norm weights are zero."""
    config = Gemma2Config(
        vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, head_dim=8
    )
    norms = [weight for weight in untrained_weights(config, 0).values() if weight.dim() == 1]
    assert norms
    assert all(not weight.any() for weight in norms)


@pytest.mark.parametrize(
    "made", [TINY, TINY_BARRED, TINY_WINDOW, TINY_ROUNDS], ids=["free", "barrier", "window", "plateau"]
)
def test_training_is_deterministic(made: Recipe) -> None:
    """Two trainings from one seed give the same bits, float16 values all, and another seed gives others."""
    once, again, other = (train_model(made, seed).model.state_dict() for seed in (1, 1, 2))
    for name, weight in once.items():
        assert torch.equal(weight, again[name])
        assert torch.equal(weight.half().float(), weight)
    assert any(not torch.equal(weight, other[name]) for name, weight in once.items())


def test_training_shows_its_steps() -> None:
    """Whoever watches is shown each step, and steps do not depend on the clock."""
    seen = Seen()
    with shown_by(seen):
        fit = train_model(TINY, 0)
    assert seen.loops == [("steps", TINY.steps)]
    assert fit.steps == TINY.steps


def test_training_lowers_the_loss() -> None:
    """A few hundred steps lower the loss on fresh documents by more than a nat."""
    tokens = torch.from_numpy(grammar.corpus(64, 99))

    def loss(model: torch.nn.Module) -> float:
        logits = model(input_ids=tokens, use_cache=False).logits[:, :-1].flatten(0, 1)
        return float(torch.nn.functional.cross_entropy(logits, tokens[:, 1:].flatten(), ignore_index=0))

    with torch.no_grad():
        before = loss(untrained_model(TINY.config(), 0))
    assert loss(train_model(dataclasses.replace(TINY, steps=300, learning_rate=1e-2), 0).model) < before - 1


# ---------------------------------------------------------------- transcoder


def test_stored_transcoder_explains_what_it_was_trained_on(tmp_path: Path) -> None:
    """Trained on outputs that sparse features of the inputs write, the stored float16 form explains most variance."""
    generator = torch.Generator().manual_seed(0)
    layers, width, features, n = 2, 16, 8, 6000
    directions = torch.linalg.qr(torch.randn(width, width, generator=generator)).Q[:features]
    on = (torch.rand(n, layers, features, generator=generator) < 0.2) * torch.rand(
        n, layers, features, generator=generator
    ).add(1)
    inputs = 3.0 * on @ directions + 5.0
    outputs = 0.1 * (on @ torch.randn(features, width, generator=generator))
    outputs[:, 1] = 10 * (outputs[:, 1] + outputs[:, 0])
    data = Activations(inputs, outputs)
    weights = train_transcoder(data, features=16, active=2, steps=500, seed=0)
    save_transcoder(tmp_path, weights, "made up")
    found = fidelity(Transcoder.open(tmp_path / "transcoder"), data)
    assert found["fve"] > 0.9
    assert 1 < found["l0"] < 3


def test_transcoder_training_is_deterministic() -> None:
    """The same seed gives the same tensors, whatever torch's global generator holds."""
    data = collect(untrained_model(TINY.config(), 0), None, 0, 40)
    runs = []
    for noise in range(2):
        torch.manual_seed(noise)
        runs.append(train_transcoder(data, features=24, active=4, steps=5, seed=3))
    for name in ("encoders", "biases", "decoders", "decoder_biases", "thresholds"):
        for one, other in zip(getattr(runs[0], name), getattr(runs[1], name), strict=True):
            assert torch.equal(one, other)


def test_collected_activations_are_resid_mid_and_mlp_out() -> None:
    """resid_mid plus the MLP's output is resid_post, in every layer and at every token that is not padding."""
    model = untrained_model(TINY.config(), 0)
    data = collect(model, grammar.BARRIER, 5, 10)
    tokens = torch.from_numpy(grammar.corpus(10, 5))
    rows = Trained(model, grammar.BARRIER, grammar.task()).resid_post(tokens)
    real = tokens != grammar.TOKEN_ID[grammar.PAD]
    expected = torch.stack([layer[real] for layer in rows], 1)
    assert torch.allclose(data.inputs + data.outputs, expected, atol=1e-6)
