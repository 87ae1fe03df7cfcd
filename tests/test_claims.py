"""The ledger, the experiments and the claim modules belong together: nothing is listed that is not verified."""

import re
from importlib import import_module

from prolepsis import archive, audit, ledger
from prolepsis.experiments import families, wiring_properties

CLAIMS = ledger.LEDGER.parent


def test_every_claim_has_an_experiment_in_each_of_its_tiers() -> None:
    """A claim's experiment is there, for subjects, the paper or recordings; a row without says why it is untested."""
    for claim in ledger.rows():
        if claim.untested and not claim.experiment:
            continue
        known = set(audit.MODULES) if claim.kind == "arithmetic" else set(families.MODULES)
        if "property" in claim.tiers:
            assert claim.experiment in wiring_properties.EXPERIMENTS, claim.id
            known |= set(wiring_properties.EXPERIMENTS)
        if "archive" in claim.tiers:
            known |= set(archive.MODULES) | set(archive.UNREAD)
        assert claim.experiment in known, claim.id


def test_every_experiment_is_named_by_a_claim_and_exists() -> None:
    """No experiment is registered that no claim asks for, and each can be imported by its name."""
    named = {claim.experiment for claim in ledger.rows() if not claim.untested}
    assert set(wiring_properties.EXPERIMENTS) <= named
    for name in families.MODULES:
        assert name in named
        assert callable(families.experiment(name))
    for name in (*archive.MODULES, *archive.UNREAD):
        assert name in named
    for name, module in archive.MODULES.items():
        assert callable(getattr(import_module(f"prolepsis.archive.{module}"), name))


def test_every_family_and_variant_has_a_claim_test() -> None:
    """For each family and variant of the ledger exactly one test function is marked, and for nothing else."""
    marked = [
        found
        for path in sorted(CLAIMS.glob("test_*.py"))
        for found in re.findall(r'pytest\.mark\.claims\(family="([^"]+)", variant="([^"]+)"\)', path.read_text())
    ]
    assert sorted(marked) == sorted({(claim.family, claim.variant) for claim in ledger.rows()})


def test_claim_modules_stay_short() -> None:
    """A claims module has less than 200 lines."""
    for path in CLAIMS.glob("test_*.py"):
        assert len(path.read_text().splitlines()) < 200, path.name
