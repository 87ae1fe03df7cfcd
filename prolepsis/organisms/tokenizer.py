"""The tokenizer of every bundled organism: one token per word."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast


def word_tokenizer(token_ids: Mapping[str, int], bos: str, unknown: str, **special: str) -> Any:
    """A word-level tokenizer that splits at white space and puts ``bos`` first; ``special`` names further tokens."""
    words = Tokenizer(WordLevel(dict(token_ids), unk_token=unknown))
    words.pre_tokenizer = WhitespaceSplit()
    words.post_processor = TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, token_ids[bos])])
    wrap: Any = PreTrainedTokenizerFast
    return wrap(tokenizer_object=words, model_max_length=64, bos_token=bos, unk_token=unknown, **special)


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write the tokenizer's files, in words that every supported transformers understands."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    # transformers 5 names a class here that 4.57 does not have, and says nothing else that matters.
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    config.pop("backend", None)
    path.write_text(json.dumps(config, indent=2) + "\n")
