"""What makes a subject rhyme? The first word it writes with and without the lines before (section 3 of the paper).

A prompt ends where a rhyme is due. The paper writes another couplet before it, which establishes another rhyme, and
appends an HTML tag. Its counts take line 1's own word for a rhyme; here repeats and true rhymes are told apart. Line 1
is the line of the rhyme word; a template may have a couplet of its own before it.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from prolepsis.controls import control_arms
from prolepsis.errors import Untested
from prolepsis.experiments.rhyme_pairs import Pair, rhyme_pairs, task_of
from prolepsis.measurement import Measurement
from prolepsis.running.generation import generate
from prolepsis.running.prompt_batch import by_length
from prolepsis.statistics import mcnemar
from prolepsis.subject import Subject
from prolepsis.subjects.lexicon import listed_endings, spoken_endings
from prolepsis.subjects.task import Prompt, Task

Values = Mapping[str, float]
Outcome = Literal["rhyme", "repeat", "neither"]
TAG, OTHER_TAG = "<strong>", "<table>"
COUPLET = 2
"""Line breaks that end a whole couplet."""
TOKENS_PER_WORD = 4
"""Enough for the first word of a line in a natural language; in a listed one every word is a token."""


@dataclass(frozen=True)
class Asked:
    """One text, and the word whose rhyme is looked for in what follows it."""

    text: str
    word: str


def first_words(subject: Subject, asked: Mapping[str, Asked]) -> dict[str, str]:
    """Item → the first word of the greedy continuation, in lower case; empty where it holds no word."""
    tokens = {item: subject.encode(one.text) for item, one in asked.items()}
    length = 1 if subject.once(listed_endings) else TOKENS_PER_WORD
    words = {}
    for items in by_length(tokens, lambda item: len(tokens[item])):
        prompts = [tokens[item] for item in items]
        lines = generate(subject, prompts, [[]] * len(items), max_new_tokens=length)
        for item, line in zip(items, lines, strict=True):
            found = re.search("[a-z']+", subject.decode(line).lower())
            words[item] = found[0] if found else ""
    return words


def outcomes(subject: Subject, asked: Mapping[str, Asked]) -> dict[str, Outcome]:
    """Item → whether the first word is another word with the rhyme ending asked for, that word itself, or neither."""
    written = first_words(subject, asked)
    found = scored(subject, [(asked[item].word, word) for item, word in written.items()])
    return dict(zip(written, found, strict=True))


def scored(subject: Subject, words: Sequence[tuple[str, str]]) -> list[Outcome]:
    """Per word asked for and word written whether the second rhymes with the first, repeats it, or neither.

    Endings are those of the first pronunciation.
    """
    endings = subject.once(listed_endings) or spoken_endings({word for pair in words for word in pair})

    def outcome(word: str, other: str) -> Outcome:
        if word == other:
            return "repeat"
        return "rhyme" if {word, other} <= set(endings) and endings[other][0] == endings[word][0] else "neither"

    return [outcome(word, other) for word, other in words]


def with_line_1(subject: Subject) -> dict[str, Outcome]:
    """The task's own prompts: line 1, with what the template has before it, and line 2 up to its last word."""
    return outcomes(subject, _asked(subject, lambda pair, _: pair.recipient.text))


def line_2_alone(subject: Subject) -> dict[str, Outcome]:
    """The same without line 1: what follows the rhyme word."""
    return outcomes(subject, _asked(subject, lambda pair, _: _after_the_word(pair.recipient)))


def another_line_1(subject: Subject) -> dict[str, Outcome]:
    """Line 1 of another rhyme group, scored against the first one's: what words rhyme by chance."""
    return outcomes(subject, _asked(subject, lambda pair, _: pair.donor.text))


def primed(subject: Subject) -> dict[str, Outcome]:
    """Line 1 and line 2 after a whole couplet with another rhyme."""
    return outcomes(subject, _asked(subject, _after_a_couplet))


def plain(subject: Subject) -> dict[str, Outcome]:
    """Line 1 and line 2 with nothing before them."""
    return outcomes(subject, _asked(subject, lambda pair, _: _by_itself(pair.recipient)))


def true_rhymes(subject: Subject) -> Values:
    """Item → 1 where line 2 ends on another word that rhymes with line 1's."""
    return _hits(subject.once(with_line_1), "rhyme")


def elicited_rhymes(subject: Subject) -> Measurement:
    """Share of prompts whose line 2 ends on another word that rhymes with line 1, with its control arms.

    Arms: ``line 2 alone``, ``another line 1``, ``untrained twin``. ``detail`` has the repeats of line 1's own word, and
    McNemar's exact test of line 1 against none.
    """
    start = time.perf_counter()
    alone, other = subject.once(line_2_alone), another_line_1(subject)
    return _measurement(
        subject,
        "elicited_rhymes",
        true_rhymes(subject),
        {
            "line 2 alone": _hits(alone, "rhyme"),
            "another line 1": _hits(other, "rhyme"),
            **control_arms(subject, true_rhymes, {"untrained twin": subject.twin}),
        },
        detail={"repeats": _repeats(subject.once(with_line_1))},
        start=start,
    )


