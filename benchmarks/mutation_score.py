"""How many mutants of each file the tests caught in the last `mutmut run`, and the names of those they did not.

`mutmut show NAME` prints what a mutant changes. Exits with 1 where a file's score is below what is asked.
"""

import json
import sys
from collections import Counter
from pathlib import Path

from mutmut.stats import status_by_exit_code

ASKED = 0.9
CAUGHT = {"killed", "timeout", "segfault"}


def main() -> int:
    """Print a line for each mutated file and one for each mutant that was not caught."""
    low = False
    print(f"{'':34}mutants  killed  timeouts  survived  untested   score")
    for path in sorted(Path("mutants/prolepsis").rglob("*.meta")):
        found = {
            name: status_by_exit_code[code] for name, code in json.loads(path.read_text())["exit_code_by_key"].items()
        }
        if not found:
            continue
        count = Counter(found.values())
        score = sum(count[status] for status in CAUGHT) / len(found)
        low |= score < ASKED
        others = len(found) - sum(count[status] for status in (*CAUGHT, "survived"))
        print(
            f"{path.relative_to('mutants').with_suffix('')!s:34}{len(found):7}{count['killed'] + count['segfault']:8}"
            f"{count['timeout']:10}{count['survived']:10}{others:10}{score:8.1%}"
        )
        for name, status in found.items():
            if status not in CAUGHT:
                print(f"    {status}: {name}")
    return int(low)


if __name__ == "__main__":
    sys.exit(main())
