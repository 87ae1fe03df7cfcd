"""Trained organisms: the mask they train with, their weights, scores, transcoders and the folders they are saved in."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from transformers import Gemma2Config

from prolepsis.errors import UserError
from prolepsis.loading import load_folder
from prolepsis.masks import CoupletBarrier
from prolepsis.organisms import grammar, scores, train
from prolepsis.organisms.folder import save_transcoder
from prolepsis.organisms.plateau import Plateau
from prolepsis.organisms.recipes import RECIPES, Recipe, recipe
from prolepsis.organisms.scores import Trained
from prolepsis.organisms.training import HELD_OUT_DOCUMENTS, HELD_OUT_SEED, held_out_loss, train_model, visible
from prolepsis.organisms.transcoder_training import Activations, collect, fidelity, train_transcoder
from prolepsis.organisms.untrained import untrained_model, untrained_weights
from prolepsis.transcoder import Transcoder

TINY = Recipe("tiny", 2, 16, 32, steps=3, features=24, heads=2, batch=8, active=4, transcoder_steps=5)
TINY_BARRED = dataclasses.replace(TINY, barrier=True)
TINY_WINDOW = dataclasses.replace(TINY, window=5)
TINY_ROUNDS = dataclasses.replace(TINY, plateau=Plateau(tolerance=0.04, rounds=9))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


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


def test_training_ticks_once_a_step() -> None:
    """The progress callback is called once per step, and steps do not depend on the clock."""
    ticks: list[None] = []
    fit = train_model(TINY, 0, lambda: ticks.append(None))
    assert len(ticks) == fit.steps == TINY.steps


def test_training_lowers_the_loss() -> None:
    """A few hundred steps lower the loss on fresh documents by more than a nat."""
    tokens = torch.from_numpy(grammar.corpus(64, 99))

    def loss(model: torch.nn.Module) -> float:
        logits = model(input_ids=tokens, use_cache=False).logits[:, :-1].flatten(0, 1)
        return float(torch.nn.functional.cross_entropy(logits, tokens[:, 1:].flatten(), ignore_index=0))

    with torch.no_grad():
        before = loss(untrained_model(TINY.config(), 0))
    assert loss(train_model(dataclasses.replace(TINY, steps=300, learning_rate=1e-2), 0).model) < before - 1


# ---------------------------------------------------------------- plateau

EIGHTHS = st.integers(1, 40).map(lambda eighths: eighths / 8)  # exact in floating point


@given(st.lists(EIGHTHS, min_size=2, max_size=8), EIGHTHS)
def test_training_rests_at_the_lowest_loss(losses: list[float], tolerance: float) -> None:
    """Training ends exactly when the last loss is less than the tolerance away from the lowest before it."""
    lowest = min(losses[:-1])
    assert Plateau(tolerance, 9).reached(losses) == (lowest - tolerance < losses[-1] < lowest + tolerance)


@given(EIGHTHS, EIGHTHS, EIGHTHS, st.integers(2, 12))
def test_rest_is_a_plateau_and_no_value(start: float, floor: float, tolerance: float, rounds: int) -> None:
    """Losses that halve their distance to a floor end at the first step below the tolerance, wherever the floor is."""
    losses = [floor + start / 2**n for n in range(rounds)]
    reached = [Plateau(tolerance, 9).reached(losses[: n + 1]) for n in range(rounds)]
    assert reached == [n > 0 and start / 2**n < tolerance for n in range(rounds)]


@given(EIGHTHS)
def test_one_round_is_no_plateau(loss: float) -> None:
    """With nothing to compare it with, a loss is at no rest."""
    assert not Plateau(1e9, 9).reached([])
    assert not Plateau(1e9, 9).reached([loss])


@pytest.mark.parametrize(("tolerance", "rounds"), [(1e9, 2), (0.04, 9)])
def test_training_goes_on_to_its_plateau(tolerance: float, rounds: int) -> None:
    """Whole schedules are gone through until the rule holds, and no further; each step ticks."""
    made = dataclasses.replace(TINY_ROUNDS, plateau=Plateau(tolerance, rounds))
    ticks: list[None] = []
    fit = train_model(made, 0, lambda: ticks.append(None))
    assert len(ticks) == fit.steps == made.steps * len(fit.losses)
    ends = [Plateau(tolerance, rounds).reached(fit.losses[: n + 1]) for n in range(len(fit.losses))]
    assert ends == [False] * (len(ends) - 1) + [True]
    held_out = torch.from_numpy(grammar.corpus(HELD_OUT_DOCUMENTS, HELD_OUT_SEED))
    assert fit.losses[-1] == pytest.approx(held_out_loss(fit.model, None, held_out), abs=1e-3)


def test_one_schedule_is_the_first_round() -> None:
    """A recipe without a plateau trains just as the first round of one with a plateau does, and measures no loss."""
    alone = train_model(dataclasses.replace(TINY, steps=6), 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Plateau, "reached", lambda _, losses: len(losses) == 1)
        first = train_model(dataclasses.replace(TINY, steps=6, plateau=Plateau(1.0, 1)), 3)
    for name, weight in alone.model.state_dict().items():
        assert torch.equal(weight, first.model.state_dict()[name])
    assert (alone.losses, len(first.losses)) == ((), 1)


def test_training_without_rest_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose loss still falls in the last round allowed is not saved, and the message says by how much."""
    monkeypatch.setitem(RECIPES, "tiny", dataclasses.replace(TINY, plateau=Plateau(1e-9, 3)))
    with pytest.raises(UserError, match=r"tiny was not saved: its held-out loss still moved by 0\.\d+ nats in round 3"):
        train.run("tiny", tmp_path / "tiny")
    assert not list(tmp_path.iterdir())


