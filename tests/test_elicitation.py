"""Elicitation counts true rhymes, repeats and what a couplet or a tag changes, on subjects whose answers are known."""

from collections.abc import Mapping
from functools import cache
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prolepsis.errors import Untested
from prolepsis.experiments import elicitation, measuring
from prolepsis.experiments.elicitation import (
    Asked,
    appended_tag,
    elicited_rhymes,
    first_words,
    outcomes,
    paired_counts,
    priming,
)
from prolepsis.experiments.rhyme_pairs import Pair, rhyme_pairs, task_of
from prolepsis.judge import judge_family
from prolepsis.ledger import rows
from prolepsis.report.subjects import ENGLISH
from prolepsis.subject import Subject
from prolepsis.subjects.loading import load_subject
from prolepsis.subjects.task import Prompt, Template
from prolepsis.subjects.task_file import read_task


@cache
def subject_of(name: str) -> Subject:
    """A bundled subject; what has been measured on it stays with it."""
    return load_subject(name)


@pytest.mark.parametrize("name", ["planted-llama-irrevocable", "planted-gemma2-no-plan", "window-2"])
def test_subjects_that_rhyme_do_so_with_line_1_alone(name: str) -> None:
    """Line 1 is followed by its rhyme every time, and never by a rhyme where it is missing or another one."""
    measured = elicited_rhymes(subject_of(name))
    assert set(measured.values.values()) == {1.0}
    assert set(measured.arms["line 2 alone"].values()) == set(measured.arms["another line 1"].values()) == {0.0}
    assert measured.detail["repeats"] == 0
    assert measured.detail["paired"]["line 2 alone"]["p"] < 1e-9


def test_a_couplet_before_takes_the_planted_planner_in() -> None:
    """The route looks at the first line break most, so after a couplet the planner writes that couplet's rhyme."""
    subject = subject_of("planted-llama-irrevocable")
    measured = priming(subject)
    assert set(measured.values.values()) == {0.0}
    assert set(measured.arms["plain"].values()) == {1.0}
    task = task_of(subject)
    pairs = {pair.id: pair for pair in rhyme_pairs(task)}
    asked = {item: Asked(elicitation._after_a_couplet(pair, task), "") for item, pair in pairs.items()}
    assert first_words(subject, asked) == {item: pair.donor.answer for item, pair in pairs.items()}


def test_a_template_with_a_couplet_of_its_own_is_primed_by_it() -> None:
    """The English prompts begin with a couplet: primed they are as they are, plain they begin with line 1."""
    task = read_task(ENGLISH)
    for template in task.templates:
        pair = _pair(template)
        couplet, line_1 = pair.recipient.text[: -len(elicitation._by_itself(pair.recipient))], pair.recipient.word
        assert elicitation._after_a_couplet(pair, task) == pair.recipient.text
        assert couplet.count("\n") == 2
        assert elicitation._by_itself(pair.recipient).split("\n")[0].endswith(f"{line_1},")


def test_a_template_without_a_couplet_is_primed_by_the_donors() -> None:
    """The donor's couplet ends with a line break and no blanks around it; a single line before is no couplet."""
    task = read_task(ENGLISH)
    for before in ("", "A poem:\n"):
        pair = _pair(Template("bare", before + "I saw the {word},\nand then the", before))
        asked = elicitation._after_a_couplet(pair, task)
        assert asked == "I saw the sun,\nand then the fun\nI saw the day,\nand then the"
        assert elicitation._by_itself(pair.recipient) == "I saw the day,\nand then the"


def _pair(template: Template) -> Pair:
    day, sun = Prompt(template, "ay", "day", "way"), Prompt(template, "un", "sun", "fun")
    return Pair(recipient=day, donor=sun, mate=day, donor_mate=sun, half=0)


def test_a_couplet_outside_the_window_changes_nothing() -> None:
    """With a window of five tokens a couplet before the prompt leaves every rhyme as it was."""
    measured = priming(subject_of("window-2"))
    assert measured.values == measured.arms["plain"]
    assert measured.detail["paired"]["plain"] == {"first only": 0, "second only": 0, "p": 1.0}


