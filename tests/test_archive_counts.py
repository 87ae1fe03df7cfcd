"""Recorded convergence, rhyme groups, texts and counterfactual pairs: recounted, not taken from the file's word."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prolepsis import ledger
from prolepsis.archive import convergence, counterfactual_pairs, generated_texts, rhyme_groups
from prolepsis.archive.files import open_archive
from prolepsis.errors import Untested
from prolepsis.judge import judge
from tests import recorded_files as files
from tests.recorded_files import SPIKE, WORDS, fact, held, recording, value

seeds = st.integers(0, 2**32 - 1)


# ---- convergence -----------------------------------------------------------------------------------------------------


@given(seeds)
def test_absorption_is_recounted_by_the_rule(seed: int) -> None:
    """A layer absorbs when some later cosine reaches the threshold, and is seen to when the first one has not."""
    rng = np.random.default_rng(seed)
    cosines = rng.uniform(0.9, 1.0, (6, 6)).tolist()
    later = [row[i + 1 :] for i, row in enumerate(cosines)]
    absorbed = [any(cosine >= 0.95 for cosine in row) for row in later]
    quick = [any(cosine >= 0.95 for cosine in row[:2]) for row in later]
    seen = [hit and row[0] < 0.95 for hit, row in zip(absorbed, later, strict=True)]
    with held(files.convergence(cosines)) as one:
        assert value(convergence.absorbing_layers(one)) == pytest.approx(np.mean(absorbed))
        assert value(convergence.quickly_absorbing_layers(one)) == pytest.approx(np.mean(quick))
        assert value(convergence.returning_layers(one)) == pytest.approx(np.mean(seen))
        assert value(convergence.absorption_recounted(one)) == 0


def test_layers_that_never_deviate_count_as_absorbing_but_are_not_seen_to(tmp_path: Path) -> None:
    """A cosine of 1 throughout is absorbed by the paper's rule at every layer but the last, and shows nothing."""
    one = recording(tmp_path, files.convergence([[1.0] * 8] * 8))
    assert value(convergence.absorbing_layers(one)) == 7 / 8
    assert value(convergence.returning_layers(one)) == 0
    assert convergence.returning_layers(one).detail["never seen to deviate"] == list(range(7))


def test_a_stated_absorption_that_the_matrix_does_not_give_is_counted(tmp_path: Path) -> None:
    """What the file says of itself is held against its matrix."""
    contents = files.convergence(files.absorbing(6))
    contents["layer_summaries"][0]["absorption_layer"] = 5
    found = convergence.absorption_recounted(recording(tmp_path, contents))
    assert (value(found), found.detail) == (1, {"layers": [0]})


@pytest.mark.parametrize(
    ("last", "verdict", "agrees", "why"),
    [
        (1, "inconclusive", "cannot tell", "equality is not shown"),
        (2, "inconclusive", "yes", "no null was measured"),
        (3, "inconclusive", "cannot tell", "equality is not shown"),
        (4, "contradicted", "no", "the values differ"),
    ],
)
def test_the_edge_is_known_to_a_step_of_the_sweep(
    tmp_path: Path, last: int, verdict: str, agrees: str, why: str
) -> None:
    """The edge is anywhere between two steps: 1.2 is met from 1 to 1.5, missed beyond 2, and open one step off."""
    contents = files.convergence(files.absorbing(6))
    contents["strength_sweep"] = [
        {"strength": 0.5 * k, "p_target": 0.3, "absorption_layer": 3 if k <= last else None} for k in range(1, 7)
    ]
    (claim,) = (c for c in ledger.rows("recorded") if c.id == "A13b")
    found = judge(claim, convergence.published_critical_strength(recording(tmp_path, contents)))
    assert (found.verdict, found.agrees) == (verdict, agrees)
    assert found.measured is not None
    assert found.measured["ci"] == [0.5 * last, 0.5 * last + 0.5]
    assert why in found.reason


@pytest.mark.parametrize(("baseline", "word"), [(0.39344826, "contradicted"), (0.35, "inconclusive")])
def test_a_printed_redirect_that_is_the_baseline_is_found_out(tmp_path: Path, baseline: float, word: str) -> None:
    """A probability without any edit that rounds to the printed redirect contradicts that it is another number."""
    one = recording(tmp_path, files.convergence([[1.0]], baseline=baseline))
    (claim,) = (c for c in ledger.rows("recorded") if c.experiment == "redirect_off_baseline")
    assert judge(claim, convergence.redirect_off_baseline(one)).verdict == word


