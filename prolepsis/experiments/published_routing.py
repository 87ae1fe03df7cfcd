"""The published routing prompts: how attention to the site changes under suppress + inject there (section 6, app. E).

Δattention is what a head's attention from the last position to the site gains by the edit. P(inject word) under the
very same edit is recorded beside it: that attention moves says nothing of whether the word does.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from prolepsis.errors import Untested
from prolepsis.experiments.published_prompt import NULLS, Placed, noise, parameters_of, placed, published_of, single
from prolepsis.measurement import Measurement
from prolepsis.names import Head
from prolepsis.reachability.selection import Pattern
from prolepsis.running.hooks import Read
from prolepsis.shams import reach_row
from prolepsis.subject import Subject
from prolepsis.subjects.published import Steering
from prolepsis.writes import write_at

Changes = Mapping[Head, float]
"""Head → Δattention from the last position to the site."""

LISTED = 10
"""Length of the paper's lists of top heads."""
GEMMA_TOTAL = 0.191
"""Total Δattention of the 426K prompt of Gemma 2 2B, as printed in section 6."""


@dataclass(frozen=True, eq=False)
class RoutedPrompt:
    """One published prompt: its clean attention to the site, and by arm the changes and P(inject word).

    Arms: ``both`` (the published edit), ``inject`` (the injection alone), and the control writes of :data:`NULLS`.
    """

    steering: Steering
    placed: Placed
    clean: Changes
    changes: Mapping[str, Changes]
    probabilities: Mapping[str, float]
    log_odds: Mapping[str, float]

    def ranked(self, arm: str) -> list[Head]:
        """All heads, largest |Δattention| first."""
        changes = self.changes[arm]
        return sorted(changes, key=lambda head: -abs(changes[head]))

    def total(self, arm: str) -> float:
        """Σ|Δattention| over all heads."""
        return sum(map(abs, self.changes[arm].values()))


Figure = Callable[[Sequence[RoutedPrompt], str], float]


def routed_prompts(subject: Subject) -> tuple[RoutedPrompt, ...]:
    """Every published routing prompt; raises Untested where the paper ran none."""
    found = published_of(subject).routing
    if not found:
        raise Untested(f"{subject.id}: the paper ran no routing prompt on it; ask one of the paper's presets")
    return tuple(route_prompt(subject, steering) for steering in found)


def route_prompt(subject: Subject, steering: Steering) -> RoutedPrompt:
    """Write ``steering`` at the site of its prompt, and its control writes, and read where all heads look."""
    place = placed(subject, steering, steering.prompt)
    arms = {"both" if arm == "measured" else arm: writes for arm, writes in place.arms(place.both).items()}
    arms["inject"] = place.inject
    heads = [Head(layer, index) for layer in range(subject.n_layers) for index in range(subject.n_heads)]
    read = Read(patterns=tuple((head, place.last) for head in heads))
    out = place.clean.edit([[], *(write_at(place.site, writes) for writes in arms.values())], read)
    to_site = {head: out.patterns[head, place.last][:, place.site].tolist() for head in heads}
    names = ("clean", *arms)
    return RoutedPrompt(
        steering=steering,
        placed=place,
        clean={head: values[0] for head, values in to_site.items()},
        changes={
            arm: {head: values[row] - values[0] for head, values in to_site.items()} for row, arm in enumerate(arms, 1)
        },
        probabilities=dict(zip(names, out.probabilities()[:, place.token].tolist(), strict=True)),
        log_odds=dict(zip(names, out.log_odds(place.token).tolist(), strict=True)),
    )


def published_first_head(subject: Subject) -> Measurement:
    """Δattention of the head the paper ranks first on its first routing prompt.

    Arms, here and below: ``matched random`` and ``unembedding``, the same figure under these writes at the site.
    """
    return _head(subject, "published_first_head", 0)


def published_second_head(subject: Subject) -> Measurement:
    """The same for the head the paper ranks second."""
    return _head(subject, "published_second_head", 1)


def published_third_head(subject: Subject) -> Measurement:
    """The same for the head the paper ranks third."""
    return _head(subject, "published_third_head", 2)


def published_second_prompt(subject: Subject) -> Measurement:
    """The same for the head ranked first on the second prompt."""
    return _head(subject, "published_second_prompt", 0, prompt=1)


def published_third_prompt(subject: Subject) -> Measurement:
    """The same on the third prompt."""
    return _head(subject, "published_third_prompt", 0, prompt=2)


def published_fourth_prompt(subject: Subject) -> Measurement:
    """The same on the fourth prompt."""
    return _head(subject, "published_fourth_prompt", 0, prompt=3)


def published_head_list(subject: Subject) -> Measurement:
    """How many of the heads the paper lists for its first prompt are among as many heads of largest |Δattention|."""

    def listed(routed: Sequence[RoutedPrompt], arm: str) -> float:
        heads = _listed(subject, 1)
        return float(len(set(heads) & set(routed[0].ranked(arm)[: len(heads)])))

    return _figure(subject, "published_head_list", "count", listed)


def published_top_heads(subject: Subject) -> Measurement:
    """On how many prompts the head of largest |Δattention| is the one the paper ranks first there."""

    def same(routed: Sequence[RoutedPrompt], arm: str) -> float:
        return float(sum(one.ranked(arm)[:1] == list(one.steering.heads[:1]) for one in routed))

    return _figure(subject, "published_top_heads", "count", same)


