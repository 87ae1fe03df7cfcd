"""What sweep, route and correct suppress and inject: what the paper did, what a task has, or what the user says."""

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from prolepsis.commands.experiment import position_of, prompt_text
from prolepsis.errors import UserError
from prolepsis.names import Feature
from prolepsis.subjects.published import Steering

if TYPE_CHECKING:
    from prolepsis.subject import Subject

PAPER_STRENGTH = 10.0
"""The paper's, for a subject of which neither a preset nor a task says how strong its features are."""


def steering_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of an injection; each has a default where the subject has a preset's protocol or a task."""
    parser.add_argument("--prompt", type=prompt_text, metavar="TEXT", help=r"the prompt, taken literally; \n breaks it")
    parser.add_argument(
        "--suppress",
        action="extend",
        type=features,
        metavar="FEATURE",
        help="features written with minus the strength: L16:13725 (repeatable, or several with commas)",
    )
    parser.add_argument("--inject", type=Feature.parse, metavar="FEATURE", help="the feature written with the strength")
    parser.add_argument("--word", help="the word that is read (default: what the injected feature writes most)")
    parser.add_argument("--strength", type=positive, metavar="S", help="multiplies the features' decoder rows")


def features(text: str) -> list[Feature]:
    """Features between commas."""
    return [Feature.parse(part) for part in text.split(",")]


def positive(text: str) -> float:
    """A strength; raises UserError for one that is none."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UserError(f"strength {text!r} is not a number above 0")
    return value


def steering_of(
    subject: "Subject", chosen: argparse.Namespace, published: Steering | None, *, space: bool = False
) -> Steering:
    """What is asked for, whose prompt is the very text to run: ``published`` or the task's own, but for what is said.

    ``space`` adds the paper's trailing space to its own prompt. Suppressed features and site are those of a prompt, and
    hold for no other.
    """
    if published is not None:
        base = replace(published, prompt=f"{published.prompt} ") if space else published
    else:
        told = None not in (chosen.prompt, chosen.inject, chosen.strength)
        base = (None if told else _of_task(subject)) or _of_nothing(subject, chosen)
    if chosen.prompt is not None:
        base = replace(base, prompt=chosen.prompt, suppress=(), site=None, at="")
    if chosen.suppress is not None:
        base = replace(base, suppress=tuple(chosen.suppress))
    if chosen.inject is not None and chosen.inject != base.inject:
        base = replace(base, inject=chosen.inject, word=chosen.word or word_of(subject, chosen.inject), token=None)
    if chosen.word is not None:
        base = replace(base, word=chosen.word, token=None)
    if chosen.strength is not None:
        base = replace(base, strength=chosen.strength)
    if base.inject in base.suppress:
        raise UserError(f"{base.inject} is to be injected and suppressed; name another feature")
    return base


def at_site(subject: "Subject", steering: Steering, position: int | None) -> Steering:
    """``steering`` written at ``position``; raises UserError for one that is not in its prompt."""
    tokens = subject.encode(steering.prompt)
    site = position_of(position, len(tokens))
    return replace(steering, site=site, at=subject.decode([tokens[site]]))


def _of_task(subject: "Subject") -> Steering | None:
    """The pair sweep's first pair; None without a task or where no word of it has a feature."""
    from prolepsis.experiments.position_sweep import DOSE, injectable, injected, strength_unit, word_features
    from prolepsis.experiments.rhyme_pairs import task_of

    if subject.task is None:
        return None
    task, found = task_of(subject), subject.once(word_features)
    pair = next(iter(injectable(task, found)), None)
    if pair is None:
        return None
    word = injected(pair, task, found)
    return Steering(
        prompt=pair.recipient.text,
        suppress=tuple(found[mate] for mate in task.groups[pair.recipient.group] if mate in found),
        inject=found[word],
        strength=DOSE * subject.once(strength_unit),
        word=word,
        token=None,
        site=None,
        at="",
        heads=(),
    )


def _of_nothing(subject: "Subject", chosen: argparse.Namespace) -> Steering:
    """What the user has to say where nothing else does."""
    for option in ("prompt", "inject"):
        if getattr(chosen, option) is None:
            raise UserError(f"{subject.id}: neither a preset nor a task says what to ask it; give --{option}")
    word = chosen.word or word_of(subject, chosen.inject)
    return Steering(chosen.prompt, (), chosen.inject, PAPER_STRENGTH, word, None, None, "", ())


def word_of(subject: "Subject", feature: Feature) -> str:
    """The word a feature stands for: the one its task names it for, else the token its decoder row points at most."""
    from prolepsis.experiments.vocabulary_scan import top_token

    named = (subject.task.features if subject.task else None) or {}
    found = next((word for word, other in named.items() if other == feature), None)
    return found or subject.decode([top_token(subject, feature)]).strip()
