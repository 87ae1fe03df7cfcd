"""A tokenizer of a few words, with the special tokens that are asked for."""

from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

WORDS = {"<pad>": 0, "<bos>": 1, "<end>": 2, "<unk>": 3, "cat": 4, "zebra": 5}


def word_tokenizer(special: dict[str, str], added: str | None, appended: str = "", **others: int) -> Any:
    """A token per word, ``added`` before them and ``appended`` after; ``special`` names others, with ids ``others``."""
    words = Tokenizer(WordLevel(WORDS | others, unk_token="<unk>"))
    words.pre_tokenizer = WhitespaceSplit()
    if added is not None:
        around = [(token, WORDS[token]) for token in (added, appended) if token]
        words.post_processor = TemplateProcessing(single=f"{added} $A {appended}".strip(), special_tokens=around)
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", **special)
