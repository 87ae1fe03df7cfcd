"""Control arms every experiment can run: matched directions, and the same measurement on control subjects."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from typing import TypeVar

import torch
from torch.nn.functional import normalize

from prolepsis.edits import Row
from prolepsis.engine import CleanRun
from prolepsis.errors import Untested
from prolepsis.generation import generate
from prolepsis.hooks import Read
from prolepsis.loading import kept_subject
from prolepsis.measurement import Measurement
from prolepsis.reach import reach
from prolepsis.selection import Logits, Pattern, Readout, ResidMid, ResidPost, Token, Z, supports
from prolepsis.subject import Subject
from prolepsis.twins import IN_PLACE, twin_of, untrained_in_place
from prolepsis.unfinished import Unfinished, name_of, named

Tensor = torch.Tensor
Result = TypeVar("Result")

Values = Mapping[str, float]

_LAST = "asked of the twin"
_values: dict[tuple[str, str], Values] = {}


def once(subject: Subject, measure: Callable[[Subject], Result]) -> Result:
    """``measure(subject)``, made once for as long as the subject is held."""
    name = f"{measure.__module__}.{measure.__qualname__}"
    if name not in subject.memo:
        subject.memo[name] = measure(subject)
    result: Result = subject.memo[name]
    return result


def control_arms(
    subject: Subject, measure: Callable[[Subject], Values], controls: Mapping[str, str | None]
) -> dict[str, Values]:
    """The very same measurement on control subjects: arm name → values, ``controls`` being arm name → subject id.

    Each control subject gets its own choice of site, features and dose. Arms without a control subject are absent, and
    so are those that an untrained twin made in place cannot be asked: its transcoder is that of the trained model.
    Within :func:`but_the_twin` those of such a twin are absent too, since they come last.
    """
    arms: dict[str, Values] = {}
    for name, reference in controls.items():
        if reference == IN_PLACE and _LAST in subject.memo:
            subject.memo[_LAST][name] = measure
        elif reference == IN_PLACE:
            arms |= twin_arms(subject, {name: measure})
        elif reference is not None:
            control = kept_subject(reference, str(subject.device), subject.dtype)
            arms[name] = _measured_once(control, measure, nullcontext())
    return arms


def twin_arms(subject: Subject, asked: Mapping[str, Callable[[Subject], Values]]) -> dict[str, Values]:
    """Arm name → what each measurement says of the untrained twin made in place; absent where it cannot be asked."""
    arms = {}
    for name, measure in asked.items():
        with suppress(Untested):
            arms[name] = _measured_once(twin_of(subject), measure, untrained_in_place(subject))
    return arms


def but_the_twin(subject: Subject, experiment: Callable[[Subject], Measurement]) -> Measurement:
    """The measurement of an experiment; raises Unfinished with it where a twin made in place is to be asked too."""
    subject.memo[_LAST] = {}
    try:
        made = experiment(subject)
    finally:
        asked = subject.memo.pop(_LAST)
    if asked:
        raise Unfinished(made, {arm: name_of(measure) for arm, measure in asked.items()})
    return made


def finished(subject: Subject, begun: Unfinished) -> Measurement:
    """The measurement with the arms it lacks."""
    start = time.perf_counter()
    arms = {**begun.made.arms, **twin_arms(subject, {arm: named(name) for arm, name in begun.asked.items()})}
    return replace(begun.made, arms=arms, seconds=begun.made.seconds + time.perf_counter() - start)


def _measured_once(
    control: Subject, measure: Callable[[Subject], Values], within: AbstractContextManager[object]
) -> Values:
    """What ``measure`` says of a control subject, which is one ``within`` a context."""
    key = (control.digest, f"{measure.__module__}.{measure.__qualname__}")
    if key not in _values:
        with within:
            _values[key] = measure(control)
    return _values[key]


def mechanism_controls(subject: Subject) -> dict[str, str | None]:
    """The fair nulls for a mechanism: no training at all, and the same behaviour by another mechanism."""
    return {"untrained twin": subject.twin, "same behaviour": subject.same_behaviour}


def unembedding_direction(subject: Subject, token: int) -> Tensor:
    """Unit row [d] that raises the logit of ``token`` most, against the mean over the vocabulary."""
    direction: Tensor = normalize(subject.unembedding[token].float() - once(subject, _mean_unembedding), dim=0)
    return direction


def _mean_unembedding(subject: Subject) -> Tensor:
    """The mean row [d] of the unembedding in float32, without a copy of all rows on a GPU."""
    return subject.unembedding.mean(0, dtype=torch.float32)


def matched_random(vectors: Mapping[int, Tensor], direction: Tensor, seed: int) -> dict[int, Tensor]:
    """Random vectors with the norm of each of ``vectors`` [d] and its projection on the unit row ``direction``.

    One random direction serves all layers, as one feature does. Layers whose vector is zero stay zero.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(direction), generator=generator).to(direction)
    noise = normalize(noise - (noise @ direction) * direction, dim=0)
    matched = {}
    for layer, vector in vectors.items():
        along = vector.float() @ direction
        across = (vector.float().norm() ** 2 - along**2).clamp(min=0).sqrt()
        matched[layer] = along * direction + across * noise
    return matched


def random_row(like: Tensor, seed: int) -> Tensor:
    """A random row [d] with the norm of ``like``."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(like), generator=generator).to(like)
    row: Tensor = like.norm() * normalize(noise, dim=0)
    return row


def reach_row(
    clean: CleanRun,
    varied: Row,
    readout: Readout,
    *,
    given: Row = (),
    name: str | None = None,
    claimed: bool = True,
    item: str | None = None,
) -> dict[str, object]:
    """One row of a measurement's ``reach``: whether the wiring lets ``varied`` edits change ``readout``.

    Where it does not, the readout is measured once with and without them, and ``moved`` says whether any bit of it
    differs: a sham that must not move. ``given`` edits are present in both runs. ``claimed`` says that the claim is
    about this readout, ``item`` that the row speaks for that item alone; ``name`` is how a sentence calls the row,
    the edits and the readout unless given.
    """
    answer = reach(clean.subject.wiring, supports(varied), readout, supports(given), tokens=clean.tokens)
    row: dict[str, object] = {
        "name": name or f"{', '.join(map(str, supports(varied)))} → {readout}",
        "claimed": claimed,
        "reachable": answer.answer,
        "why": answer.why,
    }
    if item is not None:
        row["item"] = item
    if not answer.answer:
        # A batch of one row has the shape of the clean run, so that equality is to be had bit for bit.
        row["moved"] = not torch.equal(_read(clean, (*given, *varied), readout), _read(clean, given, readout))
    return row


def _read(clean: CleanRun, row: Row, readout: Readout) -> Tensor:
    """The value of ``readout`` under one row of edits; a generated token stands for all up to its own."""
    match readout:
        case Token(step):
            written = generate(clean.subject, [clean.tokens], [row], max_new_tokens=step)
            return torch.tensor(written[0])
        case Logits(position):
            return clean.edit([row], Read(logits=(position,))).all_logits[0, 0]
        case ResidPost(layer, position):
            return clean.edit([row], Read(logits=(), resid_post=(layer,))).resid_post[layer][0, position]
        case ResidMid(layer, position):
            return clean.edit([row], Read(logits=(), resid_mid=(layer,))).resid_mid[layer][0, position]
        case Pattern(head, query, key):
            return clean.edit([row], Read(logits=(), patterns=((head, query),))).patterns[head, query][0, key]
        case Z(head, position):
            return clean.edit([row], Read(logits=(), z=(head,))).z[head][0, position]
