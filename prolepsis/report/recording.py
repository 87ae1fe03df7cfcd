"""The part of the plugin that runs where tests run: a test per claim and subject, and a test outcome per verdict."""

import json
from collections.abc import Generator

import pytest

from prolepsis.errors import UserError
from prolepsis.report.pins import standing
from prolepsis.report.state import Case, ClaimsRun, recorded

USER_ERROR = "claims-user-error"
RAISED = "claims-raised"
NOT_ASKED = pytest.mark.skip(reason="no subject of this run is asked this")
HOW_TO_MARK = 'write @pytest.mark.claims(family="q2", variant="asked"), or put ids of that family and variant first'


def case_of(item: pytest.Item) -> Case | None:
    """The claim and subject a test is about, None for a test that is about something else."""
    callspec = getattr(item, "callspec", None)
    case = callspec and callspec.params.get("case")
    return case if isinstance(case, Case) else None


class Recording:
    """Registered in the process that runs claim tests: pytest itself, or each of its workers."""

    def __init__(self, run: ClaimsRun) -> None:
        self.run = run

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test per ledger row and subject, for each function marked ``claims``."""
        marker = metafunc.definition.get_closest_marker("claims")
        if marker is None:
            return
        name = metafunc.function.__name__
        if set(marker.kwargs) != {"family", "variant"} or "case" not in metafunc.fixturenames:
            raise pytest.Collector.CollectError(f"{name}: {HOW_TO_MARK}, and take the verify fixture")
        family, variant = marker.kwargs["family"], marker.kwargs["variant"]
        known = {claim.id for claim in self.run.claims if (claim.family, claim.variant) == (family, variant)}
        if not known or not known.issuperset(marker.args):
            raise pytest.Collector.CollectError(f"{name}: the ledger has no such claim; {HOW_TO_MARK}")
        cases = self.run.cases(marker.args, family, variant)
        parameters = [pytest.param(case, id=str(case), marks=_marks(case)) for case in cases]
        metafunc.parametrize("case", parameters or [pytest.param(None, id="nothing", marks=NOT_ASKED)])

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Bring the tests of a subject together, so that it is loaded once; other tests come first."""
        order = {source.id: place for place, source in enumerate(self.run.settings.subjects)}
        items.sort(key=lambda item: order[case.source.id] if (case := case_of(item)) else -1)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Compare the recorded verdict with its pin; an exception stays a failure, whatever is pinned."""
        report = yield
        case = case_of(item)
        if case is None:
            return report
        if call.excinfo is not None and report.failed:
            report.user_properties.append(_raised(case))
            if call.excinfo.errisinstance(UserError):
                report.user_properties.append((USER_ERROR, str(call.excinfo.value)))
                report.longrepr = f"user error: {call.excinfo.value}"
        elif report.when == "call" and report.passed:
            self._decide(report, case)
        return report

    def _decide(self, report: pytest.TestReport, case: Case) -> None:
        record = recorded(report.user_properties)
        if record is None:
            report.user_properties.append(_raised(case))
            report.outcome, report.longrepr = "failed", "the test ended without a verdict; let it call verify()"
            return
        result = standing(record["row"], self.run.pins.get(case.pin_key), self.run.settings.update_expected)
        if result.outcome == "failed":
            report.outcome, report.longrepr = "failed", result.why
        elif result.outcome != "passed":
            report.outcome = "skipped"
            report.longrepr = (report.location[0], report.location[1] or 0, result.why)
        if result.outcome == "xfailed":
            report.wasxfail = result.why


def _raised(case: Case) -> tuple[str, str]:
    """The property of a test that ended without a verdict of its own: the claim, its variant, the subject."""
    return RAISED, json.dumps([*case.claim.key, case.source.id])


def _marks(case: Case) -> list[pytest.MarkDecorator]:
    about = pytest.mark.claim(id=case.claim.id, variant=case.claim.variant, subject=case.source.id)
    return [about, getattr(pytest.mark, case.source.tier)]
