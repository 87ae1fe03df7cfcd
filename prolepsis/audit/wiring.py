"""Whether what the paper says responds to its edits can respond at all, given the layers and positions it states."""

from dataclasses import asdict, replace

from prolepsis.audit.counts import audited
from prolepsis.errors import UserError
from prolepsis.ledger import Claim
from prolepsis.measurement import Measurement


def wiring(claim: Claim) -> Measurement:
    """Every readout of the row's edited runs with whether the edits reach it; the judge draws the conclusion.

    Raises UserError for a row that has no edited run.
    """
    if not claim.runs:
        raise UserError(f"claim {claim.id}: rule wiring needs a run; say what is edited and what is read")
    rows = [row for run in claim.runs for row in run.rows()]
    found = audited(claim, [], {})
    parameters = {**found.parameters, "runs": [asdict(run) for run in claim.runs]}
    return replace(found, parameters=parameters, reach={"rows": rows})
