"""The pytest plugin that turns ``claims/`` into verdicts and a report; the root conftest registers it once."""

import os

import pytest

from prolepsis.errors import UserError
from prolepsis.report.devices import WHOLE, automatic_workers, gpus, threads, visible_device
from prolepsis.report.options import add_options, device_asked, reaches_claims
from prolepsis.report.recording import Recording
from prolepsis.report.reporting import Reporting
from prolepsis.report.spread import Spread
from prolepsis.report.state import RUN, SEAT_INPUT, ClaimsRun

MARKERS = (
    "claims(*ids, family, variant): one test per subject and ledger row of the family and variant, or per id given",
    "claim(id, variant, subject): what one test is about; select with -m \"claim(id='X01')\"",
    "arithmetic: needs the paper alone",
    "property: runs on tiny transformers with random weights",
    "organism: runs on tiny subjects with known answers",
    "archive: needs recorded outputs",
    "gpu: needs real weights, not necessarily CUDA",
    "slow: takes minutes",
)
SHOWN_WARNINGS = (
    "DeprecationWarning",
    "PendingDeprecationWarning",
    "FutureWarning",
    "UserWarning:(?!prolepsis|claims|fixtures|conftest|test_)",
)
"""What the caller's packages say of versions to come or of the machine is no fault of a measurement: it is shown.

What our own modules warn of, and numbers that overflow anywhere, stay the errors that other warnings are.
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the ``--claims-*`` options."""
    add_options(parser)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """With ``-n auto``, a worker for each GPU where claims are to be measured on GPUs."""
    return automatic_workers(device_asked(config), os.environ) if reaches_claims(config) else None


def pytest_configure(config: pytest.Config) -> None:
    """Set up a claims run when the arguments reach ``claims/``; any other pytest run is left alone."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    worker = getattr(config, "workerinput", None)
    if worker is not None:
        # Torch reads this when it is imported, so it has to be set before that.
        os.environ.setdefault("OMP_NUM_THREADS", str(threads(worker["workercount"], os.cpu_count() or 1)))
    if not reaches_claims(config):
        return
    for shown in SHOWN_WARNINGS:
        config.addinivalue_line("filterwarnings", f"default::{shown}")
    try:
        run = ClaimsRun.of(config)
    except UserError as error:
        raise pytest.UsageError(str(error)) from None
    if worker is not None and run.settings.device == WHOLE and SEAT_INPUT in worker:
        # Likewise, before torch first touches CUDA.
        device = visible_device(worker[SEAT_INPUT], gpus(os.environ))
        if device is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = device
    config.stash[RUN] = run
    config.pluginmanager.register(Recording(run), "claims-recording")
    if worker is None:
        # Of two outermost hooks the one that was registered last comes first: figures are drawn while lines stand.
        config.pluginmanager.register(Spread(config), "claims-spread")
        config.pluginmanager.register(Reporting(run, config), "claims-reporting")
