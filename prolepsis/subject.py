"""A subject: a language model with its tokenizer, and with a transcoder, a mask rule and a task where it has them."""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from tokenizers.models import BPE
from torch.func import functional_call
from torch.nn.functional import linear

from prolepsis.errors import Untested, UserError
from prolepsis.layouts.layout import InputHook
from prolepsis.reachability.masks import MaskRule
from prolepsis.reachability.wiring import Wiring, wiring_from_config
from prolepsis.subjects.counterfactual import Counterfactuals
from prolepsis.subjects.experts import evaluate_densely
from prolepsis.subjects.families import Family, family_of
from prolepsis.subjects.model_size import ModelSize
from prolepsis.subjects.published import Published
from prolepsis.subjects.task import Task
from prolepsis.transcoder import Transcoder
from prolepsis.watching import watched

Tensor = torch.Tensor
Result = TypeVar("Result")

# Bytes of the unembedding matrix that are multiplied at a time on a CPU: what a core's own cache holds.
UNEMBEDDING_BLOCK = 2**20
# How tokenizers write a line break in their vocabulary: itself, by GPT-2's table of bytes, or as a byte of its own.
LINE_BREAKS = ("\n", "Ċ", "<0x0A>")
# What is named of a text that a tokenizer does not know: a word, or any other sign.
PIECE = re.compile(r"\w+|[^\w ]")


NO_TRANSCODER = "it has no transcoder; give one with --claims-transcoder or in a preset"
OWN_TASK = "name a task of your own in a preset (--claims-preset FILE)"
NO_TASK = "no task.json says what to ask it; name one in a preset (--claims-preset FILE)"


