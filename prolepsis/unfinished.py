"""A measurement that lacks what is asked of an untrained twin made in place, which comes last (imports no torch)."""

import json
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from prolepsis.measurement import Measurement


class Unfinished(Exception):
    """``made`` lacks the arms of the twin; ``asked`` maps each of them → the function that measures it, by its name."""

    def __init__(self, made: Measurement, asked: Mapping[str, str]) -> None:
        super().__init__(f"{made.experiment} lacks {', '.join(asked)}")
        self.made, self.asked = made, dict(asked)

    def to_json(self) -> str:
        """All of it as one line of strict JSON."""
        return json.dumps([self.asked, self.made.to_json()])

    @classmethod
    def from_json(cls, text: str) -> "Unfinished":
        """Inverse of :meth:`to_json`; raises ValueError for what is none."""
        asked, made = json.loads(text)
        return cls(Measurement.from_json(made), asked)


def name_of(function: Callable[..., Any]) -> str:
    """The name under which :func:`named` finds a function of a module."""
    return f"{function.__module__}:{function.__qualname__}"


def named(name: str) -> Callable[..., Any]:
    """The function that has this name."""
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found
