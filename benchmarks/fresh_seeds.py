"""Whether verdicts hold on organisms nobody has looked at: each is trained anew on fresh seeds, and judged.

Every trained organism and its untrained twin is made from three seeds that are not shipped; the asked claims of Q2 must
come out as pinned for the shipped ones. Prints each difference, and the rate of errors with its upper 95 % bound.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from prolepsis import ledger
from prolepsis.errors import UserError
from prolepsis.experiments import families
from prolepsis.judge import judge_family
from prolepsis.loading import load_subject
from prolepsis.organisms import TRAINED
from prolepsis.organisms.train import run
from prolepsis.report.pins import read_pins
from prolepsis.statistics import clopper_pearson

EXPECTED = Path(__file__).parent.parent / "claims" / "expected.toml"


def main() -> int:
    """Train and judge; returns 0 when every verdict came out as pinned."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", nargs="+", default=list(TRAINED), choices=TRAINED)
    parser.add_argument("--folder", type=Path, help="keep the organisms here, and reuse those that lie there")
    given = parser.parse_args()
    claims = ledger.rows(family="q2", tier="organism")
    pins = read_pins(EXPECTED, {claim.key for claim in claims})
    pinned = {(key.claim, key.variant, key.subject): pin.verdict for key, pin in pins.items()}
    wrong = compared = 0
    with tempfile.TemporaryDirectory() as scratch:
        root = given.folder or Path(scratch)
        for seed in given.seeds:
            names = [name for organism in given.only for name in (organism, f"{organism}-untrained")]
            made = [name for name in names if _make(name, root / f"seed-{seed}" / name, seed)]
            for name in made:
                subject = load_subject(str(root / f"seed-{seed}" / name))
                verdicts = judge_family(claims, families.measure(claims, subject))
                for (claim, variant), verdict in verdicts.items():
                    expected = pinned.get((claim, variant, name))
                    if variant != "asked" or expected is None:
                        continue
                    compared += 1
                    if verdict.verdict != expected:
                        wrong += 1
                        print(f"seed {seed}, {name}, {claim}: pinned {expected}, now {verdict}", flush=True)
    high = clopper_pearson(wrong, compared, sided=1)[1] if compared else 1.0
    print(f"{wrong} of {compared} asked verdicts differ; at most {high:.3f} (exact, one-sided 95 %)")
    return int(wrong > 0 or not compared)


def _make(name: str, folder: Path, seed: int) -> bool:
    """Train one organism unless it is there already; False when it missed the scores it must reach."""
    if (folder / "subject.json").exists():
        return True
    start = time.monotonic()
    try:
        run(name, folder, seed, progress=sys.stderr.isatty())
    except UserError as error:
        print(f"seed {seed}, {name}: not made: {error}", flush=True)
        return False
    print(f"seed {seed}, {name}: made in {time.monotonic() - start:.0f} s", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