@dataclass(frozen=True, eq=False, repr=False)
class Subject:
    """A causal language model and what belongs to it; every experiment takes one of these.

    ``twin`` refers to the untrained subject of the same configuration, ``same_behaviour`` to one that behaves alike by
    another mechanism; both by the id or the folder of a control subject. ``ladder`` refers likewise to the subjects, of
    several depths and this one among them, that were made alike. ``published`` is what the paper ran on this model,
    ``pairs`` a data set of facts it is asked in place of those of its task. Where it has no transcoder,
    ``no_transcoder`` says why and how to get one, and ``no_task`` why it is asked for no rhymes. ``folder`` holds the
    model's weights, None where they were made in memory.
    ``known`` is what :meth:`once` has measured.
    """

    id: str
    model: Any
    tokenizer: Any
    transcoder: Transcoder | None = None
    mask_rule: MaskRule | None = None
    task: Task | None = None
    twin: str | None = None
    same_behaviour: str | None = None
    ladder: tuple[str, ...] = ()
    revision: str | None = None
    folder: Path | None = None
    published: Published | None = None
    pairs: Counterfactuals | None = None
    no_transcoder: str = NO_TRANSCODER
    no_task: str = NO_TASK
    family: Family = field(init=False)
    known: dict[Callable[["Subject"], Any], Any] = field(init=False, default_factory=dict)
    _word_ids: dict[str, int] = field(init=False, default_factory=dict)
    _left_out: dict[str, bool] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Raises UserError for a model whose wiring is not modelled or that is not eager."""
        object.__setattr__(self, "family", family_of(self.model.config))
        if self.config._attn_implementation != "eager":
            found = self.config._attn_implementation
            raise UserError(f"{self.id}: attention is {found!r}; load the model with attn_implementation='eager'")
        if self.transcoder is not None:
            self.transcoder.check_output(self.family)
        self.model.eval().requires_grad_(requires_grad=False)
        for layer in range(self.n_layers if self.family.experts else 0):
            try:
                evaluate_densely(self.layer(layer).mlp)
            except UserError as error:
                raise UserError(f"{self.id}: {error}") from None

    def __repr__(self) -> str:
        # Tracebacks show it in every line, and with all it keeps that would take minutes.
        return f"Subject({self.id!r})"

    def once(self, measure: Callable[["Subject"], Result]) -> Result:
        """What ``measure`` says of this subject, which is asked once for as long as the subject is held."""
        if measure not in self.known:
            self.known[measure] = measure(self)
        result: Result = self.known[measure]
        return result

    @property
    def config(self) -> Any:
        """The configuration of the language model, which may be a part of the whole."""
        return self.model.config.get_text_config()

    @cached_property
    def n_layers(self) -> int:
        return int(self.config.num_hidden_layers)

    @cached_property
    def n_heads(self) -> int:
        return int(self.config.num_attention_heads)

    @cached_property
    def d_model(self) -> int:
        return int(self.config.hidden_size)

    @cached_property
    def d_head(self) -> int:
        return int(getattr(self.config, "head_dim", None) or self.d_model // self.n_heads)

    @property
    def n_vocab(self) -> int:
        return int(self.unembedding.shape[0])

    @property
    def device(self) -> torch.device:
        return self.unembedding.device

    @property
    def dtype(self) -> torch.dtype:
        return self.unembedding.dtype

    @property
    def unembedding(self) -> Tensor:
        """Unembedding matrix [V, d]."""
        weight: Tensor = self.model.get_output_embeddings().weight
        return weight

    @cached_property
    def wiring(self) -> Wiring:
        """Who can see whom in which layer, as far as the configuration and the mask rule say."""
        return wiring_from_config(self.model.config.to_dict(), self.mask_rule)

    @cached_property
    def size(self) -> ModelSize:
        """How large the model is, as far as its configuration says."""
        return ModelSize.of(self.config.to_dict())

    @cached_property
    def digest(self) -> str:
        """Identity of what is measured: weights, configuration, mask rule, task, transcoder, protocol and pairs."""
        digest = hashlib.sha256()
        for name, weight in watched(sorted(self.model.state_dict().items()), "weights hashed"):
            digest.update(f"{name} {list(weight.shape)} {weight.dtype}".encode())
            digest.update(weight.contiguous().view(torch.uint8).cpu().numpy())
        rule = None if self.mask_rule is None else self.mask_rule.describe()
        task = None if self.task is None else self.task.to_json()
        transcoder = None if self.transcoder is None else self.transcoder.digest
        digest.update(json.dumps([self.config.model_type, rule, task, transcoder], sort_keys=True).encode())
        if self.published is not None:
            digest.update(repr(self.published).encode())
        if self.pairs is not None:
            digest.update(self.pairs.digest.encode())
        return digest.hexdigest()[:16]

    @property
    def backbone(self) -> Any:
        """The transformers module that runs all layers, without the unembedding."""
        return self.model.get_submodule(self.family.layers.rpartition(".")[0])

    @cached_property
    def _layers(self) -> Any:
        return self.model.get_submodule(self.family.layers)

    def layer(self, layer: int) -> Any:
        """The transformers module of layer ``layer``."""
        return self._layers[layer]

    def part(self, layer: int, part: str) -> Any:
        """A part of layer ``layer`` by its name in :class:`Family`, for example ``"mid_norm"``."""
        return self.layer(layer).get_submodule(getattr(self.family, part))

    def unembed(self, resid: Tensor) -> Tensor:
        """Logits [..., V] of residual rows [..., d]: final norm, unembedding, final softcap where the model has one."""
        normed = self.model.get_submodule(self.family.final_norm)(resid)
        logits = (row_by_row if self.device.type == "cpu" else linear)(normed, self.unembedding)
        cap = getattr(self.config, "final_logit_softcapping", None)
        # In place, since these may be the largest tensors there are.
        return logits if cap is None else logits.div_(cap).tanh_().mul_(cap)

    def features(self, layer: int, resid_mid: Tensor) -> Tensor:
        """Activations [..., F] of the transcoder's features of ``layer`` at rows [..., d] of resid_mid.

        Raises Untested when the subject has no transcoder.
        """
        transcoder = transcoder_of(self)
        return transcoder.encode(layer, self.read_at(transcoder.input_hook, layer, resid_mid))

    def read_at(self, hook: InputHook, layer: int, resid_mid: Tensor) -> Tensor:
        """What stands at ``hook`` of ``layer`` where resid_mid is these rows [..., d]; the same shape."""
        if hook == "hook_resid_mid":
            return resid_mid
        norm = self.part(layer, "mid_norm")
        if hook == "mlp.hook_in":
            return cast("Tensor", norm(resid_mid))
        gain = self.family.unit_gain
        plain = {name: torch.full_like(p, gain if name == "weight" else 0.0) for name, p in norm.named_parameters()}
        return cast("Tensor", functional_call(norm, plain, (resid_mid,)))

    def encode(self, text: str) -> list[int]:
        """Token ids of ``text``, BOS first, also where the tokenizer does not put it there, and nothing after the text.

        In a tokenizer without BOS the token for padding or for the end of a text stands in for it: position 0 draws
        attention whatever it holds, and must not hold a word. A token that the tokenizer appends is left out: what is
        asked for is what comes after the text. Raises UserError for a tokenizer with none of these, and for a text that
        it does not know.
        """
        tokens = self._tokens(text)
        if max(tokens, default=0) >= self.n_vocab:
            raise UserError(
                f"{self.id}: its tokenizer has token {max(tokens)} in {text!r}, its model {self.n_vocab} tokens; give "
                "the tokenizer that the model was trained with"
            )
        if (unknown := self.unknown(text)) is not None:
            raise UserError(
                f"{self.id}: its tokenizer does not know {unknown!r} in {text!r}; give a text that it knows"
            )
        return [self._first_id, *tokens]

    def unknown(self, text: str) -> str | None:
        """The first word or sign of ``text`` that the tokenizer does not know; None where it knows all."""
        token = self.tokenizer.unk_token_id
        lost = self._lost(text)
        if not lost and token not in self._tokens(text):
            return None
        pieces = PIECE.findall(text)
        return next((piece for piece in pieces if lost.intersection(piece) or token in self._tokens(piece)), text)

    def _lost(self, text: str) -> set[str]:
        """The characters of ``text`` that the tokenizer passes over in silence, as one of byte pairs may."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if not isinstance(getattr(backend, "model", None), BPE):
            return set()
        lost = set(filter(self._leaves_out, text))
        for token in self.tokenizer.get_added_vocab() if lost else ():
            text = text.replace(token, "")
        return lost.intersection(text)

    def _leaves_out(self, character: str) -> bool:
        """Whether the tokenizer makes no token of a character, not even one for what it does not know."""
        if character not in self._left_out:
            self._left_out[character] = not character.isspace() and not self._tokens(character)
        return self._left_out[character]

    def _tokens(self, text: str) -> list[int]:
        """Token ids of ``text`` without what the tokenizer puts around it, and without a BOS that is written out."""
        tokens = [int(token) for token in self.tokenizer(text, add_special_tokens=False)["input_ids"]]
        return tokens[1:] if tokens[:1] == [self._first_id] else tokens

    @cached_property
    def _first_id(self) -> int:
        return first_token(self.tokenizer, self.id)

    def word_id(self, word: str) -> int:
        """Token id of ``word`` with a leading space, else without; raises UserError when neither is one token."""
        if word not in self._word_ids:
            self._word_ids[word] = self._one_token(word)
        return self._word_ids[word]

    def is_one_token(self, word: str) -> bool:
        """Whether ``word`` has an id by :meth:`word_id`."""
        try:
            self.word_id(word)
        except UserError:
            return False
        return True

    def ends_of_lines(self, texts: Sequence[str]) -> list[int]:
        """Token ids that end a line: those of ``texts``, and for a line break of every token that holds one.

        Many tokenizers join it to the comma before it. Raises UserError for a text that is not one token.
        """
        ends = {self.word_id(text) for text in texts if text != "\n"}
        return sorted(ends | self._line_breaks if "\n" in texts else ends)

    @cached_property
    def _line_breaks(self) -> frozenset[int]:
        """The tokens that hold a line break; every token is looked at, which takes a second where there are many."""
        n_vocab = self.n_vocab
        written = [(text, i) for text, i in self.tokenizer.get_vocab().items() if i < n_vocab]
        marked = [i for text, i in written if any(mark in text for mark in LINE_BREAKS)]
        return frozenset(i for i in marked if "\n" in self.decode([i]))

    def _one_token(self, word: str) -> int:
        for form in (f" {word}", word):
            ids = self.tokenizer(form, add_special_tokens=False)["input_ids"]
            if len(ids) == 1 and ids[0] < self.n_vocab and self.unknown(form) is None:
                return int(ids[0])
        pieces = self.tokenizer.convert_ids_to_tokens(self.tokenizer(f" {word}", add_special_tokens=False)["input_ids"])
        raise UserError(f"{self.id}: word {word!r} is not one token but {pieces}; choose another word")

    def decode(self, tokens: list[int]) -> str:
        """The text of token ids."""
        return str(self.tokenizer.decode(tokens))


