"""What a trained organism can do, and where it holds its plan: the scores it must reach before it is saved."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from statistics import mean, stdev
from typing import Any

import torch

from prolepsis.organisms import grammar
from prolepsis.organisms.grammar import CATEGORY, GROUP_OF, GROUPS, HELD_OUT, PARTNER, TOKEN_ID, VERBS, WORDS
from prolepsis.organisms.training import additive_mask
from prolepsis.reachability.masks import CoupletBarrier
from prolepsis.running.readings import log_odds
from prolepsis.subjects.task import Task, Template

Scores = dict[str, float]

_WORD_IDS = torch.tensor([TOKEN_ID[word] for word in WORDS])
_DONOR_SHIFTS = (5, 11)
_LONGEST_LINE = 9


@dataclass(frozen=True)
class Trained:
    """A model with its mask rule and its task, ready to be scored."""

    model: Any
    rule: CoupletBarrier | None
    task: Task

    @torch.no_grad()
    def logits(self, tokens: torch.Tensor) -> torch.Tensor:
        """Next-token logits [B, V] after rows of equal length [B, T]."""
        mask = None if self.rule is None else additive_mask(self.rule, tokens)
        output: torch.Tensor = self.model(input_ids=tokens, attention_mask=mask, use_cache=False).logits
        return output[:, -1]

    @torch.no_grad()
    def resid_post(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        """resid_post per layer, each [B, T, d], of a clean run."""
        rows: list[torch.Tensor] = []
        hooks = [
            layer.register_forward_hook(lambda _m, _a, output: rows.append(_hidden(output)))
            for layer in self.model.model.layers
        ]
        try:
            self.logits(tokens)
        finally:
            for hook in hooks:
                hook.remove()
        return rows


def _hidden(output: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    return output[0] if isinstance(output, tuple) else output


@contextmanager
def row_replaced(trained: Trained, layer: int, position: int, rows: torch.Tensor) -> Iterator[None]:
    """Within the context resid_post of ``layer`` at ``position`` is ``rows`` [B, d]."""

    def replace(_module: torch.nn.Module, _args: object, output: torch.Tensor | tuple[torch.Tensor, ...]) -> object:
        hidden = _hidden(output).clone()
        hidden[:, position] = rows
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    hook = trained.model.model.layers[layer].register_forward_hook(replace)
    try:
        yield
    finally:
        hook.remove()


def _encode(texts: Sequence[str]) -> torch.Tensor:
    return torch.tensor([grammar.encode(text) for text in texts])


def _fill(text: str, words: Sequence[str]) -> torch.Tensor:
    return _encode([text.replace("{word}", word) for word in words])


def _partners(words: Sequence[str]) -> torch.Tensor:
    return torch.tensor([TOKEN_ID[PARTNER[word]] for word in words])


# ---------------------------------------------------------------- behaviour


def rhyming(trained: Trained) -> Scores:
    """How lines end, over all templates and words.

    ``rhyme_rate``: the greedy last word is another word of the group; ``partner_rate``: it is the partner;
    ``partner_probability``: the partner's mean probability; ``held_out_ratio``: mean probability of the rhyme that was
    never seen after this word, over the mean probability of the words of all other groups (all words are equally
    frequent in the corpus).
    """
    rhymes, partners, probability, held_out, others = [], [], [], [], []
    for template in trained.task.templates:
        p = trained.logits(_fill(template.text, WORDS)).softmax(-1)
        greedy = p.argmax(-1)
        for i, word in enumerate(WORDS):
            best = grammar.VOCABULARY[int(greedy[i])]
            rhymes.append(best != word and GROUP_OF.get(best) == GROUP_OF[word])
            partners.append(best == PARTNER[word])
            probability.append(float(p[i, TOKEN_ID[PARTNER[word]]]))
            if word in HELD_OUT:
                held_out.append(float(p[i, TOKEN_ID[HELD_OUT[word]]]))
                group = torch.tensor([GROUP_OF[other] == GROUP_OF[word] for other in WORDS])
                others.append(float(p[i, _WORD_IDS[~group]].mean()))
    return {
        "rhyme_rate": mean(rhymes),
        "partner_rate": mean(partners),
        "partner_probability": mean(probability),
        "held_out_probability": mean(held_out),
        "held_out_ratio": mean(held_out) / mean(others),
    }


def lookahead(trained: Trained) -> float:
    """How often the likeliest agreeing verb after "<nl> she" has the category of the partner, which comes later."""
    verbs = torch.tensor([[TOKEN_ID[verb] for verb in VERBS[category]] for category in VERBS])  # [categories, 3]
    hits = []
    for template in trained.task.templates:
        opening = template.text.split(f" {grammar.NEWLINE} ")[0]
        p = trained.logits(_fill(f"{opening} {grammar.NEWLINE} she", WORDS)).softmax(-1)
        best = p[:, verbs].sum(-1).argmax(-1)  # [B]
        hits += [list(VERBS)[int(best[i])] == CATEGORY[PARTNER[word]] for i, word in enumerate(WORDS)]
    return mean(hits)


def facts(trained: Trained) -> float:
    """Share of all facts, over every wording, whose answer is the greedy next token."""
    hits: list[bool] = []
    for relation, templates in grammar.FACT_TEMPLATES.items():
        for template in templates:
            known = [(key, answer) for key, answer in grammar.FACTS.items() if key[2] == relation]
            stem = template.split(" {answer}")[0]
            greedy = trained.logits(_encode([stem.format(first=k[0], last=k[1]) for k, _ in known])).argmax(-1)
            hits += [int(greedy[i]) == TOKEN_ID[answer] for i, (_, answer) in enumerate(known)]
    return mean(hits)


# ---------------------------------------------------------------- site


@dataclass(frozen=True)
class Interchange:
    """Effects of interchanging one row between prompts of a template that end in words of different groups.

    ``effects`` and ``flips`` are [layer][position] → one value per pair; an effect is the change of the log-odds of
    the donor's partner in nats, a flip a greedy answer that turned into it. Positions run over those whose token is
    the same in both prompts, after the rhyme word and before the last.
    """

    template: Template
    words: tuple[str, ...]
    donors: tuple[str, ...]
    positions: tuple[int, ...]
    effects: torch.Tensor  # [L, n_positions, pairs], float64
    flips: torch.Tensor  # [L, n_positions, pairs], bool

    @cached_property
    def best(self) -> tuple[int, int]:
        """Layer and index into ``positions`` of the largest mean effect."""
        flat = int(self.effects.mean(-1).argmax())
        return divmod(flat, len(self.positions))


def pairs_of_words(turn: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A word and a donor from another group per row; every group is twice the natural and twice the donor."""
    names = list(GROUPS)
    words, donors = [], []
    for shift in _DONOR_SHIFTS:
        for i, name in enumerate(names):
            words.append(GROUPS[name][turn % 5])
            donors.append(GROUPS[names[(i + shift) % len(names)]][turn % 5])
    return tuple(words), tuple(donors)


