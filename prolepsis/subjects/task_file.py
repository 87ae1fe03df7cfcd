"""Reading a task.json file, field by field (imports no torch)."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prolepsis.errors import UserError
from prolepsis.names import Feature
from prolepsis.subjects.task import Relation, Task, Template
from prolepsis.toml_tables import Fault, Table


def read_task(path: Path) -> Task:
    """The task in a task.json file; raises UserError naming the file, the field that is wrong or missing, its cure."""
    try:
        return _task(Table(json.loads(path.read_text(encoding="utf-8"))))
    except OSError as error:
        raise UserError(f"{path}: no task file can be read there ({error.strerror})") from None
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None
    except Fault as fault:
        raise UserError(f"{path}: {fault}") from None


def _task(table: Table) -> Task:
    groups = table.table("groups")
    of_groups = Table(groups, "groups: ")
    words = {name: of_groups.names(name) for name in of_groups.plain}
    task = Task(
        groups=words,
        answers=_answers(table.table("answers"), [word for of in words.values() for word in of]),
        templates=tuple(
            _template(each, f"templates {n}: ") for n, each in enumerate(table.items("templates", optional=False), 1)
        ),
        line_end=_line_end(table),
        features=_features(table.table("features", optional=True)),
        feature_activation=table.number("feature_activation", optional=True),
        facts=tuple(_relation(each, f"facts {n}: ") for n, each in enumerate(table.items("facts"), 1)),
    )
    table.done()
    _once("groups", [word for of in words.values() for word in of])
    _once("templates: id", [template.id for template in task.templates])
    _once("facts: id", [relation.id for relation in task.facts])
    if task.feature_activation is not None and task.feature_activation <= 0:
        raise Fault(f"feature_activation is {task.feature_activation}; give a number above 0")
    return task


def _answers(plain: Any, words: list[str]) -> dict[str, str]:
    table = Table(plain, "answers: ")
    answers = {word: table.text(word) for word in table.plain}
    for word in words if answers else []:
        if word not in answers:
            raise Fault(f"answers: {word!r} has none; give every word's, or {{}} and the subject is asked for them")
    return answers


def _template(plain: Any, what: str) -> Template:
    table = Table(plain, what)
    found = Template(table.text("id"), table.text("text"), table.text("stem"))
    table.done()
    _has_slot(what, "text", found.text, "{word}")
    if not found.text.startswith(found.stem) or "{word}" not in found.stem:
        raise Fault(f"{what}stem is {found.stem!r}; give the beginning of text, to {{word}} at least")
    return found


def _line_end(table: Table) -> tuple[str, ...]:
    """Not as other texts: a line break is one that is blank."""
    found = table.items("line_end", optional=False)
    for text in found:
        if not isinstance(text, str) or not text:
            raise Fault(f"line_end holds {text!r}; give the tokens that end a line, in quotes")
    return tuple(found)


def _features(plain: Any) -> dict[str, Feature] | None:
    if plain is None:
        return None
    table = Table(plain, "features: ")
    found = {}
    for word in table.plain:
        try:
            found[word] = Feature.parse(table.text(word))
        except UserError as error:
            raise Fault(f"features: {word}: {error}") from None
    return found


def _relation(plain: Any, what: str) -> Relation:
    table = Table(plain, what)
    answers = Table(table.table("answers"), f"{what}answers: ")
    found = Relation(
        id=table.text("id"),
        templates=table.texts("templates"),
        options=table.names("options"),
        answers={subject: answers.text(subject) for subject in answers.plain},
    )
    table.done()
    if not found.templates or not found.options:
        raise Fault(f"{what}templates and options are needed; give both")
    for text in found.templates:
        _has_slot(what, "templates", text, "{subject}")
    for subject, answer in found.answers.items():
        if answer not in found.options:
            raise Fault(f"{what}answers: {subject!r} has {answer!r}, which is not among options; correct it")
    return found


def _has_slot(what: str, field: str, text: str, slot: str) -> None:
    if text.count(slot) != 1:
        raise Fault(f"{what}{field} is {text!r}; it needs the slot {slot} once")


def _once(field: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise Fault(f"{field} holds {name!r} twice; remove one")
