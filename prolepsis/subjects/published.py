"""What the paper ran on one model, as data: prompts, features, strengths and sites (imports no torch).

A preset's ``published`` table holds it. Positions count from BOS, which is 0. Features are written ``L22:10243``, heads
``L21:H5``; suppressed features are written with minus the strength, the injected one with plus.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar

from prolepsis.errors import UserError
from prolepsis.names import Feature, Head
from prolepsis.toml_tables import Fault, Table

Name = TypeVar("Name", Feature, Head)

PRESETS = Path(__file__).parents[2] / "fixtures" / "presets.toml"
"""The paper's subjects, and those of other papers' claims."""


@dataclass(frozen=True)
class Steering:
    """One prompt, what is suppressed and injected there, and the ``word`` whose probability is read.

    ``token`` is the word's token id where the paper gives it. ``site`` is the position the features are written at,
    the last one where it is None, and ``at`` the token that stands there. ``heads`` are those the paper lists, by rank,
    ``recurring`` those it finds among the top ten of this prompt and of others.
    """

    prompt: str
    suppress: tuple[Feature, ...]
    inject: Feature
    strength: float
    word: str
    token: int | None
    site: int | None
    at: str
    heads: tuple[Head, ...]
    recurring: tuple[Head, ...] = ()


@dataclass(frozen=True)
class RhymePrompt:
    """A prompt of the pair sweep; its natural rhyme group is that of ``rhyme``."""

    prompt: str
    rhyme: str


@dataclass(frozen=True)
class PairSweep:
    """The prompts that every other rhyme group's word is injected into, and the strength."""

    strength: float
    prompts: tuple[RhymePrompt, ...]


@dataclass(frozen=True)
class PrintedOutcome:
    """What the paper prints of the correction's strength number ``step``, from 0: with the commitment, all digits kept.

    P of the committed and of the correct word, Δattention of the head, Σ|Δattention| over all heads (App. G.2).
    """

    step: int
    committed: Decimal
    correct: Decimal
    head: Decimal
    total: Decimal


@dataclass(frozen=True)
class Correction:
    """The feature that contradicts the sweep's injection at its last position, written from layer ``first`` on.

    Its strengths are ``steps`` equal ones from 0 to ``strength``. ``head`` is the one said to stay locked. ``printed``
    is what came out at some of the strengths.
    """

    feature: Feature
    word: str
    first: int
    strength: float
    steps: int
    head: Head
    printed: tuple[PrintedOutcome, ...] = ()


@dataclass(frozen=True)
class Convergence:
    """A factual prompt and those it may be contrasted with: the first that has as many tokens.

    ``word`` is what the prompt calls for, ``redirect`` what the first contrast does.
    """

    prompt: str
    word: str
    contrasts: tuple[str, ...]
    redirect: str


@dataclass(frozen=True)
class Published:
    """The paper's protocol for one model; parts it does not have are None or empty."""

    sweep: Steering
    pairs: PairSweep | None
    routing: tuple[Steering, ...]
    recurring: tuple[Head, ...]
    correction: Correction | None
    convergence: Convergence | None

    @classmethod
    def of(cls, plain: Any) -> "Published":
        """Read a ``published`` table; raises UserError "published: what is wrong and its cure" for a malformed one."""
        try:
            return _published(Table(plain, "published: "))
        except Fault as fault:
            raise UserError(str(fault)) from None


def _published(table: Table) -> Published:
    found = Published(
        sweep=_steering(table.table("sweep"), "published.sweep: "),
        pairs=_pairs(table.table("pairs", optional=True)),
        routing=tuple(
            _steering(each, f"published.routing {place}: ") for place, each in enumerate(table.items("routing"), 1)
        ),
        recurring=_names(table, "recurring", Head.parse),
        correction=_correction(table.table("correction", optional=True)),
        convergence=_convergence(table.table("convergence", optional=True)),
    )
    table.done()
    return found