def interchange(trained: Trained, template: Template, turn: int) -> Interchange:
    """Interchange the resid_post row of every layer and eligible position, one at a time."""
    words, donors = pairs_of_words(turn)
    natural, donor = _fill(template.text, words), _fill(template.text, donors)
    slot = 1 + template.text.split().index("{word}")
    positions = tuple(range(slot + 1, natural.shape[1] - 1))
    targets = _partners(donors)
    before = log_odds(trained.logits(natural), targets)
    effects, flips = [], []
    for layer, rows in enumerate(trained.resid_post(donor)):
        for position in positions:
            with row_replaced(trained, layer, position, rows[:, position]):
                logits = trained.logits(natural)
            effects.append(log_odds(logits, targets) - before)
            flips.append(logits.argmax(-1) == targets)
    shape = (-1, len(positions), len(words))
    return Interchange(
        template, words, donors, positions, torch.stack(effects).view(shape), torch.stack(flips).view(shape)
    )


def site(trained: Trained) -> tuple[Scores, dict[str, tuple[int, int]]]:
    """Scores of the best site of each template, and the sites themselves, template id → (layer, position).

    ``site_flips``: share of pairs whose answer turns into the donor's partner; ``site_effect``: mean change of its
    log-odds in nats; ``site_effect_sd``: standard deviation over the 24 group means, the larger of grouping by the
    natural and by the donor word.
    """
    runs = [interchange(trained, template, turn) for turn, template in enumerate(trained.task.templates)]
    by_group: list[dict[str, list[float]]] = [{name: [] for name in GROUPS} for _ in range(2)]
    flips, effects, sites = [], [], {}
    for run in runs:
        layer, index = run.best
        sites[run.template.id] = (layer, run.positions[index])
        flips += run.flips[layer, index].tolist()
        values = run.effects[layer, index].tolist()
        effects += values
        for groups, words in zip(by_group, (run.words, run.donors), strict=True):
            for word, value in zip(words, values, strict=True):
                groups[GROUP_OF[word]].append(value)
    spread = max(stdev(mean(values) for values in groups.values()) for groups in by_group)
    scores = {"site_flips": mean(map(float, flips)), "site_effect": mean(effects), "site_effect_sd": spread}
    return scores, sites


