"""Where a plan is held: the sites that half of the rhyme groups choose, at which the other half is tested.

A site is a position whose token is equal in both prompts of a pair and is not the last one, read at resid_post of a
layer.
"""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from prolepsis.edits import ReplaceRow, Row
from prolepsis.experiments.rhyme_pairs import Pair, Runs, rhyme_pairs, task_of
from prolepsis.reachability.selection import Logits
from prolepsis.shams import reach_row
from prolepsis.subject import Subject
from prolepsis.watching import watched

Place = tuple[int, int]


@dataclass(frozen=True)
class Sites:
    """Interchange effects of every pair at every place (layer, position), and the sites chosen from them.

    ``effects`` maps pair id → place → nats; ``chosen`` maps (half tested, template id) → place.
    """

    pairs: tuple[Pair, ...]
    source: Mapping[str, int]
    effects: Mapping[str, Mapping[Place, float]]
    chosen: Mapping[tuple[int, str], Place]

    def of(self, pair: Pair) -> Place:
        """The site a pair is tested at, chosen on the other half of the groups."""
        return self.chosen[pair.half, pair.recipient.template.id]

    def measured(self, pair: Pair) -> float:
        """Interchange effect at the pair's site, in nats."""
        return self.effects[pair.id][self.of(pair)]

    def elsewhere(self, pair: Pair) -> float:
        """Mean interchange effect at the other eligible positions of the site's layer."""
        layer, site = self.of(pair)
        others = [
            effect
            for (at, position), effect in self.effects[pair.id].items()
            if at == layer and position not in (site, self.source[pair.id])
        ]
        return statistics.fmean(others)

    def at_source(self, pair: Pair) -> float:
        """Interchange effect of the rhyme word's own row at the site's layer."""
        return self.effects[pair.id][self.of(pair)[0], self.source[pair.id]]

    def named(self) -> dict[str, str]:
        """Template and half tested → the site, in words."""
        return {
            f"{template}, half {half}": f"L{layer}@{position}"
            for (half, template), (layer, position) in sorted(self.chosen.items())
        }

    def folds(self) -> list[dict[str, list[str]]]:
        """Which groups chose the sites that which groups tested."""
        halves = [sorted({pair.recipient.group for pair in self.pairs if pair.half == half}) for half in (0, 1)]
        return [{"discovery": halves[1 - half], "tested": halves[half]} for half in (0, 1)]

    def reach_rows(self, runs: Runs) -> list[dict[str, object]]:
        """Whether the wiring lets each tested site reach the last position's logits."""
        rows: dict[str, dict[str, object]] = {}
        for pair in self.pairs:
            (layer, site), recipient = self.of(pair), runs.clean(pair.recipient)
            last = len(recipient.tokens) - 1
            name = f"{pair.recipient.template.id}: L{layer}@{site} → logits@{last}"
            if name not in rows:
                swap = [ReplaceRow(layer, site, runs.clean(pair.donor).resid_post(layer)[site])]
                rows[name] = reach_row(recipient, swap, Logits(last), name=name)
        return list(rows.values())


def find_sites(subject: Subject) -> Sites:
    """Interchange every pair at every eligible place, and choose each half's sites by the other half's mean effect."""
    runs, pairs = subject.once(Runs), rhyme_pairs(task_of(subject))
    # A row of the last layer is read by its own position alone, so it can be no site unless it is the only layer.
    layers = range(max(1, subject.n_layers - 1))
    source = {pair.id: runs.source(pair) for pair in pairs}
    effects: dict[str, dict[Place, float]] = {}
    for pair in watched(pairs, "pairs"):
        recipient, donor = runs.clean(pair.recipient), runs.clean(pair.donor)
        places = [(at, p) for at in layers for p in range(source[pair.id], len(recipient.tokens) - 1)]
        rows: list[Row] = [[ReplaceRow(at, p, donor.resid_post(at)[p])] for at, p in places]
        token = runs.answer(pair.donor)
        out = recipient.edit([*rows, []]).log_odds(token)
        effects[pair.id] = dict(zip(places, (out[:-1] - out[-1]).tolist(), strict=True))
    chosen = {}
    for half in (0, 1):
        for template in {pair.recipient.template.id for pair in pairs}:
            seen = [p for p in pairs if p.half != half and p.recipient.template.id == template]
            eligible = [place for place in effects[seen[0].id] if place[1] != source[seen[0].id]]
            chosen[half, template] = max(
                eligible, key=lambda place: statistics.fmean(effects[pair.id][place] for pair in seen)
            )
    return Sites(pairs, source, effects, chosen)


def parameters(sites: Sites) -> dict[str, object]:
    """What fixes the protocol of every experiment at these sites."""
    return {
        "pairs": [pair.id for pair in sites.pairs],
        "folds": sites.folds(),
        "site": "largest mean interchange effect on the other half, per template",
    }
