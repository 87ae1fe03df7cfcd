"""Recorded generated texts, from which rhymes are recounted (sections 3 and 7).

No sample of such a recording was at hand, so this has been tried on none. Read is a JSON list of records with

    "prompt"     the whole prompt as it was given to the model
    "generated"  what the model wrote after it
    "condition"  what was done to the model, as "skip L22-L25"; left out for nothing
    "model"      the model's name; left out for google/gemma-2-2b

Two protocols are told apart by the prompt. One that ends with a line break asks for a whole line: the last word of the
prompt's last line against the last word of the first line written. Any other ends where a rhyme is due: the last word
of the line before its last one against the first word written. The published counts take the same word for a rhyme;
here repeats are counted apart. Rhymes are those of the first pronunciation.
"""

import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prolepsis.archive.files import Recording
from prolepsis.archive.rhyme_groups import first_endings
from prolepsis.archive.single import single
from prolepsis.errors import Untested
from prolepsis.measurement import Measurement

KIND = "generated-text list"
TAG = "<strong>"
COUPLET = 3
"""Line breaks in a prompt whose rhyme is due after a whole couplet before."""
WORD = re.compile("[a-z']+")


@dataclass(frozen=True)
class Text:
    """The ``word`` a rhyme is due for, and the one ``written``, both in lower case; "" where nothing was written."""

    word: str
    written: str
    condition: str
    tagged: bool
    breaks: int
    whole_line: bool


def parse(contents: Any) -> tuple[Text, ...]:
    """A list of records of which each has a line before the place where the rhyme is due."""
    return tuple(_text(entry) for entry in contents)


def _text(entry: Any) -> Text:
    prompt, generated = entry["prompt"], entry["generated"]
    if not isinstance(prompt, str) or not isinstance(generated, str):
        raise ValueError("prompt and generated have to be texts")
    tagged = prompt.rstrip().endswith(TAG)
    lines = (prompt.rstrip().removesuffix(TAG) if tagged else prompt).lower().split("\n")
    whole_line = not tagged and not lines[-1].strip()
    asked = next((line for line in reversed(lines[:-1]) if line.strip()), "")
    answer = next((line for line in generated.lower().split("\n") if line.strip()), "")
    if not WORD.search(asked):
        raise ValueError(f"no line before the rhyme in the prompt {prompt!r}")
    words = WORD.findall(answer) or [""]
    return Text(
        WORD.findall(asked)[-1], words[-1 if whole_line else 0], str(entry.get("condition", "")).lower(), tagged,
        prompt.strip().count("\n"), whole_line,
    )  # fmt: skip


def primed_rhyme_rate(recording: Recording) -> Measurement:
    """Share of the prompts after a couplet whose next word rhymes as the paper counts."""
    return _rate(recording, "primed_rhyme_rate", lambda text: text.breaks >= COUPLET and not text.tagged)


def tagged_rhyme_rate(recording: Recording) -> Measurement:
    """The same with the tag appended to the prompt."""
    return _rate(recording, "tagged_rhyme_rate", lambda text: text.breaks >= COUPLET and text.tagged)


def single_line_rhyme_rate(recording: Recording) -> Measurement:
    """The same without a couplet before."""
    return _rate(recording, "single_line_rhyme_rate", lambda text: text.breaks < COUPLET and not text.tagged)


def repeats_among_rhymes(recording: Recording) -> Measurement:
    """Of the rhymes as the paper counts them, the share in which the word is merely repeated."""
    texts = recording.read(KIND, parse)
    counted = [text.word == text.written for text, hit in zip(texts, _rhymes(texts), strict=True) if hit]
    if not counted:
        raise Untested(f"no text of {recording.id} rhymes")
    value = statistics.fmean(counted)
    return single(recording, "repeats_among_rhymes", "share", value, detail={"rhymes": len(counted)})


def rhymes_with_all_layers(recording: Recording) -> Measurement:
    """Number of couplets that rhyme with no layer skipped."""
    return _couplets(recording, "rhymes_with_all_layers", "")


def rhymes_without_early_block(recording: Recording) -> Measurement:
    """Number of couplets that rhyme without layers 5 to 9."""
    return _couplets(recording, "rhymes_without_early_block", "skip l5-l9")


def rhymes_without_late_block(recording: Recording) -> Measurement:
    """Number of couplets that rhyme without layers 22 to 25."""
    return _couplets(recording, "rhymes_without_late_block", "skip l22-l25")


def rhymes_without_last_block(recording: Recording) -> Measurement:
    """Number of couplets that rhyme without layers 24 and 25."""
    return _couplets(recording, "rhymes_without_last_block", "skip l24-l25")


def rhymes_without_beyond_late_block(recording: Recording) -> Measurement:
    """Number of couplets that rhyme without layers 20 to 25, more than the late block."""
    return _couplets(recording, "rhymes_without_beyond_late_block", "skip l20-l25")


def rhymes_lost_without_first_planning_block(recording: Recording) -> Measurement:
    """By how many fewer couplets rhyme without layers 10 to 14 than with no layer skipped."""
    return _lost(recording, "rhymes_lost_without_first_planning_block", "skip l10-l14")


def rhymes_lost_without_second_planning_block(recording: Recording) -> Measurement:
    """By how many fewer couplets rhyme without layers 15 to 19 than with no layer skipped."""
    return _lost(recording, "rhymes_lost_without_second_planning_block", "skip l15-l19")


def _rate(recording: Recording, experiment: str, asked: Callable[[Text], bool]) -> Measurement:
    """Of the texts in which the next word is asked for, and nothing was done to the model."""
    texts = _some(recording, experiment, lambda text: not (text.whole_line or text.condition) and asked(text))
    value = statistics.fmean(_rhymes(texts))
    return single(recording, experiment, "proportion", value, detail=_apart(texts))


def _couplets(recording: Recording, experiment: str, condition: str) -> Measurement:
    texts = _whole_lines(recording, experiment, condition)
    return single(recording, experiment, "count", sum(_rhymes(texts)), detail=_apart(texts))


def _lost(recording: Recording, experiment: str, condition: str) -> Measurement:
    whole, skipped = (_whole_lines(recording, experiment, of) for of in ("", condition))
    if len(whole) != len(skipped):
        raise Untested(
            f"{recording.id} has {len(whole)} couplets with no layer skipped, and {len(skipped)} without some"
        )
    return single(recording, experiment, "count", sum(_rhymes(whole)) - sum(_rhymes(skipped)), detail=_apart(skipped))


def _whole_lines(recording: Recording, experiment: str, condition: str) -> list[Text]:
    return _some(recording, experiment, lambda text: text.whole_line and text.condition == condition)


def _some(recording: Recording, experiment: str, asked: Callable[[Text], bool]) -> list[Text]:
    texts = [text for text in recording.read(KIND, parse) if asked(text)]
    if not texts:
        raise Untested(f"the generated texts of {recording.id} hold none for {experiment.replace('_', ' ')}")
    return texts


def _rhymes(texts: list[Text] | tuple[Text, ...]) -> list[bool]:
    """Per text whether it rhymes as the paper counts: with the same ending, or by the same word."""
    endings = first_endings({word for text in texts for word in (text.word, text.written)})
    return [
        text.word == text.written or endings.get(text.word, ("",)) == endings.get(text.written, (None,))
        for text in texts
    ]


def _apart(texts: list[Text]) -> dict[str, int]:
    repeats = sum(text.word == text.written for text in texts)
    return {"of": len(texts), "repeats": repeats, "other words": sum(_rhymes(texts)) - repeats}