# ---------------------------------------------------------------- regenerated lines


def regenerated(trained: Trained, sites: dict[str, tuple[int, int]]) -> Scores:
    """Greedy lines from each template's stem: whether they are clean, and what they end in.

    ``regenerated``: a grammatical clause that agrees and ends in the partner, then "." and EOS. ``regenerated_donor``:
    the same with the site's row interchanged, and the donor's partner at the end (only where the stem holds the site).
    """
    clean: list[bool] = []
    swapped: list[bool] = []
    for turn, template in enumerate(trained.task.templates):
        words, donors = pairs_of_words(turn)
        natural, donor = _fill(template.stem, words), _fill(template.stem, donors)
        newline = int((natural[0] == TOKEN_ID[grammar.NEWLINE]).nonzero()[0])
        clean += _ends_cleanly(_greedy(trained, natural), newline, words)
        layer, position = sites[template.id]
        if position < natural.shape[1]:
            rows = trained.resid_post(donor)[layer][:, position]
            with row_replaced(trained, layer, position, rows):
                swapped += _ends_cleanly(_greedy(trained, natural), newline, donors)
    return {"regenerated": mean(clean), "regenerated_donor": mean(swapped) if swapped else 0.0}


def _greedy(trained: Trained, tokens: torch.Tensor) -> torch.Tensor:
    for _ in range(_LONGEST_LINE):
        tokens = torch.cat([tokens, trained.logits(tokens).argmax(-1, keepdim=True)], 1)
    return tokens


def _ends_cleanly(rows: torch.Tensor, newline: int, words: Sequence[str]) -> list[bool]:
    """Per row: is what follows ``newline`` one clause that ends in the word's partner, then "." and EOS."""
    clean = []
    for row, word in zip(rows[:, newline + 1 :].tolist(), words, strict=True):
        text = [grammar.VOCABULARY[token] for token in row]
        end = text.index(".") if "." in text else 0
        ending = text[end : end + 2] == [".", grammar.EOS]
        clean.append(ending and grammar.is_clause(text[:end]) and text[end - 1] == PARTNER[word])
    return clean


def score(trained: Trained) -> tuple[Scores, dict[str, tuple[int, int]]]:
    """All scores of an organism, and its sites (template id → layer, position)."""
    of_site, sites = site(trained)
    scores = rhyming(trained) | {"lookahead": lookahead(trained), "facts": facts(trained)} | of_site
    return scores | regenerated(trained, sites), sites
