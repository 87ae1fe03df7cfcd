"""``prolepsis rhymes``: the words of a vocabulary scan in groups that rhyme."""

import argparse
from collections import Counter
from statistics import fmean
from typing import TYPE_CHECKING

from prolepsis.commands.experiment import Answer, count_on, experiment_command
from prolepsis.commands.scan import more, scan_arguments

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from prolepsis.subject import Subject

EXAMPLE = r"""example, on a bundled organism:

    $ prolepsis rhymes --subject planner --rows 5

Words are grouped by the ending of their first pronunciation in the CMU dictionary; a small language has its groups in
its task. Words of any origin form groups: the last line says how many would find a mate if they were drawn at random.
"""


def _ask(subject: "Subject", chosen: argparse.Namespace) -> Answer:
    from prolepsis.experiments.feature_discovery import by_chance
    from prolepsis.experiments.published_pairs import groups_at
    from prolepsis.subjects.lexicon import lexicon_of

    groups = groups_at(subject, chosen.cut)
    grouped = sum(map(len, groups.words.values()))
    chance = by_chance(list(groups.features), subject.once(lexicon_of)) if groups.features else {}
    order = sorted(groups.words, key=lambda ending: -len(groups.words[ending]))
    return Answer(
        title=f"{subject.id}: {len(groups.words)} rhyme groups among {len(groups.features)} words that have a feature",
        columns=("ending", "words", "features"),
        rows=[
            (
                ending,
                ", ".join(groups.words[ending]),
                ", ".join(str(groups.features[word]) for word in groups.words[ending]),
            )
            for ending in order[: chosen.rows]
        ],
        notes=[
            *more(len(order), chosen.rows),
            f"{grouped} of {len(groups.features)} words rhyme with another; "
            f"of as many frequent words drawn at random {fmean(chance.values() or [0.0]) * len(chance):.0f} would",
        ],
        plain={
            "cut": chosen.cut,
            "groups": {ending: {word: str(groups.features[word]) for word in groups.words[ending]} for ending in order},
            "words": {word: str(feature) for word, feature in groups.features.items()},
            "words in groups": grouped,
            "words in groups by chance": sum(chance.values()),
        },
        draw=lambda figure: _draw(figure, [len(groups.words[ending]) for ending in order]),
    )


def _draw(figure: "Figure", sizes: list[int]) -> None:
    axes = figure.subplots()
    counted = Counter(sizes)
    axes.bar(list(counted), list(counted.values()))
    axes.set_xlabel("words in a group")
    axes.set_ylabel("groups")
    count_on(axes.xaxis)


RHYMES = experiment_command(
    "rhymes",
    "Group the words that features write by rhyme.",
    EXAMPLE,
    scan_arguments,
    _ask,
    transcoder=True,
)
