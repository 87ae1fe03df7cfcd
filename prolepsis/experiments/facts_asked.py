"""Which pairs of facts a subject is asked: those of a data set that it answers rightly, or those of its own task."""

from collections.abc import Callable
from typing import TypeVar

from prolepsis.controls import once
from prolepsis.errors import Untested
from prolepsis.experiments.counterfactual_pairs import screened
from prolepsis.experiments.fact_pairs import FactPair, FactRuns, completes, fact_pairs
from prolepsis.subject import Subject

MIN_COUPLES = 12

Pooled = TypeVar("Pooled")


def facts_of(subject: Subject) -> tuple[FactPair, ...]:
    """The pairs of the data set the subject is asked, else of its own task; raises Untested where they are too few."""
    return once(subject, own_facts if subject.pairs is None else _counterfactuals)


def own_facts(subject: Subject) -> tuple[FactPair, ...]:
    """The pairs of the subject's own task; raises Untested when it has none, or too few to choose and test on."""
    return _enough(
        subject,
        fact_pairs(subject.task) if subject.task is not None else (),
        f'name at least {MIN_COUPLES} under "facts" in its task.json, for example CounterFact prompts that it '
        "completes rightly",
    )


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
    runs, pairs = once(subject, FactRuns), facts_of(subject)
    return sum(completes(runs, pair.recipient) for pair in pairs) / len(pairs)


def lengths_differ(subject: Subject, pair: FactPair) -> bool:
    """Whether the two prompts have different numbers of tokens, so that positions do not correspond."""
    runs = once(subject, FactRuns)
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
