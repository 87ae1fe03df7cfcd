"""Planted subjects are built from nothing, the same each time, with a task and a transcoder that fit."""

import gc
import math

import pytest
import torch

from prolepsis.errors import UserError
from prolepsis.names import Feature
from prolepsis.organisms import PLANTED
from prolepsis.organisms.planted import NEWLINE, VARIANTS, WORDS, planted
from prolepsis.organisms.planted_weights import FAMILIES, HEAD_WIDTH
from tests.planted_subjects import every_family, subject_of


@every_family
@pytest.mark.parametrize("variant", VARIANTS)
def test_building_twice_gives_the_same_subject(family: str, variant: str) -> None:
    """Two builds agree in weights and transcoder."""
    again, subject = planted(family, variant), subject_of(family, variant)
    assert subject.transcoder is not None
    assert again.transcoder.digest == subject.transcoder.digest
    for name, weight in again.model.state_dict().items():
        assert torch.equal(weight, subject.model.state_dict()[name])


def test_the_task_is_well_formed() -> None:
    """Prompts hold no unknown token, stems are prefixes past the line break, features and ids are distinct."""
    subject = subject_of("llama", "irrevocable")
    task = subject.task
    assert task is not None
    assert task.features is not None
    assert sorted(word for group in task.groups.values() for word in group) == sorted(WORDS)
    assert len(task.groups) == 20
    assert task.features == {word: Feature(1, i) for i, word in enumerate(WORDS)}
    assert len({subject.word_id(word) for word in WORDS}) == len(WORDS)
    lengths = set()
    for template in task.templates:
        prompt = task.prompt(template, "key")
        tokens, stem = subject.encode(prompt.text), subject.encode(prompt.stem)
        assert tokens[0] == subject.tokenizer.bos_token_id
        assert subject.tokenizer.unk_token_id not in tokens
        assert tokens[: len(stem)] == stem
        assert len(tokens) > len(stem)
        assert stem.index(subject.word_id(NEWLINE)) == len(stem) - 2
        lengths.add(len(tokens))
    assert len(lengths) >= 4


def test_a_transcoder_folder_goes_with_its_transcoder() -> None:
    """The temporary folder is removed once nothing holds the transcoder."""
    parts = planted("llama", "no-plan")
    folder = parts.transcoder.folder
    assert folder.is_dir()
    del parts
    gc.collect()
    assert not folder.exists()


def test_all_bundled_ids_can_be_built() -> None:
    """The ids that are announced are the families and variants there are; others are refused in one line."""
    assert [f"planted-{family}-{variant}" for family in FAMILIES for variant in VARIANTS] == list(PLANTED)
    for family, variant in (("gpt2", "latch"), ("llama", "latched")):
        with pytest.raises(UserError, match="not known; known: "):
            planted(family, variant)


def test_heads_turn_by_less_than_a_millionth_per_token() -> None:
    """The rotary pair the heads use turns by a few 1e-8 per token, so that position plays no part."""
    inverse = subject_of("llama", "irrevocable").model.model.rotary_emb.inv_freq
    assert float(inverse[-1]) == pytest.approx(math.pow(1e8, 2 / HEAD_WIDTH - 1), rel=1e-5)
