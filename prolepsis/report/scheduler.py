"""Spreads a claims run over pytest-xdist workers so that no subject is loaded by two of them."""

import re
from typing import TYPE_CHECKING, Any

import pytest

from prolepsis.organisms import kin

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling


def claim_and_subject(nodeid: str) -> tuple[str, str] | None:
    """``("X01", "planner")`` for the test id ``…::test_a_plan_is_held[X01-planner]``, None for other tests."""
    match = re.search(r"\[([A-Z]\w+)-(.+)\]$", nodeid)
    return (match[1], match[2]) if match else None


def by_subject(config: pytest.Config, log: Any) -> "LoadScopeScheduling":
    """A scheduler that hands out the tests of a subject, and of its controls, together; every other test by itself."""
    from xdist.scheduler import LoadScopeScheduling

    class BySubject(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
        """Load scheduling whose unit of work is a group of subjects that share what is measured on them."""

        def _split_scope(self, nodeid: str) -> str:
            found = claim_and_subject(nodeid)
            return kin(found[1]) if found else nodeid

        def remove_node(self, node: Any) -> str | None:
            """Give the unfinished work of a dead worker to the others, all but the test that killed it."""
            crashed = _first_pending(self.assigned_work[node])
            if crashed is not None:
                self.assigned_work[node][self._split_scope(crashed)][crashed] = True
            super().remove_node(node)
            return crashed

    return BySubject(config, log)


def _first_pending(workload: dict[str, dict[str, bool]]) -> str | None:
    return next((test for unit in workload.values() for test, done in unit.items() if not done), None)
