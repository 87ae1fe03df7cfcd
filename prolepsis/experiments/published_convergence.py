"""The published convergence of one factual prompt: where its contrast is absorbed, and what answer it makes (§4, §6).

The contrast is resid_post(own) − resid_post(other) at the last token, of the first other prompt with as many tokens. It
is written at every layer below the last in turn, with strength 1: a layer absorbs it where a later one has a cosine of
0.95 with the clean row. The strengths 0.5 to 6 are written at the deepest layer that absorbs. The published sign points
away from the other prompt; the redirect is measured with the opposite one as well.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch

from prolepsis.directions import random_row
from prolepsis.edits import Add, Row
from prolepsis.engine import CleanRun, clean_run
from prolepsis.errors import Untested
from prolepsis.experiments.absorption import STRENGTHS, dosed
from prolepsis.experiments.convergence import (
    ABSORBED,
    WITHIN,
    Returns,
    absorbed,
    contrast_at,
    cosines_of,
    last_rows,
    returns_of,
)
from prolepsis.experiments.published_prompt import noise, published_of, single
from prolepsis.measurement import Measurement
from prolepsis.reachability.selection import Logits, ResidPost
from prolepsis.shams import reach_row
from prolepsis.subject import Subject
from prolepsis.subjects.published import Convergence

Tensor = torch.Tensor

AWAY, TOWARDS = 1.0, -1.0
"""Sign of own − other: the published one, and the one that makes of the last row the other prompt's."""


@dataclass(frozen=True, eq=False)
class Contrasted:
    """The published prompt and the one it is contrasted with, ``text``; ``written`` maps layer → arm → row [d]."""

    asked: Convergence
    clean: CleanRun
    text: str
    written: Mapping[int, Mapping[str, Tensor]]

    @property
    def last(self) -> int:
        return len(self.clean.tokens) - 1

    @cached_property
    def returns(self) -> Returns:
        """What becomes of every row that is written."""
        return returns_of(self.clean, self.written)

    @property
    def parameters(self) -> dict[str, object]:
        return {"tokens": list(self.clean.tokens), "contrast": self.text, "threshold": ABSORBED}


def contrasted(subject: Subject) -> Contrasted:
    """Run both prompts; raises Untested where the paper has none for the subject, or none of equal length."""
    asked = published_of(subject).convergence
    if asked is None:
        raise Untested(f"{subject.id}: the paper ran no convergence on it")
    tokens = subject.encode(asked.prompt)
    alike = [text for text in asked.contrasts if len(subject.encode(text)) == len(tokens)]
    if not alike:
        raise Untested(
            f"{subject.id}: none of the published contrasts has the {len(tokens)} tokens of {asked.prompt!r} under "
            "this tokenizer; get the tokenizer the paper used"
        )
    clean, other = clean_run(subject, tokens), clean_run(subject, subject.encode(alike[0]))
    contrasts = [contrast_at(clean, other, layer) for layer in range(subject.n_layers - 1)]
    written = {at: {"contrast": v, "random direction": random_row(v, at)} for at, v in enumerate(contrasts)}
    return Contrasted(asked, clean, alike[0], written)


def absorbing_layers(subject: Subject) -> Measurement:
    """Share of all layers, the last among them, at which the contrast is absorbed at any later layer.

    Arms: ``right after the edit`` (the same cosine before any layer has run), ``passive dilution`` (the contrast
    carried unchanged), ``random direction`` of equal norm.
    """
    return _share(subject, "absorbing_layers", None)


def quickly_absorbing_layers(subject: Subject) -> Measurement:
    """Share of all layers at which it is absorbed within two layers; same arms."""
    return _share(subject, "quickly_absorbing_layers", WITHIN)