def test_repeats_are_told_from_rhymes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Line 1's own word is a repeat, another word of its group a rhyme, anything else neither."""
    written = {"a": "cat", "b": "bat", "c": "king", "d": ""}
    monkeypatch.setattr(elicitation, "first_words", lambda *_: written)
    subject = subject_of("planted-llama-irrevocable")
    found = outcomes(subject, {item: Asked("", "cat") for item in written})
    assert found == {"a": "repeat", "b": "rhyme", "c": "neither", "d": "neither"}


def test_words_of_a_natural_language_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no task lists the language, rhymes are those of the pronouncing dictionary."""
    monkeypatch.setattr(elicitation, "first_words", lambda *_: {"a": "sound", "b": "shout", "c": "xqzt"})
    subject = SimpleNamespace(task=None, n_vocab=1, decode=lambda _: "word", once=lambda measure: measure(subject))
    found = outcomes(subject, dict.fromkeys("abc", Asked("", "ground")))  # type: ignore[arg-type]
    assert found == {"a": "rhyme", "b": "neither", "c": "neither"}


def test_a_vocabulary_without_tags_is_untested() -> None:
    """A subject that cannot read the tag is not asked about it, and the reason says what to get."""
    with pytest.raises(Untested, match="no <strong>; use a model trained on web pages"):
        appended_tag(subject_of("planted-llama-irrevocable"))


def test_a_tag_is_held_against_none_and_against_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a word in the tag's place costs rhymes, the measurement and McNemar's counts say how many."""
    subject = subject_of("window-2")
    monkeypatch.setattr(elicitation, "TAG", "the")
    monkeypatch.setattr(elicitation, "OTHER_TAG", ".")
    measured = appended_tag(subject)
    rhymes = {name: sum(hits.values()) for name, hits in {"tag": measured.values, **measured.arms}.items()}
    assert rhymes["no tag"] == 48 > rhymes["tag"] > rhymes["another tag"] == 0
    paired = measured.detail["paired"]
    assert (paired["no tag"]["first only"], paired["no tag"]["second only"]) == (0, 48 - rhymes["tag"])
    assert (paired["another tag"]["first only"], paired["another tag"]["second only"]) == (rhymes["tag"], 0)


HITS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30)


@given(hits=HITS)
def test_paired_counts_are_antisymmetric(hits: list[tuple[bool, bool]]) -> None:
    """Swapping the arms swaps the discordant counts and leaves the p-value, which is 1 where they are equal."""
    first: Mapping[str, float] = {str(i): float(a) for i, (a, _) in enumerate(hits)}
    second = {str(i): float(b) for i, (_, b) in enumerate(hits)}
    there, back = paired_counts(first, second), paired_counts(second, first)
    assert (there["first only"], there["second only"]) == (back["second only"], back["first only"])
    assert there["p"] == back["p"] <= 1
    assert there["first only"] != there["second only"] or there["p"] == 1


def test_one_of_twenty_seven_prompts_shows_nothing() -> None:
    """22 against 21 of 27 differ by one prompt at best, and McNemar's test gives that p = 1."""
    first = {str(i): float(i < 22) for i in range(27)}
    second = {str(i): float(i < 21) for i in range(27)}
    assert paired_counts(first, second) == {"first only": 1, "second only": 0, "p": 1.0}


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("planted-llama-irrevocable", "supported"),
        ("planted-llama-untrained", "contradicted"),
        ("window-1", "contradicted"),
    ],
)
def test_asked_verdicts_on_subjects_with_known_answers(name: str, verdict: str) -> None:
    """Line 1 elicits the rhyme where there is a circuit for it, and nowhere else."""
    claims = [claim for claim in rows(family="elicitation", tier="organism") if claim.variant == "asked"]
    verdicts = judge_family(claims, measuring.measure(claims, subject_of(name)))
    assert {found.verdict for found in verdicts.values()} == {verdict}