def test_how_training_went_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """subject.json records the rule, the steps it took, the last held-out loss and what the last round did to it."""
    made = dataclasses.replace(TINY_ROUNDS, features=0)
    monkeypatch.setitem(RECIPES, "tiny", made)
    fit = train_model(made, 2)
    train.run("tiny", tmp_path / "tiny", seed=2)
    about = json.loads((tmp_path / "tiny" / "subject.json").read_text())
    assert about["recipe"]["plateau"] == {"tolerance": 0.04, "rounds": 9}
    assert about["training"] == {
        "steps": fit.steps,
        "held_out_loss": fit.losses[-1],
        "improvement": min(fit.losses[:-1]) - fit.losses[-1],
    }


# ---------------------------------------------------------------- scores


class _Oracle(torch.nn.Module):
    """Stands in for a model: always continues a line by the partner of the first rhyme word in the row."""

    def __init__(self, answer: dict[str, str]) -> None:
        super().__init__()
        self.model = torch.nn.Module()
        self.model.layers = torch.nn.ModuleList()
        self.answer = answer

    def forward(self, input_ids: torch.Tensor, attention_mask: object, use_cache: bool) -> object:
        del attention_mask, use_cache
        logits = torch.zeros(*input_ids.shape, len(grammar.VOCABULARY))
        for row, tokens in enumerate(input_ids.tolist()):
            word = next((w for w in map(grammar.VOCABULARY.__getitem__, tokens) if w in self.answer), None)
            if word is not None:
                logits[row, -1, grammar.TOKEN_ID[self.answer[word]]] = 20.0
        return type("Output", (), {"logits": logits})


@pytest.mark.parametrize(
    ("answer", "rhymes", "partners"),
    [
        (grammar.PARTNER, 1.0, 1.0),
        ({word: grammar.PARTNER[partner] for word, partner in grammar.PARTNER.items()}, 1.0, 0.0),
        ({word: word for word in grammar.WORDS}, 0.0, 0.0),
        (dict.fromkeys(grammar.WORDS, "the"), 0.0, 0.0),
    ],
    ids=["partner", "other rhyme", "same word", "no rhyme"],
)
def test_rhyme_rate_counts_true_rhymes(answer: dict[str, str], rhymes: float, partners: float) -> None:
    """A model that answers with the partner, another rhyme, the word itself or no rhyme gets just that score."""
    found = scores.rhyming(Trained(_Oracle(answer), None, grammar.task()))
    assert found["rhyme_rate"] == rhymes
    assert found["partner_rate"] == partners


