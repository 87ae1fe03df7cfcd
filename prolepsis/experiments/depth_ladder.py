"""Is there a minimum depth? One task asked of models made alike but for their depth, against what their wiring allows.

A ladder's rungs are models of several depths; those of one width and window form a line. With a sliding window the
rhyme word reaches the last position only if enough layers carry it there, so the wiring predicts for every prompt and
rung whether it can rhyme at all. Full attention predicts nothing: what rises there rises for another reason.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch

from prolepsis.controls import control_arms
from prolepsis.engine import clean_run
from prolepsis.errors import Untested
from prolepsis.experiments.rhyme_pairs import task_of
from prolepsis.measurement import Measurement
from prolepsis.reachability.wiring import Wiring
from prolepsis.running.generation import generate
from prolepsis.running.hooks import Read
from prolepsis.subject import Subject
from prolepsis.subjects.loading import kept_subject
from prolepsis.subjects.task import FactPrompt, Prompt, Task

Values = Mapping[str, float]


@dataclass(frozen=True)
class Rung:
    """What one model of a ladder does; ``line`` is its width and its windows.

    By prompt id: whether its greedy next word ``rhymes`` (with another word of the group), and whether the wiring lets
    the rhyme word be ``reached`` from the last position. ``facts``: whether facts, as many as prompts, are answered
    right. ``reach_rows``: what the wiring says of each template, and what was seen where it says no.
    """

    id: str
    depth: int
    line: tuple[int, frozenset[int | None]]
    rhymes: Mapping[str, bool]
    reached: Mapping[str, bool]
    facts: tuple[bool, ...]
    reach_rows: tuple[Mapping[str, object], ...]


def ladder_prompts(task: Task) -> tuple[Prompt, ...]:
    """Every template with one word of every rhyme group, words taken in turn."""
    return tuple(
        task.prompt(template, words[turn % len(words)])
        for turn, template in enumerate(task.templates)
        for words in task.groups.values()
    )


def rungs(subject: Subject) -> tuple[Rung, ...]:
    """The rungs of the subject's ladder, shallow ones first; raises Untested for a subject that is on none."""
    if not subject.ladder:
        raise Untested(f'{subject.id}: it is on no ladder; name models of other depths under "ladder" in subject.json')
    found = [_rung(kept_subject(name, str(subject.device), subject.dtype)) for name in subject.ladder]
    return tuple(sorted(found, key=lambda rung: rung.depth))


def depth_gains(subject: Subject) -> Values:
    """Prompt id → share of deeper rungs that rhyme where the shallowest of their line does not; lines count alike."""
    return _over_lines(_lines(subject), lambda line, prompt: _share(line, prompt, shallow=False))


def rhymes_by_depth(subject: Subject) -> Values:
    """“depth/prompt id” → share of the rungs of that depth that rhyme."""
    ladder = subject.once(rungs)
    return {
        f"{depth}/{prompt}": fmean(rung.rhymes[prompt] for rung in ladder if rung.depth == depth)
        for depth in {rung.depth for rung in ladder}
        for prompt in ladder[0].rhymes
    }


def depth_gain(subject: Subject) -> Measurement:
    """Share of the rhymes that only the deeper rungs find, with its control arms.

    Arms: ``the other way round`` (the shallowest rung rhymes where deeper ones do not), ``later layers`` (deeper rungs
    rhyme where the second does not), ``same behaviour`` (the gain in that subject's ladder); ``deepest`` (the deepest
    rung rhymes) and ``facts`` (the shallowest rung answers a fact; one fact per prompt).
    """
    start = time.perf_counter()
    lines = _lines(subject)
    further = [line[1:] for line in lines if len(line) > 2]
    places = {prompt: i for i, prompt in enumerate(lines[0][0].rhymes)}
    arms = {
        "the other way round": _over_lines(lines, lambda line, prompt: _share(line, prompt, shallow=True)),
        "later layers": _over_lines(further, lambda line, prompt: _share(line, prompt, shallow=False)),
        "deepest": _over_lines(lines, lambda line, prompt: line[-1].rhymes[prompt]),
        "facts": _over_lines(lines, lambda line, prompt: line[0].facts[places[prompt]]),
        **control_arms(subject, depth_gains, {"same behaviour": subject.same_behaviour}),
    }
    return _measurement(subject, "depth_gain", depth_gains(subject), arms, start)


