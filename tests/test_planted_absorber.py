"""The planted absorber takes small deviations of its code back, and lets large ones through."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prolepsis.edits import Add, BlockEdge
from prolepsis.engine import CleanRun, clean_run
from prolepsis.errors import UserError
from prolepsis.names import Head
from prolepsis.organisms.planted import PARTNER, WORDS
from prolepsis.organisms.planted_absorber import BASIN, BITS, GAIN, OUTPUT, code, planted_absorber
from prolepsis.running.hooks import Read
from prolepsis.subject import Subject
from prolepsis.subjects.loading import load_subject


@cache
def absorber() -> Subject:
    """The bundled subject."""
    torch.set_num_threads(1)
    return load_subject("planted-llama-absorber")


def run_of(word: int, template: int) -> CleanRun:
    """A clean run of its task."""
    subject = absorber()
    assert subject.task is not None
    return clean_run(subject, subject.encode(subject.task.prompt(subject.task.templates[template], WORDS[word]).text))


def written(deviation: list[float]) -> torch.Tensor:
    """A row that holds ``deviation`` in the bits of O."""
    row = torch.zeros(absorber().d_model)
    row[list(OUTPUT)] = torch.tensor(deviation)
    return row


@settings(deadline=None, max_examples=20)
@given(
    word=st.integers(0, len(WORDS) - 1),
    template=st.integers(0, 5),
    deviation=st.lists(st.floats(-20, 20), min_size=BITS, max_size=BITS),
    layer=st.integers(0, 3),
)
def test_deviations_are_absorbed_bit_by_bit(word: int, template: int, deviation: list[float], layer: int) -> None:
    """Written below L2, a bit comes back less its distance to the basin; written from L2 on, it is carried."""
    clean = run_of(word, template)
    edit = [Add(layer, len(clean.tokens) - 1, written(deviation))]
    bits = clean.edit([edit], Read(logits=(), resid_post=(3,))).resid_post[3][0, -1, list(OUTPUT)]
    left = np.array(deviation) if layer >= 2 else np.array(deviation) - np.clip(deviation, -BASIN, BASIN)
    assert bits.numpy() == pytest.approx(GAIN * np.array(code(PARTNER[word])) + left, abs=0.01)


def test_without_a_plan_nothing_is_taken_back() -> None:
    """Where the word is hidden from everyone, O is empty and a deviation passes."""
    clean, deviation = run_of(4, 1), [2.0, -2.0, 1.0, 0.0, 4.0, -4.0, 1.0, 0.0]
    source = clean.tokens.index(absorber().word_id(WORDS[4]))
    last = len(clean.tokens) - 1
    hidden = [
        BlockEdge(Head(layer, head), query, source)
        for layer in range(4)
        for head in range(4)
        for query in range(source + 1, last + 1)
    ]
    rows = [[Add(1, last, written(deviation)), *hidden]]
    bits = clean.edit(rows, Read(logits=(), resid_post=(3,))).resid_post[3][0, -1, list(OUTPUT)]
    assert bits.tolist() == pytest.approx(deviation, abs=0.01)


@pytest.mark.parametrize("template", range(6))
def test_every_word_is_answered(template: int) -> None:
    """All words get their partner, with nine tenths of the probability, at all templates."""
    subject = absorber()
    assert subject.task is not None
    prompts = [subject.task.prompt(subject.task.templates[template], word) for word in WORDS]
    batch = torch.tensor([subject.encode(prompt.text) for prompt in prompts])
    probabilities = subject.model(input_ids=batch).logits[:, -1].softmax(-1)
    assert float(probabilities[range(len(WORDS)), [subject.word_id(p.answer) for p in prompts]].min()) > 0.9


def test_it_is_a_llama_only() -> None:
    """Another family is refused in one line."""
    with pytest.raises(UserError, match="llama only"):
        planted_absorber("gemma2")