def test_held_out_ratio_of_an_indifferent_model_is_one() -> None:
    """A model that gives all words the same probability has a held-out ratio of 1."""
    found = scores.rhyming(Trained(_Oracle({}), None, grammar.task()))
    assert found["held_out_ratio"] == pytest.approx(1, rel=1e-5)


def test_pairs_use_every_group_alike() -> None:
    """Each group is twice the natural and twice the donor, and no pair is of one group."""
    for turn in range(8):
        words, donors = scores.pairs_of_words(turn)
        for side in (words, donors):
            assert sorted(grammar.GROUP_OF[word] for word in side) == sorted(2 * list(grammar.GROUPS))
        assert all(grammar.GROUP_OF[w] != grammar.GROUP_OF[d] for w, d in zip(words, donors, strict=True))


@pytest.mark.parametrize("made", [TINY, TINY_BARRED, TINY_WINDOW], ids=["free", "barrier", "window"])
def test_interchange_at_the_last_layer_changes_nothing(made: Recipe) -> None:
    """A row of the last layer that is not the last position cannot reach the answer; earlier layers can."""
    trained = Trained(untrained_model(made.config(), 0), made.mask_rule, made.task)
    found = scores.interchange(trained, made.task.templates[0], 0)
    assert not found.effects[-1].any()
    assert found.effects[0].any()


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


# ---------------------------------------------------------------- folders


