"""``prolepsis scan``: which words the features of a transcoder write."""

import argparse
from collections import Counter
from typing import TYPE_CHECKING

from prolepsis.commands.command import count
from prolepsis.commands.experiment import Answer, count_on, experiment_command
from prolepsis.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from prolepsis.names import Feature
    from prolepsis.subject import Subject

NEAREST, NEXT = 20, 5
"""How many tokens of a feature are told in JSON, and the place of the last of them in the table."""

EXAMPLE = r"""example, on a bundled organism:

    $ prolepsis scan --subject planner --rows 5

Unit decoder rows at the last layer a feature writes are held against the unit rows of the token embedding, all of them.
A feature belongs to its top token where their cosine is at least the cut and the token is a word.
"""


def scan_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a vocabulary scan."""
    parser.add_argument("--cut", type=cosine, default=0.3, metavar="C", help="the least cosine (default 0.3)")
    parser.add_argument("--rows", type=count, default=30, metavar="N", help="how many rows are printed (default 30)")


def cosine(text: str) -> float:
    """A cosine from 0 to 1; raises UserError otherwise."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UserError(f"cosine {text!r} is not a number from 0 to 1")
    return value


def _ask(subject: "Subject", chosen: argparse.Namespace) -> Answer:
    from prolepsis.experiments.vocabulary_scan import chance_cosine, features_of, top_tokens
    from prolepsis.subjects.lexicon import clean_words

    tops = subject.once(top_tokens)
    found = features_of(tops, clean_words(subject), chosen.cut)
    best = {word: max(features, key=features.__getitem__) for word, features in found.items()}
    words = sorted(best, key=lambda word: -found[word][best[word]])
    nearest = _nearest(subject, [best[word] for word in words])
    chance = chance_cosine(subject.d_model, tops.token.numel())
    return Answer(
        title=f"{subject.id}: {len(words)} words that {tops.token.numel()} features write",
        columns=("word", "feature", "cosine", "features in all", "next tokens"),
        rows=[
            (word, str(best[word]), f"{found[word][best[word]]:.3f}", str(len(found[word])), after(near))
            for word, near in zip(words[: chosen.rows], nearest, strict=False)
        ],
        notes=[
            *more(len(words), chosen.rows),
            f"one in twenty sets of as many random rows of width {subject.d_model} has one of a cosine of "
            f"{chance:.3f} with a given token",
        ],
        plain={
            "features": tops.token.numel(),
            "tokens": subject.n_vocab,
            "cut": chosen.cut,
            "chance cosine": chance,
            "words": {word: {str(feature): value for feature, value in found[word].items()} for word in words},
            "nearest tokens": {str(best[word]): near for word, near in zip(words, nearest, strict=True)},
        },
        draw=lambda figure: _draw(figure, subject.n_layers, list(best.values())),
    )


def _nearest(subject: "Subject", features: "Sequence[Feature]") -> list[list[tuple[str, float]]]:
    """Per feature the tokens it points at most, with their cosines, the first of them its word."""
    from prolepsis.experiments.vocabulary_scan import tokens_of

    if not features:
        return []
    cosines, tokens = tokens_of(subject, features, min(NEAREST, subject.n_vocab))
    return [
        [(subject.decode([token]), value) for token, value in zip(*each, strict=True)]
        for each in zip(tokens.tolist(), cosines.tolist(), strict=True)
    ]


def after(near: "Sequence[tuple[str, float]]") -> str:
    """The tokens that come next after a feature's word."""
    return ", ".join(text.strip() for text, _ in near[1:NEXT])


def more(found: int, shown: int) -> list[str]:
    """A note on the rows that are not printed, if any."""
    return [f"{found - shown} more; --rows N prints them, --json FILE holds all"] if found > shown else []


def _draw(figure: "Figure", n_layers: int, features: "list[Feature]") -> None:
    axes = figure.subplots()
    per_layer = Counter(feature.layer for feature in features)
    axes.bar(range(n_layers), [per_layer[layer] for layer in range(n_layers)])
    axes.set_xlabel("layer of the feature")
    axes.set_ylabel("words")
    count_on(axes.xaxis)


SCAN = experiment_command(
    "scan",
    "Scan a transcoder for the words its features write.",
    EXAMPLE,
    scan_arguments,
    _ask,
    transcoder=True,
)
