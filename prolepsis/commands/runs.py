"""``prolepsis truth``, ``compare``, ``merge`` and ``judge``: what is done with runs (imports no torch)."""

import argparse
from pathlib import Path

from prolepsis import ledger, truth
from prolepsis.commands.bars import bars
from prolepsis.commands.command import DIFFERENT, OK, Command
from prolepsis.report import comparison
from prolepsis.report.comparison import Failure, read_report

REPORTS = Path("reports")
LATEST = REPORTS / "latest"


def _truth_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", type=Path, default=LATEST, help=f"folder of a run (default {LATEST})")
    parser.add_argument("--whole", action="store_true", help="what the run did not ask is missed, too")


def _truth(chosen: argparse.Namespace) -> int:
    found = truth.found_in(read_report(chosen.run)["claims"])
    answers = truth.read_truth(truth.TRUTH, {claim.key for claim in ledger.rows()})
    asked = {key: answer for key, answer in answers.items() if chosen.whole or key in found}
    compared = truth.compare(asked, found)
    for line in compared.false:
        print(f"false: {line}")
    for line in compared.missed:
        print(f"missed: {line}")
    if len(asked) < len(answers):
        print(f"not asked in this run: {len(answers) - len(asked)} of {len(answers)} verdicts")
    print(compared)
    # Where nothing was compared, nothing came out as it must.
    return DIFFERENT if compared.false or compared.missed or not compared.compared else OK


def _compare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", type=Path, help="folder of the earlier run")
    parser.add_argument("second", nargs="?", type=Path, default=LATEST, help=f"of the later one (default {LATEST})")
    parser.add_argument(
        "--fail",
        type=Failure.parse,
        default="verdict",
        metavar="KIND",
        help="verdict, interval, tolerance or value:5%%",
    )


def _compare(chosen: argparse.Namespace) -> int:
    found = comparison.compare(read_report(chosen.first), read_report(chosen.second), ledger.rows())
    print("\n".join(found.lines()))
    return DIFFERENT if found.failed(chosen.fail) else OK


def _merge_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of the runs to put together")
    parser.add_argument("--report", type=Path, default=REPORTS, metavar="ROOT", help=f"where (default {REPORTS}/)")


def _merge(chosen: argparse.Namespace) -> int:
    from prolepsis.report.merging import merge

    with bars("merging"):
        folder = merge(chosen.runs, chosen.report)
    print(f"report: {folder}")
    return OK


def _judge_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", type=Path, default=LATEST, help=f"folder of a run (default {LATEST})")


def _judge(chosen: argparse.Namespace) -> int:
    from prolepsis.report.rejudging import judge_again

    with bars(f"judging {chosen.run}"):
        found = judge_again(chosen.run, ledger.rows())
    changed = [one for one in found if one.changed]
    for one in changed:
        print(one)
    print(f"{len(found)} verdicts judged again, {len(changed)} changed")
    return DIFFERENT if changed else OK


TRUTH = Command(
    "truth",
    "Compare the verdicts of a run with what has to come out on subjects whose answer is known.",
    "False is a decided verdict that is not the true one; missed is one left open where something was to be seen.\n"
    "What the run did not ask is counted in one line; where it was to ask everything, --whole has it missed.",
    _truth_arguments,
    _truth,
)
COMPARE = Command(
    "compare",
    "Say what changed from one run to another.",
    "Rows measured by another protocol, on another subject or in another dtype are listed, not compared. A changed\n"
    "verdict always fails (exit code 1). Others are added by\n\n"
    "--fail interval     values outside each other's intervals (counts: by Fisher's exact test)\n"
    "--fail tolerance    values that moved by more than the ledger's tolerance; as interval where it has none\n"
    "--fail value:5%     values that changed by more than that share",
    _compare_arguments,
    _compare,
)
MERGE = Command(
    "merge",
    "Put runs that each measured a part (--claims-shard) together as one.",
    "The parts must come from one environment, and no row may stand in two of them.",
    _merge_arguments,
    _merge,
)
JUDGE = Command(
    "judge",
    "Judge the stored measurements of a run again, by the ledger as it stands now; no model is loaded.",
    "A run of another machine can be judged too: its folder holds everything a verdict is made of. When a verdict is\n"
    "not the one that was stored, it is printed and the exit code is 1.",
    _judge_arguments,
    _judge,
)