def two_depths(subject: Subject) -> Measurement:
    """Share of the rhymes that the deepest rung finds and the shallowest does not: two models, one comparison."""
    start = time.perf_counter()
    line = _lines(subject)[0]
    ends = (line[0], line[-1])
    values = _over_lines([ends], lambda pair, prompt: _share(pair, prompt, shallow=False))
    arms = {"the other way round": _over_lines([ends], lambda pair, prompt: _share(pair, prompt, shallow=True))}
    return _measurement(subject, "two_depths", values, arms, start, cluster=f"{ends[0].id}, {ends[1].id}")


def receptive_field_error(subject: Subject) -> Measurement:
    """How far the rungs are from rhyming where the rhyme word reaches the last position, and only there.

    Per prompt the rates of errors among the rungs it reaches and among those it does not, averaged. Arms: ``full
    attention`` (errors of the prediction that every rung rhymes), ``same behaviour`` (errors of this ladder's
    prediction on the other subject's rungs of equal depth).
    """
    start = time.perf_counter()
    ladder = subject.once(rungs)
    prompts = list(ladder[0].rhymes)
    arms: dict[str, Values] = {
        "full attention": {p: _balanced((rung.reached[p], not rung.rhymes[p]) for rung in ladder) for p in prompts}
    }
    for name, found in control_arms(subject, rhymes_by_depth, {"same behaviour": subject.same_behaviour}).items():
        arms[name] = {
            p: _balanced((rung.reached[p], abs(found[f"{rung.depth}/{p}"] - rung.reached[p])) for rung in ladder)
            for p in prompts
        }
    values = {p: _balanced((rung.reached[p], rung.rhymes[p] != rung.reached[p]) for rung in ladder) for p in prompts}
    return _measurement(subject, "receptive_field_error", values, arms, start)


Line = Sequence[Rung]


def _lines(subject: Subject) -> list[Line]:
    """The lines that have several depths, widest ladder first; each shallow rungs first."""
    ladder = subject.once(rungs)
    lines = [[rung for rung in ladder if rung.line == line] for line in dict.fromkeys(rung.line for rung in ladder)]
    several = [line for line in lines if len({rung.depth for rung in line}) > 1]
    if not several:
        raise Untested(f"{subject.id}: no two models of its ladder differ in depth alone; train one more")
    return sorted(several, key=len, reverse=True)


def _over_lines(lines: Sequence[Line], value: Callable[[Line, str], float]) -> Values:
    """Prompt id → mean of ``value`` over the lines."""
    return {prompt: fmean(value(line, prompt) for line in lines) for prompt in lines[0][0].rhymes} if lines else {}


def _share(line: Line, prompt: str, *, shallow: bool) -> float:
    """Share of the deeper rungs that disagree with the shallowest, which is the one that rhymes if ``shallow``."""
    first, *deeper = (rung.rhymes[prompt] for rung in line)
    return fmean(first is shallow and rhymes is not shallow for rhymes in deeper)


def _balanced(errors: Iterable[tuple[bool, float]]) -> float:
    """Mean of the mean errors among the rungs that are reached and among those that are not; (reached, error) each."""
    by_class: dict[bool, list[float]] = {}
    for reached, error in errors:
        by_class.setdefault(reached, []).append(error)
    return fmean(map(fmean, by_class.values()))


def _rung(subject: Subject) -> Rung:
    """Ask one model of a ladder everything, batched by length."""
    task = task_of(subject)
    prompts = ladder_prompts(task)
    words = _next_words(subject, [prompt.text for prompt in prompts])
    facts = _facts(task, len(prompts))
    answers = _next_words(subject, [fact.text for fact in facts])
    rows = {template.id: _reach_row(subject, task, template.id) for template in task.templates}
    return Rung(
        id=subject.id,
        depth=subject.n_layers,
        line=(subject.d_model, frozenset(subject.wiring.windows)),
        rhymes={
            prompt.id: word in {subject.word_id(mate) for mate in task.groups[prompt.group] if mate != prompt.word}
            for prompt, word in zip(prompts, words, strict=True)
        },
        reached={prompt.id: bool(rows[prompt.template.id]["reachable"]) for prompt in prompts},
        facts=tuple(word == subject.word_id(fact.answer) for fact, word in zip(facts, answers, strict=True)),
        reach_rows=tuple(rows.values()),
    )


