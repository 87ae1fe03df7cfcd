"""Organisms as folders: what training saves, what it refuses to, and what is shipped."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from prolepsis.errors import UserError
from prolepsis.organisms import grammar, scores, train
from prolepsis.organisms.recipes import RECIPES, Recipe, recipe
from prolepsis.organisms.scores import Trained
from prolepsis.organisms.training import HELD_OUT_DOCUMENTS, HELD_OUT_SEED, held_out_loss, train_model
from prolepsis.organisms.untrained import untrained_weights
from prolepsis.subjects.loading import load_folder
from tests.tiny_recipes import TINY, TINY_BARRED

pytestmark = pytest.mark.usefixtures("one_thread")


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
