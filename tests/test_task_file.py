"""Task files: what is read, and the one line that each mistake is refused with."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prolepsis.errors import UserError
from prolepsis.report.subjects import ENGLISH
from prolepsis.subjects.task_file import read_task

ORGANISMS = ENGLISH.parents[1] / "organisms"
Plain = dict[str, Any]


def task() -> Plain:
    """A small task that is whole."""
    return {
        "groups": {"at": ["cat", "bat"], "ox": ["fox", "ox"]},
        "answers": {"cat": "bat", "bat": "cat", "fox": "ox", "ox": "fox"},
        "templates": [{"id": "saw", "text": "she saw the {word} , <nl> he saw the", "stem": "she saw the {word} ,"}],
        "line_end": ["."],
        "features": {"cat": "L1:3"},
        "feature_activation": 2,
        "facts": [
            {"id": "city", "templates": ["{subject} is in"], "options": ["oslo", "rome"], "answers": {"anna": "oslo"}}
        ],
    }


def written(folder: Path, plain: Any) -> Path:
    """The file of a task."""
    path = folder / "task.json"
    path.write_text(json.dumps(plain))
    return path


@pytest.mark.parametrize("path", [ENGLISH, *sorted(ORGANISMS.glob("*/task.json"))], ids=lambda path: path.parent.name)
def test_a_task_that_is_read_is_written_as_it_was(path: Path, tmp_path: Path) -> None:
    """Every bundled task is read whole: written anew, it reads the same."""
    again = tmp_path / "task.json"
    again.write_text(read_task(path).to_json())
    assert read_task(again) == read_task(path)


def test_what_may_be_left_out_may_be_left_out(tmp_path: Path) -> None:
    """Features, how strong they are and facts need not be there, and no answers means that the subject is asked."""
    plain = task()
    for field in ("features", "feature_activation", "facts"):
        del plain[field]
    found = read_task(written(tmp_path, plain | {"answers": {}}))
    assert (found.answers, found.features, found.feature_activation, found.facts) == ({}, None, None, ())


def changed(field: str, value: Any) -> Callable[[Plain], Any]:
    """The task with another value in a field."""
    return lambda plain: plain | {field: value}


def within(field: str, place: int, **changes: Any) -> Callable[[Plain], Any]:
    """The task with changes in one entry of a list."""

    def change(plain: Plain) -> Plain:
        plain[field][place].update(changes)
        return plain

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda _: [], r"is \[\]; write it as a table"),
        (lambda plain: {key: value for key, value in plain.items() if key != "groups"}, "groups is missing"),
        (changed("fact", []), "fact is not a field; known: answers, fact"),
        (changed("groups", {"at": "cat"}), "groups: at is 'cat'; give a list"),
        (changed("groups", {"at": ["cat", 3]}), "groups: at holds 3; give texts"),
        (changed("groups", {"at": ["cat", "bat"], "ox": ["bat"]}), "groups holds 'bat' twice"),
        (changed("answers", {"cat": "bat"}), "answers: 'bat' has none; give every word's, or {}"),
        (changed("answers", {"cat": 3}), "answers: cat is 3; give a text"),
        (changed("templates", []), r"templates is \[\]; give a list"),
        (
            within("templates", 0, text="she saw the {wrod} , <nl>"),
            "templates 1: text is .* needs the slot {word}",
        ),
        (within("templates", 0, text="{word} saw the {word}"), "templates 1: text is .* needs the slot {word}"),
        (
            within("templates", 0, stem="we"),
            "templates 1: stem is 'we'; give the beginning of text, to {word}",
        ),
        (within("templates", 0, steam="we"), "templates 1: steam is not a field"),
        (lambda plain: plain | {"templates": plain["templates"] * 2}, "templates: id holds 'saw' twice"),
        (changed("line_end", "."), r"line_end is '\.'; give a list"),
        (changed("line_end", []), r"line_end is \[\]; give a list"),
        (changed("line_end", [""]), "line_end holds ''; give the tokens that end a line"),
        (changed("features", {"cat": "H3"}), "features: cat: feature 'H3' is not of the form L22:10243"),
        (changed("feature_activation", -3), "feature_activation is -3.0; give a number above 0"),
        (changed("feature_activation", "x"), "feature_activation is 'x'; give a finite number"),
        (within("facts", 0, answers={"anna": "berlin"}), "facts 1: answers: 'anna' has 'berlin', which is not among"),
        (
            within("facts", 0, templates=["anna is in"]),
            "facts 1: templates is 'anna is in'; it needs the slot",
        ),
        (within("facts", 0, options=[]), "facts 1: templates and options are needed"),
        (lambda plain: plain | {"facts": plain["facts"] * 2}, "facts: id holds 'city' twice"),
    ],
)
def test_a_mistake_is_refused_in_one_line(tmp_path: Path, change: Callable[[Plain], Any], said: str) -> None:
    """The line names the file, the field, what is there and what should be."""
    path = written(tmp_path, change(task()))
    with pytest.raises(UserError, match=f"task.json: {said}") as raised:
        read_task(path)
    assert "\n" not in str(raised.value)


def test_what_cannot_be_read_is_no_task(tmp_path: Path) -> None:
    """A folder, a missing file, and what is no JSON or no UTF-8."""
    (tmp_path / "latin").write_bytes('{"groups": "é"}'.encode("latin-1"))
    (tmp_path / "half").write_text("{")
    for name, said in (("", "Is a directory"), ("gone", "No such file"), ("latin", "not valid"), ("half", "not valid")):
        with pytest.raises(UserError, match=said):
            read_task(tmp_path / name)
