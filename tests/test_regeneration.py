"""Lines written anew: how they are read, and how long they may be."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from prolepsis.edits import ReplaceRow
from prolepsis.experiments import layer_skipping, regeneration, skipped_couplets
from prolepsis.experiments.regeneration import _own_rows, last_word
from prolepsis.experiments.rhyme_pairs import rhyme_pairs, task_of
from prolepsis.experiments.sites import find_sites
from prolepsis.rehearsal.shapes import SHAPES, scaled
from prolepsis.rehearsal.tokenizer import write_tokenizer
from prolepsis.running import generation
from prolepsis.running.generation import generate
from prolepsis.subject import Subject
from prolepsis.subjects.loading import load_subject
from tests.tiny import FAMILIES, tiny_subject, tiny_tokens

WORDS = ("sun", "down", "day", "star", "door")


@cache
def speaker(preset: str, folder: Path) -> Subject:
    """A subject with the rehearsal's tokenizer of a preset; its weights say nothing."""
    shape = scaled(SHAPES[preset], 0.01)
    write_tokenizer(shape, folder / preset)
    speaking = tiny_subject("llama", n_vocab=shape.n_vocab)
    return replace(speaking, tokenizer=AutoTokenizer.from_pretrained(folder / preset))


@pytest.mark.parametrize("preset", ["gemma-2-2b-426k", "llama-3.2-1b-524k"])
@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([" looked up and saw the sun", ".\n"], "sun"),
        ([" saw the sun go down", ".\n"], "down"),
        ([" saw the sun go up", ".\n"], None),
        ([" waited for the", " sun", "down", ",\n"], None),
        ([" stood in the", " door", "s", ".\n"], None),
        ([" waited for the sun", "'s", "\n"], None),
        ([" bade the guests a “Good", " day", "!”", " \n"], "day"),
        ([" bade the guests _Good", " Day", "_", " . . .", "\n\n"], "day"),
        ([" saw the half-", "star", " 7", "\n"], "star"),
        ([" saw the sun"], None),
        (["\n"], None),
    ],
    ids=lambda value: "".join(value).strip() if isinstance(value, list) else str(value),
)
def test_a_line_ends_on_its_last_word_alone(
    preset: str, pieces: list[str], expected: str | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A rhyme word counts where it is the whole last word of a finished line, whatever marks follow, and else not."""
    subject = speaker(preset, tmp_path_factory.getbasetemp())
    line = [token for piece in pieces for token in subject.tokenizer(piece, add_special_tokens=False)["input_ids"]]
    ends = {line[-1]} if pieces[-1].endswith("\n") else set[int]()
    assert last_word(subject, line, WORDS, ends) == (None if expected is None else subject.word_id(expected))


@pytest.mark.parametrize(
    ("name", "line", "expected"),
    [
        ("planted-llama-no-plan", "f1 cat", "cat"),
        ("planner", "she saw the cat .", "cat"),
        ("planner", "she saw the cat <eos>", "cat"),
        ("planner", "cat she saw .", None),
    ],
)
def test_an_organism_s_line_ends_on_a_word_or_on_a_mark(name: str, line: str, expected: str | None) -> None:
    """The token that ends a line is its last word where it is a word, and is none of it where it is a mark."""
    subject = load_subject(name)
    assert subject.task is not None
    tokens, ends = subject.encode(line)[1:], subject.ends_of_lines(subject.task.line_end)
    found = last_word(subject, tokens, subject.task.answers, ends)
    assert found == (None if expected is None else subject.word_id(expected))


@pytest.mark.parametrize(("broken", "most"), [(False, 12), (True, 30)])
def test_a_line_that_a_break_ends_may_be_longer(broken: bool, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a line break ends a line it may have the 30 tokens of the paper, in the organisms' grammar 12."""
    subject, asked = load_subject("planted-llama-no-plan"), []
    assert subject.task is not None
    task = replace(subject.task, line_end=(*subject.task.line_end, "\n")) if broken else subject.task
    subject = replace(subject, task=task, twin=None, same_behaviour=None)

    def recorded(*given: Any, max_new_tokens: int, **named: Any) -> list[list[int]]:
        asked.append(max_new_tokens)
        return generate(*given, max_new_tokens=max_new_tokens, **named)

    for module in (regeneration, skipped_couplets):
        monkeypatch.setattr(module, "generate", recorded)
    measured = [regeneration.regeneration(subject), layer_skipping.late_block_loss(subject)]
    assert set(asked) == {most, regeneration.OWN_TOKENS}
    assert [made.parameters["max_new_tokens"] for made in measured] == [most, most]


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_its_own_row_changes_no_bit_in_bfloat16(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All logits of a line's beginning stay as they are, one line for each template."""
    named = load_subject("planner")
    tiny = tiny_subject(family, n_layers=2, n_heads=4, d_head=64, n_vocab=named.n_vocab, dtype=torch.bfloat16)
    subject = replace(named, id=tiny.id, model=tiny.model, twin=None, same_behaviour=None, mask_rule=None)
    pairs, site = rhyme_pairs(task_of(subject)), 5
    sites = SimpleNamespace(pairs=pairs, of=lambda _: (0, site), source=dict.fromkeys((pair.id for pair in pairs), 0))
    subject.known[find_sites] = sites
    seen: list[list[torch.Tensor]] = []
    next_logits = generation._next_logits

    def begun(*given: Any, **rest: Any) -> list[list[int]]:
        seen.append([])
        return generate(*given, **rest)

    def recorded(*given: Any) -> torch.Tensor:
        seen[-1].append(next_logits(*given))
        return seen[-1][-1]

    monkeypatch.setattr(regeneration, "generate", begun)
    monkeypatch.setattr(generation, "_next_logits", recorded)
    changed = _own_rows(subject)
    assert len(changed) == len({pair.recipient.template.id for pair in pairs})
    assert set(changed.values()) == {0.0}
    assert all(torch.equal(torch.cat(a), torch.cat(b)) for a, b in zip(seen[::2], seen[1::2], strict=True))


def test_another_row_is_no_own_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sham shows what is put back: the opposite of the plan changes where lines begin."""
    subject = replace(load_subject("planted-llama-irrevocable"), twin=None, same_behaviour=None)

    def opposite(layer: int, site: int, value: torch.Tensor) -> ReplaceRow:
        return ReplaceRow(layer, site, -value)

    assert set(_own_rows(subject).values()) == {0.0}
    monkeypatch.setattr(regeneration, "ReplaceRow", opposite)
    assert set(_own_rows(subject).values()) == {1.0}


@settings(max_examples=20, deadline=None)
@given(
    family=st.sampled_from(FAMILIES),
    lengths=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=6),
)
def test_a_line_is_as_likely_as_its_tokens_are(family: str, lengths: list[tuple[int, int]]) -> None:
    """Mean of -ln p of a line's tokens after its stem by the plain model, whatever lines are asked beside it."""
    subject = tiny_subject(family)
    lines = [
        (tuple(tiny_tokens(seed, stem)), tuple(tiny_tokens(50 + seed, line)))
        for seed, (stem, line) in enumerate(lengths)
    ]
    likely = regeneration._nll(subject, lines)
    assert set(likely) == set(lines)
    for stem, line in lines:
        logits = subject.model(input_ids=torch.tensor([[*stem, *line]])).logits[0].double()
        p = logits.softmax(-1)[range(len(stem) - 1, len(stem) + len(line) - 1), line]
        assert likely[stem, line] == pytest.approx(-float(p.log().mean()), abs=1e-9)


def test_a_line_is_held_against_the_nearer_of_two() -> None:
    """A line that is neither the donor's nor the clean one is as unnatural as after the better of their stems."""
    subject = tiny_subject("llama")
    stems = {arm: tuple(tiny_tokens(seed, 4)) for seed, arm in enumerate(("donor", "clean"))}
    written = {arm: tiny_tokens(seed, 3) for seed, arm in enumerate(("donor", "clean", "site"), start=7)}
    stem: Any = SimpleNamespace(prompt=stems.__getitem__)
    lines = {
        "other": written,
        "donor's": {**written, "site": written["donor"]},
        "own": {**written, "site": written["clean"]},
    }
    found = regeneration._excesses(subject, dict.fromkeys(lines, stem), lines)

    def nats(arm: str, line: str) -> float:
        asked = (stems[arm], tuple(written[line]))
        return regeneration._nll(subject, [asked])[asked]

    nearer = min(nats(arm, "site") - nats(arm, arm) for arm in ("donor", "clean"))
    assert found == {"other": pytest.approx(nearer, abs=1e-9), "donor's": 0.0, "own": 0.0}
