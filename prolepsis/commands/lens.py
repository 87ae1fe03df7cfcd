"""``prolepsis lens``: the logit lens of a prompt, layer by layer."""

import argparse
from typing import TYPE_CHECKING

from prolepsis.commands.command import count
from prolepsis.commands.experiment import Answer, count_on, experiment_command, position_of, token_text
from prolepsis.commands.prompts import first_pair, prompt_argument

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from prolepsis.subject import Subject

EXAMPLE = r"""example, on a bundled organism:

    $ prolepsis lens --subject planted-llama-irrevocable --top 3

The lens reads resid_post of a layer as if it were the last one's: final norm, unembedding, softcap where there is one.
"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    prompt_argument(parser)
    parser.add_argument("--position", type=int, metavar="N", help="where the stream is read (default: the last token)")
    parser.add_argument("--word", action="append", help="a word to follow (default: the most likely next token)")
    parser.add_argument("--top", type=count, default=5, metavar="N", help="how many tokens are listed (default 5)")


def _ask(subject: "Subject", chosen: argparse.Namespace) -> Answer:
    from prolepsis.engine import clean_run
    from prolepsis.experiments.logit_lens import lens
    from prolepsis.running.readings import Readings

    text = first_pair(subject).recipient.text if chosen.prompt is None else chosen.prompt
    clean = clean_run(subject, subject.encode(text))
    position = position_of(chosen.position, len(clean.tokens))
    shown = Readings(logits=lens(clean, [position]))
    probabilities = shown.last_logits.softmax(-1)
    tokens = [subject.word_id(word) for word in chosen.word or ()] or [int(shown.last_logits[-1].argmax())]
    odds = {token: shown.log_odds(token).tolist() for token in tokens}
    ranks = {token: (shown.last_logits > shown.last_logits[:, [token]]).sum(-1).add(1).tolist() for token in tokens}
    best = probabilities.topk(min(chosen.top, subject.n_vocab))
    listed = [
        [(subject.decode([token]), p) for token, p in zip(of_layer, values, strict=True)]
        for of_layer, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
    names = {token: token_text(subject, token) for token in tokens}
    return Answer(
        title=f"{subject.id}: the lens at {position} ({token_text(subject, clean.tokens[position])})",
        columns=("layer", *(f"{names[token]} (nats, rank)" for token in tokens), "most likely"),
        rows=[
            (
                f"L{layer}",
                *(f"{odds[token][layer]:+.2f}, {ranks[token][layer]}" for token in tokens),
                "  ".join(f"{text!r} {p:.2f}" for text, p in listed[layer]),
            )
            for layer in range(subject.n_layers)
        ],
        notes=[],
        plain={
            "prompt": [subject.decode([token]) for token in clean.tokens],
            "position": position,
            "log-odds": {subject.decode([token]): odds[token] for token in tokens},
            "rank": {subject.decode([token]): ranks[token] for token in tokens},
            "most likely": [[{"token": text, "P": p} for text, p in of_layer] for of_layer in listed],
        },
        draw=lambda figure: _draw(figure, {names[token]: odds[token] for token in tokens}),
    )


def _draw(figure: "Figure", odds: dict[str, list[float]]) -> None:
    axes = figure.subplots()
    for name, values in odds.items():
        axes.plot(values, "o-", label=name)
    axes.set_xlabel("layer")
    count_on(axes.xaxis)
    axes.set_ylabel("log-odds (nats)")
    axes.legend()


LENS = experiment_command(
    "lens", "Read every layer of the residual stream as if it were the last.", EXAMPLE, _arguments, _ask
)
