"""Which readouts an edit can reach at all, from the wiring alone: no weights, no tensors, no torch.

    wiring = open_wiring("gemma-2-2b")
    reach(wiring, parse_edits("L23..25@31"), parse_readout("L21:H5 31->31"), tokens=32)  # no: it writes above L21

Three runs are executed symbolically: the clean one, the one that carries ``given``, and the one that carries ``given``
and ``varied``. The answer is whether the last two compute the readout from different things.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prolepsis.errors import UserError
from prolepsis.names import Head
from prolepsis.reachability.selection import (
    Added,
    Blocked,
    Frozen,
    HeadReplaced,
    Hidden,
    Logits,
    Pattern,
    Readout,
    ResidMid,
    ResidPost,
    RowReplaced,
    Skipped,
    StreamReplaced,
    Support,
    Token,
    Z,
)
from prolepsis.reachability.symbolic import Program, Run, Value, unedited
from prolepsis.reachability.wiring import Wiring, wiring_from_config

__all__ = ["Reach", "Wiring", "reach", "wiring_from_config"]

_Single = Logits | ResidPost | ResidMid | Pattern | Z
_Pair = tuple[int, int]


@dataclass(frozen=True)
class Reach:
    """``answer``: can the varied edits change the readout? ``why``: a shortest path if so, else what stops them."""

    answer: bool
    why: str


def reach(
    wiring: Wiring,
    varied: Iterable[Support],
    readout: Readout,
    given: Iterable[Support] = (),
    *,
    tokens: int | Sequence[int],
) -> Reach:
    """Whether ``varied`` edits, by their presence or by their values, can change ``readout`` while ``given`` holds.

    ``tokens`` are the prompt's token ids, or just their number where no mask rule asks for them. "Can" means: for some
    weights and values. Raises UserError for places the model or the prompt does not have, for edits that exclude each
    other, and for readouts inside a skipped layer.
    """
    return reach_each(wiring, varied, (readout,), given, tokens=tokens)[0]


def reach_each(
    wiring: Wiring,
    varied: Iterable[Support],
    readouts: Sequence[Readout],
    given: Iterable[Support] = (),
    *,
    tokens: int | Sequence[int],
) -> tuple[Reach, ...]:
    """:func:`reach` for several readouts of one edited run."""
    given, varied = tuple(given), tuple(varied)
    prompt, n_tokens = check_places(wiring, given + varied, readouts, tokens=tokens)
    heads = frozenset(place.head for place in (*given, *varied, *readouts) if isinstance(place, _OF_HEADS))
    # Only a mask rule looks at tokens: without one all prompts of a length are one.
    seen = tuple(range(len(prompt))) if wiring.mask_rule is None else prompt
    clean = unedited(wiring, seen, n_tokens, heads).with_edits(given + varied)
    before = Run(clean.program, range(len(given)), clean)
    after = Run(clean.program, range(len(given) + len(varied)), clean)
    comparison = _Comparison(clean.program, len(given), before, after)
    return tuple(map(comparison.of, readouts))


_OF_HEADS = (HeadReplaced, Frozen, Blocked, Pattern, Z)
_AT_OUTPUT = (Added, RowReplaced, StreamReplaced)


def _prompt(wiring: Wiring, tokens: int | Sequence[int]) -> tuple[int, ...]:
    if isinstance(tokens, int):
        if wiring.mask_rule is not None:
            raise UserError("the wiring has a mask rule, which looks at tokens; give their ids, not their number")
        tokens = range(tokens)
    if not tokens:
        raise UserError("the prompt is empty; give at least one token")
    return tuple(tokens)


def check_places(
    wiring: Wiring, edits: Sequence[Support], readouts: Sequence[Readout], *, tokens: int | Sequence[int]
) -> tuple[tuple[int, ...], int]:
    """The prompt, and how many positions there are with the generated ones that are read.

    Raises UserError for places that are not there and for edits that exclude each other.
    """
    prompt = _prompt(wiring, tokens)
    n_prompt = len(prompt)
    n_tokens = n_prompt + max((readout.step - 1 for readout in readouts if isinstance(readout, Token)), default=0)
    for place in (*edits, *readouts):
        _check_place(wiring, place, n_tokens)
    _check_together(edits, readouts, n_prompt)
    return prompt, n_tokens


def _check_together(edits: Sequence[Support], readouts: Sequence[Readout], n_prompt: int) -> None:
    """Refuse edits that exclude each other, and readouts that they leave without a meaning."""
    skipped = {edit.layer for edit in edits if isinstance(edit, Skipped)}
    streams = {edit.layer for edit in edits if isinstance(edit, StreamReplaced)}
    replaced: set[object] = set()
    for edit in edits:
        if not isinstance(edit, Skipped) and edit.layer in skipped:
            raise UserError(f"{edit}: layer {edit.layer} is skipped; drop one of the two")
        if isinstance(edit, StreamReplaced) and edit.position >= n_prompt:
            raise UserError(f"{edit}: position {edit.position} is generated and has no clean run; use replace")
        if isinstance(edit, HeadReplaced | RowReplaced | StreamReplaced):
            whole = not isinstance(edit, HeadReplaced) and edit.layer in streams
            row = edit.layer if whole else (edit.layer, getattr(edit, "head", None), edit.position)
            if row in replaced:
                raise UserError(f"{edit}: this row is replaced already; keep one replacement")
            replaced.add(row)
    for readout in readouts:
        if isinstance(readout, ResidMid | Pattern | Z) and readout.layer in skipped:
            raise UserError(f"{readout}: layer {readout.layer} is skipped; nothing inside it is used")


def _check_place(wiring: Wiring, place: Support | Readout, n_tokens: int) -> None:
    layer, head = getattr(place, "layer", 0), getattr(place, "head", None)
    if layer >= wiring.n_layers:
        raise UserError(f"{place}: layer {layer} is not among layers 0 to {wiring.n_layers - 1}")
    if head is not None and head.index >= wiring.n_heads:
        raise UserError(f"{place}: head {head} is not among heads 0 to {wiring.n_heads - 1}")
    for name in ("position", "query", "key"):
        position = getattr(place, name, 0)
        if position >= n_tokens:
            raise UserError(f"{place}: {name} {position} is not among positions 0 to {n_tokens - 1}")
    if isinstance(place, Blocked | Hidden) and place.key > place.query:
        raise UserError(f"{place}: key {place.key} comes after query {place.query}; only earlier keys can be hidden")
    if isinstance(place, Token) and place.step < 1:
        raise UserError(f"{place}: generated tokens are counted from 1")


@dataclass(frozen=True)
class _Comparison:
    """The run ``before`` the varied edits and the one ``after`` them; the first ``n_given`` edits are in both."""

    program: Program
    n_given: int
    before: Run
    after: Run

    def of(self, readout: Readout) -> Reach:
        """Compare the readout."""
        for name, part in self._parts(readout):
            pair = _number(self.before, part), _number(self.after, part)
            if pair[0] != pair[1]:
                return Reach(True, " → ".join(dict.fromkeys([*self._path(pair), str(name), str(readout)])))
        return Reach(False, self._obstacle(readout))

    def _parts(self, readout: Readout) -> list[tuple[Readout, _Single]]:
        """What has to be compared for a readout, each with its name.

        For a generated token all steps up to its own, in order: a step is only looked at when every earlier token is
        the same in both runs.
        """
        if not isinstance(readout, Token):
            return [(readout, readout)]
        last = self.program.n_prompt - 1
        return [(Token(step), Logits(last + step - 1)) for step in range(1, readout.step + 1)]

    def _path(self, pair: _Pair) -> list[str]:
        """A shortest way from a varied edit to a value that differs: the edit, then every move between positions."""
        values, queue = self.program.values, deque([pair])
        moves: dict[_Pair, tuple[str, ...]] = {pair: ()}
        while True:
            pair = queue.popleft()
            before, after = values[pair[0]], values[pair[1]]
            cause = self._cause(before, after)
            if cause is not None:
                return [str(cause), *moves[pair]]
            # Where the two see different keys, it is their patterns, the first input, that differ.
            n_inputs = len(before.inputs) if len(before.inputs) == len(after.inputs) else 1
            for source in zip(before.inputs[:n_inputs], after.inputs[:n_inputs], strict=True):
                if source[0] != source[1] and source not in moves:
                    moves[source] = (*self._move(after, values[source[1]]), *moves[pair])
                    queue.append(source)

    def _cause(self, before: Value, after: Value) -> Support | None:
        """The varied edit that makes two values differ right here, None when what they are computed from differs."""
        changed = {*before.edits} ^ {*after.edits}
        in_prompt = before.position < self.program.n_prompt
        for index, edit in enumerate(self.program.edits[self.n_given :], self.n_given):
            match edit:
                case Frozen(Head(layer, head)):
                    here = before[1:3] == (layer, head) and in_prompt and {before.what, after.what} != {"z"}
                case StreamReplaced(layer):
                    here = before[:2] == ("resid_post", layer) and in_prompt
                case Skipped(layer):
                    here = before.layer != after.layer and layer == max(before.layer, after.layer)
                case _:
                    here = False
            if here or index in changed:
                return edit
        return None

    def _move(self, into: Value, source: Value) -> tuple[str, ...]:
        """How a difference gets from ``source`` into a value: the head that carries it, as query→key."""
        if into.what == "attended" and source.position != into.position:
            return (f"L{into.layer}:H* {into.position}→{source.position}",)
        if into.head is not None and source.head is None:
            return (f"L{into.layer}:H{into.head} {into.position}→{source.position}",)
        return ()

    def _obstacle(self, readout: Readout) -> str:
        """What keeps every varied edit from the readout."""
        varied = self.program.edits[self.n_given :]
        if not varied:
            return "nothing is varied"
        inside = isinstance(readout, ResidMid | Pattern | Z)
        layer = getattr(readout, "layer", self.program.wiring.n_layers)
        lowest = min(varied, key=lambda edit: (edit.layer, isinstance(edit, _AT_OUTPUT)))
        if lowest.layer > layer or (lowest.layer == layer and inside and isinstance(lowest, _AT_OUTPUT)):
            return f"every path starts at {lowest}, above {readout}"
        return self._inside_obstacle(readout) or self._extent(
            readout, layer if isinstance(readout, ResidPost) else layer - 1
        )

    def _inside_obstacle(self, readout: Readout) -> str | None:
        """What holds a head's pattern or output fixed whatever happens below it, if anything does."""
        given = self.program.edits[: self.n_given]
        match readout:
            case Pattern(head, query, key):
                seen = self.after.seen[head, query]
                if Frozen(head) in given and query < self.program.n_prompt:
                    return f"freeze {head} holds that pattern"
                if key not in seen:
                    return f"query {query} of {head} does not see key {key}"
                if len(seen) == 1 and not self.program.wiring.sinks:
                    return f"query {query} of {head} sees no key but {key}, whose weight is then 1"
            case Z(head, position) if HeadReplaced(head, position) in given:
                return f"head {head}@{position} replaces it in both runs"
        return None

    def _extent(self, readout: Readout, layer: int) -> str:
        """How far the difference gets in the residual stream up to ``layer``."""
        before, after = self.before.resid_post, self.after.resid_post
        for reached in range(layer, -1, -1):
            differing = [p for p in range(self.program.n_tokens) if before[reached, p] != after[reached, p]]
            if differing and reached == layer:
                return f"after layer {layer} only {_positions(differing)} can differ, and {readout} reads none of that"
            if differing:
                return f"the difference ends at layer {reached + 1}: after it no position can differ"
        return f"nothing that {readout} is computed from can differ"


def _positions(positions: list[int]) -> str:
    """``[3, 5, 6, 7]`` as "positions 3, 5..7"."""
    runs: list[list[int]] = []
    for position in positions:
        if runs and position == runs[-1][-1] + 1:
            runs[-1].append(position)
        else:
            runs.append([position])
    listed = ", ".join(f"{run[0]}..{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
    return f"position{'s' if len(positions) > 1 else ''} {listed}"


def _number(run: Run, readout: _Single) -> int:
    """The number of what is read."""
    match readout:
        case Logits(position):
            return run.logits[position]
        case ResidPost(layer, position):
            return run.resid_post[layer, position]
        case ResidMid(layer, position):
            return run.resid_mid[layer, position]
        case Pattern(head, query, key):
            return run.pattern_entry(head, query, key)
        case Z(head, position):
            return run.z[head, position]
