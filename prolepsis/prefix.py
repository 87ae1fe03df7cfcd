"""What comes before the first edit is as in the clean run: it is taken from there, and not run once for every row."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from transformers import DynamicCache

from prolepsis.plan import Plan

if TYPE_CHECKING:
    import torch

    from prolepsis.engine import CleanRun
    from prolepsis.hooks import Read

KeysAndValues = tuple["torch.Tensor", "torch.Tensor"]
"""Of one layer, each [1, heads, T, d_head]."""

CACHES = ("past_key_values", "past_key_value", "layer_past")
"""What layers call the cache of keys and values they are given."""
_KEPT = "keys and values"


def first_position(plan: Plan, read: "Read", n_tokens: int) -> int:
    """The position from which ``plan`` is run on, 0 for all of them.

    That is the first one that is edited or read, if what lies before it is worth sparing: one row is run for its keys
    and values. What is read inside a layer at every position is read from whole runs.
    """
    if read.resid_mid or read.values or read.z:
        return 0
    asked = [*read.logits, *(query for _, query in read.patterns)]
    first = min(plan.first, n_tokens - 1, *(position % n_tokens for position in asked))
    return first if plan.n_rows * first > n_tokens else 0


def call_from(
    clean: "CleanRun", layer: int, first: int, n_rows: int, kept: Mapping[int, KeysAndValues]
) -> dict[str, Any]:
    """What ``layer`` is called with to run ``n_rows`` rows from ``first`` on, whose keys and values are ``kept``."""
    call = clean.calls[layer]
    if first == 0:
        return dict(call)
    keys, values = (part[:, :, :first].expand(n_rows, -1, -1, -1) for part in kept[layer])
    # A cache of its own for each layer is let go with it; one for all would hold every row's keys in every layer.
    cache = DynamicCache()
    cache.update(keys, values, layer)
    return {name: _from(name, value, first) for name, value in call.items()} | {clean.cache: cache}


def keys_and_values(clean: "CleanRun", layers: range) -> Mapping[int, KeysAndValues]:
    """Layer → keys and values of the clean run; a subject keeps those of the run that asked last.

    To be called before hooks are on the model, since the layers are run for them.
    """
    memo = clean.subject.memo
    if _KEPT not in memo or memo[_KEPT][0] is not clean:
        memo[_KEPT] = clean, {}
    kept: dict[int, KeysAndValues] = memo[_KEPT][1]
    for layer in layers:
        if layer not in kept:
            cache = DynamicCache()
            clean.subject.layer(layer)(clean.resid[layer][None], **clean.calls[layer], **{clean.cache: cache})
            filled: Any = cache.layers[layer]
            kept[layer] = filled.keys, filled.values
    return kept


def _from(name: str, value: Any, first: int) -> Any:
    """An argument of a layer without the positions before ``first``: positions, rotations, and a mask's queries."""
    if isinstance(value, tuple):
        return tuple(_from(name, part, first) for part in value)
    if name == "attention_mask":
        return None if value is None else value[..., first:, :]
    if not hasattr(value, "dim"):
        return value
    return value[first:] if value.dim() == 1 else value[:, first:]
