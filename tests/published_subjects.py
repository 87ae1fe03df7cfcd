"""Tiny random models the paper's protocol can be run on: a word tokenizer, a made-up transcoder and preset."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from prolepsis.experiments import families
from prolepsis.measurement import Measurement
from prolepsis.names import Feature, Head
from prolepsis.subject import Subject
from prolepsis.subjects.published import Published
from prolepsis.transcoder import Transcoder, write_transcoder
from tests.tiny import tiny_subject

PROMPT = "She wandered in the dark about,\nAnd found a hidden"
OTHER = "Nobody knows or remembers who,\nWould find a"
WORDS = {"about": (1, 0), "out": (3, 1), "around": (2, 2), "ground": (3, 3), "who": (0, 4), "too": (2, 5)}
"""Words of three rhyme groups, and the feature whose row at the last layer is the word's own unembedding."""
NAMES = {"Sky": (1, 6), "Fly": (2, 6)}
"""Words of a rhyme group that are tokens with a capital letter only."""
LAYERS, FEATURES = 4, 8
FAMILIES = ("llama", "gemma2")
SUPPRESS, INJECT = {"L1:0": -1.5, "L3:1": -1.5}, {"L2:2": 1.5}
"""What the sweep, the first routing prompt and the correction's commitment write, by feature."""
PUBLISHED = sorted(name for name, module in families.MODULES.items() if module.startswith("published_"))
ON_A_GPU = "published_memory"
"""The experiment that only a GPU has."""
COUNTS = ("clean_word_features", "found_rhyme_words", "found_rhyme_groups")
"""Those that need no protocol."""
PLAIN: dict[str, Any] = {
    "sweep": {
        "prompt": PROMPT, "suppress": ["L1:0", "L3:1"], "inject": "L2:2", "word": "around", "strength": 1.5, "site": 13,
    },
    "pairs": {
        "strength": 0.3,
        "prompts": [{"prompt": PROMPT, "rhyme": "about"}, {"prompt": OTHER, "rhyme": "who"}],
    },
    "routing": [
        {
            "prompt": PROMPT, "suppress": ["L1:0", "L3:1"], "inject": "L2:2", "word": "around", "strength": 1.5,
            "site": 6, "at": " about", "heads": ["L2:H1", "L3:H0", "L2:H0"],
            "recurring": ["L2:H1", "L3:H1", "L2:H0", "L1:H1"],
        },
        {
            "prompt": OTHER, "suppress": [], "inject": "L0:4", "word": "who", "strength": 2.0, "site": 5, "at": " who",
            "heads": ["L1:H0"], "recurring": ["L3:H1", "L2:H0", "L0:H1"],
        },
        {
            "prompt": PROMPT, "suppress": [], "inject": "L1:0", "word": "about", "strength": 3.0, "site": 3,
            "at": " in", "heads": ["L3:H1"],
        },
        {
            "prompt": OTHER, "suppress": ["L0:4"], "inject": "L2:5", "word": "too", "strength": 2.0, "site": 4,
            "at": " remembers", "heads": ["L3:H0"], "recurring": ["L2:H0"],
        },
    ],
    "recurring": ["L2:H1", "L3:H1", "L2:H0", "L1:H1", "L0:H1"],
    "correction": {
        "feature": "L0:4", "word": "who", "first": 2, "strength": 3.0, "steps": 4, "head": "L2:H1",
        "printed": [
            {"strength": 1.0, "committed": "0.04", "correct": "4.0e-2", "head": "0.001", "total": "0.30"},
            {"strength": 3.0, "committed": "0.030", "correct": "5e-2", "head": "0.00", "total": "0.4"},
        ],
    },
    "convergence": {
        "prompt": "And found a hidden", "word": "around", "contrasts": ["Would find a hidden", "Would find a"],
        "redirect": "who",
    },
}  # fmt: skip
PRESET = """
[[subject]]
id = "mine"
model = "model"
transcoder = "clt"

[subject.published.sweep]
prompt = "She wandered in the dark about,\\nAnd found a hidden"
suppress = ["L1:0", "L3:1"]
inject = "L2:2"
word = "around"
strength = 1.5

[subject.published.pairs]
strength = 0.75

[[subject.published.pairs.prompts]]
prompt = "Nobody knows or remembers who,\\nWould find a"
rhyme = "who"

[[subject.published.routing]]
prompt = "She wandered in the dark about,\\nAnd found a hidden"
suppress = []
inject = "L2:2"
word = "around"
token = 24
site = 6
at = " about"
strength = 1.5
heads = ["L2:H1"]

[subject.published.correction]
feature = "L0:4"
word = "who"
first = 2
strength = 3.0
steps = 4
head = "L2:H1"

[subject.published.convergence]
prompt = "And found a hidden"
word = "around"
contrasts = ["Would find a hidden"]
redirect = "who"
"""
"""The same as a preset file, but for what it leaves out, of the model and transcoder that stand beside it."""