@pytest.mark.parametrize(
    ("absorbed", "layers", "verdict", "agrees"),
    [
        ((3, 3, None), 1, "inconclusive", "yes"),
        ((3, 4, None), 2, "inconclusive", "yes"),
        ((3, 5, None), 3, "contradicted", "no"),
        ((None, 3, None), 4, "contradicted", "no"),
    ],
)
def test_the_stream_is_back_within_two_layers_below_the_edge(
    tmp_path: Path, absorbed: tuple[int | None, ...], layers: int, verdict: str, agrees: str
) -> None:
    """The strength that takes most layers counts, never absorbed as more than all, and what lies beyond does not."""
    contents = files.convergence(files.absorbing(6))
    contents["strength_sweep"] = [
        {"strength": 0.5 * k, "p_target": 0.1, "absorption_layer": layer} for k, layer in enumerate(absorbed, 1)
    ]
    (claim,) = (c for c in ledger.rows("recorded") if c.id == "C16b")
    measured = convergence.layers_within_basin(recording(tmp_path, contents))
    found = judge(claim, measured)
    assert (value(measured), found.verdict, found.agrees) == (layers, verdict, agrees)


def test_another_prompt_is_not_held_against_a_printed_figure(tmp_path: Path) -> None:
    """A convergence of another prompt leaves the printed figures untested."""
    one = recording(tmp_path, files.convergence([[1.0]]) | {"prompt": "Roses are red"})
    with pytest.raises(Untested, match="is of the prompt 'Roses are red'"):
        convergence.absorbing_layers(one)


# ---- rhyme groups ----------------------------------------------------------------------------------------------------


def test_figures_of_a_scan(tmp_path: Path) -> None:
    """Groups and words are recounted; only the number of all words found is taken from the file."""
    one = recording(tmp_path, files.scan(WORDS, 9))
    expected = {
        "recorded_clean_words": 9, "recorded_rhyme_groups": 2, "recorded_rhyme_words": 5, "recorded_least_cosine": 0.5,
        "recorded_smallest_group": 2, "words_said_otherwise": 0, "words_twice": 0,
    }  # fmt: skip
    assert {name: value(getattr(rhyme_groups, name)(one)) for name in expected} == expected


def test_words_that_are_said_otherwise_are_counted(tmp_path: Path) -> None:
    """A wrong pronunciation, a wrong ending and a word no dictionary has are each counted."""
    groups = {
        "AE1 T": [("cat", "K AE1 T"), ("hat", "HH EH1 T"), ("out", "AW1 T"), ("qzat", "K AE1 T")],
    }
    found = rhyme_groups.words_said_otherwise(recording(tmp_path, files.scan(groups, 9)))
    assert (value(found), found.detail["words"]) == (3, ["hat", "out", "qzat"])


def test_a_scan_that_is_not_what_it_says_is_broken(tmp_path: Path) -> None:
    """Another number of groups than announced, and another transcoder than the paper's, are named."""
    files.write(tmp_path, "a.json", files.scan(WORDS, 9) | {"n_rhyme_groups": 3})
    files.write(tmp_path, "b.json", files.scan(WORDS, 9, features=7))
    files.write(tmp_path, "c.json", files.position_sweep(SPIKE))
    first, second = open_archive(tmp_path).skipped
    assert "3 groups of 5 words are announced, 2 are there" in first
    assert "7 features are those of no transcoder of the paper" in second


def test_random_words_rhyme_too(tmp_path: Path) -> None:
    """A share of rhymes that random dictionary words have as well is vacuous; the same seed gives the same share."""
    words = [word for group in WORDS.values() for word in group]
    one = recording(tmp_path, files.scan({"AW1 T": words[:2], "AE1 T": words[2:]}, 20))
    found = rhyme_groups.rhyming_share(one)
    assert found == rhyme_groups.rhyming_share(one)
    (by_chance,) = found.arms["random words"].values()
    assert 0 < by_chance < 1
    assert value(found) == 0.25


