"""How long the history and a comparison take on a hundred stored runs of about two thousand rows.

Run ``python benchmarks/bench_tracking.py [RUN]``; the runs are copies of RUN (default ``reports/latest``) on as many
subjects as it takes, in each of which some verdicts and values differ.
"""

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prolepsis.report.comparison import Report, read_report
from prolepsis.report.history import keep_for_history

RUNS, ROWS, BAR_SECONDS = 100, 2000, 1.0


def store_copies(report: Report, root: Path) -> None:
    """Store the runs in ``root``, each with what its end keeps for the history."""
    rng = random.Random(0)
    times = max(1, round(ROWS / len(report["claims"])))
    for number in range(1, RUNS + 1):
        folder = root / f"{number:04d}-20260101T000000Z"
        folder.mkdir()
        rows = [
            {**row, "subject": f"{row['subject']} {copy}", **_changes(row, rng)}
            for copy in range(times)
            for row in report["claims"]
        ]
        subjects = [{**one, "id": f"{one['id']} {copy}"} for copy in range(times) for one in report["subjects"]]
        copied = {**report, "claims": rows, "subjects": subjects}
        (folder / "report.json").write_text(json.dumps(copied, indent=1), encoding="utf-8")
        keep_for_history(folder, copied)


def _changes(row: Mapping[str, Any], rng: random.Random) -> dict[str, Any]:
    measured = row["measured"]
    if rng.random() < 0.01:
        return {"verdict": "inconclusive"}
    if measured is None or measured["value"] is None or rng.random() > 0.05:
        return {}
    return {"measured": {**measured, "value": measured["value"] * (1 + 0.01 * rng.random())}}


def seconds(arguments: Sequence[str]) -> tuple[float, float]:
    """What the command takes: by the clock, and of the processor, which a busy machine does not stretch as much."""
    prolepsis = Path(sys.executable).with_name("prolepsis")
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([prolepsis, *arguments], stdout=subprocess.DEVNULL, check=False)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print what each command takes."""
    run = Path(sys.argv[1] if len(sys.argv) > 1 else "reports/latest")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        store_copies(read_report(run), root)
        claim = read_report(run)["claims"][0]["id"]
        first, last = (str(sorted(root.glob("0*"))[place]) for place in (0, -1))
        report = ["--report", str(root)]
        for told, arguments in (
            ("history", ["history", *report]),
            (f"history {claim}", ["history", claim, *report]),
            ("history --html", ["history", *report, "--html", str(root / "h.html")]),
            ("compare", ["compare", first, last]),
            ("--help", ["--help"]),
        ):
            wall, processor = min(seconds(arguments) for _ in range(3))
            print(f"prolepsis {told:16} {wall:6.2f} s, {processor:5.2f} s of a processor")
    print(f"bar: {BAR_SECONDS:g} s for history and compare, 0.3 s for --help")


if __name__ == "__main__":
    main()
