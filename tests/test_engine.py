"""The engine agrees with plain hooked forward passes, and edits do what their names say."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prolepsis.edits import (
    Add,
    BlockEdge,
    FreezePattern,
    HideKeys,
    ReplaceHeadOutput,
    ReplaceRow,
    ReplaceStream,
    Skip,
)
from prolepsis.engine import clean_run
from prolepsis.errors import UserError
from prolepsis.names import Head
from prolepsis.reachability.masks import CoupletBarrier
from prolepsis.running import readings
from prolepsis.running.hooks import Read
from prolepsis.subject import Subject
from tests.tiny import FAMILIES, rows_like, tiny_subject, tiny_tokens

families = st.sampled_from(FAMILIES)
PLACED_ROUNDING = ("gpt_neox",)
"""Families whose numbers depend, in their last bit, on where a row stands in its batch: torch's GELU rounds the last
few numbers of a tensor, those that do not fill a vector, in another way than the ones before."""
seeds = st.integers(0, 2**16)
few = settings(max_examples=25, deadline=None)


def same(subject: Subject, one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether runs that stand in different places of their batches are equal: bit for bit where the family allows."""
    if subject.config.model_type in PLACED_ROUNDING:
        return torch.allclose(one, other, rtol=0, atol=1e-12)
    return torch.equal(one, other)


def sums_to_one(subject: Subject, patterns: torch.Tensor) -> bool:
    """Whether rows of attention sum to one, or to less but to something where the family has sinks."""
    sums = patterns.sum(-1)
    if subject.family.sinks:
        return bool(((sums > 0) & (sums < 1)).all())
    return torch.allclose(sums, torch.ones_like(sums), atol=1e-6)


