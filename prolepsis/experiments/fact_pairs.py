"""Pairs of fact prompts that differ in their subject alone, with their donors, aligned positions and clean runs.

Positions are found by comparing tokens, never by a name: what the prompts of one template do not share at their
beginning and at their end is the subject. So prompts that put a whole sentence in the template's slot, followed by a
blank line and instructions, are treated like the shortest ones.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from prolepsis.engine import CleanRun, clean_run
from prolepsis.errors import UserError
from prolepsis.running.hooks import Read
from prolepsis.subject import Subject
from prolepsis.subjects.counterfactual import BLANK_LINE
from prolepsis.subjects.task import FactPrompt, Relation, Task


@dataclass(frozen=True)
class FactPair:
    """A prompt and a donor: one relation and template, other subject, other answer.

    ``same_answer`` asks the same of a third subject that has the recipient's answer, ``mismatched`` of one with an
    answer that neither has; None where the relation knows no such subject. ``half`` is 0 or 1: what is chosen is
    chosen on the other half's pairs. A couple of subjects stands on both sides of two pairs, and is their ``cluster``.
    """

    recipient: FactPrompt
    donor: FactPrompt
    same_answer: FactPrompt | None
    mismatched: FactPrompt | None
    half: int
    cluster: str

    @property
    def id(self) -> str:
        return f"{self.recipient.id} <- {self.donor.subject}"

    @property
    def answer_in_prompt(self) -> bool:
        """Whether either answer stands in the text of either fact, so that it could be copied from there."""
        facts = " ".join(fact_text(prompt) for prompt in (self.recipient, self.donor))
        answers = "|".join(re.escape(prompt.answer) for prompt in (self.recipient, self.donor))
        return re.search(rf"\b({answers})\b", facts, re.IGNORECASE) is not None


def fact_text(prompt: FactPrompt) -> str:
    """The prompt up to its first blank line: the fact, without instructions that follow."""
    return prompt.text.partition(BLANK_LINE)[0]


def fact_pairs(task: Task) -> tuple[FactPair, ...]:
    """Two pairs per couple of subjects, one in either direction; relations, templates and halves are taken in turn.

    No subject is in two couples, so couples are independent of each other. The subjects of a couple have as many words
    in common as can be had: the less differs, the less there is besides the fact to tell the two prompts apart.
    """
    asked = []
    for turn, (first, second) in enumerate(_couples(task)):
        relations = _telling_apart(task, first, second)
        relation = relations[turn // 2 % len(relations)]
        template = turn // (2 * len(relations)) % len(relation.templates)
        couple = FactPrompt(relation, template, first), FactPrompt(relation, template, second)
        asked += [(turn, couple), (turn, couple[::-1])]
    prompts = [recipient for _, (recipient, _) in asked]
    return tuple(
        FactPair(
            recipient=recipient,
            donor=donor,
            same_answer=third(prompts, recipient, donor, same=True),
            mismatched=third(prompts, recipient, donor, same=False),
            half=turn % 2,
            cluster=" & ".join(sorted((recipient.subject, donor.subject))),
        )
        for turn, (recipient, donor) in asked
    )


def _couples(task: Task) -> Iterator[tuple[str, str]]:
    """Subjects two by two, none twice; of partners as alike, the first from half a list away on."""
    free = list(dict.fromkeys(subject for relation in task.facts for subject in relation.answers))
    while free:
        first = free.pop(0)
        middle = len(free) // 2
        others = [other for other in free[middle:] + free[:middle] if _telling_apart(task, first, other)]
        if others:
            partner = max(others, key=lambda other: len(_shared(first, other)))
            free.remove(partner)
            yield first, partner


def _shared(first: str, second: str) -> set[str]:
    return set(first.split()) & set(second.split())


def _telling_apart(task: Task, first: str, second: str) -> list[Relation]:
    """The relations that know both subjects; none when one of them gives both the same answer."""
    knowing = [r for r in task.facts if first in r.answers and second in r.answers]
    return [] if any(r.answers[first] == r.answers[second] for r in knowing) else knowing


def third(prompts: Sequence[FactPrompt], recipient: FactPrompt, donor: FactPrompt, *, same: bool) -> FactPrompt | None:
    """A prompt about a third subject, with the answer of ``recipient`` or with one that is neither's.

    One of ``prompts`` where that can be had, since their clean runs are made anyway.
    """
    relation, template = recipient.relation, recipient.template
    known = [prompt for prompt in prompts if (prompt.relation.id, prompt.template) == (relation.id, template)]
    known += [FactPrompt(relation, template, subject) for subject in relation.answers]
    for prompt in known:
        fits = prompt.answer == recipient.answer if same else prompt.answer not in (recipient.answer, donor.answer)
        if fits and not any(_shared(prompt.subject, other.subject) for other in (recipient, donor)):
            return prompt
    return None


@dataclass(frozen=True)
class Alignment:
    """Where two prompts' tokens correspond: pairs (recipient position, donor position).

    ``subject`` are the subject's tokens, counted from its end: last to last, and what the shorter subject lacks to its
    first. ``everywhere`` are all positions. ``fact`` are the recipient's positions before the first blank line, or the
    subject's where there is none; ``template`` its other positions. BOS is in neither.
    """

    subject: tuple[tuple[int, int], ...]
    everywhere: tuple[tuple[int, int], ...]
    fact: tuple[int, ...]
    template: tuple[int, ...]


def slot(prompts: Sequence[Sequence[object]]) -> tuple[int, int]:
    """How many tokens, or words, all ``prompts`` share at their beginning, and at their end; between lies the slot.

    At least one token of every prompt is left between. Raises UserError when all are equal.
    """
    if all(list(prompt) == list(prompts[0]) for prompt in prompts):
        raise UserError("the prompts of a pair are equal; choose subjects that differ")
    shortest = min(map(len, prompts))
    head = next((i for i in range(shortest) if len({prompt[i] for prompt in prompts}) > 1), shortest - 1)
    room = shortest - head - 1
    tail = next((i for i in range(room) if len({prompt[-1 - i] for prompt in prompts}) > 1), room)
    return head, tail


def align(recipient: Sequence[int], donor: Sequence[int], head: int, tail: int, n_fact: int | None = None) -> Alignment:
    """Align two token sequences with ``head`` tokens before their slot and ``tail`` after it.

    The first ``n_fact`` tokens of the recipient are its fact, None where there is no blank line.
    """
    end, shift = len(recipient) - tail, len(donor) - len(recipient)
    subject = tuple((position, max(position + shift, head)) for position in range(head, end))
    before = tuple((position, position) for position in range(head))
    after = tuple((position, position + shift) for position in range(end, len(recipient)))
    fact = tuple(range(head, end) if n_fact is None else range(1, n_fact))
    template = tuple(position for position in range(1, len(recipient)) if position not in fact)
    return Alignment(subject, (*before, *subject, *after), fact, template)


@dataclass(eq=False)
class FactRuns:
    """Clean runs of one subject's fact prompts, each made once, and what is looked up in them."""

    subject: Subject
    _clean: dict[str, CleanRun] = field(default_factory=dict)
    _aligned: dict[tuple[str, str], Alignment] = field(default_factory=dict)
    _first_tokens: dict[str, int] = field(default_factory=dict)

    def clean(self, prompt: FactPrompt) -> CleanRun:
        """The clean run of a prompt's text."""
        if prompt.text not in self._clean:
            self._clean[prompt.text] = clean_run(self.subject, self.subject.encode(prompt.text))
        return self._clean[prompt.text]

    def align(self, pair: FactPair, donor: FactPrompt) -> Alignment:
        """Corresponding positions of the pair's recipient and one of its donors.

        The slot is what the recipient and all its donors do not share, so that it is whole even where recipient and
        donor have a part of the subject in common. Raises UserError, naming the pair, when they cannot be aligned.
        """
        key = pair.id, donor.text
        if key not in self._aligned:
            prompts = [pair.recipient, pair.donor, *(p for p in (pair.same_answer, pair.mismatched) if p is not None)]
            try:
                head, tail = slot([self.clean(prompt).tokens for prompt in prompts])
            except UserError as error:
                raise UserError(f"{self.subject.id}: {pair.id}: {error}") from None
            tokens = self.clean(pair.recipient).tokens, self.clean(donor).tokens
            self._aligned[key] = align(*tokens, head, tail, self._fact_length(pair.recipient))
        return self._aligned[key]

    def option_ids(self, prompt: FactPrompt) -> list[int]:
        """First token ids of the answer and then of the other options; raises UserError when two begin alike."""
        options = prompt.answer, *(option for option in prompt.relation.options if option != prompt.answer)
        ids = [self.first_token(option) for option in options]
        alike = [option for option, token in zip(options, ids, strict=True) if ids.count(token) > 1]
        if alike:
            raise UserError(f"{self.subject.id}: options {alike} of {prompt.id!r} begin with the same token")
        return ids

    def first_token(self, option: str) -> int:
        """The token an option begins with; raises UserError when the tokenizer knows none."""
        if option not in self._first_tokens:
            ids = self.subject.tokenizer(f" {option}", add_special_tokens=False)["input_ids"]
            if not ids or ids[0] == self.subject.tokenizer.unk_token_id or ids[0] >= self.subject.n_vocab:
                raise UserError(f"{self.subject.id}: its tokenizer knows no token that option {option!r} begins with")
            self._first_tokens[option] = int(ids[0])
        return self._first_tokens[option]

    def _fact_length(self, prompt: FactPrompt) -> int | None:
        """How many tokens stand before the first blank line; None where there is none."""
        if BLANK_LINE not in prompt.text:
            return None
        whole, fact = self.clean(prompt).tokens, self.subject.encode(fact_text(prompt))
        return next((i for i, (a, b) in enumerate(zip(whole, fact, strict=False)) if a != b), len(fact))


def completes(runs: FactRuns, prompt: FactPrompt) -> bool:
    """Whether the most likely next token of a prompt is the first one of its answer."""
    return int(runs.clean(prompt).read(Read()).last_logits[0].argmax()) == runs.option_ids(prompt)[0]
