"""What a subject is asked: rhyme words in groups, and prompts built from templates (imports no torch)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from prolepsis.errors import UserError
from prolepsis.names import Feature


@dataclass(frozen=True)
class Template:
    """A prompt with one ``{word}`` slot at the end of line 1.

    ``text`` stops right before the token that ends line 2; ``stem`` is the prefix of ``text`` from which a line is
    regenerated.
    """

    id: str
    text: str
    stem: str


@dataclass(frozen=True)
class Prompt:
    """``template`` filled with ``word`` of rhyme group ``group``; ``answer`` is the word it should end on."""

    template: Template
    group: str
    word: str
    answer: str

    @property
    def id(self) -> str:
        return f"{self.template.id}/{self.word}"

    @property
    def text(self) -> str:
        return self.template.text.replace("{word}", self.word)

    @property
    def stem(self) -> str:
        return self.template.stem.replace("{word}", self.word)


@dataclass(frozen=True)
class Relation:
    """A relation that holds between a subject and one of several ``options``.

    ``templates`` are prompts with a ``{subject}`` slot that stop right before the answer; ``answers`` maps each
    subject, of one or more words, to the option that is true of it.
    """

    id: str
    templates: tuple[str, ...]
    options: tuple[str, ...]
    answers: Mapping[str, str]


@dataclass(frozen=True)
class FactPrompt:
    """A template of ``relation``, by its number, filled with ``subject``."""

    relation: Relation
    template: int
    subject: str

    @property
    def id(self) -> str:
        return f"{self.relation.id}-{self.template}/{self.subject}"

    @property
    def text(self) -> str:
        return self.relation.templates[self.template].replace("{subject}", self.subject)

    @property
    def answer(self) -> str:
        return self.relation.answers[self.subject]


@dataclass(frozen=True)
class Task:
    """Rhyme groups, the answer each word calls for, templates, and the tokens that end a line; perhaps facts.

    Without ``answers`` the subject that is asked finds them itself (:func:`prolepsis.subjects.screening.screened`).

    ``features`` names the word-level transcoder features where they are known beforehand, and ``feature_activation``
    how strong they typically are; otherwise a vocabulary scan finds them, and the prompts show how strong they are.
    """

    groups: Mapping[str, tuple[str, ...]]
    answers: Mapping[str, str]
    templates: tuple[Template, ...]
    line_end: tuple[str, ...]
    features: Mapping[str, Feature] | None = None
    feature_activation: float | None = None
    facts: tuple[Relation, ...] = ()

    def prompt(self, template: Template, word: str) -> Prompt:
        """The prompt of ``template`` with ``word``; raises UserError for a word that is in no group."""
        for group, words in self.groups.items():
            if word in words:
                return Prompt(template, group, word, self.answers[word])
        raise UserError(f"word {word!r} is in no rhyme group of the task; add it to the task file")

    def to_json(self) -> str:
        """The task as the text of a task.json file."""
        plain = {
            "groups": {group: list(words) for group, words in self.groups.items()},
            "answers": dict(self.answers),
            "templates": [{"id": t.id, "text": t.text, "stem": t.stem} for t in self.templates],
            "line_end": list(self.line_end),
            "features": None if self.features is None else {w: str(f) for w, f in self.features.items()},
            "feature_activation": self.feature_activation,
            "facts": [
                {"id": r.id, "templates": list(r.templates), "options": list(r.options), "answers": dict(r.answers)}
                for r in self.facts
            ],
        }
        return json.dumps(plain, indent=1)
