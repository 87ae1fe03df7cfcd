"""Closed forms of weights, operations and memory against what is counted on small models."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from prolepsis.edits import Add
from prolepsis.engine import clean_run
from prolepsis.errors import UserError
from prolepsis.running.batching import TOKENS_PER_BATCH, row_bytes
from prolepsis.running.generation import generate
from prolepsis.running.hooks import Read
from prolepsis.subject import Subject
from prolepsis.subjects.model_size import ModelSize
from tests.live_bytes import LiveBytes
from tests.tiny import FAMILIES, rows_like, tiny_subject, tiny_tokens

few = settings(max_examples=10, deadline=None)
families = st.sampled_from(FAMILIES)


def wide(family: str, heads: int, n_vocab: int, d_mlp: int = 96) -> Subject:
    """A random subject whose widths outweigh what the closed forms leave out."""
    return tiny_subject(family, n_layers=2, n_heads=heads, d_head=16, d_mlp=d_mlp, n_vocab=n_vocab, dtype=torch.float32)


@few
@given(family=families, heads=st.sampled_from([2, 4]), n_vocab=st.integers(30, 90))
def test_the_weights_of_all_matrices_are_counted(family: str, heads: int, n_vocab: int) -> None:
    """Tied or not, with as many key-value heads as there are: exactly the model's own matrices."""
    subject = wide(family, heads, n_vocab)
    weights = subject.model.named_parameters()
    # The biases of all experts lie in one tensor.
    matrices = [weight.numel() for name, weight in weights if weight.dim() > 1 and not name.endswith("bias")]
    assert subject.size.weights == sum(matrices)


@few
@given(family=families, heads=st.sampled_from([2, 4]), n_tokens=st.integers(4, 16))
def test_operations_are_those_a_counter_sees(family: str, heads: int, n_tokens: int) -> None:
    """A pass takes what its tokens take in every layer and their logits; positions add less than a hundredth."""
    subject = wide(family, heads, 200)
    size = subject.size
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        subject.model(input_ids=torch.tensor([tiny_tokens(0, n_tokens)]), use_cache=False)
    counted = n_tokens * (size.n_layers * size.layer_operations(n_tokens) + 2 * size.unembedding_weights)
    assert counted <= counter.get_total_flops() <= 1.01 * counted


@few
@given(
    family=families,
    n_tokens=st.sampled_from([4, 16, 48]),
    d_mlp=st.sampled_from([16, 400]),
    n_vocab=st.sampled_from([100, 3000]),
    share=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_a_row_takes_no_more_memory_than_is_planned_and_not_much_less(
    family: str, n_tokens: int, d_mlp: int, n_vocab: int, share: float
) -> None:
    """Tensors alive at once while rows are edited stay below the plan, and of rows that are run whole above half."""
    subject, n_rows = wide(family, 4, n_vocab, d_mlp), 32
    clean = clean_run(subject, tiny_tokens(0, n_tokens))
    position = round(share * (n_tokens - 1))
    rows = [[Add(0, position, rows_like(subject, seed, 1)[0])] for seed in range(n_rows)]
    with LiveBytes() as live, pytest.MonkeyPatch.context() as patch:
        patch.setitem(TOKENS_PER_BATCH, "cpu", n_rows * n_tokens)
        clean.edit(rows, Read(resid_post=(0, 1)))
    planned = n_rows * row_bytes(subject, n_tokens, n_streams=2)
    assert live.peak <= planned
    assert position or planned / 2 <= live.peak


@few
@given(family=families, length=st.sampled_from([8, 24]))
def test_generated_rows_take_no_more_memory_than_is_planned(family: str, length: int) -> None:
    """Keys and values of all tokens included, and the plan is not more than four times what is taken."""
    subject, n_rows, new = wide(family, 4, 500), 16, 8
    with LiveBytes() as live:
        generate(subject, [tiny_tokens(0, length)] * n_rows, [[]] * n_rows, max_new_tokens=new)
    planned = n_rows * row_bytes(subject, length + new, cached=True)
    assert planned / 4 <= live.peak <= planned


def test_a_configuration_without_sizes_is_refused() -> None:
    """The missing field is named."""
    with pytest.raises(UserError, match="no hidden_size"):
        ModelSize.of({"num_attention_heads": 2, "num_hidden_layers": 1})
