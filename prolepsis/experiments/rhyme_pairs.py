"""Pairs of prompts that differ in one rhyme word, and the clean runs every experiment on them shares."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prolepsis.engine import CleanRun, clean_run
from prolepsis.errors import Untested, UserError
from prolepsis.running.hooks import Read
from prolepsis.subject import Subject
from prolepsis.subjects.task import Prompt, Task

SHIFTS = (4, 10)
"""Each group is paired with the groups this far on, so that it is source twice and target twice.

Even shifts keep a pair's two groups in the same half, where halves are the even and the odd groups: what is chosen on
one half is tested on groups that had no part in the choice.
"""


@dataclass(frozen=True)
class Pair:
    """A prompt, a donor that differs in its rhyme word alone, and for each a mate that rhymes with it.

    ``half`` is 0 or 1: sites and doses are chosen on the other half's pairs.
    """

    recipient: Prompt
    donor: Prompt
    mate: Prompt
    donor_mate: Prompt
    half: int

    @property
    def id(self) -> str:
        return f"{self.recipient.id}->{self.donor.word}"

    @property
    def clusters(self) -> tuple[str, str]:
        """Source and target group, for intervals over pairs of groups."""
        return self.recipient.group, self.donor.group


def task_of(subject: Subject) -> Task:
    """The subject's task; raises Untested when it has none, UserError for groups that cannot be halved and paired."""
    if subject.task is None or not subject.task.groups:
        raise Untested(f"{subject.id}: {subject.no_task}")
    groups = subject.task.groups
    if len(groups) < 12 or len(groups) % 2:
        raise UserError(f"{subject.id}: its task has {len(groups)} rhyme groups; give an even number, at least 12")
    for name, words in groups.items():
        if len(words) < 2:
            raise UserError(f"{subject.id}: rhyme group {name!r} of its task has {len(words)} word; give at least two")
    return subject.task


def rhyme_pairs(task: Task) -> tuple[Pair, ...]:
    """Two pairs per group, templates taken in turn within each half; n groups give 2n pairs."""
    groups = list(task.groups)
    pairs = []
    for turn, shift in enumerate(SHIFTS):
        for index, group in enumerate(groups):
            template = task.templates[(index // 2 + turn) % len(task.templates)]
            target = groups[(index + shift) % len(groups)]
            words, others = task.groups[group], task.groups[target]
            pairs.append(
                Pair(
                    recipient=task.prompt(template, words[turn]),
                    donor=task.prompt(template, others[turn]),
                    mate=task.prompt(template, words[1 - turn]),
                    donor_mate=task.prompt(template, others[1 - turn]),
                    half=index % 2,
                )
            )
    return tuple(pairs)


def first_turn(task: Task) -> tuple[Pair, ...]:
    """The first pair of every group, for what needs many runs per pair; each group is source once and target once."""
    return rhyme_pairs(task)[: len(task.groups)]


def one_per_template(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    """One pair of every template: enough for a sham, which must not move in any."""
    return tuple({pair.recipient.template.id: pair for pair in pairs}.values())


def check_halves(subject: Subject, pairs: Iterable[Pair]) -> None:
    """Raises Untested when the pairs, those that have word features, are not of both halves."""
    if {pair.half for pair in pairs} != {0, 1}:
        raise Untested(f"{subject.id}: too few word features to choose on half of the groups; name more in task.json")


@dataclass(eq=False)
class Runs:
    """Clean runs of one subject, each made once."""

    subject: Subject
    _clean: dict[str, CleanRun] = field(default_factory=dict)

    def clean(self, prompt: Prompt) -> CleanRun:
        """The clean run of a prompt's text."""
        if prompt.text not in self._clean:
            self._clean[prompt.text] = clean_run(self.subject, self.subject.encode(prompt.text))
        return self._clean[prompt.text]

    def source(self, pair: Pair) -> int:
        """The position of the rhyme word; raises UserError when the prompts differ anywhere else."""
        recipient, donor = self.clean(pair.recipient).tokens, self.clean(pair.donor).tokens
        differing = [i for i, (a, b) in enumerate(zip(recipient, donor, strict=False)) if a != b]
        if len(recipient) != len(donor) or len(differing) != 1:
            raise UserError(
                f"{self.subject.id}: prompts {pair.recipient.text!r} and {pair.donor.text!r} differ in more than one "
                "token; choose rhyme words that are one token each"
            )
        return differing[0]

    def answer(self, prompt: Prompt) -> int:
        """Token id of the word the prompt should end on."""
        return self.subject.word_id(prompt.answer)

    def family(self, prompt: Prompt) -> list[int]:
        """Token ids of every word of the prompt's rhyme group."""
        task = task_of(self.subject)
        return [self.subject.word_id(word) for word in task.groups[prompt.group]]

    def accuracy(self, pairs: tuple[Pair, ...]) -> float:
        """Share of recipients whose most likely next token is the answer."""
        tops = [self.clean(pair.recipient).read(Read()).last_logits[0].argmax().item() for pair in pairs]
        return sum(top == self.answer(pair.recipient) for top, pair in zip(tops, pairs, strict=True)) / len(pairs)


def clusters_of(pairs: tuple[Pair, ...]) -> Mapping[str, tuple[str, ...]]:
    """Item id → source and target group."""
    return {pair.id: pair.clusters for pair in pairs}