@pytest.fixture
def tiny_recipe(monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """A recipe that takes a second, known by the name "tiny"."""
    monkeypatch.setitem(RECIPES, "tiny", TINY_BARRED)
    return TINY_BARRED


def test_saved_organism_is_the_trained_one(tmp_path: Path, tiny_recipe: Recipe) -> None:
    """A saved organism loads as a subject with the same weights, mask rule, task and tokens, and names its twin."""
    train.run("tiny", tmp_path / "tiny", seed=4)
    subject = load_folder(tmp_path / "tiny")
    expected = train_model(tiny_recipe, 4).model
    for name, weight in subject.model.named_parameters():
        assert torch.equal(weight, expected.get_parameter(name))
    assert subject.mask_rule == grammar.BARRIER
    assert subject.task == tiny_recipe.task
    assert subject.twin == "tiny-untrained"
    assert subject.encode("she saw the cat") == grammar.encode("she saw the cat")
    assert subject.transcoder is not None
    assert subject.transcoder.n_features == TINY.features


def test_saved_twin_has_no_weights(tmp_path: Path, tiny_recipe: Recipe) -> None:
    """A twin's folder holds a transcoder and a seed; it loads with the weights drawn from that seed."""
    train.run("tiny", tmp_path / "tiny")
    train.run("tiny-untrained", tmp_path / "tiny-untrained")
    assert not list((tmp_path / "tiny-untrained").glob("*.safetensors"))
    subject = load_folder(tmp_path / "tiny-untrained")
    expected = untrained_weights(tiny_recipe.config(), train.TWIN_SEED)
    for name, weight in subject.model.named_parameters():
        assert torch.equal(weight, expected[name])
    assert subject.mask_rule == grammar.BARRIER


def test_an_organism_without_features_has_neither_transcoder_nor_twin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recipe without features makes a model alone, which names the ladder it stands on; a twin of it is refused."""
    alone = dataclasses.replace(TINY, features=0, ladder=("shallow", "tiny"))
    monkeypatch.setitem(RECIPES, "tiny", alone)
    train.run("tiny", tmp_path / "tiny")
    (tmp_path / "shallow").mkdir()
    subject = load_folder(tmp_path / "tiny")
    assert subject.transcoder is None
    assert subject.twin is None
    assert subject.ladder == (str(tmp_path / "shallow"), str(tmp_path / "tiny"))
    with pytest.raises(UserError, match="tiny has no untrained twin"):
        train.run("tiny-untrained", tmp_path / "tiny-untrained")


@pytest.mark.usefixtures("tiny_recipe")
def test_runs_write_the_same_bytes(tmp_path: Path) -> None:
    """Two runs with one seed write files of the same bytes, and none mentions where it was written."""
    for copy in ("a", "b"):
        train.run("tiny", tmp_path / copy / "tiny")
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert len(files) > 8
    for file in files:
        content = (tmp_path / "a" / file).read_bytes()
        assert content == (tmp_path / "b" / file).read_bytes(), file
        assert str(tmp_path).encode() not in content


@pytest.mark.parametrize(
    ("least", "most"), [({"rhyme_rate": 0.9}, {}), ({}, {"rhyme_rate": -0.1})], ids=["low", "high"]
)
def test_a_missed_bar_saves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least: dict[str, float], most: dict[str, float]
) -> None:
    """When a score misses its bar the run stops with one line naming it, and leaves no file."""
    monkeypatch.setitem(RECIPES, "tiny", dataclasses.replace(TINY, least=least, most=most))
    with pytest.raises(UserError, match=r"tiny was not saved: rhyme_rate \S+ is (below 0\.9|above -0\.1)"):
        train.run("tiny", tmp_path / "tiny")
    assert not list(tmp_path.iterdir())


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    """An unknown recipe, and a twin without its organism, are one-line errors that say what to do."""
    with pytest.raises(UserError, match=r"no recipe for 'plan'; known: planner, "):
        recipe("plan")
    with pytest.raises(UserError, match="prolepsis train planner"):
        train.run("planner-untrained", tmp_path / "planner-untrained")


# ---------------------------------------------------------------- what is shipped

SHIPPED = Path(train.__file__).parents[2] / "fixtures" / "organisms"
IDS = [name + suffix for name, made in RECIPES.items() for suffix in ("", "-untrained")[: 2 if made.features else 1]]


def test_shipped_organisms_are_small() -> None:
    """All organisms are shipped, in at most 16 MB together and 6 MB a file."""
    sizes = [path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()]
    assert {path.name for path in SHIPPED.iterdir()} == set(IDS)
    assert sum(sizes) <= 16e6
    assert max(sizes) <= 6e6


@pytest.mark.parametrize("name", IDS)
def test_shipped_organism_is_of_its_recipe(name: str) -> None:
    """A shipped organism loads with the recipe's configuration, task, mask rule and transcoder, if it has one."""
    made = recipe(name.removesuffix("-untrained"))
    subject = load_folder(SHIPPED / name)
    assert subject.n_layers == made.layers
    assert subject.d_model == made.width
    assert subject.mask_rule == made.mask_rule
    assert subject.task == made.task
    assert (subject.transcoder.model_name if subject.transcoder else None) == (name if made.features else None)
    about = json.loads((SHIPPED / name / "subject.json").read_text())
    assert about["recipe"]["steps"] == made.steps
    if made.plateau is not None:
        assert about["recipe"]["plateau"] == dataclasses.asdict(made.plateau)
        assert about["training"]["steps"] in range(2 * made.steps, made.most_steps + 1, made.steps)
        assert abs(about["training"]["improvement"]) < made.plateau.tolerance


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_shipped_organism_still_has_its_scores(name: str) -> None:
    """Scored again from the stored files, a shipped organism passes its bars and rhymes as often as recorded."""
    made = recipe(name)
    subject = load_folder(SHIPPED / name)
    found = scores.rhyming(Trained(subject.model, made.mask_rule, made.task))
    recorded = json.loads((SHIPPED / name / "subject.json").read_text())["scores"]
    assert found["rhyme_rate"] == pytest.approx(recorded["rhyme_rate"], abs=0.005)
    assert found["partner_probability"] == pytest.approx(recorded["partner_probability"], abs=1e-3)
    train.check(made, {**recorded, **found})


@pytest.mark.parametrize("name", sorted(name for name, made in RECIPES.items() if made.plateau is not None))
def test_shipped_organism_still_has_its_loss(name: str) -> None:
    """A shipped organism that was trained to a plateau has the held-out loss that was recorded."""
    model = load_folder(SHIPPED / name).model
    recorded = json.loads((SHIPPED / name / "subject.json").read_text())["training"]["held_out_loss"]
    held_out = torch.from_numpy(grammar.corpus(HELD_OUT_DOCUMENTS, HELD_OUT_SEED))
    assert held_out_loss(model, None, held_out) == pytest.approx(recorded, abs=1e-3)
