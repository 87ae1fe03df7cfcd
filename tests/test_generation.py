"""Generation with a cache says what full forward passes say."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prolepsis.edits import Add, FreezePattern, ReplaceRow, ReplaceStream, Skip
from prolepsis.engine import clean_run
from prolepsis.errors import Untested, UserError
from prolepsis.names import Head
from prolepsis.reachability.masks import CoupletBarrier
from prolepsis.running.generation import generate, sample
from prolepsis.running.hooks import Read
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
    """Prompts of several lengths, or a frozen pattern across different ones, are refused; too many are untested."""
    subject = tiny_subject("llama")
    frozen = [FreezePattern((Head(0, 0),))]
    for prompts, rows, steps, message in (
        ([[1, 2], [1]], [(), ()], 1, "one length"),
        ([[1, 2], [1, 3]], [frozen, ()], 1, "one prompt for all rows"),
        ([[1, 2]], [[ReplaceStream(0, 2, rows_like(subject, 0, 1)[0])]], 1, "positions only, 0 to 1"),
    ):
        with pytest.raises(UserError, match=message):
            generate(subject, prompts, rows, max_new_tokens=steps)
    with pytest.raises(Untested, match=r"65 tokens, 63 of them new, are more than the model takes \(64\)"):
        generate(subject, [[1, 2]], [()], max_new_tokens=63)


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


def test_samples_follow_their_seed_and_the_probabilities() -> None:
    """The same seed draws the same tokens, and first tokens come at the rate the model gives them at a temperature."""
    subject = tiny_subject("llama", dtype=torch.float32)
    tokens, n = tiny_tokens(0, 4), 4000
    drawn = sample(subject, [tokens], [()], n_samples=n, temperature=0.8, seed=1, max_new_tokens=1)
    again = sample(subject, [tokens], [()], n_samples=n, temperature=0.8, seed=1, max_new_tokens=1)
    assert drawn.lines == again.lines
    expected = (clean_run(subject, tokens).edit([()]).last_logits[0].double() / 0.8).softmax(-1)
    counts = torch.bincount(torch.tensor([line[0] for line in drawn.lines[0]]), minlength=len(expected)).double()
    deviation = (counts / n - expected).abs() / (expected * (1 - expected) / n).sqrt()
    assert deviation.max() < 5


@few
@given(family=families, seed=seeds, rule=rules)
def test_cold_samples_are_what_is_most_likely(family: str, seed: int, rule: CoupletBarrier | None) -> None:
    """Near temperature 0 all samples are the greedy continuation, with edits at the last position and mask rules."""
    subject = tiny_subject(family, seed, mask_rule=rule)
    prompts = [[1, 5, 3, *tiny_tokens(seed, 3)], [1, 3, 8, *tiny_tokens(seed + 1, 3)]]
    vectors = rows_like(subject, seed, 2)
    rows = [[], [ReplaceRow(0, 5, vectors[0]), Add(2, 5, vectors[1])]]
    asked = [prompts[0], prompts[1], prompts[0]], [rows[0], rows[1], rows[1]]
    greedy = generate(subject, *asked, max_new_tokens=4, stop=(7,))
    cold = sample(subject, *asked, n_samples=2, temperature=1e-6, seed=seed, max_new_tokens=4, stop=(7,))
    assert cold.lines == [[line, line] for line in greedy]
    for prompt, row, logits in zip(*asked, cold.logits, strict=True):
        torch.testing.assert_close(logits, clean_run(subject, prompt).edit([row]).last_logits[0], rtol=0, atol=1e-10)


@few
@given(family=families, seed=seeds)
def test_every_token_of_a_sample_is_where_its_chance_falls(family: str, seed: int) -> None:
    """The drawn token is where the cumulative distribution of a full forward pass reaches its chance."""
    subject, tokens = tiny_subject(family, seed), tiny_tokens(seed, 5)
    (lines,) = sample(subject, [tokens], [[]], n_samples=4, temperature=1.0, seed=seed, max_new_tokens=5).lines
    generator = torch.Generator().manual_seed(seed)
    chances = torch.rand(4, 5, generator=generator, dtype=torch.float64).tolist()
    for line, own in zip(lines, chances, strict=True):
        for i, (token, chance) in enumerate(zip(line, own, strict=True)):
            below = clean_run(subject, [*tokens, *line[:i]]).read(Read()).last_logits[0].softmax(-1).cumsum(-1)
            assert (float(below[token - 1]) if token else 0.0) - 1e-9 <= chance <= float(below[token]) + 1e-9


def test_samples_take_edits_at_the_last_position_alone() -> None:
    """An edit further back, or one of a pattern, is refused, and no sample is no line."""
    subject, tokens = tiny_subject("llama"), tiny_tokens(0, 4)
    vector = rows_like(subject, 0, 1)[0]
    for edit in (Add(1, 2, vector), FreezePattern((Head(0, 0),)), ReplaceStream(0, 3, vector)):
        with pytest.raises(UserError, match="last position alone, which is 3"):
            sample(subject, [tokens], [[edit]], n_samples=1, temperature=1.0, seed=0, max_new_tokens=1)
    none = sample(subject, [tokens], [[]], n_samples=0, temperature=1.0, seed=0, max_new_tokens=3)
    assert none.lines == [[]]
    assert none.logits.shape == (1, subject.n_vocab)
