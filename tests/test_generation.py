"""Generation with a cache says what full forward passes say."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prolepsis.edits import Add, FreezePattern, ReplaceRow, ReplaceStream, Skip
from prolepsis.engine import clean_run
from prolepsis.errors import UserError
from prolepsis.generation import generate
from prolepsis.masks import CoupletBarrier
from prolepsis.names import Head
from prolepsis.subject import Subject
from tests.tiny import FAMILIES, rows_like, tiny_subject, tiny_tokens

families = st.sampled_from(FAMILIES)
seeds = st.integers(0, 2**16)
rules = st.sampled_from([None, CoupletBarrier(newline=3)])
few = settings(max_examples=15, deadline=None)


def greedy_without_cache(subject: Subject, tokens: list[int], row: list[object], steps: int) -> list[int]:
    """Greedy continuation by one full edited forward pass per token."""
    tokens = list(tokens)
    for _ in range(steps):
        out = clean_run(subject, tokens).edit([row])
        tokens.append(int(out.last_logits[0].argmax()))
    return tokens[-steps:]


@few
@given(family=families, seed=seeds, rule=rules, position=st.integers(0, 4), skipped=st.booleans())
def test_a_cache_changes_nothing(
    family: str, seed: int, rule: CoupletBarrier | None, position: int, skipped: bool
) -> None:
    """Greedy generation with a cache equals one full forward per token, with edits, mask rules and sliding windows."""
    subject = tiny_subject(family, seed, mask_rule=rule)
    tokens = [1, 5, 3, *tiny_tokens(seed, 3)]
    vector = rows_like(subject, seed, 1)[0]
    edited = [ReplaceRow(0, position, vector), Add(2, position, vector)] + ([Skip((1,))] if skipped else [])
    written = generate(subject, [tokens, tokens], [[], edited], max_new_tokens=6)
    assert written[0] == greedy_without_cache(subject, tokens, [], 6)
    assert written[1] == greedy_without_cache(subject, tokens, edited, 6)


@few
@given(family=families, seed=seeds, rule=rules)
def test_rows_do_not_mix(family: str, seed: int, rule: CoupletBarrier | None) -> None:
    """Prompts of one length continue side by side as each does alone."""
    subject = tiny_subject(family, seed, mask_rule=rule)
    prompts = [[1, 5, 3, *tiny_tokens(seed, 3)], [1, 3, 8, *tiny_tokens(seed + 1, 3)]]
    alone = [generate(subject, [prompt], [()], max_new_tokens=4)[0] for prompt in prompts]
    assert generate(subject, prompts, [(), ()], max_new_tokens=4) == alone


def test_prompts_have_to_fit_together() -> None:
    """Prompts of several lengths, too many tokens, or a frozen pattern across different prompts are refused."""
    subject = tiny_subject("llama")
    frozen = [FreezePattern((Head(0, 0),))]
    for prompts, rows, steps, message in (
        ([[1, 2], [1]], [(), ()], 1, "one length"),
        ([[1, 2]], [()], 63, "65 tokens are more"),
        ([[1, 2], [1, 3]], [frozen, ()], 1, "one prompt for all rows"),
        ([[1, 2]], [[ReplaceStream(0, 2, rows_like(subject, 0, 1)[0])]], 1, "positions only, 0 to 1"),
    ):
        with pytest.raises(UserError, match=message):
            generate(subject, prompts, rows, max_new_tokens=steps)


def test_a_stop_token_ends_its_row_only() -> None:
    """A row ends with its stop token; the others go on."""
    subject = tiny_subject("llama")
    tokens = tiny_tokens(0, 4)
    rows = [[], [Add(2, 3, 50 * rows_like(subject, 1, 1)[0])]]
    free = generate(subject, [tokens] * 2, rows, max_new_tokens=8)
    stop = free[0][2]
    stopped = generate(subject, [tokens] * 2, rows, max_new_tokens=8, stop=(stop,))
    for whole, cut in zip(free, stopped, strict=True):
        assert cut == whole[: whole.index(stop) + 1 if stop in whole else None]


def test_sampling_follows_its_seed_and_the_probabilities() -> None:
    """The same seed draws the same tokens, and first tokens come at the rate the model gives them."""
    subject = tiny_subject("llama", dtype=torch.float32)
    tokens, n = tiny_tokens(0, 4), 4000
    drawn = generate(subject, [tokens] * n, [()] * n, max_new_tokens=1, temperature=1.0, seed=1)
    assert drawn == generate(subject, [tokens] * n, [()] * n, max_new_tokens=1, temperature=1.0, seed=1)
    expected = clean_run(subject, tokens).edit([()]).probabilities()[0].double()
    counts = torch.bincount(torch.tensor([row[0] for row in drawn]), minlength=len(expected)).double()
    deviation = (counts / n - expected).abs() / (expected * (1 - expected) / n).sqrt()
    assert deviation.max() < 5
