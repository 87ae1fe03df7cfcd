"""Published protocols that cannot be run on a subject: one line says what is missing, or what stands there instead."""

from pathlib import Path
from typing import Any

import pytest
import torch

from prolepsis.errors import Untested, UserError
from prolepsis.experiments import families
from prolepsis.subjects.loading import kept_subject
from tests.published_subjects import COUNTS, ON_A_GPU, PLAIN, PROMPT, PUBLISHED, published_subject

MOVED = {
    "another token": ({"routing": [{**PLAIN["routing"][0], "site": 5}]}, "published_first_head",
                      "the published site 5 is ' about', but ' dark' stands there under this tokenizer"),
    "beyond the end": ({"routing": [{**PLAIN["routing"][0], "site": 99}]}, "published_first_head",
                       "the published site 99 is ' about', but the prompt has tokens 0 to 12"),
    "not the last": ({"sweep": {**PLAIN["sweep"], "site": 12}}, "published_spike",
                     "the published site 12 is the last token, but under this tokenizer ' hidden' stands there"),
    "another id": ({"sweep": {**PLAIN["sweep"], "token": 3}}, "published_spike",
                   "under this tokenizer; the paper's 3 is ' ' here"),
    "no such head": ({"routing": [{**PLAIN["routing"][0], "heads": ["L21:H5"]}]}, "published_first_head",
                     "it has no head L21:H5; the paper's preset is for another model"),
    "no correction": ({"correction": None}, "published_commitment", "the paper ran no correction test on it"),
    "no pairs": ({"pairs": None}, "published_best_redirect", "the paper ran no pair sweep on it"),
    "no routing": ({"routing": []}, "published_first_head", "the paper ran no routing prompt on it"),
    "no such prompt": ({"routing": PLAIN["routing"][:2]}, "published_third_prompt",
                       "the paper prints 2 routing prompts; ask llama-3.2-1b-524k"),
    "recurring nowhere": ({"routing": PLAIN["routing"][2:3]}, "published_second_recurring",
                          "the paper names no prompts for recurring head 2"),
    "no convergence": ({"convergence": None}, "absorbing_layers", "the paper ran no convergence on it"),
    "no contrast of equal length": ({"convergence": {**PLAIN["convergence"], "contrasts": ["Would find a"]}},
                                    "absorbing_layers",
                                    "none of the published contrasts has the 5 tokens of 'And found a hidden'"),
    "another contrast": ({"convergence": {**PLAIN["convergence"],
                                          "contrasts": ["Would find a", "Would find a hidden"]}},
                         "published_redirect", "'who' answers 'Would find a', which is not as long as the prompt"),
    "no recurring heads": ({"recurring": []}, "published_recurring_heads", "the paper names no recurring heads for it"),
}  # fmt: skip


def test_memory_is_measured_on_a_gpu_alone(tmp_path: Path) -> None:
    """On a CPU there is no GPU memory to read, and the reason says what to ask for."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(Untested, match=r"read on a GPU, not on cpu; use --claims-device cuda"):
        families.experiment(ON_A_GPU)(published_subject("llama", tmp_path))


@pytest.mark.parametrize(
    "name", [name for name in PUBLISHED if name not in (ON_A_GPU, "published_vocabulary", *COUNTS)]
)
def test_an_organism_has_no_published_protocol(name: str) -> None:
    """A subject the paper did not run on is untested, not measured by guesswork."""
    with pytest.raises(Untested, match="the paper ran nothing on it; ask one of the paper's presets"):
        families.experiment(name)(kept_subject("planted-llama-direct"))


@pytest.mark.parametrize("case", MOVED)
def test_a_protocol_that_does_not_fit_is_untested(tmp_path: Path, case: str) -> None:
    """Where the prompt is split otherwise, or a part is missing, one line says which token stands there, or what."""
    changes, name, message = MOVED[case]
    with pytest.raises(Untested) as caught:
        families.experiment(name)(published_subject("llama", tmp_path, **changes))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_rhyme_that_no_dictionary_knows_is_refused(tmp_path: Path) -> None:
    """Without the pronunciation of a prompt's rhyme word its natural group cannot be told."""
    changes: dict[str, Any] = {"pairs": {"strength": 1.0, "prompts": [{"prompt": PROMPT, "rhyme": "xyzzyx"}]}}
    with pytest.raises(UserError, match=r"published.pairs: rhyme 'xyzzyx' is in no dictionary; give the word"):
        families.experiment("published_best_redirect")(published_subject("llama", tmp_path, **changes))


def test_a_word_of_several_tokens_is_refused(tmp_path: Path) -> None:
    """A word that is not one token is named with its pieces."""
    changes: dict[str, Any] = {"sweep": {**PLAIN["sweep"], "word": "ground around"}}
    with pytest.raises(UserError, match=r"word 'ground around' is not one token but \[' ground', ' around'\]"):
        families.experiment("published_spike")(published_subject("llama", tmp_path, **changes))
