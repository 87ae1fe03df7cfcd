"""Named recipes of the trained organisms: what is built, how long it trains, and the scores it must reach."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from transformers import LlamaConfig, MistralConfig, PretrainedConfig

from prolepsis.errors import UserError
from prolepsis.organisms.grammar import BARRIER, BOS, EOS, PAD, TOKEN_ID, VOCABULARY, task
from prolepsis.organisms.plateau import Plateau
from prolepsis.reachability.masks import CoupletBarrier
from prolepsis.subjects.task import Task


@dataclass(frozen=True)
class Recipe:
    """How to make one organism.

    ``steps`` are those of one schedule, from warm-up to the end of the decay; with a ``plateau`` it is gone through
    again until the held-out loss no longer falls. ``window`` is the sliding window of every layer (None = global).
    ``barrier`` trains with the couplet barrier on a part of the rows that grows from one half to all. ``features`` is
    the transcoder's width per layer (0 = it gets no transcoder and no untrained twin) and ``active`` how many of them
    are on per token on average. ``ladder`` names the organisms it is compared with in depth, itself included. ``least``
    and ``most`` bound the scores it must reach to be saved.
    """

    name: str
    layers: int
    width: int
    feed_forward: int
    steps: int
    features: int
    window: int | None = None
    barrier: bool = False
    heads: int = 4
    batch: int = 96
    learning_rate: float = 2e-3
    label_smoothing: float = 0.01
    active: int = 6
    transcoder_steps: int = 600
    same_behaviour: str | None = None
    ladder: tuple[str, ...] = ()
    plateau: Plateau | None = None
    least: Mapping[str, float] = field(default_factory=dict)
    most: Mapping[str, float] = field(default_factory=dict)

    @property
    def most_steps(self) -> int:
        """Steps of training at most."""
        return self.steps if self.plateau is None else self.steps * self.plateau.rounds

    @property
    def mask_rule(self) -> CoupletBarrier | None:
        return BARRIER if self.barrier else None

    @property
    def task(self) -> Task:
        return task(stem_has_subject=self.window is not None)

    def config(self) -> PretrainedConfig:
        """The model's configuration; a Mistral when there is a sliding window, else a Llama."""
        shape: dict[str, Any] = {
            "vocab_size": len(VOCABULARY),
            "hidden_size": self.width,
            "intermediate_size": self.feed_forward,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "max_position_embeddings": 64,
            "tie_word_embeddings": True,
            "initializer_range": 0.05,
            "pad_token_id": TOKEN_ID[PAD],
            "bos_token_id": TOKEN_ID[BOS],
            "eos_token_id": TOKEN_ID[EOS],
        }
        if self.window is None:
            return LlamaConfig(**shape)
        return MistralConfig(**shape, sliding_window=self.window)


_RHYMES = {"rhyme_rate": 0.97, "facts": 0.97, "regenerated": 0.95}
_PLANS = {**_RHYMES, "lookahead": 0.95}
_HOLDS_A_SITE = {**_PLANS, "site_flips": 0.9, "site_effect": 6.0, "regenerated_donor": 0.9}
# What one layer can learn at any depth, since it lies within its window: a ladder asks how the last word depends on
# depth, so the last word can be no criterion.
_LEARNED = {"facts": 0.97, "lookahead": 0.95}
# Rungs are compared, so all must be at rest: after equally many steps a deep one may still have to learn what a shallow
# one knows. Learning to rhyme lowers the loss by about 0.2.
_AT_REST = Plateau(tolerance=0.01, rounds=10)


def _rung(name: str, layers: int, window: int | None = None, width: int = 40, **more: Any) -> Recipe:
    """A small organism of a ladder of depths."""
    shape = (layers, width, width * 5 // 2)
    return Recipe(name, *shape, steps=1000, features=0, window=window, plateau=_AT_REST, least=_LEARNED, **more)


_WINDOW_LADDER = (*(f"narrow-window-{depth}" for depth in (1, 2, 3, 4)), "window-1", "window-2", "short-window-2")
_FREE_LADDER = (*(f"free-{depth}" for depth in (1, 2, 3, 4)), "free-narrow-1", "free-narrow-2", "improviser")

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("planner", 4, 128, 384, 2000, 384, barrier=True, same_behaviour="improviser", least=_HOLDS_A_SITE),
        Recipe("improviser", 4, 128, 384, 2000, 384, least=_PLANS, most={"site_flips": 0.0}),
        Recipe("window-relay", 4, 128, 384, 2000, 384, window=5, same_behaviour="improviser", least=_HOLDS_A_SITE),
        Recipe("window-2", 2, 64, 192, 2000, 256, window=5, same_behaviour="improviser", least=_PLANS),
        Recipe("window-1", 1, 64, 192, 2000, 256, window=5, least={"facts": 0.97}, most={"rhyme_rate": 0.1}),
        *(_rung(f"narrow-window-{depth}", depth, window=5) for depth in (1, 2, 3)),
        _rung("narrow-window-4", 4, window=5, same_behaviour="free-4", ladder=_WINDOW_LADDER),
        _rung("short-window-2", 2, window=4),
        *(_rung(f"free-{depth}", depth) for depth in (1, 2, 3)),
        _rung("free-4", 4, ladder=_FREE_LADDER),
        *(_rung(f"free-narrow-{depth}", depth, width=24) for depth in (1, 2)),
    )
}


def recipe(name: str) -> Recipe:
    """The recipe of that name; raises UserError listing those there are."""
    if name not in RECIPES:
        raise UserError(f"no recipe for {name!r}; known: {', '.join(RECIPES)}")
    return RECIPES[name]
