"""The claim tests' ``load_subject`` with loading measured by itself.

A module of its own, because of two fixtures of one name that of the plugin registered last counts.
"""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from prolepsis.report.measuring import LoadSubject
    from prolepsis.subject import Subject
    from prolepsis.subjects.source import SubjectSource

METER, LOADING = "prolepsis-meter", "loading"
"""The meter's name as a plugin, and what loading is counted under."""


@pytest.fixture(scope="session")
def load_subject(pytestconfig: pytest.Config, load_subject: "LoadSubject") -> "LoadSubject":
    """Loading happens within the first family's first test, and is none of that family's."""
    meter = pytestconfig.pluginmanager.get_plugin(METER)
    assert meter is not None

    def load(source: "SubjectSource") -> "Subject":
        with meter.measuring(LOADING):
            return load_subject(source)

    return load
