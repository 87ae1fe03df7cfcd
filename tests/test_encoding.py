"""Prompts as tokens: what stands first and last, what is one word, where lines end, and what is refused."""

from dataclasses import replace

import pytest
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from prolepsis.engine import clean_run
from prolepsis.errors import Untested, UserError
from prolepsis.subjects.loading import load_subject
from tests.tiny import N_VOCAB, tiny_subject
from tests.word_tokenizers import word_tokenizer


def test_a_word_has_to_be_one_token() -> None:
    """A word the tokenizer cuts up or does not know is refused with its pieces."""
    subject = load_subject("planted-llama-irrevocable")
    assert subject.word_id("cat") == subject.encode("cat")[-1]
    with pytest.raises(UserError, match="'zebra' is not one token"):
        subject.word_id("zebra")


@pytest.mark.parametrize(
    ("special", "added", "first"),
    [
        ({"bos_token": "<bos>"}, "<bos>", 1),
        ({"bos_token": "<bos>", "pad_token": "<pad>"}, None, 1),
        ({"pad_token": "<pad>", "eos_token": "<end>"}, None, 0),
        ({"eos_token": "<end>"}, None, 2),
    ],
)
def test_a_prompt_begins_with_bos_or_what_stands_in(special: dict[str, str], added: str | None, first: int) -> None:
    """BOS comes first and once, whether or not the tokenizer puts it there; without BOS padding or an end stand in."""
    subject = replace(tiny_subject("qwen3"), tokenizer=word_tokenizer(special, added))
    assert subject.encode("cat zebra") == [first, 4, 5]
    assert subject.encode("") == [first]


def test_a_token_that_the_tokenizer_appends_is_left_out() -> None:
    """The last token is the text's own, also where the tokenizer puts the end of a text after it."""
    tokenizer = word_tokenizer({"bos_token": "<bos>", "eos_token": "<end>"}, "<bos>", appended="<end>")
    assert tokenizer("cat zebra")["input_ids"] == [1, 4, 5, 2]
    subject = replace(tiny_subject("qwen3"), tokenizer=tokenizer)
    assert subject.encode("cat zebra") == [1, 4, 5]
    assert subject.encode("<bos> cat") == [1, 4]


def test_a_text_that_the_tokenizer_does_not_know_is_refused() -> None:
    """The first word it does not know is named, whatever the prompt would have been without it."""
    subject = replace(tiny_subject("qwen3"), tokenizer=word_tokenizer({"bos_token": "<bos>"}, "<bos>"))
    assert subject.unknown("cat zebra") is None
    assert subject.unknown("cat okapi zebra quagga") == "okapi"
    with pytest.raises(UserError, match="its tokenizer does not know 'okapi' in 'cat okapi'; give a text that it"):
        subject.encode("cat okapi")


def test_a_character_that_the_tokenizer_leaves_out_is_refused() -> None:
    """Pieces of characters without a token for what is unknown drop it in silence; the word that lost it is named."""
    pieces = Tokenizer(BPE({"<bos>": 0, "c": 1, "a": 2, "t": 3, "ca": 4}, [("c", "a")]))
    pieces.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=pieces, bos_token="<bos>")
    subject = replace(tiny_subject("qwen3"), tokenizer=tokenizer)
    assert tokenizer("cat caf\u00e9")["input_ids"] == [4, 3, 4]
    assert subject.encode("cat \n tac") == subject.encode("<bos>cat \n tac") == [0, 4, 3, 3, 2, 1]
    assert subject.is_one_token("ca")
    assert not subject.is_one_token("ca\u00e9")
    with pytest.raises(
        UserError, match="its tokenizer does not know 'caf\u00e9' in 'cat caf\u00e9'; give a text that it"
    ):
        subject.encode("cat caf\u00e9")


def test_a_tokenizer_with_no_first_token_is_refused() -> None:
    """Where nothing could stand at position 0, one line says what to add."""
    subject = replace(tiny_subject("qwen3"), tokenizer=word_tokenizer({}, None))
    with pytest.raises(UserError, match=r"no BOS token.*add bos_token to its tokenizer_config\.json"):
        subject.encode("cat")


def test_a_tokenizer_of_a_larger_vocabulary_is_refused_at_the_first_word_it_has_too_much() -> None:
    """A token that the model does not have is named with the text it stands in, and no word of it is one token."""
    subject = replace(tiny_subject("qwen3"), tokenizer=word_tokenizer({"bos_token": "<bos>"}, "<bos>", zebra=N_VOCAB))
    assert subject.encode("cat")[1:] == [4]
    assert not subject.is_one_token("zebra")
    with pytest.raises(UserError, match="its tokenizer has token 23 in 'cat zebra', its model 23 tokens; give the"):
        subject.encode("cat zebra")


def test_a_line_ends_at_every_token_that_breaks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comma with a line break in one token ends a line, and a space with one; other words end it by their own id.

    The vocabulary, which may be large, is looked through only once.
    """
    merges = [(",", "Ċ"), ("Ġ", "Ċ"), ("a", "b")]
    pieces = ["<bos>", *",ĊĠab", *("".join(merge) for merge in merges)]
    bytes_level = Tokenizer(BPE({piece: i for i, piece in enumerate(pieces)}, merges))
    bytes_level.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    bytes_level.decoder = ByteLevelDecoder()
    made = PreTrainedTokenizerFast(tokenizer_object=bytes_level, bos_token="<bos>")
    subject = replace(tiny_subject("llama"), tokenizer=made)
    assert [subject.decode([i]) for i in subject.ends_of_lines(["\n"])] == ["\n", ",\n", " \n"]

    def looked_through(*_: object) -> None:
        raise AssertionError("looked through again")

    monkeypatch.setattr(PreTrainedTokenizerFast, "get_vocab", looked_through)
    assert subject.encode("a,\nb")[2] in subject.ends_of_lines(["\n"])
    assert subject.ends_of_lines(["ab"]) == [pieces.index("ab")]


def test_a_prompt_has_to_fit() -> None:
    """No tokens, or one the model does not have, are refused; for more than it takes it is untested."""
    subject = tiny_subject("llama")
    for tokens, message in (([], "empty"), ([1, 99], "token 99")):
        with pytest.raises(UserError, match=message):
            clean_run(subject, tokens)
    with pytest.raises(Untested, match=r"65 tokens are more than the model takes \(64\).* task of your own"):
        clean_run(subject, [1] * 65)