def _next_words(subject: Subject, texts: Sequence[str]) -> list[int]:
    """The greedy next token of each text."""
    tokens = [subject.encode(text) for text in texts]
    found: dict[int, int] = {}
    for length in {len(row) for row in tokens}:
        places = [i for i, row in enumerate(tokens) if len(row) == length]
        written = generate(subject, [tokens[i] for i in places], [[] for _ in places], max_new_tokens=1)
        found |= {i: line[0] for i, line in zip(places, written, strict=True)}
    return [found[i] for i in range(len(texts))]


def _facts(task: Task, n: int) -> list[FactPrompt]:
    """``n`` facts, spread evenly over relations, wordings and subjects; raises Untested when there are fewer."""
    every = [
        FactPrompt(relation, template, about)
        for relation in task.facts
        for template in range(len(relation.templates))
        for about in relation.answers
    ]
    if len(every) < n:
        raise Untested(f"its task has {len(every)} facts to ask, {n} are needed; add some to task.json")
    return [every[i * len(every) // n] for i in range(n)]


def _reach_row(subject: Subject, task: Task, template_id: str) -> dict[str, object]:
    """Whether the rhyme word reaches the last position; where it does not, another word must not move its logits."""
    template = next(template for template in task.templates if template.id == template_id)
    (word, *_), (other, *_) = list(task.groups.values())[:2]
    pair = [clean_run(subject, subject.encode(task.prompt(template, filled).text)) for filled in (word, other)]
    (source,) = [i for i, (a, b) in enumerate(zip(pair[0].tokens, pair[1].tokens, strict=True)) if a != b]
    last = len(pair[0].tokens) - 1
    reached = reaches(subject.wiring, pair[0].tokens, source)
    far = "as far as" if reached else "less than"
    row: dict[str, object] = {
        "name": f"{subject.id}, {template_id}: word@{source} → logits@{last}",
        "reachable": reached,
        "why": f"{subject.n_layers} layers carry a word {far} {last - source} tokens",
    }
    if not reached:
        logits = [run.read(Read()).last_logits for run in pair]
        row["moved"] = not torch.equal(logits[0], logits[1])
    return row


def reaches(wiring: Wiring, tokens: Sequence[int], source: int) -> bool:
    """Whether layers of attention can carry the token at ``source`` to the last position."""
    carried = np.arange(len(tokens)) == source  # [T]: where it has come by this layer
    for layer in range(wiring.n_layers):
        carried = carried | (wiring.visible(layer, tokens) & carried).any(axis=1)
    return bool(carried[-1])


def widths(ladder: Sequence[Rung]) -> list[dict[str, object]]:
    """What width alone does: wherever rungs of one depth and one set of windows differ in width, rhymes by width."""
    alike: dict[tuple[int, frozenset[int | None]], dict[int, list[float]]] = {}
    for rung in ladder:
        width, windows = rung.line
        alike.setdefault((rung.depth, windows), {}).setdefault(width, []).append(fmean(rung.rhymes.values()))
    return [
        {
            "depth": depth,
            "windows": sorted(windows, key=str),
            "rhymes": {str(width): fmean(found) for width, found in sorted(rhymes.items())},
        }
        for (depth, windows), rhymes in alike.items()
        if len(rhymes) > 1
    ]


def _measurement(
    subject: Subject,
    experiment: str,
    values: Values,
    arms: Mapping[str, Values],
    start: float,
    *,
    cluster: str | None = None,
) -> Measurement:
    ladder = subject.once(rungs)
    groups = {prompt.id: prompt.group for prompt in ladder_prompts(task_of(subject))}
    return Measurement(
        experiment=experiment,
        subject=subject.digest,
        unit="proportion",
        design="one-way",
        parameters={"prompts": list(values), "rungs": [rung.id for rung in ladder], "decoding": "greedy next token"},
        values=values,
        clusters={prompt: (cluster or groups[prompt],) for prompt in values},
        arms=arms,
        reach={"rows": [row for rung in ladder for row in rung.reach_rows]},
        detail={
            "rungs": {
                rung.id: {
                    "depth": rung.depth,
                    "width": rung.line[0],
                    "predicted": fmean(rung.reached.values()),
                    "rhymes": fmean(rung.rhymes.values()),
                    "facts": fmean(rung.facts),
                }
                for rung in ladder
            },
            "widths": widths(ladder),
        },
        seconds=time.perf_counter() - start,
    )
