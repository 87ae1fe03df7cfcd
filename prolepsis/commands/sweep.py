"""``prolepsis sweep``: suppress and inject at every position in turn, and read the injected word at the last one."""

import argparse
import statistics
from typing import TYPE_CHECKING

from prolepsis.commands.experiment import Answer, experiment_command, token_text
from prolepsis.commands.steered import steering_arguments, steering_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from prolepsis.experiments.published_sweep import PromptSweep
    from prolepsis.subject import Subject

EXAMPLE = r"""example, on a bundled organism:

    $ prolepsis sweep --subject planted-llama-irrevocable --plot sweep.svg

On a preset of the paper the published prompt, features and strength are taken, with the trailing space the paper adds:
`prolepsis sweep --subject gemma-2-2b-426k`. Beside the edit stand two writes of the same size, a random one and the
word's own unembedding direction: where they peak at the same place, the peak says nothing about planning.
"""


def _ask(subject: "Subject", chosen: argparse.Namespace) -> Answer:
    from prolepsis.experiments.published_sweep import sweep_text

    published = subject.published.sweep if subject.published else None
    steering = steering_of(subject, chosen, published, space=True)
    found = sweep_text(subject, steering, steering.prompt)
    texts = [token_text(subject, token) for token in found.placed.clean.tokens]
    odds = found.log_odds["measured"]
    rows = [
        (
            str(position),
            text,
            f"{found.probabilities['measured'][position]:.3g}",
            f"{odds[position]:+.2f}",
            *(f"{found.log_odds[arm][position]:+.2f}" for arm in ("matched random", "unembedding")),
        )
        for position, text in enumerate(texts)
    ]
    return Answer(
        title=f"{subject.id}: P({steering.word!r}) by position of {steering.inject} ×{steering.strength:.4g}",
        columns=("position", "token", "P", "log-odds (nats)", "random write", "unembedding"),
        rows=rows,
        notes=[
            f"without an edit: P = {found.clean:.3g}",
            *(_peak(found, arm, texts) for arm in ("measured", "matched random", "unembedding")),
            "suppressed: " + (", ".join(map(str, steering.suppress)) or "nothing"),
        ],
        plain={
            "prompt": steering.prompt,
            "tokens": [subject.decode([token]) for token in found.placed.clean.tokens],
            "suppress": list(map(str, steering.suppress)),
            "inject": str(steering.inject),
            "word": steering.word,
            "strength": steering.strength,
            "P without an edit": found.clean,
            "P by position": found.probabilities,
            "log-odds by position": found.log_odds,
            "floor": {arm: statistics.median(odds) for arm, odds in found.log_odds.items()},
            "argmax": {arm: _argmax(odds) for arm, odds in found.log_odds.items()},
            "KL(clean || edited) at the last position": found.kl,
        },
        draw=lambda figure: _draw(figure, found, texts),
    )


def _argmax(odds: tuple[float, ...]) -> int:
    return max(range(len(odds)), key=odds.__getitem__)


def _peak(found: "PromptSweep", arm: str, texts: list[str]) -> str:
    """Where an arm is largest, and how far that stands above its in-sweep floor."""
    odds = found.log_odds[arm]
    best, floor = _argmax(odds), statistics.median(odds)
    named = {"measured": "the edit", "matched random": "a random write", "unembedding": "the unembedding"}[arm]
    return (
        f"{named} peaks at {best} of {len(odds) - 1} ({texts[best]}): P = {found.probabilities[arm][best]:.3g}, "
        f"{odds[best] - floor:.2f} nats above the floor, the median over positions"
    )


def _draw(figure: "Figure", found: "PromptSweep", texts: list[str]) -> None:
    axes = figure.subplots()
    for (arm, odds), style in zip(found.log_odds.items(), ("o-", "--", ":"), strict=True):
        axes.plot(odds, style, label={"measured": "edit", "matched random": "random write"}.get(arm, arm))
    axes.set_xticks(range(len(texts)), texts, rotation=90, fontsize=7)
    axes.set_xlabel("token the edit is written at")
    axes.set_ylabel("log-odds of the word (nats)")
    axes.legend()


SWEEP = experiment_command(
    "sweep",
    "Steer features at every position of a prompt in turn, and read the injected word after the last one.",
    EXAMPLE,
    steering_arguments,
    _ask,
    transcoder=True,
)
