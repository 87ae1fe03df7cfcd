"""Regenerating a bundled organism from its recipe: train, check the scores, fit the transcoder, save."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from prolepsis.errors import UserError
from prolepsis.organisms.folder import save_about, save_trained, save_transcoder
from prolepsis.organisms.plateau import improvement
from prolepsis.organisms.recipes import Recipe, recipe
from prolepsis.organisms.scores import Scores, Trained, score
from prolepsis.organisms.training import Fit, train_model
from prolepsis.organisms.transcoder_training import DOCUMENTS_PER_STEP, collect, fidelity, train_transcoder
from prolepsis.organisms.untrained import untrained_model
from prolepsis.transcoder import Transcoder

UNTRAINED = "-untrained"
TWIN_SEED = 1000


def run(name: str, out: Path, seed: int = 0) -> dict[str, Any]:
    """Make the organism ``name`` in folder ``out`` and return what subject.json says of it ("scores", "transcoder", …).

    ``name`` is a recipe or a recipe with "-untrained": then only the twin's transcoder is trained, and ``out`` has to
    stand beside the folder of the trained organism, whose configuration it shares. Raises UserError, and writes
    nothing, when a score misses its bar, naming score, value and bar.
    """
    if name.endswith(UNTRAINED):
        return _untrained_twin(recipe(name.removesuffix(UNTRAINED)), out, seed)
    return _organism(recipe(name), out, seed)


def _organism(made: Recipe, out: Path, seed: int) -> dict[str, Any]:
    fit = train_model(made, seed)
    model = fit.model
    scores, sites = score(Trained(model, made.mask_rule, made.task))
    check(made, scores)
    about = _about(made, seed) | {
        "untrained_twin": made.name + UNTRAINED if made.features else None,
        "same_behaviour": made.same_behaviour,
        "ladder": list(made.ladder),
        "training": _training(fit),
        "scores": scores,
        "sites": {template: {"layer": layer, "position": position} for template, (layer, position) in sites.items()},
    }
    if made.features:
        about["transcoder"] = _fit_transcoder(made, out, model, seed)
    save_trained(out, made, model, about)
    return about


def _untrained_twin(made: Recipe, out: Path, seed: int) -> dict[str, Any]:
    if not made.features:
        raise UserError(f"{made.name} has no untrained twin; train {made.name} itself")
    like = out.parent / made.name
    if not (like / "config.json").exists():
        raise UserError(f"{like}: no such organism; make it first with: prolepsis train {made.name}")
    model = untrained_model(AutoConfig.from_pretrained(like, local_files_only=True), TWIN_SEED + seed)
    scores, _ = score(Trained(model, made.mask_rule, made.task))
    about = _about(made, seed) | {
        "weights": {"seed": TWIN_SEED + seed, "like": f"../{made.name}"},
        "untrained_twin": None,
        "same_behaviour": None,
        "scores": scores,
    }
    about["transcoder"] = _fit_transcoder(made, out, model, seed)
    save_about(out, about)
    return about


def _about(made: Recipe, seed: int) -> dict[str, Any]:
    rule = made.mask_rule
    return {"mask_rule": None if rule is None else rule.describe(), "recipe": asdict(made) | {"seed": seed}}


def _training(fit: Fit) -> dict[str, float]:
    """How a training went: its steps and, where it went on to a plateau, the held-out loss at its end (nats)."""
    if not fit.losses:
        return {"steps": fit.steps}
    return {"steps": fit.steps, "held_out_loss": fit.losses[-1], "improvement": improvement(fit.losses)}


def _fit_transcoder(made: Recipe, out: Path, model: Any, seed: int) -> dict[str, float]:
    """Train a transcoder on the model's own activations, save it in ``out``; its fidelity on fresh documents."""
    n_documents = DOCUMENTS_PER_STEP * made.transcoder_steps
    data = collect(model, made.mask_rule, seed + 1, n_documents)
    weights = train_transcoder(data, features=made.features, active=made.active, steps=made.transcoder_steps, seed=seed)
    save_transcoder(out, weights, out.name)
    fresh = collect(model, made.mask_rule, seed + 2, n_documents // 8)
    return fidelity(Transcoder.open(out / "transcoder"), fresh)


def check(made: Recipe, scores: Scores) -> None:
    """Raises UserError naming every score that misses its bar."""
    low = [f"{key} {scores[key]:.3f} is below {bar}" for key, bar in made.least.items() if scores[key] < bar]
    high = [f"{key} {scores[key]:.3f} is above {bar}" for key, bar in made.most.items() if scores[key] > bar]
    if low or high:
        raise UserError(f"{made.name} was not saved: {'; '.join(low + high)}; try another --seed")