def _steering(plain: Any, what: str) -> Steering:
    table = Table(plain, what)
    found = Steering(
        prompt=table.text("prompt"),
        suppress=_names(table, "suppress", Feature.parse),
        inject=_name(table, "inject", Feature.parse),
        strength=_strength(table),
        word=table.text("word"),
        token=table.count("token"),
        site=table.count("site"),
        at=table.text("at", default=""),
        heads=_names(table, "heads", Head.parse),
        recurring=_names(table, "recurring", Head.parse),
    )
    table.done()
    if found.inject in found.suppress:
        raise Fault(f"{what}inject is {found.inject}, which is suppressed too; name another feature")
    if found.at and found.site is None:
        raise Fault(f"{what}at is {found.at!r} but site is missing; give the position of that token")
    return found


def _pairs(plain: Any) -> PairSweep | None:
    if plain is None:
        return None
    table = Table(plain, "published.pairs: ")
    prompts = []
    for place, each in enumerate(table.items("prompts", optional=False), 1):
        entry = Table(each, f"published.pairs.prompts {place}: ")
        prompts.append(RhymePrompt(entry.text("prompt"), entry.text("rhyme")))
        entry.done()
    found = PairSweep(_strength(table), tuple(prompts))
    table.done()
    return found


def _correction(plain: Any) -> Correction | None:
    if plain is None:
        return None
    table = Table(plain, "published.correction: ")
    found = Correction(
        feature=_name(table, "feature", Feature.parse),
        word=table.text("word"),
        first=table.count("first") or 0,
        strength=_strength(table),
        steps=table.count("steps") or 0,
        head=_name(table, "head", Head.parse),
    )
    printed = table.items("printed")
    table.done()
    if found.first < found.feature.layer:
        raise Fault(
            f"published.correction: first is {found.first} but {found.feature} writes from layer "
            f"{found.feature.layer} on; give a layer it writes"
        )
    if found.steps < 2:
        raise Fault(f"published.correction: steps is {found.steps}; give at least 2")
    return replace(found, printed=tuple(_outcome(each, place, found) for place, each in enumerate(printed, 1)))


def _outcome(plain: Any, place: int, correction: Correction) -> PrintedOutcome:
    table = Table(plain, f"published.correction.printed {place}: ")
    strength: float = table.number("strength")
    strengths = [correction.strength * step / (correction.steps - 1) for step in range(correction.steps)]
    steps = [step for step, each in enumerate(strengths) if math.isclose(strength, each)]
    if not steps:
        raise Fault(f"{table.what}strength is {strength:g}, none of the {correction.steps} that are run; give one")
    found = PrintedOutcome(
        step=steps[0],
        committed=_digits(table, "committed"),
        correct=_digits(table, "correct"),
        head=_digits(table, "head"),
        total=_digits(table, "total"),
    )
    table.done()
    return found


def _digits(table: Table, field: str) -> Decimal:
    """A number with the digits it is printed with, which a number of the file would lose."""
    text = table.text(field)
    try:
        found = Decimal(text)
    except InvalidOperation:
        found = Decimal("nan")
    if not found.is_finite():
        raise Fault(f"{table.what}{field} is {text!r}; give it as printed, in quotes")
    return found


def _convergence(plain: Any) -> Convergence | None:
    if plain is None:
        return None
    table = Table(plain, "published.convergence: ")
    found = Convergence(
        prompt=table.text("prompt"),
        word=table.text("word"),
        contrasts=table.names("contrasts"),
        redirect=table.text("redirect"),
    )
    table.done()
    if not found.contrasts:
        raise Fault("published.convergence: contrasts is missing; give at least one prompt to contrast with")
    return found


def _strength(table: Table) -> float:
    strength: float = table.number("strength")
    if strength <= 0:
        raise Fault(
            f"{table.what}strength is {strength:g}; give a number above 0, features are suppressed with minus it"
        )
    return strength


def _name(table: Table, field: str, parse: Callable[[str], Name]) -> Name:
    return _parsed(table, field, table.text(field), parse)


def _names(table: Table, field: str, parse: Callable[[str], Name]) -> tuple[Name, ...]:
    found = tuple(_parsed(table, field, each, parse) for each in table.items(field))
    if len(set(found)) < len(found):
        raise Fault(f"{table.what}{field} names {max(found, key=found.count)} twice; remove one")
    return found


def _parsed(table: Table, field: str, text: Any, parse: Callable[[str], Name]) -> Name:
    try:
        return parse(text if isinstance(text, str) else repr(text))
    except UserError as error:
        raise Fault(f"{table.what}{field}: {error}; write it so") from None
