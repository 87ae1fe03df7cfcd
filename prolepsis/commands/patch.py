"""``prolepsis patch``: one row of the residual stream of another prompt in its place, by layer and position."""

import argparse
from typing import TYPE_CHECKING

from prolepsis.commands.experiment import Answer, count_on, experiment_command, position_of, token_text
from prolepsis.commands.prompts import first_pair, pair_arguments, two_runs
from prolepsis.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from prolepsis.engine import CleanRun
    from prolepsis.subject import Subject

COLUMNS = 10
"""How many positions the table has room for; a plot and JSON have all of them."""
EXAMPLE = r"""example, on a bundled organism:

    $ prolepsis patch --subject planted-llama-irrevocable --plot patch.svg

Each cell is one run: the donor's row of resid_post of one layer at one position, everything else the prompt's own.
Positions are matched by their distance from the beginning where the prompts agree there, else from the end. Rows of
successive layers are one cause counted again: read where an effect changes hands, not how much there is in all.
"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    pair_arguments(parser, "donor", "the prompt whose rows are put in (default: the task's other prompt)")
    parser.add_argument("--word", help="the word that is read (default: what the donor goes on with)")
    parser.add_argument("--position", type=int, metavar="N", help="only this position of the prompt")


def _ask(subject: "Subject", chosen: argparse.Namespace) -> Answer:
    from prolepsis.experiments.fact_pairs import align, slot
    from prolepsis.running.hooks import Read

    recipient, donor = two_runs(subject, chosen)
    token = _token(recipient, donor, chosen)
    head, tail = slot([recipient.tokens, donor.tokens])
    places = [(p, q) for p, q in align(recipient.tokens, donor.tokens, head, tail).everywhere if p >= head]
    if chosen.position is not None:
        asked = position_of(chosen.position, len(recipient.tokens))
        places = [(p, q) for p, q in places if p == asked] or [(asked, asked)]
    effects, random = _effects(recipient, donor, places, token)
    whole = float(donor.read(Read()).log_odds(token)[0] - recipient.read(Read()).log_odds(token)[0])
    texts = {p: token_text(subject, recipient.tokens[p]) for p, _ in places}
    shown = _widest(list(texts), effects)
    left_out = len(texts) - len(shown)
    word = subject.decode([token])
    return Answer(
        title=f"{subject.id}: nats that the donor's row gives {word.strip()!r}, by layer and position",
        columns=("layer", *(f"{p}\n{texts[p]}" for p in shown)),
        rows=[(f"L{layer}", *(f"{row[p]:+.2f}" for p in shown)) for layer, row in enumerate(effects)],
        notes=[
            f"the whole donor prompt gives {whole:+.2f} nats; "
            f"a random row of a swap's length at most {max(random):+.2f}",
            *([f"{left_out} positions of less effect are left out"] if left_out else []),
        ],
        plain={
            "prompt": [subject.decode([each]) for each in recipient.tokens],
            "donor": [subject.decode([each]) for each in donor.tokens],
            "word": word,
            "positions": [{"prompt": p, "donor": q} for p, q in places],
            "effects": [[row[p] for p, _ in places] for row in effects],
            "random row, largest": max(random),
            "whole prompt": whole,
        },
        draw=lambda figure: _draw(figure, effects, texts),
    )


def _token(recipient: "CleanRun", donor: "CleanRun", chosen: argparse.Namespace) -> int:
    from prolepsis.running.hooks import Read

    subject = recipient.subject
    if chosen.word is not None:
        return subject.word_id(chosen.word)
    if chosen.prompt is None:
        return subject.word_id(first_pair(subject).donor.answer)
    own, other = (int(run.read(Read()).last_logits[0].argmax()) for run in (recipient, donor))
    if own == other:
        raise UserError(f"{subject.id}: both prompts go on with {token_text(subject, own)}; give --word")
    return other


def _effects(
    recipient: "CleanRun", donor: "CleanRun", places: list[tuple[int, int]], token: int
) -> tuple[list[dict[int, float]], list[float]]:
    """Layer → position → nats; and those of random rows as long as the swaps."""
    from prolepsis.directions import random_row
    from prolepsis.edits import Add, ReplaceRow, Row

    layers = range(recipient.subject.n_layers)
    rows: list[Row] = []
    randoms: list[Row] = []
    for layer in layers:
        for p, q in places:
            row = donor.resid_post(layer)[q]
            rows.append([ReplaceRow(layer, p, row)])
            randoms.append([Add(layer, p, random_row(row - recipient.resid_post(layer)[p], p))])
    odds = recipient.edit([[], *rows, *randoms]).log_odds(token)
    moved = (odds[1:] - odds[0]).tolist()
    n = len(places)
    by_layer = [dict(zip((p for p, _ in places), moved[layer * n : (layer + 1) * n], strict=True)) for layer in layers]
    return by_layer, moved[len(rows) :]


def _widest(positions: list[int], effects: list[dict[int, float]]) -> list[int]:
    """The positions of largest effect in any layer, in their order."""
    largest = sorted(positions, key=lambda p: -max(abs(row[p]) for row in effects))[:COLUMNS]
    return sorted(largest)


def _draw(figure: "Figure", effects: list[dict[int, float]], texts: dict[int, str]) -> None:
    axes = figure.subplots()
    values = [list(row.values()) for row in effects]
    largest = max(1.0, *(abs(value) for row in values for value in row))
    mesh = axes.imshow(values, cmap="RdBu_r", vmin=-largest, vmax=largest, origin="lower", aspect="auto")
    axes.set_xticks(range(len(texts)), [f"{p} {text}" for p, text in texts.items()], rotation=90, fontsize=7)
    axes.set_ylabel("layer")
    count_on(axes.yaxis)
    figure.colorbar(mesh, label="nats")


PATCH = experiment_command(
    "patch",
    "Put another prompt's row of the residual stream in place, by layer and position, and read its next word.",
    EXAMPLE,
    _arguments,
    _ask,
)
