"""Tokenizers of the two families' kinds, whose tokens stand where the paper's do.

Both are byte-level BPE models in which a word of the vocabulary is one token: that of Gemma writes the space as ``▁``
and keeps a comma and the line break after it apart, that of Llama 3 splits by its published pattern and takes both as
one token. The words are those of the task, the presets and the word lists, then those of the CMU Pronouncing
Dictionary; what is left of the vocabulary is unused.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from prolepsis.domains import DOMAINS
from prolepsis.organisms.tokenizer import save_tokenizer
from prolepsis.rehearsal.shapes import Shape
from prolepsis.subjects.published import PRESETS

TASK = PRESETS.parent / "tasks" / "english.json"
PUBLISHED_IDS = {"gemma": {"around": 2449}, "llama": {"that": 430}}
"""Token ids the paper gives, of words with the space before them."""
PIECES = {"howling": ("how", "ling"), "sparkled": ("spark", "led"), "tattered": ("tatt", "ered")}
"""Words of several tokens: the published sites of Llama's prompts say that there are some, but not which."""
SHARE_OF_WORDS = 1 / 3
"""Of the vocabulary; the rest of a real one is parts of words, other scripts and signs."""

_LLAMA_PATTERN = "|".join(
    [
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
_GEMMA_PATTERN = r"▁?\p{L}+|\p{N}|\n+|▁+|[^▁\s\p{L}\p{N}]"


def write_tokenizer(shape: Shape, folder: Path) -> None:
    """Build the tokenizer of ``shape`` and write its files."""
    save_tokenizer(_gemma(shape) if shape.tokenizer == "gemma" else _llama(shape), folder)


def words_of_prompts() -> list[str]:
    """Every word of the prompts, the task and the word lists, in the letters they are written with."""
    texts = (path.read_text() for path in (PRESETS, TASK, DOMAINS))
    # The task's newlines are escaped, as JSON has it.
    return list(dict.fromkeys(chain.from_iterable(re.findall("[A-Za-z]+", t.replace("\\n", " ")) for t in texts)))


def spoken_words() -> list[str]:
    """The words of the CMU Pronouncing Dictionary, in an order that is none of the alphabet."""
    import pronouncing

    pronouncing.init_cmu()
    words = list(dict.fromkeys(word for word, _ in pronouncing.pronunciations if re.fullmatch("[a-z]{2,}", word)))
    return [words[i] for i in np.random.default_rng(0).permutation(len(words))]


def _gemma(shape: Shape) -> Any:
    special = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3}
    characters = [chr(code) for code in range(33, 127)]
    pieces = chain([f"<0x{byte:02X}>" for byte in range(256)], characters, ["▁", "\n", "\n\n"], _words("▁", shape))
    ids = _numbered(shape, special, {f"▁{word}": i for word, i in PUBLISHED_IDS["gemma"].items()}, pieces)
    model = Tokenizer(BPE(ids, [], byte_fallback=True, ignore_merges=True))
    model.normalizer = normalizers.Replace(" ", "▁")
    model.pre_tokenizer = pre_tokenizers.Split(Regex(_GEMMA_PATTERN), behavior="isolated")
    model.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return _wrapped(model, ids, shape, dict(zip(("pad", "eos", "bos", "unk"), special, strict=True)))


def _llama(shape: Shape) -> Any:
    bos, eos = "<|begin_of_text|>", "<|end_of_text|>"
    special = {bos: shape.config["bos_token_id"], eos: shape.config["eos_token_id"]}
    merges = list(dict.fromkeys(chain.from_iterable(_merges(first, last) for first, last in PIECES.values())))
    pieces = chain(
        sorted(pre_tokenizers.ByteLevel.alphabet()),
        [",Ċ", ".Ċ", "ĊĊ", ".ĊĊ"],
        (first + last for first, last in merges),
        (word for word in _words("Ġ", shape) if word.removeprefix("Ġ") not in PIECES),
    )
    ids = _numbered(shape, special, {f"Ġ{word}": i for word, i in PUBLISHED_IDS["llama"].items()}, pieces)
    model = Tokenizer(BPE(ids, merges, ignore_merges=True))
    model.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_LLAMA_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    model.decoder = decoders.ByteLevel()
    return _wrapped(model, ids, shape, {"bos": bos, "eos": eos})


def _words(space: str, shape: Shape) -> Iterator[str]:
    """The words of the prompts with and without a space before them, then a dictionary's with one."""
    asked = words_of_prompts()
    for form in (str, str.lower, str.capitalize):
        yield from (f"{space}{form(word)}" for word in asked)
        yield from (form(word) for word in asked)
    yield from (f"{space}{word}" for word in spoken_words()[: round(SHARE_OF_WORDS * shape.n_vocab)])


def _numbered(
    shape: Shape, special: Mapping[str, int], fixed: Mapping[str, int], pieces: Iterable[str]
) -> dict[str, int]:
    """Piece → id: ``special`` and ``fixed`` as given, ``pieces`` in order, and names of no use up to the full size."""
    ids = {**special, **fixed}
    taken = set(ids.values())
    free = (i for i in range(shape.n_vocab) if i not in taken)
    for piece in pieces:
        if piece not in ids:
            # Where the vocabulary is full the rest of the dictionary is left out.
            i = next(free, None)
            if i is None:
                break
            ids[piece] = i
    return ids | {f"<unused{i}>": i for i in free}


def _merges(first: str, last: str) -> list[tuple[str, str]]:
    """The merges that make ``Ġfirst`` and ``last``, letter by letter, out of the bytes of a word."""
    return [(text[:end], text[end]) for text in (f"Ġ{first}", last) for end in range(1, len(text))]


def _wrapped(model: Tokenizer, ids: Mapping[str, int], shape: Shape, special: Mapping[str, str]) -> Any:
    bos = special["bos"]
    model.post_processor = TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, ids[bos])])
    wrap: Any = PreTrainedTokenizerFast
    names = {f"{role}_token": token for role, token in special.items()}
    return wrap(tokenizer_object=model, model_max_length=shape.config["max_position_embeddings"], **names)
