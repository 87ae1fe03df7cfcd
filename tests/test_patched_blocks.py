"""Patching by blocks does to a run what the paper describes, and its statistics count what they say."""

import math
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prolepsis.edits import ReplaceStream
from prolepsis.engine import clean_run
from prolepsis.errors import Untested
from prolepsis.experiments import families
from prolepsis.experiments.divergences import cut_kl
from prolepsis.experiments.fact_pairs import FactPair, FactRuns
from prolepsis.experiments.facts_asked import facts_of
from prolepsis.experiments.patched_blocks import (
    Patch,
    blocks,
    changed_rate,
    decline,
    exact_share,
    fact_over_template,
    patch_rows,
    separation,
    sources,
)
from prolepsis.running.hooks import Read
from prolepsis.subject import Subject
from prolepsis.subjects.loading import load_subject
from prolepsis.subjects.task import FactPrompt, Relation
from tests.tiny import tiny_subject, tiny_tokens

torch.set_num_threads(1)


@cache
def subject_of(name: str) -> Subject:
    """A bundled subject; what has been measured on it stays with it."""
    return load_subject(name)


@given(st.integers(1, 60))
def test_blocks_are_the_whole_depth_in_order(n_layers: int) -> None:
    """Blocks tile the layers, at most four of them, and are quarters where four divides the depth."""
    found = blocks(n_layers)
    assert [layer for block in found for layer in block] == list(range(n_layers))
    assert len(found) == min(4, n_layers) or n_layers < 4
    if n_layers % 4 == 0:
        assert {len(block) for block in found} == {n_layers // 4}


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 3), first=st.integers(0, 2), position=st.integers(0, 6))
def test_the_last_layer_of_a_block_overwrites_the_others(seed: int, first: int, position: int) -> None:
    """Patching a whole block is patching its last layer: the earlier layers of the block leave no trace."""
    subject = tiny_subject("llama", seed, n_layers=4)
    recipient, donor = (clean_run(subject, tiny_tokens(100 * seed + i, 7)) for i in (0, 1))
    whole = patch_rows(donor, range(first, 4), position, position)
    last = [ReplaceStream(3, position, donor.resid_post(3)[position])]
    assert torch.equal(recipient.edit([whole, whole]).all_logits, recipient.edit([last, last]).all_logits)


def patch_of(fact: bool, block: int, changed: bool, exact: bool = False, kl: float = 0.0) -> Patch:
    """A patch that did so much."""
    return Patch(block, fact, last=False, changed=changed, exact=exact, kl=kl)


def test_rates_count_patches() -> None:
    """Rates, their differences, exact shares and separation are those counted by hand."""
    found = [patch_of(True, 0, True, True, 2.0), patch_of(True, 0, True, kl=4.0), patch_of(True, 1, False, kl=0.03)]
    found += [patch_of(False, 0, False, kl=0.01), patch_of(False, 1, True, kl=3.0)]
    assert changed_rate(found) == pytest.approx(3 / 5)
    assert fact_over_template(iter(found)) == pytest.approx(2 / 3 - 1 / 2)
    assert decline(found) == 1
    assert exact_share(found) == pytest.approx(1 / 3)
    assert separation(found) == pytest.approx(math.log(3 / 0.02))
    assert separation(found[:2]) is None
    assert exact_share(found[2:4]) == 0


def test_each_block_is_counted_by_itself() -> None:
    """A fact token counts 1 where its row, at the block's last layer, changes the prediction, else 0; pairs cluster."""
    subject = subject_of("planner")
    runs = subject.once(FactRuns)
    for layer, name in enumerate(("first_block_effect", "second_block_effect", "third_block_effect")):
        found = families.experiment(name)(subject)
        for pair in facts_of(subject)[::16]:
            recipient, donor = runs.clean(pair.recipient), runs.clean(pair.donor)
            matched, top = sources(runs, pair), int(recipient.read(Read()).last_logits.argmax())
            places = runs.align(pair, pair.donor).fact
            rows = [[ReplaceStream(layer, at, donor.resid_post(layer)[matched[at]])] for at in places]
            changed = recipient.edit(rows).last_logits.argmax(-1) != top
            patched = [f"{pair.id}, fact token {place}" for place in range(len(places))]
            assert [found.values[patch] for patch in patched] == changed.tolist()
            assert {found.arms["random row"][patch] for patch in patched} <= {0.0, 1.0}
            assert {found.clusters[patch] for patch in patched} == {(pair.cluster,)}
        assert found.design == "by-item"
    assert max(families.experiment("first_block_effect")(subject).values.values()) > 0
    with pytest.raises(Untested, match="its 2 layers make 2 blocks; ask a deeper model"):
        families.experiment("third_block_effect")(subject_of("window-2"))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**16))
def test_divergence_is_kullback_leibler(seed: int) -> None:
    """KL is that of the definition where no token falls under the cut, and 0 only between equals."""
    logits = torch.randn(3, 11, generator=torch.Generator().manual_seed(seed))
    p, q = logits[:1].softmax(-1), logits.softmax(-1)
    expected = torch.nn.functional.kl_div(q.log(), p.expand_as(q), reduction="none").sum(-1)
    assert torch.allclose(cut_kl(logits[0], logits), expected, atol=1e-5)
    assert cut_kl(logits[0], logits)[0].abs() < 1e-6


def test_tokens_are_matched_as_in_the_paper() -> None:
    """Fact tokens keep their index, template tokens their distance from the end, both inside the donor's prompt."""

    class Fixed(FactRuns):
        """Prompts of two lengths, the fact being the first four tokens."""

        def clean(self, prompt: FactPrompt) -> object:  # type: ignore[override]
            return type("Run", (), {"tokens": tuple(range(8 if prompt.subject == "long" else 6))})

        def align(self, pair: FactPair, donor: FactPrompt) -> object:  # type: ignore[override]  # noqa: ARG002
            return type("Places", (), {"fact": (1, 2, 3), "template": (4, 5, 6, 7)})

    relation = Relation("capital", ("{subject}",), ("Paris", "Rome"), {"long": "Paris", "short": "Rome"})
    pair = FactPair(FactPrompt(relation, 0, "long"), FactPrompt(relation, 0, "short"), None, None, 0, "")
    assert sources(Fixed(tiny_subject("llama")), pair) == {1: 1, 2: 2, 3: 3, 4: 2, 5: 3, 6: 4, 7: 5}
