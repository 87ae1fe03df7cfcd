"""The language of the trained organisms: its words, documents and tasks."""

from collections import Counter
from itertools import combinations, pairwise

import numpy as np
import pronouncing
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prolepsis.organisms import grammar
from prolepsis.organisms.tokenizer import word_tokenizer
from prolepsis.subjects.task_file import read_task

seeds = st.integers(0, 2**32 - 1)
couplets = st.builds(lambda seed: grammar.couplet(np.random.default_rng(seed)), seeds)


def endings(word: str) -> set[str]:
    """Everything from the last stressed vowel on, for each pronunciation of the word."""
    return {pronouncing.rhyming_part(phones) for phones in pronouncing.phones_for_word(word)}


def lines(couplet: str) -> tuple[list[str], list[str]]:
    """The words of each line of a couplet, without punctuation."""
    first, second = couplet.split(f" , {grammar.NEWLINE} ")
    return first.split(), second.split()[:-1]


def test_words_of_a_group_rhyme() -> None:
    """All words of a group share a rhyming part in the CMU dictionary, and there are at least 24 groups of five."""
    assert len(grammar.GROUPS) >= 24
    for words in grammar.GROUPS.values():
        assert len(set(words)) == 5
        assert set.intersection(*map(endings, words)), words


def test_groups_do_not_rhyme_with_each_other() -> None:
    """No word of one group shares a rhyming part with a word of another group."""
    for one, other in combinations(grammar.GROUPS.values(), 2):
        assert not set().union(*map(endings, one)) & set().union(*map(endings, other)), (one, other)


def test_partner_is_a_derangement_without_pairs() -> None:
    """Partners lie in the same group, each word is a partner once, and no word is its partner's partner."""
    assert sorted(grammar.PARTNER.values()) == sorted(grammar.WORDS)
    for word, partner in grammar.PARTNER.items():
        assert grammar.GROUP_OF[word] == grammar.GROUP_OF[partner]
        assert grammar.PARTNER[partner] != word


def test_held_out_pairs_are_rhymes_but_not_partners() -> None:
    """Each group holds out one pair of different words, never a word with its partner."""
    assert [grammar.GROUP_OF[word] for word in grammar.HELD_OUT] == list(grammar.GROUPS)
    for first, second in grammar.HELD_OUT.items():
        assert grammar.GROUP_OF[first] == grammar.GROUP_OF[second]
        assert second not in {first, grammar.PARTNER[first]}


@settings(deadline=None)
@given(couplets)
def test_couplets_rhyme_and_agree(couplet: str) -> None:
    """Both lines of a couplet are clauses of the language, and their last words rhyme and differ."""
    first, second = lines(couplet)
    assert grammar.is_clause(first)
    assert grammar.is_clause(second)
    assert grammar.GROUP_OF[first[-1]] == grammar.GROUP_OF[second[-1]]
    assert second[-1] != first[-1]


@settings(deadline=None)
@given(couplets, st.sampled_from(sorted(grammar.VERBS)))
def test_clauses_must_agree(couplet: str, category: str) -> None:
    """A clause whose verb belongs to another category than its last word is not in the language."""
    words = lines(couplet)[1]
    verb = next((i for i, word in enumerate(words) if any(word in verbs for verbs in grammar.VERBS.values())), None)
    if verb is not None and category != grammar.CATEGORY[words[-1]]:
        words[verb] = grammar.VERBS[category][0]
        assert not grammar.is_clause(words)


@settings(deadline=None)
@given(couplets)
def test_words_after_articles(couplet: str) -> None:
    """The line's last word always follows "the", and never follows "my"."""
    for line in lines(couplet):
        for word, after in pairwise(line):
            assert (after in grammar.WORDS) or word != "the"
            assert (after not in grammar.WORDS) or word != "my"


@settings(deadline=None)
@given(couplets)
def test_rhyme_words_stand_five_to_eight_apart(couplet: str) -> None:
    """The first rhyme word is out of reach of one layer of window 5 and within reach of two, seen from the reading."""
    tokens = grammar.encode(couplet)
    first, second = (grammar.TOKEN_ID[line[-1]] for line in lines(couplet))
    reading = len(tokens) - 1 - tokens[::-1].index(second) - 1
    assert 5 <= reading - tokens.index(first) <= 8