def test_without_a_dictionary_rhymes_are_untested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pronouncing is missing, what needs it is untested and says what to get; counts are measured."""
    one = recording(tmp_path, files.scan(WORDS, 9))
    monkeypatch.setitem(sys.modules, "pronouncing", None)
    for name in ("words_said_otherwise", "rhyming_share"):
        with pytest.raises(Untested, match="pip install pronouncing"):
            getattr(rhyme_groups, name)(one)
    assert value(rhyme_groups.recorded_rhyme_groups(one)) == 2


# ---- generated texts -------------------------------------------------------------------------------------------------


def test_rhymes_are_recounted_by_protocol(tmp_path: Path) -> None:
    """After a couplet, with a tag, on single lines and for whole lines, each text counts for its own figure alone."""
    contents = files.texts()
    contents.append({"prompt": files.COUPLET, "generated": " dog"})
    contents.append({"prompt": files.COUPLET, "generated": " hat"})
    contents.append({"prompt": "He wore a hat,\n", "generated": "And had a dog.\nAnd a cat"})
    contents.append({"prompt": "He wore a qzat,\nAnd had a", "generated": " qzat"})
    one = recording(tmp_path, contents)
    rate = generated_texts.primed_rhyme_rate(one)
    assert value(rate) == pytest.approx(2 / 3)
    assert rate.detail == {"of": 3, "repeats": 1, "other words": 1}
    assert value(generated_texts.tagged_rhyme_rate(one)) == 1
    assert value(generated_texts.single_line_rhyme_rate(one)) == 1
    assert generated_texts.rhymes_with_all_layers(one).detail == {"of": 2, "repeats": 0, "other words": 1}
    assert value(generated_texts.rhymes_without_late_block(one)) == 1
    assert value(generated_texts.repeats_among_rhymes(one)) == pytest.approx(2 / 12)


def test_rhymes_lost_are_those_of_as_many_couplets(tmp_path: Path) -> None:
    """What a block costs is the whole model's rhymes less those without it, where both wrote as many couplets."""
    line = {"prompt": "He wore a hat,\n", "generated": "And had a dog.", "condition": "skip L10-L14"}
    one = recording(tmp_path, [text for text in files.texts() if text.get("condition") != line["condition"]] + [line])
    assert value(generated_texts.rhymes_lost_without_first_planning_block(one)) == 1
    assert value(generated_texts.rhymes_lost_without_second_planning_block(one)) == 0
    assert value(generated_texts.rhymes_without_beyond_late_block(one)) == 1


def test_unequal_numbers_of_couplets_cannot_be_compared(tmp_path: Path) -> None:
    """A condition recorded for more couplets than the whole model is untested, and says so."""
    more = {"prompt": "He wore a hat,\n", "generated": "And had a dog.", "condition": "skip L10-L14"}
    one = recording(tmp_path, [*files.texts(), more])
    with pytest.raises(Untested, match="1 couplets with no layer skipped, and 2 without some"):
        generated_texts.rhymes_lost_without_first_planning_block(one)


def test_a_text_without_a_line_to_rhyme_with_is_broken(tmp_path: Path) -> None:
    """A prompt of one line asks for no rhyme; such a list is named."""
    files.write(tmp_path, "a.json", [{"prompt": "Roses are", "generated": " red"}])
    assert "no line before the rhyme in the prompt 'Roses are'" in open_archive(tmp_path).skipped[0]


def test_texts_that_hold_no_such_prompt_are_untested(tmp_path: Path) -> None:
    """A figure whose protocol no text follows is untested, and says which."""
    one = recording(tmp_path, files.texts()[:1])
    with pytest.raises(Untested, match="hold none for rhymes without late block"):
        generated_texts.rhymes_without_late_block(one)


# ---- counterfactual pairs --------------------------------------------------------------------------------------------


def test_leaks_lengths_and_repeats_are_counted(tmp_path: Path) -> None:
    """An answer in its fact, facts of unequal length and a row that is there twice are each found."""
    rows = [
        fact("Paris", "France", "Spain"),
        fact("Paris", "France", "Spain"),
        fact("Lyon", "France", "Spain", told="in France is in"),
        fact("Oslo", "way", "Spain", told="in Norway is in"),
        fact("Nice", "France", "Spain") | {"counterfactual_prompt": "A longer one is in\n\nResponse:"},
    ]
    one = recording(tmp_path, rows, "test_both_correct.json")
    assert value(counterfactual_pairs.gold_pairs(one)) == 4
    assert value(counterfactual_pairs.repeated_pairs(one)) == 1
    assert value(counterfactual_pairs.answers_given_away(one)) == pytest.approx(1 / 5)
    assert value(counterfactual_pairs.unequal_lengths(one)) == pytest.approx(1 / 5)


def test_the_whole_split_is_not_taken_for_the_screened_pairs(tmp_path: Path) -> None:
    """The name tells the two files apart, and either leaves the other's figure untested."""
    one = recording(tmp_path, [fact("Paris", "France", "Spain")], "split.json")
    assert value(counterfactual_pairs.unscreened_pairs(one)) == 1
    with pytest.raises(Untested, match=r"split.json is not the screened pairs, a file named …both_correct.json"):
        counterfactual_pairs.gold_pairs(one)


def test_a_row_without_an_answer_is_broken(tmp_path: Path) -> None:
    """A row whose answer is empty is named by its number."""
    files.write(tmp_path, "a.json", [fact("Paris", "France", "Spain"), fact("Lyon", " ", "Spain")])
    assert "row 2 has an empty prompt or answer" in open_archive(tmp_path).skipped[0]