def tokenizer() -> Any:
    """A token per word, which keeps the space before it; a space of its own at the end; BOS first."""
    texts = [PROMPT, OTHER, *(f" {word}" for word in (*WORDS, *NAMES))]
    pieces = [piece for text in texts for piece in re.findall(r" ?[A-Za-z]+|\n|,", text)]
    ids = {piece: i for i, piece in enumerate(dict.fromkeys(["<pad>", "<bos>", "<unk>", " ", *pieces]))}
    words = Tokenizer(WordLevel(ids, unk_token="<unk>"))
    words.pre_tokenizer = Split(Regex(r" ?[A-Za-z]+|\n|,| "), behavior="isolated")
    words.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<bos>", unk_token="<unk>", pad_token="<pad>")


def published_subject(
    family: str, folder: Path, seed: int = 0, dtype: torch.dtype = torch.float64, **changes: Mapping[str, Any]
) -> Subject:
    """A random model of four layers with everything the published protocol asks for; ``changes`` are to the preset."""
    words = tokenizer()
    tiny = tiny_subject(family, seed, n_layers=LAYERS, window=6, n_vocab=len(words), dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    width = tiny.d_model

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    decoders = [0.4 * draw(FEATURES, LAYERS - layer, width) for layer in range(LAYERS)]
    for word, (layer, index) in (WORDS | NAMES).items():
        decoders[layer][index, -1] = tiny.unembedding[words.convert_tokens_to_ids(f" {word}")].float()
    write_transcoder(
        folder,
        [draw(FEATURES, width) for _ in range(LAYERS)],
        [draw(FEATURES) for _ in range(LAYERS)],
        decoders,
        [draw(width) for _ in range(LAYERS)],
        model_name="tiny",
    )
    return replace(
        tiny, tokenizer=words, transcoder=Transcoder.open(folder), published=Published.of({**PLAIN, **changes})
    )


def rows_of(subject: Subject, features: Mapping[str, float], first: int = 0) -> dict[int, torch.Tensor]:
    """Layer → what features, each with its strength, write there; layers below ``first`` are left out."""
    assert subject.transcoder is not None
    total: dict[int, torch.Tensor] = {}
    for name, strength in features.items():
        feature = Feature.parse(name)
        for target in range(max(feature.layer, first), LAYERS):
            row = strength * subject.transcoder.decoder(feature.layer, target)[feature.index].double()
            total[target] = total.get(target, torch.zeros(subject.d_model, dtype=torch.float64)) + row
    return total


@torch.no_grad()
def plain_run(subject: Subject, text: str, writes: Mapping[int, torch.Tensor], position: int) -> Any:
    """One plain forward pass, with forward hooks that add to the layers' outputs at ``position``."""
    hooks = []
    for layer, vector in writes.items():

        def add(_module: Any, _args: Any, output: Any, vector: torch.Tensor = vector) -> Any:
            hidden = output[0] if isinstance(output, tuple) else output
            hidden = hidden.clone()
            hidden[:, position] += vector.to(hidden)
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        hooks.append(subject.model.model.layers[layer].register_forward_hook(add))
    try:
        ids = torch.tensor([subject.tokenizer(text)["input_ids"]])
        return subject.model(input_ids=ids, output_attentions=True, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()


def probability_of(subject: Subject, out: Any, word: str) -> float:
    """P of a word after the last position."""
    token = subject.tokenizer.convert_tokens_to_ids(f" {word}")
    return float(out.logits[0, -1].float().softmax(-1)[token])


def value(measurement: Measurement) -> float:
    """The single value of a measurement."""
    (only,) = measurement.values.values()
    return only


def measured(subject: Subject, name: str) -> float:
    """The single value an experiment gives."""
    return value(families.experiment(name)(subject))


def attention(subject: Subject, text: str, writes: dict[int, torch.Tensor], site: int) -> dict[Head, float]:
    """Head → change of attention from the last position to ``site``, by two plain runs."""
    edited, clean = (plain_run(subject, text, each, site).attentions for each in (writes, {}))
    return {
        Head(layer, head): float((edited[layer] - clean[layer])[0, head, -1, site])
        for layer in range(LAYERS)
        for head in range(subject.n_heads)
    }