def _share(subject: Subject, name: str, within: int | None) -> Measurement:
    start, found = time.perf_counter(), subject.once(contrasted)
    returns, rounding = found.returns, torch.finfo(subject.dtype).eps
    cosines = returns.cosines["contrast"]
    highest = [max(seen[1:][:within]) for seen in cosines.values()]
    nulls = {arm: returns.absorbed(arm, within) for arm in ("passive dilution", "random direction")}
    return single(
        subject,
        name,
        "share of layers",
        returns.absorbed("contrast", within),
        parameters={**found.parameters, "layers on": "any" if within is None else within},
        arms={"right after the edit": returns.at_once(), **nulls},
        rows=[
            reach_row(found.clean, [Add(at, found.last, arms["contrast"])], ResidPost(at + 1, found.last))
            for at, arms in found.written.items()
        ],
        detail={
            "cosines": {str(at): list(seen) for at, seen in cosines.items()},
            "lengths": {str(at): list(seen.values()) for at, seen in returns.lengths["contrast"].items()},
        },
        tolerance=sum(abs(cosine - ABSORBED) < rounding for cosine in highest) / subject.n_layers,
        seconds=time.perf_counter() - start,
    )


def published_critical_strength(subject: Subject) -> Measurement:
    """The strength up to which the contrast is absorbed, at the deepest layer that absorbs it, known to a step.

    Where no layer absorbs the contrast itself it lies between 0 and 1.
    """
    start, found = time.perf_counter(), subject.once(contrasted)
    layer = max((at for at, seen in found.returns.cosines["contrast"].items() if absorbed(seen)), default=None)
    absorbing = [] if layer is None else _absorbed_by_strength(found, layer)
    steps = [0.0, *STRENGTHS, STRENGTHS[-1] + STRENGTHS[0]]
    first = absorbing.index(False) if False in absorbing else len(absorbing)
    below, above = (0.0, 1.0) if layer is None else steps[first : first + 2]
    return single(
        subject,
        "published_critical_strength",
        "contrastive distances",
        (below + above) / 2,
        parameters={**found.parameters, "strengths": list(STRENGTHS), "layer": layer},
        detail={"absorbed at": [s for s, taken in zip(STRENGTHS, absorbing, strict=False) if taken]},
        tolerance=(above - below) / 2,
        seconds=time.perf_counter() - start,
    )


def _absorbed_by_strength(found: Contrasted, layer: int) -> list[bool]:
    """Whether a later layer absorbs the contrast, written at ``layer``, at each published strength."""
    edited = last_rows(found.clean, [*dosed(found.clean, layer, found.written[layer]["contrast"]), []])[layer:]
    return [absorbed(cosines_of(edited[:, index], edited[:, -1])) for index in range(len(STRENGTHS))]


def published_redirect(subject: Subject) -> Measurement:
    """P(the other prompt's answer) with own − other added, at the layer below the last that makes it largest.

    Arm: ``random row`` of equal norm, at its own best layer.
    """
    return _redirect(subject, "published_redirect", AWAY)


def published_redirect_towards(subject: Subject) -> Measurement:
    """The same with other − own added; at the last layer, which is left out, that is the other prompt's own output."""
    return _redirect(subject, "published_redirect_towards", TOWARDS)


def _redirect(subject: Subject, name: str, sign: float) -> Measurement:
    start, found = time.perf_counter(), subject.once(contrasted)
    asked = found.asked
    if found.text != asked.contrasts[0]:
        raise Untested(
            f"{subject.id}: {asked.redirect!r} answers {asked.contrasts[0]!r}, which is not as long as the prompt "
            "under this tokenizer; get the tokenizer the paper used"
        )
    writes: dict[str, list[Row]] = {
        arm: [[Add(at, found.last, sign * arms[arm])] for at, arms in found.written.items()]
        for arm in ("contrast", "random direction")
    }
    p = found.clean.edit([[], *writes["contrast"], *writes["random direction"]]).probabilities()
    n = len(found.written)
    unedited, edited, random = p[0], p[1 : n + 1], p[n + 1 :]
    own, other = subject.word_id(asked.word), subject.word_id(asked.redirect)
    value = float(edited[:, other].max())
    return single(
        subject,
        name,
        "probability",
        value,
        parameters={**found.parameters, "sign": "own - other" if sign == AWAY else "other - own"},
        arms={"random row": float(random[:, other].max())},
        rows=[reach_row(found.clean, row, Logits(found.last)) for row in writes["contrast"]],
        detail={
            f"P({asked.word}) without an edit": float(unedited[own]),
            f"P({asked.redirect}) without an edit": float(unedited[other]),
            f"P({asked.word}) by layer": edited[:, own].tolist(),
            f"P({asked.redirect}) by layer": edited[:, other].tolist(),
        },
        tolerance=noise(subject) * value,
        seconds=time.perf_counter() - start,
    )
