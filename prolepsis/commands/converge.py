"""``prolepsis converge``: whether the residual stream returns to where it was after a contrastive deviation."""

import argparse
from typing import TYPE_CHECKING

from prolepsis.commands.experiment import Answer, count_on, experiment_command
from prolepsis.commands.prompts import pair_arguments, two_runs
from prolepsis.commands.steered import positive

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from prolepsis.engine import CleanRun
    from prolepsis.experiments.convergence import Returns
    from prolepsis.subject import Subject

EXAMPLE = r"""example, on a bundled organism:

    $ prolepsis converge --subject planted-llama-absorber

On a model of your own, with the paper's first pair:
`prolepsis converge --subject FOLDER --prompt "The capital of France is" --contrast "The capital of Germany is"`.
As published a deviation is absorbed when the edited row has a cosine of 0.95 with the clean one at a later layer. That
cosine also rises where the stream grows and the deviation merely stays: hence the length that is left of it, and the
cosine of a deviation that is carried unchanged.
"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    pair_arguments(parser, "contrast", "the prompt whose row is subtracted (default: the task's other prompt)")
    parser.add_argument(
        "--strength",
        type=positive,
        default=1.0,
        metavar="S",
        help="multiple of the contrast (default 1)",
    )


def _ask(subject: "Subject", chosen: argparse.Namespace) -> Answer:
    from prolepsis.experiments.convergence import WITHIN

    clean, other = two_runs(subject, chosen)
    found = _returns(clean, other, chosen.strength)
    matrix = {layer: found.cosines["contrast"][layer] for layer in found.layers}
    top = subject.n_layers - 1
    rows = []
    for layer, cosines in matrix.items():
        read = min(layer + WITHIN, top)
        rows.append(
            (
                f"L{layer}",
                f"{cosines[0]:.3f}",
                _first_absorbed(layer, cosines),
                f"L{read}",
                f"{found.cosines['passive dilution'][layer][read - layer]:.3f}",
                f"{found.lengths['contrast'][layer][read]:.2f}",
                f"{found.lengths['random direction'][layer][read]:.2f}",
            )
        )
    return Answer(
        title=f"{subject.id}: what becomes of the contrast ×{chosen.strength:g}, written at the last token of a layer",
        columns=("written at", "cosine at once", "absorbed at", "read at", "if unchanged", "length left", "random"),
        rows=rows,
        notes=[
            f"absorbed as published: {sum(row[2] != '–' for row in rows)} of {len(rows)} layers; "
            f"before any layer has run: {found.at_once() * len(rows):.0f}",
            f"if carried unchanged: {found.absorbed('passive dilution') * len(rows):.0f}; "
            f"a random direction: {found.absorbed('random direction') * len(rows):.0f}",
        ],
        plain={
            "prompt": [subject.decode([token]) for token in clean.tokens],
            "contrast": [subject.decode([token]) for token in other.tokens],
            "strength": chosen.strength,
            "layers written": list(found.layers),
            "cosines from the layer written on": {arm: of for arm, of in found.cosines.items() if of},
            "length over the length written": {arm: of for arm, of in found.lengths.items() if of},
        },
        draw=lambda figure: _draw(figure, subject.n_layers, matrix),
    )


def _returns(clean: "CleanRun", other: "CleanRun", strength: float) -> "Returns":
    from prolepsis.directions import random_row
    from prolepsis.experiments.convergence import contrast_at, differing_layers, returns_of

    deviations = {}
    for layer in differing_layers(clean, other):
        contrast = strength * contrast_at(clean, other, layer)
        deviations[layer] = {"contrast": contrast, "random direction": random_row(contrast, layer)}
    return returns_of(clean, deviations)


def _first_absorbed(layer: int, cosines: tuple[float, ...]) -> str:
    from prolepsis.experiments.convergence import ABSORBED

    found = (at for at, cosine in enumerate(cosines[1:], layer + 1) if cosine >= ABSORBED)
    return next((f"L{at}" for at in found), "–")


def _draw(figure: "Figure", n_layers: int, matrix: dict[int, tuple[float, ...]]) -> None:
    axes = figure.subplots()
    blank = float("nan")
    cells = [
        [blank] * layer + list(matrix[layer]) if layer in matrix else [blank] * n_layers for layer in range(n_layers)
    ]
    mesh = axes.imshow(cells, origin="lower", aspect="auto", vmin=-1.0, vmax=1.0, cmap="RdBu_r")
    axes.set_xlabel("read at layer")
    axes.set_ylabel("written at layer")
    count_on(axes.xaxis, axes.yaxis)
    figure.colorbar(mesh, label="cosine of the edited with the clean row")


CONVERGE = experiment_command(
    "converge",
    "Write the contrast of two prompts at every layer, and see whether later layers bring the stream back.",
    EXAMPLE,
    _arguments,
    _ask,
)
