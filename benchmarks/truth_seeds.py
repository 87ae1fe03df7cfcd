"""Whether verdicts hold on organisms nobody has looked at: each is trained anew on fresh seeds, and judged.

Every trained organism, its untrained twin and every ladder is made from three seeds that are not shipped, with the
control subjects it refers to beside it, and every claim the truth table answers for it is measured. Prints false and
missed verdicts, and the rate of errors with its upper 95 % bound.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from prolepsis import ledger
from prolepsis.commands.bars import bars
from prolepsis.errors import UserError
from prolepsis.experiments import measuring
from prolepsis.judge import judge_family
from prolepsis.organisms import LADDERS, SUITES, TRAINED
from prolepsis.organisms.recipes import recipe
from prolepsis.organisms.train import UNTRAINED, run
from prolepsis.subjects.loading import kept_subject
from prolepsis.truth import TRUTH, Asked, Comparison, compare, read_truth

ORGANISMS = (*TRAINED, *LADDERS)


def main() -> int:
    """Train, measure and judge; returns 0 when every verdict came out as it must."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", nargs="+", default=list(ORGANISMS), choices=ORGANISMS)
    parser.add_argument("--folder", type=Path, help="keep the organisms here, and reuse those that lie there")
    given = parser.parse_args()
    truth = read_truth(TRUTH, {claim.key for claim in ledger.rows()})
    comparisons = []
    with tempfile.TemporaryDirectory() as scratch:
        root = given.folder or Path(scratch)
        for seed in given.seeds:
            beside = root / f"seed-{seed}"
            needed = dict.fromkeys(name for organism in given.only for name in needs(organism))
            made = {name for name in needed if _make(name, beside / name, seed)}
            for name in [name for organism in given.only for name in (organism, *_twin(organism))]:
                if lacking := [each for each in needs(name) if each not in made]:
                    print(f"seed {seed}, {name}: not asked without {', '.join(lacking)}", flush=True)
                    continue
                asked = {key: answer for key, answer in truth.items() if key.subject == name}
                compared = compare(asked, _verdicts(beside / name))
                for line in (*compared.false, *compared.missed):
                    print(f"seed {seed}, {line}", flush=True)
                comparisons.append(compared)
    whole = Comparison(
        compared=sum(c.compared for c in comparisons),
        false=tuple(line for c in comparisons for line in c.false),
        missed=tuple(line for c in comparisons for line in c.missed),
    )
    print(whole)
    return int(bool(whole.false or whole.missed or not whole.compared))


def needs(name: str) -> tuple[str, ...]:
    """All that has to lie beside an organism, itself included, in the order it is made in.

    A control subject that does not lie there would be taken from the bundled ones, which are of another seed.
    """
    if name.endswith(UNTRAINED):
        return name.removesuffix(UNTRAINED), name
    found: list[str] = []
    waiting = [name]
    while waiting:
        each = waiting.pop(0)
        if each not in found:
            found.append(each)
            made = recipe(each)
            waiting += [other for other in (made.same_behaviour, *made.ladder) if other is not None]
    return (*found, *_twin(name))


def _twin(name: str) -> tuple[str, ...]:
    return (name + UNTRAINED,) if recipe(name).features else ()


def _verdicts(folder: Path) -> dict[Asked, tuple[str, str]]:
    """Every organism claim of the subject's suites, measured on the organism in ``folder``."""
    subject = kept_subject(str(folder))
    claims = [claim for claim in ledger.rows(tier="organism") if folder.name in SUITES[claim.suite]]
    found = {}
    for family in dict.fromkeys(claim.family for claim in claims):
        of_family = [claim for claim in claims if claim.family == family]
        verdicts = judge_family(of_family, measuring.measure(of_family, subject))
        found |= {Asked(*key, folder.name): (str(v.verdict), v.reason) for key, v in verdicts.items()}
    return found


def _make(name: str, folder: Path, seed: int) -> bool:
    """Train one organism unless it is there already; False when it missed the scores it must reach."""
    if (folder / "subject.json").exists():
        return True
    start = time.monotonic()
    try:
        with bars(f"seed {seed}, {name}"):
            run(name, folder, seed)
    except UserError as error:
        print(f"seed {seed}, {name}: not made: {error}", flush=True)
        return False
    print(f"seed {seed}, {name}: made in {time.monotonic() - start:.0f} s", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
