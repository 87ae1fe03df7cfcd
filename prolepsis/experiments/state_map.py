"""Where is the plan before it is spoken? The interchange effect at every layer and position, as one map.

The donor's residual row is put in place of the recipient's, one row at a time. Rows at successive layers are one cause
counted again, so the map shows effects and the layers where they change hands, never shares.
"""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prolepsis.edits import ReplaceRow, Row
from prolepsis.experiments.rhyme_pairs import Pair, Runs
from prolepsis.reach import reach
from prolepsis.reachability.selection import Logits, RowReplaced
from prolepsis.running.hooks import Read
from prolepsis.subject import Subject

if TYPE_CHECKING:
    from prolepsis.experiments.sites import Sites

EMBEDDING = -1
"""The layer below the first, where nothing but the rhyme word differs between the prompts."""
CARRIES = 1.0
"""A row carries something from this effect on, in nats; below it a map has no carrier to name."""
RHYME_WORD, LAST = "rhyme word", "last"


@dataclass(frozen=True)
class StateMap:
    """Mean interchange effects by layer and token role, in nats.

    ``roles`` are the columns: the rhyme word, the tokens after it (by their text where all prompts have the same one,
    else by their distance as "+3"), and the last position; ``pairs`` says how many pairs have each. ``rows`` maps layer
    → effect per role, None where the wiring keeps that row from the answer in every pair.
    """

    roles: tuple[str, ...]
    pairs: tuple[int, ...]
    rows: Mapping[int, tuple[float | None, ...]]

    def carriers(self) -> dict[int, str]:
        """Layer → the role whose row carries most there; layers where no row carries anything are absent."""
        found = {}
        for layer, row in self.rows.items():
            effect, role = max((cell, role) for cell, role in zip(row, self.roles, strict=True) if cell is not None)
            if effect >= CARRIES:
                found[layer] = role
        return found

    def hand_offs(self) -> list[dict[str, object]]:
        """The layers at which another role begins to carry most: the layer, from which role, to which."""
        return [
            {"layer": layer, "from": before, "to": role}
            for before, (layer, role) in zip(self.carriers().values(), list(self.carriers().items())[1:], strict=False)
            if role != before
        ]

    def plain(self) -> dict[str, object]:
        """The map in JSON types; the embedding is layer -1."""
        return {
            "roles": list(self.roles),
            "pairs": list(self.pairs),
            "layers": list(self.rows),
            "nats": [list(row) for row in self.rows.values()],
            "hand-offs": self.hand_offs(),
        }


def state_map(sites: "Sites", runs: Runs) -> StateMap:
    """The map of all pairs of ``sites``, aligned by the distance from the rhyme word, the last position by itself."""
    n_layers = runs.subject.n_layers
    spans = {pair.id: len(runs.clean(pair.recipient).tokens) - 1 - sites.source[pair.id] for pair in sites.pairs}
    last = {pair.id: _last_effects(runs, pair) for pair in sites.pairs}
    between = range(1, max(spans.values()))
    having = {offset: [pair for pair in sites.pairs if offset < spans[pair.id]] for offset in between}
    rows: dict[int, tuple[float | None, ...]] = {EMBEDDING: (_mean(last, EMBEDDING), *(0.0 for _ in between), 0.0)}
    for layer in range(n_layers):
        cells = []
        for offset in range(max(spans.values())):
            pairs = having.get(offset, list(sites.pairs))
            readable = [pair for pair in pairs if _readable(sites, runs, pair, layer, offset)]
            found = [sites.effects[pair.id].get((layer, sites.source[pair.id] + offset), 0.0) for pair in pairs]
            cells.append(statistics.fmean(found) if readable else None)
        rows[layer] = (*cells, _mean(last, layer))
    labels = [_label(sites, runs, having[offset], offset) for offset in between]
    counts = [len(having[offset]) for offset in between]
    return StateMap((RHYME_WORD, *labels, LAST), (len(sites.pairs), *counts, len(sites.pairs)), rows)


def _last_effects(runs: Runs, pair: Pair) -> dict[int, float]:
    """Layer → interchange effect at the last position; under the embedding that of the whole prompt."""
    recipient, donor, token = runs.clean(pair.recipient), runs.clean(pair.donor), runs.answer(pair.donor)
    position = len(recipient.tokens) - 1
    rows: list[Row] = [[ReplaceRow(at, position, donor.resid_post(at)[-1])] for at in range(runs.subject.n_layers)]
    odds = recipient.edit([*rows, []]).log_odds(token)
    whole = float(donor.read(Read()).log_odds(token)[0] - odds[-1])
    return {EMBEDDING: whole, **dict(enumerate((odds[:-1] - odds[-1]).tolist()))}


def _mean(effects: Mapping[str, Mapping[int, float]], layer: int) -> float:
    return statistics.fmean(of_pair[layer] for of_pair in effects.values())


def _known(_: Subject) -> dict[tuple[str, int, int], bool]:
    """What is known of the rows of templates, by template, layer and offset. Nothing at first."""
    return {}


def _readable(sites: "Sites", runs: Runs, pair: Pair, layer: int, offset: int) -> bool:
    """Whether the wiring lets that row change the last position's logits; asked once per template."""
    known, key = runs.subject.once(_known), (pair.recipient.template.id, layer, offset)
    if key not in known:
        place, tokens = RowReplaced(layer, sites.source[pair.id] + offset), runs.clean(pair.recipient).tokens
        known[key] = reach(runs.subject.wiring, [place], Logits(len(tokens) - 1), tokens=tokens).answer
    return known[key]


def _label(sites: "Sites", runs: Runs, pairs: list[Pair], offset: int) -> str:
    """The token at this distance from the rhyme word where all prompts have the same one, else the distance."""
    if len(pairs) < len(sites.pairs):
        return f"+{offset}"
    found = {runs.clean(pair.recipient).tokens[sites.source[pair.id] + offset] for pair in pairs}
    return runs.subject.decode(list(found)).strip() if len(found) == 1 else f"+{offset}"