def row_by_row(rows: Tensor, weight: Tensor) -> Tensor:
    """Products [..., V] of rows [..., d] with ``weight`` [V, d], every row by itself.

    On a CPU matrix-vector and matrix-matrix products sum in different orders, and a row's logits must not depend on
    which rows stand beside it. Blocks of the vocabulary that stay in the processor's cache make up for the time.
    """
    apart = rows.reshape(-1, 1, rows.shape[-1])
    size = max(1, UNEMBEDDING_BLOCK // (rows.shape[-1] * weight.element_size()))
    blocks = [torch.cat([linear(row, block) for row in apart]) for block in torch.split(weight, size)]
    return torch.cat(blocks, dim=-1).view(*rows.shape[:-1], -1)


def first_token(tokenizer: Any, whose: str) -> int:
    """The id of BOS, or of what stands in for it; raises UserError, naming ``whose`` tokenizer has neither."""
    for name in ("bos_token_id", "pad_token_id", "eos_token_id"):
        found = getattr(tokenizer, name, None)
        if found is not None:
            return int(found)
    raise UserError(
        f"{whose}: its tokenizer has no BOS token, and none for padding or the end of a text to stand in for it; "
        "add bos_token to its tokenizer_config.json"
    )


def transcoder_of(subject: Subject) -> Transcoder:
    """The subject's transcoder; raises Untested when it has none, since other claims can do without."""
    if subject.transcoder is None:
        raise Untested(f"{subject.id}: {subject.no_transcoder}")
    return subject.transcoder