def published_least_top_change(subject: Subject) -> Measurement:
    """The smallest, over prompts, of the largest |Δattention| of any head."""

    def least(routed: Sequence[RoutedPrompt], arm: str) -> float:
        return min(max(map(abs, one.changes[arm].values())) for one in routed)

    return _figure(subject, "published_least_top_change", "attention", least)


def published_recurring_heads(subject: Subject) -> Measurement:
    """How many of the heads the paper calls recurring are among the top ten on two or more of its prompts."""
    heads = published_of(subject).recurring
    if not heads:
        raise Untested(f"{subject.id}: the paper names no recurring heads for it; ask one of the paper's presets")

    def recurring(routed: Sequence[RoutedPrompt], arm: str) -> float:
        tops = [one.ranked(arm)[:LISTED] for one in routed]
        return float(sum(sum(head in top for top in tops) >= 2 for head in heads))

    return _figure(subject, "published_recurring_heads", "count", recurring)


def published_second_recurring(subject: Subject) -> Measurement:
    """Mean |Δattention| of the head the paper lists second among the recurring ones, over the prompts it recurs on."""
    return _recurring(subject, "published_second_recurring", 1)


def published_third_recurring(subject: Subject) -> Measurement:
    """The same for the head listed third."""
    return _recurring(subject, "published_third_recurring", 2)


def published_fourth_recurring(subject: Subject) -> Measurement:
    """The same for the head listed fourth."""
    return _recurring(subject, "published_fourth_recurring", 3)


def published_fifth_recurring(subject: Subject) -> Measurement:
    """The same for the head listed fifth."""
    return _recurring(subject, "published_fifth_recurring", 4)


def published_total_shift(subject: Subject) -> Measurement:
    """On how many prompts Σ|Δattention| exceeds that of the paper's Gemma prompt, 0.191 as printed."""

    def above(routed: Sequence[RoutedPrompt], arm: str) -> float:
        return float(sum(one.total(arm) > GEMMA_TOTAL for one in routed))

    return _figure(subject, "published_total_shift", "count", above)


def _listed(subject: Subject, at_least: int, prompt: int = 0) -> tuple[Head, ...]:
    """The heads the paper lists for one of its routing prompts, counted from 0."""
    routed = subject.once(routed_prompts)
    if prompt >= len(routed):
        raise Untested(f"{subject.id}: the paper prints {len(routed)} routing prompts; ask llama-3.2-1b-524k")
    heads = routed[prompt].steering.heads
    if len(heads) < at_least:
        raise Untested(f"{subject.id}: the paper lists {len(heads)} heads for its routing prompt {prompt + 1}")
    return _there(subject, heads)


def _there(subject: Subject, heads: tuple[Head, ...]) -> tuple[Head, ...]:
    for head in heads:
        if head.layer >= subject.n_layers or head.index >= subject.n_heads:
            raise Untested(f"{subject.id}: it has no head {head}; the paper's preset is for another model")
    return heads


def _head(subject: Subject, name: str, rank: int, prompt: int = 0) -> Measurement:
    head = _listed(subject, rank + 1, prompt)[rank]
    return _figure(subject, name, "attention", lambda routed, arm: routed[prompt].changes[arm][head])


def _recurring(subject: Subject, name: str, place: int) -> Measurement:
    published = published_of(subject)
    head = next(iter(published.recurring[place:]), None)
    prompts = [number for number, one in enumerate(published.routing) if head in one.recurring]
    if head is None or not prompts:
        raise Untested(f"{subject.id}: the paper names no prompts for recurring head {place + 1}")
    _there(subject, (head,))

    def mean(routed: Sequence[RoutedPrompt], arm: str) -> float:
        return statistics.fmean(abs(routed[number].changes[arm][head]) for number in prompts)

    return _figure(subject, name, "attention", mean)


def _figure(subject: Subject, name: str, unit: str, figure: Figure) -> Measurement:
    start, routed = time.perf_counter(), subject.once(routed_prompts)
    return single(
        subject,
        name,
        unit,
        figure(routed, "both"),
        parameters={"prompts": [parameters_of(one.placed, one.steering) for one in routed]},
        arms={arm: figure(routed, arm) for arm in NULLS},
        rows=subject.once(_reach_rows),
        detail={"prompts": [_detail(one) for one in routed]},
        tolerance=noise(subject) if unit == "attention" else 0.0,
        seconds=time.perf_counter() - start,
    )


def _detail(one: RoutedPrompt) -> dict[str, object]:
    """What a reader wants to see besides."""
    return {
        "top heads": {
            str(head): {
                "clean": one.clean[head],
                "Δ": one.changes["both"][head],
                "Δ, inject": one.changes["inject"][head],
            }
            for head in one.ranked("both")[: 2 * LISTED]
        },
        "total |Δattention|": {arm: one.total(arm) for arm in one.changes},
        "P of the injected word": one.probabilities,
        "log-odds of the injected word": one.log_odds,
    }


def _reach_rows(subject: Subject) -> list[dict[str, object]]:
    """Per prompt and layer, whether the edit reaches its heads' attention to the site; if not, a head is read twice."""
    rows = []
    for number, one in enumerate(subject.once(routed_prompts), 1):
        for layer in range(subject.n_layers):
            readout = Pattern(Head(layer, 0), one.placed.last, one.placed.site)
            edit = write_at(one.placed.site, one.placed.both)
            rows.append(reach_row(one.placed.clean, edit, readout, name=f"prompt {number}: edit → {readout}"))
    return rows
