"""What a trained model is scored by, on models that answer in known ways."""

import pytest
import torch

from prolepsis.organisms import grammar, scores
from prolepsis.organisms.recipes import Recipe
from prolepsis.organisms.scores import Trained
from prolepsis.organisms.untrained import untrained_model
from tests.tiny_recipes import TINY, TINY_BARRED, TINY_WINDOW

pytestmark = pytest.mark.usefixtures("one_thread")


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
