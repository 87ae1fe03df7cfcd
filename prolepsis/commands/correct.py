"""``prolepsis correct``: commit to a word at the last token, contradict it there in later layers, with and without."""

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from prolepsis.commands.command import count
from prolepsis.commands.experiment import Answer, experiment_command
from prolepsis.commands.steered import positive, steering_arguments, steering_of, word_of
from prolepsis.errors import UserError
from prolepsis.names import Feature, Head
from prolepsis.subjects.published import Correction, Steering

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from prolepsis.experiments.published_correction import CorrectionTest
    from prolepsis.experiments.published_prompt import Placed
    from prolepsis.subject import Subject

EXAMPLE = r"""example, on a bundled organism:

    $ prolepsis correct --subject planted-llama-irrevocable --steps 5

On the paper's preset gemma-2-2b-426k the published test is run. The same corrections are run with the suppression
alone: a correction that does nothing to an uncommitted model cannot show that a committed one resists it. The last line
says whether the wiring lets the correction reach the head's attention at all.
"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    steering_arguments(parser)
    parser.add_argument("--correct", type=Feature.parse, metavar="FEATURE", help="the feature that contradicts")
    parser.add_argument("--correct-word", metavar="WORD", help="what it stands for (default: what it writes most)")
    parser.add_argument("--from-layer", type=int, metavar="L", help="the first layer it is written in")
    parser.add_argument("--correct-strength", type=positive, metavar="S", help="its largest strength (default twice)")
    parser.add_argument("--steps", type=count, metavar="N", help="how many strengths, from 0 on (default 13)")
    parser.add_argument("--head", type=Head.parse, help="whose attention is read (default: the one that moves most)")


def _ask(subject: "Subject", chosen: argparse.Namespace) -> Answer:
    from prolepsis.experiments.published_correction import corrected
    from prolepsis.experiments.published_prompt import placed

    published = subject.published.sweep if subject.published else None
    steering = steering_of(subject, chosen, published, space=True)
    place = placed(subject, steering, steering.prompt)
    correction = _correction(subject, chosen, steering, place)
    found = corrected(subject, place, correction)
    strengths = [correction.strength * step / (correction.steps - 1) for step in range(correction.steps)]
    layers = ", ".join(f"L{at}" for at in sorted(found.writes))
    return Answer(
        title=f"{subject.id}: {steering.word!r} committed to by {steering.inject} ×{steering.strength:.4g}, "
        f"contradicted by {correction.feature} ({correction.word!r}) in layers {layers}",
        columns=(
            "strength",
            f"P({steering.word})",
            f"P({correction.word})",
            f"{correction.head} Δ",
            "Σ|Δ|",
            f"uncommitted P({steering.word})",
            f"uncommitted P({correction.word})",
        ),
        rows=[
            (
                f"{strength:.4g}",
                *(f"{value:.3g}" for value in (one.committed, one.correct)),
                f"{one.head:+.4f}",
                f"{one.total:.3f}",
                *(f"{value:.3g}" for value in (alone.committed, alone.correct)),
            )
            for strength, one, alone in zip(strengths, found.committed, found.uncommitted, strict=True)
        ],
        notes=_notes(subject, found),
        plain={
            "prompt": steering.prompt,
            "suppress": list(map(str, steering.suppress)),
            "commit": str(steering.inject),
            "word": steering.word,
            "strength": steering.strength,
            "correction": str(correction.feature),
            "correct word": correction.word,
            "layers": sorted(found.writes),
            "head": str(correction.head),
            "strengths": strengths,
            "with the commitment": [vars(each) for each in found.committed],
            "without the commitment": [vars(each) for each in found.uncommitted],
        },
        draw=lambda figure: _draw(figure, found, strengths, steering.word),
    )


def _correction(subject: "Subject", chosen: argparse.Namespace, steering: Steering, place: "Placed") -> Correction:
    base = subject.published.correction if subject.published else None
    if base is None:
        feature = chosen.correct or _third(subject, steering)
        later = min(steering.inject.layer + 1, subject.n_layers - 1)
        head = chosen.head or _moved_most(subject, place)
        base = Correction(feature, "", max(later, feature.layer), 2 * steering.strength, 13, head)
    feature = chosen.correct or base.feature
    word = chosen.correct_word or (base.word if feature == base.feature else "")
    found = replace(
        base,
        feature=feature,
        word=word or word_of(subject, feature),
        first=base.first if chosen.from_layer is None else chosen.from_layer,
        strength=chosen.correct_strength or base.strength,
        steps=chosen.steps or base.steps,
        head=chosen.head or base.head,
    )
    _check(subject, found)
    return found


def _check(subject: "Subject", correction: Correction) -> None:
    if not correction.feature.layer <= correction.first < subject.n_layers:
        raise UserError(
            f"layer {correction.first} is out of range; {correction.feature} writes layers {correction.feature.layer} "
            f"to {subject.n_layers - 1}"
        )
    if correction.steps < 2:
        raise UserError("--steps 1 is no sweep; give at least 2")
    if correction.head.layer >= subject.n_layers or correction.head.index >= subject.n_heads:
        raise UserError(
            f"head {correction.head} is out of range; the model has L0:H0 to L{subject.n_layers - 1}:"
            f"H{subject.n_heads - 1}"
        )


def _third(subject: "Subject", steering: Steering) -> Feature:
    """A feature of a group of the task that is neither suppressed nor injected."""
    from prolepsis.experiments.position_sweep import word_features

    if subject.task is None:
        raise UserError(f"{subject.id}: neither a preset nor a task says what contradicts; give --correct")
    found, taken = subject.once(word_features), {*steering.suppress, steering.inject}
    for words in subject.task.groups.values():
        of_group = [found[word] for word in words if word in found]
        if of_group and not taken & set(of_group):
            return of_group[0]
    raise UserError(f"{subject.id}: no third rhyme group has a feature; give --correct")


def _moved_most(subject: "Subject", place: "Placed") -> Head:
    """The head whose attention from the last token to itself the commitment moves most."""
    from prolepsis.running.hooks import Read
    from prolepsis.writes import write_at

    heads = [Head(layer, index) for layer in range(subject.n_layers) for index in range(subject.n_heads)]
    read = Read(logits=(), patterns=tuple((head, place.last) for head in heads))
    out = place.clean.edit([[], write_at(place.last, place.both)], read).patterns
    moved = {head: float((out[head, place.last][1] - out[head, place.last][0])[place.last].abs()) for head in heads}
    return max(heads, key=moved.__getitem__)


def _notes(subject: "Subject", found: "CorrectionTest") -> list[str]:
    from prolepsis.reach import reach
    from prolepsis.reachability.selection import Pattern, supports
    from prolepsis.writes import write_at

    clean, last, head = found.placed.clean, found.placed.last, found.correction.head
    varied, given = supports(write_at(last, found.writes)), supports(write_at(last, found.placed.both))
    answer = reach(subject.wiring, varied, Pattern(head, last, last), given, tokens=clean.tokens)
    first, end = found.uncommitted[0].correct, found.uncommitted[-1].correct
    return [
        f"without the commitment the correction takes P({found.correction.word!r}) from {first:.3g} to {end:.3g}",
        f"can the correction move the attention of {head}? {'yes' if answer.answer else 'no'}: {answer.why}",
    ]


def _draw(figure: "Figure", found: "CorrectionTest", strengths: list[float], word: str) -> None:
    axes = figure.subplots()
    correct = found.correction.word
    for readings, style, condition in ((found.committed, "-", ""), (found.uncommitted, "--", ", uncommitted")):
        axes.plot(strengths, [one.committed for one in readings], f"C0o{style}", label=f"P({word}){condition}")
        axes.plot(strengths, [one.correct for one in readings], f"C1s{style}", label=f"P({correct}){condition}")
    axes.set_xlabel("strength of the correction")
    axes.set_ylabel("probability")
    axes.legend()


CORRECT = experiment_command(
    "correct",
    "Commit to a word at the last token, then contradict it in later layers, with the commitment and without.",
    EXAMPLE,
    _arguments,
    _ask,
    transcoder=True,
)