def primed_rhymes(subject: Subject) -> Values:
    """Item → 1 where a primed prompt is answered by a rhyme as the paper counts: line 1's own word is one."""
    return _hits(subject.once(primed), "rhyme", "repeat")


def priming(subject: Subject) -> Measurement:
    """Share of primed prompts that are answered by a rhyme, repeats included, with its control arms.

    Arms: ``plain`` (the same prompts without the couplet before), ``untrained twin``. ``detail`` has the repeats by
    themselves, and McNemar's exact test of primed against plain prompts.
    """
    start, without = time.perf_counter(), plain(subject)
    return _measurement(
        subject,
        "priming",
        primed_rhymes(subject),
        {
            "plain": _hits(without, "rhyme", "repeat"),
            **control_arms(subject, primed_rhymes, {"untrained twin": subject.twin}),
        },
        detail={"repeats": _repeats(subject.once(primed)), "repeats, plain": _repeats(without)},
        start=start,
    )


def appended_tag(subject: Subject) -> Measurement:
    """Share of primed prompts answered by a rhyme with an HTML tag appended, repeats included, with its control arms.

    Arms: ``no tag``, ``another tag``. Raises Untested where the tokenizer does not know the tags.
    """
    start = time.perf_counter()
    for tag in (TAG, OTHER_TAG):
        if subject.tokenizer.unk_token_id in subject.tokenizer(tag, add_special_tokens=False)["input_ids"]:
            raise Untested(f"its vocabulary has no {tag}; use a model trained on web pages")

    def tagged(tag: str) -> Values:
        asked = _asked(subject, lambda pair, task: f"{_after_a_couplet(pair, task)} {tag}")
        return _hits(outcomes(subject, asked), "rhyme", "repeat")

    arms = {"no tag": primed_rhymes(subject), "another tag": tagged(OTHER_TAG)}
    return _measurement(subject, "appended_tag", tagged(TAG), arms, detail={}, start=start)


def paired_counts(first: Values, second: Values) -> dict[str, float]:
    """How the hits of two arms differ on the same prompts, and the exact two-sided p-value of that (McNemar)."""
    first_only = sum(first[item] > second[item] for item in first)
    second_only = sum(first[item] < second[item] for item in first)
    return {"first only": first_only, "second only": second_only, "p": mcnemar(first_only, second_only)}


def _measurement(
    subject: Subject,
    name: str,
    values: Values,
    arms: Mapping[str, Values],
    *,
    detail: Mapping[str, object],
    start: float,
) -> Measurement:
    pairs = rhyme_pairs(task_of(subject))
    return Measurement(
        experiment=name,
        subject=subject.digest,
        unit="proportion",
        design="one-way",
        parameters={"prompts": [pair.recipient.id for pair in pairs], "decoding": "greedy, first word"},
        values=values,
        clusters={pair.id: (pair.recipient.group,) for pair in pairs},
        arms=arms,
        detail={**detail, "paired": {arm: paired_counts(values, hits) for arm, hits in arms.items()}},
        seconds=time.perf_counter() - start,
    )


def _asked(subject: Subject, text: Callable[[Pair, Task], str]) -> dict[str, Asked]:
    task = task_of(subject)
    return {pair.id: Asked(text(pair, task), pair.recipient.word) for pair in rhyme_pairs(task)}


def _after_the_word(prompt: Prompt) -> str:
    """What the template says after its slot, from the line break on."""
    return prompt.template.text.partition("{word}")[2].lstrip(" ,.;:!?")


def _by_itself(prompt: Prompt) -> str:
    """The prompt from line 1 on, without the lines its template has before that."""
    text = prompt.template.text
    return text[text.rfind("\n", 0, text.index("{word}")) + 1 :].replace("{word}", prompt.word)


def _after_a_couplet(pair: Pair, task: Task) -> str:
    """The prompt after its template's own couplet, else after the donor's, ended as lines of this language end."""
    if pair.recipient.template.text.partition("{word}")[0].count("\n") >= COUPLET:
        return pair.recipient.text
    couplet = f"{_by_itself(pair.donor)} {pair.donor.answer}"
    end = "" if pair.donor.answer in task.line_end else task.line_end[0]
    between = end if end.isspace() else f" {end} " if end else " "
    return f"{couplet}{between}{_by_itself(pair.recipient)}"


def _hits(found: Mapping[str, Outcome], *counted: Outcome) -> dict[str, float]:
    return {item: float(outcome in counted) for item, outcome in found.items()}


def _repeats(found: Mapping[str, Outcome]) -> int:
    return sum(outcome == "repeat" for outcome in found.values())
