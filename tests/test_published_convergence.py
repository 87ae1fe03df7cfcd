"""The published convergence on tiny random models: every figure is what plain forward passes with hooks give."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cosine_similarity

from prolepsis.experiments import families
from prolepsis.experiments.convergence import ABSORBED
from prolepsis.experiments.published_convergence import Contrasted, contrasted
from prolepsis.subject import Subject
from tests.published_subjects import LAYERS, PLAIN, plain_run, probability_of, published_subject

TEXT, OTHER = PLAIN["convergence"]["prompt"], PLAIN["convergence"]["contrasts"][0]
LAST = 4


@pytest.fixture(scope="module", params=[("llama", 20), ("gemma2", 3)])
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A tiny random model with the made-up protocol; what has been measured on it stays with it.

    In the first one a layer absorbs three layers on that does not within two.
    """
    family, seed = request.param
    return published_subject(family, tmp_path_factory.mktemp("clt"), seed=seed)


def measured(subject: Subject, name: str) -> float:
    """The single value of an experiment."""
    (value,) = families.experiment(name)(subject).values.values()
    return value


def rows_of(subject: Subject, text: str, writes: dict[int, torch.Tensor]) -> list[torch.Tensor]:
    """resid_post at the last token of every layer, of a plain run that adds ``writes`` there."""
    rows: list[torch.Tensor] = []

    def keep(_module: Any, _args: Any, output: Any) -> None:
        rows.append((output[0] if isinstance(output, tuple) else output)[0, LAST].clone())

    hooks = [layer.register_forward_hook(keep) for layer in subject.model.model.layers]
    try:
        plain_run(subject, text, writes, LAST)
    finally:
        for hook in hooks:
            hook.remove()
    return rows


def contrast(subject: Subject, layer: int) -> torch.Tensor:
    """What is written at ``layer``."""
    return rows_of(subject, TEXT, {})[layer] - rows_of(subject, OTHER, {})[layer]


def absorbing(subject: Subject, layer: int, strength: float = 1.0) -> list[bool]:
    """Whether each layer after ``layer`` is back at the clean row."""
    edited, clean = rows_of(subject, TEXT, {layer: strength * contrast(subject, layer)}), rows_of(subject, TEXT, {})
    return [
        float(cosine_similarity(edited[at].double(), clean[at].double(), dim=0)) >= ABSORBED
        for at in range(layer + 1, LAYERS)
    ]


def test_layers_absorb_as_plain_runs_do(subject: Subject) -> None:
    """Of all layers, the last included, those count whose contrast a later one takes back, or one of the next two."""
    found = [absorbing(subject, layer) for layer in range(LAYERS - 1)]
    assert measured(subject, "absorbing_layers") == sum(map(any, found)) / LAYERS
    assert measured(subject, "quickly_absorbing_layers") == sum(any(later[:2]) for later in found) / LAYERS


def test_the_edge_lies_between_two_strengths(subject: Subject) -> None:
    """The strength is half a step above the last that is absorbed, at the deepest layer that absorbs at all."""
    layer = max(at for at in range(LAYERS - 1) if any(absorbing(subject, at)))
    strengths = [0.5 * step for step in range(1, 13)]
    taken = [any(absorbing(subject, layer, strength)) for strength in strengths]
    last = strengths[taken.index(False) - 1] if False in taken else strengths[-1]
    found = families.experiment("published_critical_strength")(subject)
    assert list(found.values.values()) == [last + 0.25]
    assert found.parameters["numerical_tolerance"] == 0.25


@pytest.mark.parametrize(("name", "sign"), [("published_redirect", 1), ("published_redirect_towards", -1)])
def test_the_redirect_is_what_hooks_give_at_the_best_layer(subject: Subject, name: str, sign: int) -> None:
    """P(the other answer) is the largest over layers below the last, with the sign that is named."""
    by_layer = [
        probability_of(subject, plain_run(subject, TEXT, {at: sign * contrast(subject, at)}, LAST), "who")
        for at in range(LAYERS - 1)
    ]
    assert measured(subject, name) == pytest.approx(max(by_layer), rel=1e-4)


def test_where_no_layer_absorbs_the_edge_is_below_the_contrast(tmp_path: Path) -> None:
    """A contrast that no layer takes back bounds the edge by its own length, 1."""
    changes = {"convergence": {**PLAIN["convergence"], "contrasts": ["Nobody knows or remembers"]}}
    subject = published_subject("llama", tmp_path, seed=3, **changes)
    assert measured(subject, "absorbing_layers") == 0
    found = families.experiment("published_critical_strength")(subject)
    assert (list(found.values.values()), found.parameters["numerical_tolerance"]) == ([0.5], 0.5)


def test_the_first_contrast_of_equal_length_is_taken(tmp_path: Path) -> None:
    """A contrast that is split into another number of tokens is passed over."""
    changes = {"convergence": {**PLAIN["convergence"], "contrasts": ["Would find a", OTHER]}}
    found: Contrasted = published_subject("llama", tmp_path, **changes).once(contrasted)
    assert found.text == OTHER
