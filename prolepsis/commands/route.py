"""``prolepsis route``: which heads look elsewhere when features are steered at a site, and whether they carry it."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prolepsis.commands.command import count
from prolepsis.commands.experiment import Answer, experiment_command, token_text
from prolepsis.commands.steered import at_site, steering_arguments, steering_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from prolepsis.experiments.published_routing import RoutedPrompt
    from prolepsis.names import Head
    from prolepsis.subject import Subject

EXAMPLE = r"""example, on a bundled organism:

    $ prolepsis route --subject planted-llama-irrevocable --heads 5

On a preset of the paper its first routing prompt is taken. Δattention says where a head looks. Whether it carries what
the edit does is another question: the share of the redirect that is lost when the head's clean output is put back after
the last token. It is left open where the edit is at the last token itself, or moves the word by less than a nat.
"""


@dataclass(frozen=True)
class Carried:
    """Head → share of the redirect lost with its clean output, and the share lost with those of all reached heads."""

    by_head: Mapping["Head", float]
    together: float


def _arguments(parser: argparse.ArgumentParser) -> None:
    steering_arguments(parser)
    parser.add_argument(
        "--position", type=int, metavar="N", help="where features are written (default the preset's or the task's site)"
    )
    parser.add_argument("--heads", type=count, default=10, metavar="N", help="how many heads are listed (default 10)")


def _ask(subject: "Subject", chosen: argparse.Namespace) -> Answer:
    from prolepsis.experiments.published_routing import route_prompt

    steering = steering_of(subject, chosen, next(iter(subject.published.routing), None) if subject.published else None)
    if chosen.position is not None:
        steering = at_site(subject, steering, chosen.position)
    elif steering.site is None:
        steering = at_site(subject, steering, _site(subject, chosen))
    found = route_prompt(subject, steering)
    heads = found.ranked("both")[: chosen.heads]
    carried = _carried(found, heads)
    shares = {head: carried.by_head.get(head) if carried else None for head in heads}
    place = found.placed
    return Answer(
        title=f"{subject.id}: attention from the last token to {place.site} "
        f"({token_text(subject, place.clean.tokens[place.site])}) under {steering.inject} ×{steering.strength:.4g}",
        columns=("head", "clean", "Δattention", "random write", "unembedding", "share of the redirect"),
        rows=[
            (
                str(head),
                f"{found.clean[head]:.3f}",
                *(f"{found.changes[arm][head]:+.4f}" for arm in ("both", "matched random", "unembedding")),
                "–" if shares[head] is None else f"{shares[head]:+.2f}",
            )
            for head in heads
        ],
        notes=_notes(found, carried),
        plain={
            "prompt": steering.prompt,
            "site": place.site,
            "suppress": list(map(str, steering.suppress)),
            "inject": str(steering.inject),
            "word": steering.word,
            "strength": steering.strength,
            "Δattention": {arm: _plain(changes) for arm, changes in found.changes.items()},
            "clean attention": _plain(found.clean),
            "total |Δattention|": {arm: found.total(arm) for arm in found.changes},
            "P of the word": found.probabilities,
            "log-odds of the word": found.log_odds,
            "share of the redirect": carried and {**_plain(carried.by_head), "all reached heads": carried.together},
        },
        draw=lambda figure: _draw(figure, found, heads, shares),
    )


def _site(subject: "Subject", chosen: argparse.Namespace) -> int | None:
    """The site of the task's first pair; the last position for a prompt of the user's own."""
    from prolepsis.experiments.sites import find_sites

    if subject.task is None or chosen.prompt is not None:
        return None
    sites = subject.once(find_sites)
    return sites.of(sites.pairs[0])[1]


def _carried(found: "RoutedPrompt", heads: list["Head"]) -> Carried | None:
    from prolepsis.experiments.head_routing import DETECTABLE
    from prolepsis.experiments.mediation import Mediation, log_odds, reached_heads
    from prolepsis.writes import write_at

    place = found.placed
    edit = write_at(place.site, place.both)
    redirect = found.log_odds["both"] - found.log_odds["clean"]
    reached = reached_heads(place.clean, edit)
    if place.site == place.last or redirect < DETECTABLE or not reached:
        return None
    one = Mediation(place.clean, edit, place.token, reached)
    able = [head for head in heads if head in reached]
    ((top, *without),) = log_odds([(one, [*({head: one.clean_z[head]} for head in able), one.clean_z])], edited=True)
    lost = [(top - odds) / redirect for odds in without]
    return Carried(dict(zip(able, lost[:-1], strict=True)), lost[-1])


def _notes(found: "RoutedPrompt", carried: Carried | None) -> list[str]:
    odds = found.log_odds
    word = found.steering.word
    notes = [
        f"Σ|Δattention| over {len(found.clean)} heads: edit {found.total('both'):.3f}, "
        f"random write {found.total('matched random'):.3f}, unembedding {found.total('unembedding'):.3f}",
        f"P({word!r}): {found.probabilities['clean']:.3g} → {found.probabilities['both']:.3g} "
        f"({odds['both'] - odds['clean']:+.2f} nats)",
    ]
    if carried is not None:
        notes.append(f"with the clean outputs of all heads it reaches, {carried.together:.0%} of the redirect is lost")
    return notes


def _plain(by_head: Mapping["Head", float]) -> dict[str, float]:
    return {str(head): value for head, value in by_head.items()}


def _draw(figure: "Figure", found: "RoutedPrompt", heads: list["Head"], shares: Mapping["Head", float | None]) -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    places = range(len(heads))
    left.barh(places, [found.changes["both"][head] for head in heads], label="edit")
    left.plot([found.changes["matched random"][head] for head in heads], places, "kx", label="random write")
    left.set_yticks(places, map(str, heads))
    left.invert_yaxis()
    left.set_xlabel("Δattention")
    left.legend()
    right.barh(places, [shares[head] or 0.0 for head in heads], color="tab:orange")
    right.set_xlabel("share of the redirect lost with the clean output")


ROUTE = experiment_command(
    "route",
    "Steer features at a site; say which heads' attention to it changes, and which heads carry the effect.",
    EXAMPLE,
    _arguments,
    _ask,
    transcoder=True,
)
