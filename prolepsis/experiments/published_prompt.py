"""A published prompt on a subject: its tokens, the site, and what is written there (sections 5, 6, appendices D to G).

The protocol is the preset's. Where the subject's tokenizer splits the prompt otherwise than the author's did, nothing
is moved: the figure is then untested, and the reason says which token stands in the place.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from prolepsis.directions import matched_random, unembedding_direction
from prolepsis.engine import CleanRun, clean_run
from prolepsis.errors import Untested
from prolepsis.measurement import Measurement
from prolepsis.subject import Subject, transcoder_of
from prolepsis.subjects.published import Published, Steering
from prolepsis.writes import Writes, summed

Tensor = torch.Tensor
NULLS = ("matched random", "unembedding")
"""Arms of writes that stand in for the published ones."""
SIZE_OF_LOGITS = 30.0
"""Logits are of about this size (Gemma 2 caps them there), attention scores too."""


@dataclass(frozen=True, eq=False)
class Placed:
    """A published prompt as the subject's tokenizer splits it, and what its features write per layer.

    ``token`` is the word that is read, at the last position; ``site`` the position that is written at.
    """

    clean: CleanRun
    site: int
    token: int
    suppress: Writes
    inject: Writes

    @property
    def both(self) -> dict[int, Tensor]:
        """Suppression and injection together."""
        return summed(self.suppress, self.inject)

    @property
    def last(self) -> int:
        return len(self.clean.tokens) - 1

    def arms(self, writes: Writes, seed: int = 0) -> dict[str, Writes]:
        """``writes``, and in its place a matched random write and the word's unembedding direction of equal norm."""
        towards = unembedding_direction(self.clean.subject, self.token).cpu()
        return {
            "measured": writes,
            "matched random": matched_random(writes, towards, seed),
            "unembedding": {layer: vector.norm() * towards for layer, vector in writes.items()},
        }


def published_of(subject: Subject) -> Published:
    """What the paper ran on the subject; raises Untested where no preset says so."""
    if subject.published is None:
        raise Untested(f"{subject.id}: the paper ran nothing on it; ask one of the paper's presets")
    return subject.published


def placed(subject: Subject, steering: Steering, text: str, strength: float | None = None) -> Placed:
    """``steering`` on ``text``, its strength unless another is given; a multiple of it is a multiple of every vector.

    Raises Untested when another token stands at the site, or the word has another id.
    """
    transcoder = transcoder_of(subject)
    tokens = subject.encode(text)
    s = steering.strength if strength is None else strength
    return Placed(
        clean=clean_run(subject, tokens),
        site=_site(subject, steering, tokens),
        token=_token(subject, steering),
        suppress=transcoder.writes(steering.suppress, -s),
        inject=transcoder.writes([steering.inject], s),
    )


def _site(subject: Subject, steering: Steering, tokens: list[int]) -> int:
    last = len(tokens) - 1
    if steering.site is None:
        return last
    found = subject.decode([tokens[steering.site]]) if steering.site <= last else None
    stands = f"{found!r} stands there" if found is not None else f"the prompt has tokens 0 to {last}"
    if steering.at and found != steering.at:
        raise Untested(
            f"{subject.id}: the published site {steering.site} is {steering.at!r}, but {stands} under this tokenizer; "
            "get the tokenizer the paper used"
        )
    if not steering.at and steering.site != last:
        raise Untested(
            f"{subject.id}: the published site {steering.site} is the last token, but under this tokenizer {stands} "
            f"and the last is {last}; get the tokenizer the paper used"
        )
    return steering.site


def _token(subject: Subject, steering: Steering) -> int:
    token = subject.word_id(steering.word)
    if steering.token not in (None, token):
        found = subject.decode([steering.token]) if steering.token < subject.n_vocab else "nothing"
        raise Untested(
            f"{subject.id}: {steering.word!r} is token {token} under this tokenizer; the paper's {steering.token} is "
            f"{found!r} here; get the tokenizer the paper used"
        )
    return token


def noise(subject: Subject) -> float:
    """What rounding leaves open, in nats: a few roundings of a logit, and so of log-odds."""
    return 4 * SIZE_OF_LOGITS * torch.finfo(subject.dtype).eps


def parameters_of(place: Placed, steering: Steering) -> dict[str, object]:
    """What was written where, for the protocol of a measurement."""
    return {
        "tokens": list(place.clean.tokens),
        "site": place.site,
        "word": steering.word,
        "suppress": [str(feature) for feature in steering.suppress],
        "inject": str(steering.inject),
        "strength": steering.strength,
    }


def single(
    subject: Subject,
    experiment: str,
    unit: str,
    value: float,
    *,
    parameters: Mapping[str, object],
    arms: Mapping[str, float] | None = None,
    rows: list[dict[str, object]] | None = None,
    detail: Mapping[str, object] | None = None,
    tolerance: float = 0.0,
    seconds: float = 0.0,
) -> Measurement:
    """One deterministic value on the published prompts; ``arms`` has one value each, ``rows`` are those of reach."""
    return Measurement(
        experiment=experiment,
        subject=subject.digest,
        unit=unit,
        design="single",
        parameters={**parameters, "numerical_tolerance": tolerance},
        values={"published": value},
        clusters={},
        arms={name: {"published": each} for name, each in (arms or {}).items()},
        reach=None if rows is None else {"rows": rows},
        detail=detail or {},
        seconds=seconds,
    )
