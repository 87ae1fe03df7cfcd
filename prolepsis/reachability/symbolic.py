"""A forward pass on names instead of numbers: every value is known by what it is computed from.

Equal numbers stand for equal computations, so two runs that share a program agree on a value, bit for bit and whatever
the weights, exactly where its numbers are equal.
"""

import copy
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from prolepsis.errors import UserError
from prolepsis.names import Head
from prolepsis.reachability.selection import (
    Added,
    Blocked,
    Frozen,
    HeadReplaced,
    Hidden,
    RowReplaced,
    Skipped,
    StreamReplaced,
    Support,
)
from prolepsis.reachability.wiring import Wiring

# What a mask rule sees of a generated token: an id that no rule singles out.
GENERATED = -1


class Value(NamedTuple):
    """One value of a run: where it lives, the numbers of the values it is computed from, the edits that made it.

    ``head`` is None for residual values; ``edits`` are indices into the program's edits. The layer of a token is -1,
    that of logits the number of layers.
    """

    what: Literal["token", "attended", "resid_post", "edited", "pattern", "hidden", "z", "logits"]
    layer: int
    head: int | None
    position: int
    inputs: tuple[int, ...] = ()
    edits: tuple[int, ...] = ()


class Program:
    """What all runs share: wiring, prompt, edits by index, and the table of values.

    ``tokens`` is the prompt; ``n_tokens`` counts generated positions too. ``heads`` are those that are edited or read
    and therefore computed one by one; the others of a layer see and move the same, so they are computed as one.
    """

    def __init__(self, wiring: Wiring, tokens: Sequence[int], n_tokens: int, heads: Iterable[Head]) -> None:
        self.wiring, self.edits = wiring, tuple[Support, ...]()
        self.n_prompt, self.n_tokens = len(tokens), n_tokens
        self.heads: dict[int, list[Head]] = defaultdict(list)
        for head in sorted(set(heads)):
            self.heads[head.layer].append(head)
        self.values: list[Value] = []
        self._numbers: dict[Value, int] = {}
        self._keys: dict[int | None, list[tuple[int, ...]]] = {}
        self._padded = [*tokens, *[GENERATED] * (n_tokens - len(tokens))]

    def with_edits(self, edits: Iterable[Support]) -> "Program":
        """The same program for runs under ``edits``, which number their values apart from those of other edits."""
        program = copy.copy(self)
        program.edits, program.values, program._numbers = tuple(edits), [*self.values], {**self._numbers}
        return program

    def number(self, value: Value) -> int:
        """The number of a value, the same for equal values."""
        known = self._numbers.setdefault(value, len(self.values))
        if known == len(self.values):
            self.values.append(value)
        return known

    def keys(self, layer: int, query: int) -> tuple[int, ...]:
        """The positions ``query`` may see in ``layer``; raises UserError when there is none."""
        window = self.wiring.windows[layer]
        if window not in self._keys:
            seen = self.wiring.visible(layer, self._padded)
            self._keys[window] = [tuple(row.nonzero()[0].tolist()) for row in seen]
        keys = self._keys[window][query]
        if not keys:
            raise UserError(f"layer {layer}: the mask rule leaves position {query} no key at all; it needs one")
        return keys