def hooked_logits(
    subject: Subject, tokens: list[int], edit: Callable[[int, torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Last-position logits of one plain forward pass in which ``edit`` changes each layer's output."""
    handles = []
    for layer in range(subject.n_layers):

        def hook(_: Any, __: Any, output: Any, layer: int = layer) -> Any:
            hidden = output[0] if isinstance(output, tuple) else output
            changed = edit(layer, hidden.clone())
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        handles.append(subject.layer(layer).register_forward_hook(hook))
    with torch.no_grad():
        logits = subject.model(input_ids=torch.tensor([tokens])).logits[0, -1]
    for handle in handles:
        handle.remove()
    return logits


@few
@given(family=families, seed=seeds, layer=st.integers(0, 2), length=st.integers(2, 8))
def test_a_swept_add_equals_one_hooked_forward_per_position(family: str, seed: int, layer: int, length: int) -> None:
    """Row p of a sweep equals a full forward with the vectors added at position p, to 1e-12 of the largest logit."""
    subject, tokens = tiny_subject(family, seed), tiny_tokens(seed, length)
    vectors = rows_like(subject, seed, subject.n_layers)
    swept = clean_run(subject, tokens).edit(
        [[Add(at, p, vectors[at]) for at in range(layer, subject.n_layers)] for p in range(length)]
    )
    for p in range(length):

        def edit(at: int, hidden: torch.Tensor, p: int = p) -> torch.Tensor:
            if at >= layer:
                hidden[0, p] += vectors[at]
            return hidden

        expected = hooked_logits(subject, tokens, edit)
        assert (swept.last_logits[p] - expected).abs().max() <= 1e-12 * expected.abs().max()


@few
@given(family=families, seed=seeds, length=st.integers(1, 8))
def test_an_empty_row_is_the_model_itself(family: str, seed: int, length: int) -> None:
    """Without edits the logits equal the transformers model's own, bit for bit."""
    subject, tokens = tiny_subject(family, seed), tiny_tokens(seed, length)
    with torch.no_grad():
        expected = subject.model(input_ids=torch.tensor([tokens])).logits[0, -1]
    clean = clean_run(subject, tokens)
    assert torch.equal(clean.edit([()]).last_logits[0], clean.read(Read()).last_logits[0])
    assert torch.allclose(clean.read(Read()).last_logits[0], expected, rtol=0, atol=1e-12)


@few
@given(family=families, seed=seeds, layer=st.integers(0, 2), data=st.data())
def test_replacing_a_row_by_itself_changes_nothing(family: str, seed: int, layer: int, data: st.DataObject) -> None:
    """ReplaceRow, ReplaceStream, ReplaceHeadOutput and FreezePattern with the run's own values are the identity."""
    subject, tokens = tiny_subject(family, seed), tiny_tokens(seed, 6)
    position = data.draw(st.integers(0, 5))
    clean = clean_run(subject, tokens)
    head = Head(layer, data.draw(st.integers(0, subject.n_heads - 1)))
    own = clean.resid_post(layer)[position]
    z = clean.read(Read(z=(head,))).z[head][0, position]
    rows = [
        [ReplaceRow(layer, position, own)],
        [ReplaceStream(layer, position, own)],
        [ReplaceHeadOutput(head, position, z)],
        [FreezePattern((head,))],
    ]
    assert same(subject, clean.edit(rows).last_logits, clean.unedited(rows).last_logits)


@few
@given(family=families, seed=seeds, layer=st.integers(0, 2))
def test_replacing_every_row_gives_the_donors_run(family: str, seed: int, layer: int) -> None:
    """Interchanging all rows of one layer gives the donor's logits."""
    subject = tiny_subject(family, seed)
    clean = clean_run(subject, tiny_tokens(seed, 6))
    donor = clean_run(subject, tiny_tokens(seed + 1, 6))
    row = [ReplaceRow(layer, p, donor.resid_post(layer)[p]) for p in range(6)]
    assert torch.allclose(clean.edit([row]).last_logits, donor.read(Read()).last_logits, rtol=0, atol=1e-11)


@few
@given(family=families, seed=seeds, layer=st.integers(1, 2), position=st.integers(0, 5))
def test_a_stream_replacement_cuts_what_is_below(family: str, seed: int, layer: int, position: int) -> None:
    """Below a ReplaceStream no edit of the same row is seen any more."""
    subject = tiny_subject(family, seed)
    clean = clean_run(subject, tiny_tokens(seed, 6))
    vector, value = rows_like(subject, seed, 2)
    stream = ReplaceStream(layer, position, value)
    out = clean.edit([[stream], [stream, Add(layer - 1, 2, vector)]])
    assert torch.allclose(out.last_logits[0], out.last_logits[1], rtol=0, atol=1e-12)


@few
@given(family=families, seed=seeds, layer=st.integers(0, 2))
def test_a_skipped_layer_is_the_identity(family: str, seed: int, layer: int) -> None:
    """Skip gives resid_post(l) = resid_post(l - 1)."""
    subject = tiny_subject(family, seed)
    clean = clean_run(subject, tiny_tokens(seed, 6))
    out = clean.edit([[Skip((layer,))]], Read(resid_post=(layer,)))
    assert torch.equal(out.resid_post[layer][0], clean.resid[layer])


@few
@given(family=families, seed=seeds, query=st.integers(1, 5), data=st.data())
def test_a_blocked_edge_carries_nothing(family: str, seed: int, query: int, data: st.DataObject) -> None:
    """BlockEdge sets the pattern entry to zero and what is left still sums to one, less what sinks keep."""
    subject = tiny_subject(family, seed, window=8)
    key = data.draw(st.integers(0, query - 1))
    head = Head(1, 1)
    out = clean_run(subject, tiny_tokens(seed, 6)).edit(
        [[BlockEdge(head, query, key)]], Read(patterns=((head, query),))
    )
    pattern = out.patterns[head, query][0]
    assert pattern[key] == 0
    assert sums_to_one(subject, pattern)


@few
@given(family=families, seed=seeds, query=st.integers(2, 5), more=st.booleans(), data=st.data())
def test_keys_hidden_from_all_heads_are_edges_blocked_in_each(
    family: str, seed: int, query: int, more: bool, data: st.DataObject
) -> None:
    """HideKeys reads as a BlockEdge per key and head, beside another blocked edge or not."""
    subject = tiny_subject(family, seed, window=8)
    keys = tuple(data.draw(st.sets(st.integers(0, query - 1), max_size=query - 1)))
    clean, head = clean_run(subject, tiny_tokens(seed, 6)), Head(1, 1)
    beside = [BlockEdge(Head(1, 0), 5, 0)] if more else []
    blocked = [BlockEdge(Head(1, h), query, key) for h in range(subject.n_heads) for key in keys]
    out = clean.edit(
        [[HideKeys(1, query, keys), *beside], [*blocked, *beside], beside], Read(patterns=((head, query),))
    )
    assert same(subject, out.last_logits[0], out.last_logits[1])
    pattern = out.patterns[head, query]
    assert same(subject, pattern[0], pattern[1])
    assert not pattern[0, list(keys)].any()
    assert bool((pattern[2, list(keys)] > 0).all())


@few
@given(family=families, seed=seeds)
def test_a_frozen_pattern_moves_values_only(family: str, seed: int) -> None:
    """Under an upstream edit a frozen head's z is its clean pattern times its live values."""
    subject = tiny_subject(family, seed)
    tokens, head = tiny_tokens(seed, 6), Head(2, 1)
    clean = clean_run(subject, tokens)
    upstream = Add(0, 2, rows_like(subject, seed, 1)[0])
    out = clean.edit([[upstream, FreezePattern((head,))]], Read(z=(head,), resid_post=(1,), patterns=((head, 5),)))
    normed = subject.layer(2).input_layernorm(out.resid_post[1])
    parts = 3 if subject.family.fused else 1
    values = subject.part(2, "values")(normed)[0].view(6, -1, parts, subject.d_head)[:, :, -1]
    shared = head.index * values.shape[1] // subject.n_heads
    assert torch.allclose(out.z[head][0], clean.patterns(2)[1] @ values[:, shared], atol=1e-12)
    assert torch.equal(out.patterns[head, 5][0], clean.patterns(2)[1, 5])


@few
@given(family=families, seed=seeds, layer=st.integers(0, 2))
def test_z_is_pattern_times_values(family: str, seed: int, layer: int) -> None:
    """In the clean run and under an edit, below and above it, z is the pattern that is read times the values read."""
    subject = tiny_subject(family, seed)
    clean, head = clean_run(subject, tiny_tokens(seed, 6)), Head(layer, 1)
    read = Read(patterns=tuple((head, query) for query in range(6)), values=(head,), z=(head,))
    rows: list[list[Add]] = [[Add(0, 2, rows_like(subject, seed, 1)[0])], []]
    for out in (clean.read(read), clean.edit(rows, read)):
        pattern = torch.stack([out.patterns[head, query] for query in range(6)], dim=1)  # [B, T, T]
        assert torch.allclose(out.z[head], pattern @ out.values[head], atol=1e-12)


def test_reading_values_disturbs_nothing() -> None:
    """Reading values, also of frozen heads, leaves every other readout as it is, bit for bit."""
    subject = tiny_subject("llama")
    clean, head = clean_run(subject, tiny_tokens(0, 6)), Head(2, 1)
    rows = [[Add(0, 2, rows_like(subject, 0, 1)[0]), FreezePattern((head,))]]
    without = clean.edit(rows, Read(z=(head,)))
    beside = clean.edit(rows, Read(z=(head,), values=(head, Head(1, 0))))
    assert torch.equal(without.all_logits, beside.all_logits)
    assert torch.equal(without.z[head], beside.z[head])


@few
@given(family=families, seed=seeds)
def test_adds_sum_and_commute(family: str, seed: int) -> None:
    """Two Adds at one row equal one Add of their sum, in either order."""
    subject = tiny_subject(family, seed)
    clean = clean_run(subject, tiny_tokens(seed, 5))
    a, b = rows_like(subject, seed, 2)
    out = clean.edit([[Add(1, 2, a), Add(1, 2, b)], [Add(1, 2, b), Add(1, 2, a)], [Add(1, 2, a + b)]]).last_logits
    assert same(subject, out[0], out[1])
    assert same(subject, out[0], out[2])


def test_replace_comes_before_add() -> None:
    """At one row a replacement is applied first and an Add on top of it, whatever the order they are given in."""
    subject = tiny_subject("llama")
    clean = clean_run(subject, tiny_tokens(0, 5))
    value, vector = rows_like(subject, 0, 2)
    out = clean.edit([[Add(1, 2, vector), ReplaceRow(1, 2, value)]], Read(resid_post=(1,)))
    assert torch.equal(out.resid_post[1][0, 2], value + vector)


@few
@given(seed=seeds, family=families)
def test_a_mask_rule_hides_what_it_says(seed: int, family: str) -> None:
    """Under the couplet barrier no head of line 2 attends to line 1, and windows stay in force."""
    subject = tiny_subject(family, seed, mask_rule=CoupletBarrier(newline=3), window=4)
    tokens = [1, 5, 6, 3, 7, 8, 9]
    clean = clean_run(subject, tokens)
    for layer in range(subject.n_layers):
        patterns = clean.patterns(layer)
        assert patterns[:, 4:, 1:3].abs().max() == 0
        window = subject.wiring.windows[layer]
        if window is not None:
            assert all(patterns[:, q, : max(0, q - window + 1)].abs().sum() == 0 for q in range(7))
        assert sums_to_one(subject, patterns)


def test_hooks_are_removed_after_an_error() -> None:
    """An error inside an edited run leaves no hook on the model."""
    subject = tiny_subject("llama")
    clean = clean_run(subject, tiny_tokens(0, 5))
    blocked = [BlockEdge(Head(1, 0), 2, key) for key in range(3)]
    with pytest.raises(UserError, match="no key at all"):
        clean.edit([blocked])
    hooks = [m for m in subject.model.modules() if m._forward_hooks or m._forward_pre_hooks]
    assert hooks == []


@few
@given(
    family=families, seed=seeds, tokens=st.lists(st.integers(0, 10), min_size=1, max_size=4), some=st.integers(1, 40)
)
def test_log_odds_of_one_token_per_row(family: str, seed: int, tokens: list[int], some: int) -> None:
    """Each row's own token is asked for, however many rows are looked at together, and logits stay what they are."""
    subject = tiny_subject(family, seed)
    rows: list[list[Add]] = [[Add(1, 2, vector)] for vector in rows_like(subject, seed, len(tokens))]
    out = clean_run(subject, tiny_tokens(seed, 5)).edit(rows)
    before = out.last_logits.clone()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readings, "DOUBLES_AT_ONCE", some)
        odds = out.log_odds(tokens)
    assert torch.equal(out.last_logits, before)
    p = before.double().softmax(-1)[range(len(tokens)), tokens]
    assert torch.allclose(odds, torch.log(p / (1 - p)), atol=1e-9)
    assert all(torch.equal(odds[row], out.log_odds(token)[row]) for row, token in enumerate(tokens))


def test_log_odds_do_not_saturate() -> None:
    """Log-odds equal ln p/(1-p) in float64 and stay finite where float32 probability is exactly 1."""
    subject = tiny_subject("llama")
    out = clean_run(subject, tiny_tokens(0, 4)).read(Read())
    p = out.last_logits.double().softmax(-1)[0, 5]
    assert torch.allclose(out.log_odds(5)[0], torch.log(p / (1 - p)))
    assert out.logits is not None
    out.logits[0, -1, 5] += 200
    assert out.probabilities()[0, 5] == 1
    assert torch.isfinite(out.log_odds(5)).all()
