"""All about one claim, as text for a terminal: what is claimed, what it would have to show, and what came out."""

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from prolepsis.audit.controls import missing_controls
from prolepsis.disputes import Member, rivals
from prolepsis.ledger import Claim, Control
from prolepsis.report.criteria import criterion
from prolepsis.report.markdown import claim_command, published_text
from prolepsis.report.pins import Pins
from prolepsis.report.subjects import is_asked, known_subjects

LABEL = 12
"""Columns of the label before each entry."""
NARROWEST = 30


def describe(claim: Claim, every: Sequence[Claim], pins: Pins, width: int) -> Iterator[str]:
    """Lines about ``claim``, none wider than ``width``; ``every`` is the whole ledger."""
    width = max(width, NARROWEST)
    yield from textwrap.wrap(f"{claim.id} ({claim.variant}) · {claim.section}", width)
    yield from textwrap.wrap(claim.statement, width)
    yield ""
    for label, text in _entries(claim, every, pins):
        yield from textwrap.wrap(
            text, width, initial_indent=label.ljust(LABEL), subsequent_indent=" " * LABEL, break_on_hyphens=False
        )
    yield from _command(claim)


def _entries(claim: Claim, every: Sequence[Claim], pins: Pins) -> Iterator[tuple[str, str]]:
    """(Label, text) of each entry; entries that continue the one before have no label."""
    if claim.source:
        yield "source", claim.source
    yield from _labelled("published", [published_text(value) for value in claim.published])
    yield "kind", f"{claim.kind}, family {claim.family}"
    yield "population", claim.population
    yield "criterion", criterion(claim)
    if claim.tolerance is not None:
        yield "agrees", f"within {claim.tolerance:g} of the published value: {claim.tolerance_why}"
    yield from _labelled("controls", [_control(claim, control) for control in claim.controls])
    for question, members in rivals(claim, every).items():
        yield "disputed", f"{question} This row: {dict(claim.disputes)[question]}. {_against(members)}"
    yield "experiment", claim.experiment or "none"
    if claim.dtype is not None:
        yield "dtype", f"{claim.dtype}, in which the published value was made; in another it is untested"
    if claim.untested:
        yield "untested", claim.untested
    yield "tiers", ", ".join(claim.tiers)
    yield from _labelled("asked of", list(_subjects(claim)))
    found = [
        f"{key.subject} ({key.tier}) {pin.verdict}: {pin.reason}" for key, pin in pins.items() if key[:2] == claim.key
    ]
    yield from _labelled("pinned", found or ["no verdict"])


def _against(members: Sequence[Member]) -> str:
    """The rows that answer otherwise, those with one answer together."""
    answers: dict[str, list[str]] = {}
    for answer, claim in members:
        answers.setdefault(answer, []).append(f"{claim.id} {claim.variant}")
    return " ".join(f"{answer.capitalize()}: {', '.join(names)}." for answer, names in answers.items())


def _labelled(label: str, texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    for number, text in enumerate(texts):
        yield "" if number else label, text


def _control(claim: Claim, control: Control) -> str:
    bound = control.bound or 0.0
    kept = {
        "positive": f", at least {bound:g}",
        "guard": f", at most {bound:g}",
        "sham": f", moves by at most {bound:g}",
    }
    named = "" if control.label == control.name else f" [{control.name}]"
    reported = f"; reported in {control.reported}" if control.reported else ""
    if control in missing_controls(claim):
        reported = "; the paper does not report it"
    return f"{control.role}: {control.label}{named}{kept.get(control.role, '')}{reported}"


def _subjects(claim: Claim) -> Iterator[str]:
    """The subjects of each tier that are asked, on one line; recordings are known only where they lie."""
    sources = known_subjects(None, None, None, None, Path())
    for tier in claim.tiers:
        names = [source.id for source in sources.values() if source.tier == tier and is_asked(claim, source)]
        if tier == "archive":
            names = [f"recorded outputs of {claim.model or 'any model'} (--claims-archive DIR)"]
        yield f"{tier}: {', '.join(names) or f'no subject here is {claim.model}'}"


def _command(claim: Claim) -> Iterator[str]:
    """The command, on a line of its own so that it can be copied."""
    archive = " --claims-archive DIR" if claim.tiers == ("archive",) else ""
    yield ""
    yield claim_command(*claim.key) + archive
