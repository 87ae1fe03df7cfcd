"""Is the site's row needed? Its row is replaced by the mean over prompts of other rhyme groups."""

import statistics
import time
from collections.abc import Mapping

import torch

from prolepsis.controls import control_arms, mechanism_controls
from prolepsis.edits import ReplaceRow
from prolepsis.errors import UserError
from prolepsis.experiments.rhyme_pairs import Pair, Runs, clusters_of, one_per_template, task_of
from prolepsis.experiments.sites import find_sites, parameters
from prolepsis.measurement import Measurement
from prolepsis.running.hooks import Read
from prolepsis.running.prompt_batch import passes
from prolepsis.shams import moved_log_odds
from prolepsis.subject import Subject
from prolepsis.watching import watched

Values = Mapping[str, float]


def necessity_effects(subject: Subject) -> Values:
    """Pair id → loss of the recipient answer's log-odds at the pair's site, in nats."""
    losses, sites = subject.once(_losses), subject.once(find_sites)
    return {pair.id: losses[pair.id][sites.of(pair)[1]] for pair in sites.pairs}


def necessity(subject: Subject) -> Measurement:
    """Loss of the answer's log-odds when the site's row becomes the mean over other groups, with its control arms.

    Arms: ``other positions`` (the same at the layer's other eligible positions), ``untrained twin`` and ``same
    behaviour``; sham ``own row`` (the row replaced by itself, in one pair per template).
    """
    start = time.perf_counter()
    sites, runs = subject.once(find_sites), subject.once(Runs)
    losses = subject.once(_losses)
    others = {}
    for pair in sites.pairs:
        _, site = sites.of(pair)
        others[pair.id] = statistics.fmean(loss for at, loss in losses[pair.id].items() if at != site)
    return Measurement(
        experiment="necessity",
        subject=subject.digest,
        unit="nats",
        design="pairs-of-groups",
        parameters=parameters(sites),
        values=necessity_effects(subject),
        clusters=clusters_of(sites.pairs),
        arms={
            "other positions": others,
            "own row": {pair.id: _sham(runs, pair, *sites.of(pair)) for pair in one_per_template(sites.pairs)},
            **control_arms(subject, necessity_effects, mechanism_controls(subject)),
        },
        reach={"rows": sites.reach_rows(runs)},
        seconds=time.perf_counter() - start,
    )


def _losses(subject: Subject) -> dict[str, dict[int, float]]:
    """Pair id → eligible position → loss at the site's layer, in nats."""
    sites, runs = subject.once(find_sites), subject.once(Runs)
    losses = {}
    for pair in watched(sites.pairs, "pairs"):
        layer, _ = sites.of(pair)
        recipient = runs.clean(pair.recipient)
        mean = _mean_of_others(subject, pair, layer)  # [T, d]
        places = range(sites.source[pair.id] + 1, len(recipient.tokens) - 1)
        out = recipient.edit([*([ReplaceRow(layer, p, mean[p])] for p in places), []])
        odds = out.log_odds(runs.answer(pair.recipient))
        losses[pair.id] = dict(zip(places, (odds[-1] - odds[:-1]).tolist(), strict=True))
    return losses


def _mean_of_others(subject: Subject, pair: Pair, layer: int) -> torch.Tensor:
    """Mean resid_post [T, d] of the pair's template over one word of every other group."""
    rows = subject.once(rows_of_groups)[pair.recipient.template.id][layer]  # [groups, T, d]
    others = [i for i, group in enumerate(task_of(subject).groups) if group != pair.recipient.group]
    return rows[others].mean(0)


def rows_of_groups(subject: Subject) -> dict[str, dict[int, torch.Tensor]]:
    """Template id → layer → resid_post of the template with the first word of each group, [groups, T, d].

    They are held in main memory, being hundreds. Raises UserError when these prompts differ in length.
    """
    task, found = task_of(subject), {}
    layers = tuple(range(max(1, subject.n_layers - 1)))
    for template in task.templates:
        prompts = [subject.encode(task.prompt(template, words[0]).text) for words in task.groups.values()]
        if len({len(prompt) for prompt in prompts}) > 1:
            raise UserError(
                f"{subject.id}: prompts of template {template.id!r} differ in length; choose words of one token each"
            )
        batches = [state.resid_post for state in passes(subject, prompts, Read(logits=(), resid_post=layers))]
        found[template.id] = {layer: torch.cat([batch[layer] for batch in batches]).cpu() for layer in layers}
    return found


def _sham(runs: Runs, pair: Pair, layer: int, site: int) -> float:
    recipient = runs.clean(pair.recipient)
    rows = [[ReplaceRow(layer, site, recipient.resid_post(layer)[site])]]
    (moved,) = moved_log_odds(recipient, rows, runs.answer(pair.recipient))
    return moved
