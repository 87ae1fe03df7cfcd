"""Which pairs of facts a subject is asked: those of a data set that it answers rightly, or those of its own task."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from prolepsis.errors import Untested, UserError
from prolepsis.experiments.counterfactual_pairs import screened
from prolepsis.experiments.fact_pairs import FactPair, FactRuns, completes, fact_pairs
from prolepsis.subject import OWN_TASK, Subject
from prolepsis.subjects.screening import obstacle
from prolepsis.subjects.task import Relation

MIN_COUPLES = 12

Pooled = TypeVar("Pooled")


def facts_of(subject: Subject) -> tuple[FactPair, ...]:
    """The pairs of the data set the subject is asked, else of its own task; raises Untested where they are too few."""
    return subject.once(own_facts if subject.pairs is None else _counterfactuals)


def own_facts(subject: Subject) -> tuple[FactPair, ...]:
    """The pairs of the subject's own task that it can be asked; raises Untested when it has none, or too few."""
    relations, refused = subject.once(askable_facts)
    return _enough(
        subject,
        fact_pairs(replace(subject.task, facts=relations)) if subject.task is not None else (),
        f"it cannot be asked {', '.join(refused)}; {OWN_TASK}"
        if refused
        else f'name at least {MIN_COUPLES} under "facts" in its task.json, for example CounterFact prompts that it '
        "completes rightly",
    )


def askable_facts(subject: Subject) -> tuple[tuple[Relation, ...], tuple[str, ...]]:
    """What the subject can be asked of its task's relations, and each thing that is left out, with the reason.

    Options begin with different tokens, which are the same by themselves and after each prompt.
    """
    relations = () if subject.task is None else subject.task.facts
    found = [_askable(subject.once(FactRuns), relation) for relation in relations]
    return (
        tuple(relation for relation, _ in found if relation.templates),
        tuple(dict.fromkeys(what for _, refused in found for what in refused)),
    )


def _askable(runs: FactRuns, relation: Relation) -> tuple[Relation, Sequence[str]]:
    subject = runs.subject
    options, lost = _sifted(relation.options, lambda option: _no_option(runs, relation, option))
    templates, unread = _sifted(relation.templates, lambda text: obstacle(subject, text.replace("{subject}", "")))
    asked = [about for about, answer in relation.answers.items() if answer in options]

    def no_subject(about: str) -> str | None:
        faults = (_no_prompt(runs, text.replace("{subject}", about), options) for text in templates)
        return next(filter(None, faults), None)

    abouts, unknown = _sifted(asked, no_subject)
    answers = {about: relation.answers[about] for about in abouts}
    return replace(relation, templates=templates, options=options, answers=answers), (*lost, *unread, *unknown)


def _sifted(things: Sequence[str], why_not: Callable[[str], str | None]) -> tuple[tuple[str, ...], list[str]]:
    """The things that nothing speaks against, and each of the others with what does."""
    faults = {thing: why_not(thing) for thing in things}
    kept = tuple(thing for thing in things if faults[thing] is None)
    return kept, [f"{thing!r} ({why})" for thing, why in faults.items() if why is not None]


def _no_option(runs: FactRuns, relation: Relation, option: str) -> str | None:
    """Why the first token of ``option`` does not tell it from the options before it; None where it does."""
    try:
        token = runs.first_token(option)
    except UserError:
        return "its tokenizer does not know how it begins"
    for other in relation.options[: relation.options.index(option)]:
        with suppress(UserError):
            if runs.first_token(other) == token:
                return f"it begins with the same token as {other!r}"
    return None


def _no_prompt(runs: FactRuns, text: str, options: Sequence[str]) -> str | None:
    """Why the subject cannot be asked a prompt, or an option not be read after it; None where all can."""
    subject = runs.subject
    why = obstacle(subject, text)
    if why is not None:
        return why
    before = subject.encode(text)
    for option in options:
        whole = f"{text} {option}"
        tokens = subject.encode(whole) if subject.unknown(whole) is None else before
        if tokens[: len(before) + 1] != [*before, runs.first_token(option)]:
            return f"{option!r} begins with another token after it"
    return None


def _counterfactuals(subject: Subject) -> tuple[FactPair, ...]:
    found = screened(subject)
    stages = ", ".join(f"{count} {stage}" for stage, count in found.counts.items())
    return _enough(subject, found.pairs, f"ask a model that answers more ({stages})")


def _enough(subject: Subject, pairs: tuple[FactPair, ...], cure: str) -> tuple[FactPair, ...]:
    couples = len({pair.cluster for pair in pairs})
    if couples < MIN_COUPLES:
        raise Untested(f"{subject.id}: {couples} pairs of facts with different answers; {cure}")
    return pairs


def accuracy(subject: Subject) -> float:
    """Share of the pairs' recipients whose most likely next token is the first one of their answer."""
    runs, pairs = subject.once(FactRuns), facts_of(subject)
    return sum(completes(runs, pair.recipient) for pair in pairs) / len(pairs)


def lengths_differ(subject: Subject, pair: FactPair) -> bool:
    """Whether the two prompts have different numbers of tokens, so that positions do not correspond."""
    runs = subject.once(FactRuns)
    return len(runs.clean(pair.recipient).tokens) != len(runs.clean(pair.donor).tokens)


def pairs_asked(subject: Subject) -> dict[str, object]:
    """What to say of the pairs beside a result: how many are left at each stage, and which of them are doubtful."""
    pairs = facts_of(subject)
    return {
        "stages": screened(subject).counted() if subject.pairs is not None else {"asked": {"counted": len(pairs)}},
        "answer in the fact": [pair.id for pair in pairs if pair.answer_in_prompt],
        "lengths differ": [pair.id for pair in pairs if lengths_differ(subject, pair)],
    }


def without_doubtful(subject: Subject, pooled: Callable[[list[str]], Pooled]) -> dict[str, Pooled]:
    """``pooled`` of the ids of the pairs that are left without either kind of doubtful ones, where any are."""
    pairs = facts_of(subject)
    left = {
        "without an answer in the fact": [pair.id for pair in pairs if not pair.answer_in_prompt],
        "of equal length": [pair.id for pair in pairs if not lengths_differ(subject, pair)],
    }
    return {name: pooled(ids) for name, ids in left.items() if ids}