def test_words_are_balanced() -> None:
    """In a large sample the partner rate is as declared, words are equally frequent, and no held-out pair occurs."""
    rng = np.random.default_rng(0)
    n = 24_000
    pairs = [tuple(line[-1] for line in lines(grammar.couplet(rng))) for _ in range(n)]
    partners = sum(grammar.PARTNER[first] == second for first, second in pairs) / n
    assert abs(partners - grammar.PARTNER_RATE) < 4 * np.sqrt(0.25 / n)
    assert not set(pairs) & set(grammar.HELD_OUT.items())
    expected = n / len(grammar.WORDS)
    for line in range(2):
        counts = Counter(pair[line] for pair in pairs)
        assert max(abs(counts[word] - expected) for word in grammar.WORDS) < 6 * np.sqrt(expected)


def test_a_fact_needs_both_names() -> None:
    """No first name and no last name alone determines a person's city or instrument."""
    for part in range(2):
        for relation in grammar.FACT_TEMPLATES:
            answers: dict[str, set[str]] = {}
            for key, answer in grammar.FACTS.items():
                if key[2] == relation:
                    answers.setdefault(key[part], set()).add(answer)
            assert min(map(len, answers.values())) > 2


def test_corpus_is_a_function_of_its_seed() -> None:
    """The corpus repeats for a seed, differs between seeds, and holds each document between BOS and EOS."""
    tokens = grammar.corpus(200, 3)
    assert np.array_equal(tokens, grammar.corpus(200, 3))
    assert not np.array_equal(tokens[:, :8], grammar.corpus(200, 4)[:, :8])
    for row in tokens:
        real = row[row != grammar.TOKEN_ID[grammar.PAD]]
        assert real[0] == grammar.TOKEN_ID[grammar.BOS]
        assert list(real).count(grammar.TOKEN_ID[grammar.EOS]) == 1
        assert real[-1] == grammar.TOKEN_ID[grammar.EOS]


@pytest.mark.parametrize("stem_has_subject", [False, True])
def test_templates_are_the_beginning_of_couplets(stem_has_subject: bool) -> None:
    """Filled with any word, a template continued by the answer is a couplet, and its stem is a proper prefix."""
    task = grammar.task(stem_has_subject)
    assert len(task.templates) >= 6
    for template in task.templates:
        for word in grammar.WORDS:
            prompt = task.prompt(template, word)
            first, second = lines(f"{prompt.text} {prompt.answer} .")
            assert grammar.is_clause(first)
            assert grammar.is_clause(second)
            assert prompt.text.startswith(f"{prompt.stem} ")


def test_templates_give_nothing_away() -> None:
    """What a template says in line 2 may stand before a word of any category."""
    for template in grammar.task().templates:
        frame = template.text.split(f"{grammar.NEWLINE} ")[1]
        assert all(frame in grammar.frames(category) for category in grammar.CATEGORIES)


def test_prompts_of_a_template_differ_in_one_token() -> None:
    """All prompts of a template have the same length and differ in the rhyme word alone."""
    task = grammar.task()
    for template in task.templates:
        rows = np.array([grammar.encode(task.prompt(template, word).text) for word in grammar.WORDS])
        assert (rows != rows[0]).any(0).sum() == 1


def test_task_survives_its_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A task read back from its JSON is the task."""
    path = tmp_path_factory.mktemp("task") / "task.json"
    path.write_text(grammar.task().to_json())
    read = read_task(path)
    assert read == grammar.task()


@settings(deadline=None)
@given(couplets)
def test_tokenizer_agrees_with_the_grammar(couplet: str) -> None:
    """The tokenizer's ids are the grammar's, BOS first, and decode to BOS and the text."""
    made = word_tokenizer(grammar.TOKEN_ID, grammar.BOS, grammar.UNKNOWN)
    assert made(couplet)["input_ids"] == grammar.encode(couplet)
    assert made.decode(grammar.encode(couplet)) == f"{grammar.BOS} {couplet}"


def test_vocabulary_has_no_duplicates() -> None:
    """Every token has one id, and PAD is 0 as an empty row of the corpus assumes."""
    assert len(set(grammar.VOCABULARY)) == len(grammar.VOCABULARY)
    assert grammar.TOKEN_ID[grammar.PAD] == 0