class Run:
    """One run: the numbers of its values under some of the program's edits.

    ``clean`` is the unedited run, None where this is it. What lies below the first edited layer is as there, and frozen
    patterns and replaced streams take theirs from it.

    ``resid_mid`` and ``resid_post`` map (layer, position), layer -1 being the embedding; ``pattern``, ``z`` and
    ``seen``, the keys a pattern is spread over, map (head, position) for the program's heads; ``logits`` maps
    positions.
    """

    def __init__(self, program: Program, edits: Sequence[int], clean: "Run | None") -> None:
        self.program, self.clean = program, clean
        self.resid_post: dict[tuple[int, int], int] = {}
        self.resid_mid: dict[tuple[int, int], int] = {}
        self.pattern: dict[tuple[Head, int], int] = {}
        self.z: dict[tuple[Head, int], int] = {}
        self.logits: dict[int, int] = {}
        self.seen: dict[tuple[Head, int], tuple[int, ...]] = {}
        self._sort(edits)
        first = 0
        if clean is not None:
            first = min((program.edits[index].layer for index in edits), default=program.wiring.n_layers)
            self._share(clean, first)
        for position in range(program.n_tokens):
            self._advance(position, first)

    def with_edits(self, edits: Iterable[Support]) -> "Run":
        """The same run, as the clean one of a program with ``edits``."""
        run = copy.copy(self)
        run.program = self.program.with_edits(edits)
        return run

    def _share(self, clean: "Run", first: int) -> None:
        """Take over what lies below layer ``first``."""
        for of_run in ("resid_post", "resid_mid"):
            getattr(self, of_run).update({at: n for at, n in getattr(clean, of_run).items() if at[0] < first})
        for of_head in ("pattern", "z", "seen"):
            getattr(self, of_head).update({at: n for at, n in getattr(clean, of_head).items() if at[0].layer < first})

    def _sort(self, edits: Iterable[int]) -> None:
        """File the edits by the place where they act."""
        self._added: dict[tuple[int, int], tuple[int, ...]] = defaultdict(tuple)
        self._replaced: dict[tuple[int, int], int] = {}
        self._z_replaced: dict[tuple[Head, int], int] = {}
        self._blocked: dict[tuple[Head, int], dict[int, int]] = defaultdict(dict)
        self._hidden: dict[tuple[int, int], dict[int, int]] = defaultdict(dict)
        self._streams: set[int] = set()
        self._frozen: set[Head] = set()
        self._skipped: set[int] = set()
        for index in edits:
            match self.program.edits[index]:
                case Added(layer, position):
                    self._added[layer, position] += (index,)
                case RowReplaced(layer, position):
                    self._replaced[layer, position] = index
                case StreamReplaced(layer, position):
                    self._replaced[layer, position] = index
                    self._streams.add(layer)
                case HeadReplaced(head, position):
                    self._z_replaced[head, position] = index
                case Frozen(head):
                    self._frozen.add(head)
                case Blocked(head, query, key):
                    self._blocked[head, query].setdefault(key, index)
                case Hidden(layer, query, key):
                    self._hidden[layer, query].setdefault(key, index)
                case Skipped(layer):
                    self._skipped.add(layer)

    def pattern_entry(self, head: Head, query: int, key: int) -> int:
        """The number of one entry of a pattern: that of the row, or of a fixed zero where the key is hidden."""
        if key in self.seen[head, query]:
            return self.pattern[head, query]
        blocked = self._unseen(head.layer, head, query)
        edits = (blocked[key],) if key in blocked and key in self.program.keys(head.layer, query) else ()
        return self.program.number(Value("hidden", head.layer, head.index, query, (), edits))

    def _advance(self, position: int, first: int) -> None:
        """Run one position through the layers from ``first`` on; generated tokens are taken to be equal in all runs."""
        program = self.program
        self.resid_post[-1, position] = program.number(Value("token", -1, None, position))
        for layer in range(first, program.wiring.n_layers):
            if layer in self._skipped:
                self.resid_post[layer, position] = self.resid_post[layer - 1, position]
            else:
                attended = self._attended(layer, position)
                before = self.resid_post[layer - 1, position]
                self.resid_mid[layer, position] = before if program.wiring.parallel else attended
                self.resid_post[layer, position] = self._output(layer, position, attended)
        last = program.wiring.n_layers - 1
        self.logits[position] = program.number(
            Value("logits", last + 1, None, position, (self.resid_post[last, position],))
        )

    def _attended(self, layer: int, position: int) -> int:
        """The row itself, what the heads nobody singled out bring, then the z of the singled-out ones: their sum.

        A head that sees one key copies it, one that sees more also compares them with the row itself, so either way
        the row and its visible keys are what the sum depends on.
        """
        program, heads = self.program, self.program.heads[layer]
        inputs = [self.resid_post[layer - 1, position]]
        edits: tuple[int, ...] = ()
        if len(heads) < program.wiring.n_heads:
            keys, edits = self._seen(layer, None, position)
            inputs += self._rows(layer, keys)
        inputs += [self._z(head, position) for head in heads]
        return program.number(Value("attended", layer, None, position, tuple(inputs), edits))

    def _seen(self, layer: int, head: Head | None, query: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The keys ``query`` sees in ``head``, or in those nobody singled out, and the edits that hide others."""
        visible = self.program.keys(layer, query)
        if not self._hidden and not self._blocked:
            return visible, ()
        unseen = self._unseen(layer, head, query)
        keys = tuple(key for key in visible if key not in unseen)
        if not keys:
            raise UserError(f"every key of {head or f'L{layer}'} at query {query} is blocked; leave it at least one")
        return keys, tuple(sorted(unseen[key] for key in unseen if key in visible))

    def _unseen(self, layer: int, head: Head | None, query: int) -> dict[int, int]:
        """Key → the first edit that hides it from ``query`` in ``head``, or in those nobody singled out."""
        hidden = self._hidden.get((layer, query), {})
        blocked = {} if head is None else self._blocked.get((head, query), {})
        return hidden | {key: min(edit, hidden.get(key, edit)) for key, edit in blocked.items()}

    def _rows(self, layer: int, positions: tuple[int, ...]) -> list[int]:
        """resid_pre of ``layer`` at ``positions``."""
        return [self.resid_post[layer - 1, position] for position in positions]

    def _z(self, head: Head, position: int) -> int:
        keys, pattern = self._pattern(head, position)
        self.seen[head, position], self.pattern[head, position] = keys, pattern
        if (head, position) in self._z_replaced:
            z = Value("edited", head.layer, head.index, position, (), (self._z_replaced[head, position],))
        else:
            z = Value("z", head.layer, head.index, position, (pattern, *self._rows(head.layer, keys)))
        self.z[head, position] = self.program.number(z)
        return self.z[head, position]

    def _pattern(self, head: Head, position: int) -> tuple[tuple[int, ...], int]:
        """The keys a head sees and the number of its pattern.

        A single key gets weight 1 whatever it holds, unless there is a sink to share with. A pattern is frozen for the
        prompt only: generated tokens have no clean run.
        """
        keys, edits = self._seen(head.layer, head, position)
        if self.clean and head in self._frozen and position < self.program.n_prompt:
            return self.clean.seen[head, position], self.clean.pattern[head, position]
        alone = len(keys) == 1 and not self.program.wiring.sinks
        compared = [] if alone else self._rows(head.layer, (position, *keys))
        return keys, self.program.number(Value("pattern", head.layer, head.index, position, tuple(compared), edits))

    def _output(self, layer: int, position: int, attended: int) -> int:
        """resid_post: what the layer computed, replaced, then added to; streams are replaced for the prompt only."""
        program = self.program
        if (layer, position) in self._replaced:
            edits = (self._replaced[layer, position],)
            number = program.number(Value("edited", layer, None, position, (), edits))
        elif self.clean and layer in self._streams and position < program.n_prompt:
            number = self.clean.resid_post[layer, position]
        else:
            number = program.number(Value("resid_post", layer, None, position, (attended,)))
        added = self._added.get((layer, position))
        if added:
            number = program.number(Value("edited", layer, None, position, (number,), added))
        return number


@lru_cache(maxsize=8)
def unedited(wiring: Wiring, tokens: tuple[int, ...], n_tokens: int, heads: frozenset[Head]) -> Run:
    """The run without edits, with ``heads`` computed one by one; kept, since one prompt is asked about many times.

    Its values are not to be changed: give it edits by :meth:`Run.with_edits`.
    """
    return Run(Program(wiring, tokens, n_tokens, heads), (), None)
