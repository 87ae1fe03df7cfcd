"""Prompts that are run side by side say what each says by itself."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prolepsis.engine import clean_run
from prolepsis.running.prompt_batch import last_states
from tests.tiny import FAMILIES, tiny_subject, tiny_tokens


@settings(max_examples=20, deadline=None)
@given(family=st.sampled_from(FAMILIES), lengths=st.lists(st.integers(1, 9), min_size=1, max_size=7))
def test_the_last_state_of_each_prompt_is_that_of_the_prompt_by_itself(family: str, lengths: list[int]) -> None:
    """In the order they were given, however long they are, to float64's rounding."""
    subject = tiny_subject(family)
    prompts = [tiny_tokens(seed, length) for seed, length in enumerate(lengths)]
    alone = [clean_run(subject, prompt).resid_post(subject.n_layers - 1)[-1] for prompt in prompts]
    assert torch.allclose(last_states(subject, prompts), torch.stack(alone), rtol=0, atol=1e-10)
