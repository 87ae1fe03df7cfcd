"""``prolepsis skip``: what is written when layers are made the identity."""

import argparse
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from prolepsis.commands.command import count
from prolepsis.commands.experiment import Answer, experiment_command
from prolepsis.commands.prompts import first_pair, prompt_argument
from prolepsis.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from prolepsis.edits import Row
    from prolepsis.experiments.skipped_couplets import Block
    from prolepsis.subject import Subject

EXAMPLE = r"""example, on a bundled organism:

    $ prolepsis skip --subject planted-llama-irrevocable --layers 2 --layers 2..3

Without --layers the paper's blocks are left out, scaled to the subject's depth, and the depth cut into as large ones.
The last column says how natural the whole model's line is to what is left of it: a block whose loss makes everything
unlikely says nothing about rhyming.
"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    prompt_argument(parser)
    parser.add_argument(
        "--layers",
        action="append",
        type=_block,
        metavar="A..B",
        help="layers left out together, as 5..9 (repeatable)",
    )
    parser.add_argument(
        "--tokens", type=count, default=30, metavar="N", help="how many are written at most (default 30)"
    )


def _block(text: str) -> tuple[int, ...]:
    match = re.fullmatch(r"L?(\d+)(?:\.\.L?(\d+))?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if last < first:
        raise UserError(f"layers {text!r} are not of the form 5..9 or 24")
    return tuple(range(first, last + 1))


def _ask(subject: "Subject", chosen: argparse.Namespace) -> Answer:
    from prolepsis.edits import Skip
    from prolepsis.experiments.skipped_couplets import line_1
    from prolepsis.running.generation import generate

    text = line_1(first_pair(subject).recipient) if chosen.prompt is None else chosen.prompt
    tokens = subject.encode(text)
    blocks = _blocks(subject, chosen.layers)
    ends = _line_ends(subject)
    rows: list[Row] = [[Skip(block)] if block else [] for block in blocks]
    room = int(subject.config.max_position_embeddings) - len(tokens)
    written = generate(subject, [tokens] * len(rows), rows, max_new_tokens=max(1, min(chosen.tokens, room)), stop=ends)
    surprise = _surprise(subject, tokens, written[0], rows)
    rhymes = [_rhymes(subject, chosen, line, ends) for line in written]
    return Answer(
        title=f"{subject.id}: the line written after {text!r}",
        columns=("without", "line", "rhymes", "nats per token of the whole model's line"),
        rows=[
            (
                _name(block),
                subject.decode(line).strip(),
                {None: "–", True: "yes", False: "no"}[rhyming],
                f"{nats:.2f}",
            )
            for block, line, rhyming, nats in zip(blocks, written, rhymes, surprise, strict=True)
        ],
        notes=[],
        plain={
            "prompt": [subject.decode([token]) for token in tokens],
            "runs": [
                {"without": list(block), "line": subject.decode(line), "rhymes": rhyming, "nats per token": nats}
                for block, line, rhyming, nats in zip(blocks, written, rhymes, surprise, strict=True)
            ],
        },
        draw=lambda figure: _draw(figure, [_name(block) for block in blocks], surprise),
    )


def _blocks(subject: "Subject", asked: "Sequence[Block] | None") -> "list[Block]":
    """The whole model, and each block that is left out; raises UserError for layers it does not have."""
    from prolepsis.experiments.layer_skipping import blocks
    from prolepsis.experiments.skipped_couplets import WHOLE, skipped_blocks

    n = subject.n_layers
    for block in asked or ():
        if block[-1] >= n:
            raise UserError(f"layer {block[-1]} is out of range; the model has layers 0 to {n - 1}")
    every = asked or (*blocks(n), *skipped_blocks(n))
    return list(dict.fromkeys((WHOLE, *every)))


def _name(block: "Block") -> str:
    if not block:
        return "nothing"
    return f"L{block[0]}" if len(block) == 1 else f"L{block[0]}..{block[-1]}"


def _line_ends(subject: "Subject") -> list[int]:
    """The tokens that end a line: the task's, else those of one and of two line breaks."""
    if subject.task is not None:
        return [subject.word_id(word) for word in subject.task.line_end]
    each = [subject.tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("\n", "\n\n")]
    return [int(ids[0]) for ids in each if len(ids) == 1]


def _rhymes(subject: "Subject", chosen: argparse.Namespace, line: list[int], ends: list[int]) -> bool | None:
    """Whether a line ends on another word that rhymes with the task's prompt; None for a prompt of the user's."""
    from prolepsis.experiments.elicitation import scored
    from prolepsis.experiments.regeneration import ending
    from prolepsis.experiments.rhyme_pairs import task_of

    if chosen.prompt is not None:
        return None
    last = ending(subject, line, task_of(subject).answers, ends)
    return scored(subject, [(first_pair(subject).recipient.word, last)]) == ["rhyme"]


def _surprise(subject: "Subject", tokens: list[int], line: list[int], rows: "Sequence[Row]") -> list[float]:
    """Per row of edits, nats per token of ``line`` after ``tokens``."""
    import torch

    from prolepsis.engine import clean_run
    from prolepsis.running.hooks import Read

    positions = tuple(range(len(tokens) - 1, len(tokens) + len(line) - 1))
    logits = clean_run(subject, [*tokens, *line]).edit(rows, Read(logits=positions)).all_logits
    scores = logits.double().log_softmax(-1)  # [rows, line, V]
    nats: list[float] = (-scores[:, torch.arange(len(line)), torch.tensor(line)].mean(-1)).tolist()
    return nats


def _draw(figure: "Figure", names: list[str], surprise: list[float]) -> None:
    axes = figure.subplots()
    axes.barh(range(len(names)), surprise)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_ylabel("layers left out")
    axes.set_xlabel("nats per token of the whole model's line")


SKIP = experiment_command(
    "skip", "Make layers the identity, and see what line is written without them.", EXAMPLE, _arguments, _ask
)
