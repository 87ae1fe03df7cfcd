"""``python -m prolepsis.doctor.count``: count anew what the families of claims do on the paper's subjects.

The gpu tier is run on random checkpoints that have the layers, heads, prompts and published features of the real ones
and are narrow, since the counts do not depend on widths. They do depend on weights where an experiment chooses by what
it measures: which words are asked, how long a generated line is, which pairs are dropped. So they are an estimate. Rows
that stay untested are told with their reasons, since what they would take is not counted.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from prolepsis.errors import UserError
from prolepsis.rehearsal.run import ROOT, untested, write_checkpoints
from prolepsis.rehearsal.shapes import LEAST_FEATURES, LEAST_VOCABULARY, LEAST_WIDTH, SHAPES, Shape, scaled
from prolepsis.report.comparison import read_report

COUNTED = Path(__file__).with_name("counted.json")


def narrow(preset: str) -> Shape:
    """The shape of a preset with all its layers and heads, as narrow as the claims can be asked of."""
    real = SHAPES[preset]
    least = scaled(real, 1e-6)
    heads, kv_heads = real.config["num_attention_heads"], real.config["num_key_value_heads"]
    per_head = -(-LEAST_WIDTH // (2 * heads)) * 2
    width = per_head * heads
    changes = {
        "num_hidden_layers": real.n_layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "hidden_size": width,
        "head_dim": per_head,
        # A narrower MLP adds so little to a stream that no word's feature is ever active.
        "intermediate_size": width * real.config["intermediate_size"] // real.width,
        "initializer_range": real.config["initializer_range"] * (real.width / width) ** 0.5,
    }
    if "query_pre_attn_scalar" in real.config:
        changes["query_pre_attn_scalar"] = per_head
    assert least.n_vocab == LEAST_VOCABULARY
    return replace(least, config={**least.config, **changes}, n_features=LEAST_FEATURES)


def count(preset: str, folder: Path) -> dict[str, dict[str, int]]:
    """Family → counts by name, from one run on narrow checkpoints written below ``folder``, an empty one."""
    table = write_checkpoints(narrow(preset), folder, "cpu", thresholds=False)
    command = [
        *(sys.executable, "-m", "pytest", "claims", "-m", "gpu", "-q", "--claims-subject", preset, "--claims-fresh"),
        *("--claims-preset", str(table), "--claims-report", str(folder / "reports"), "--claims-device", "cpu"),
        *("-p", "prolepsis.doctor.counter", "--work", str(folder / "work.json"), "-p", "no:cacheprovider"),
    ]
    environment = {**os.environ, "HF_HUB_CACHE": str(folder / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    work = folder / "work.json"
    if not work.exists() or "loading" not in (found := json.loads(work.read_text())):
        raise UserError(f"{preset}: nothing was counted; the run's last words: {done.stdout.strip()[-300:]}")
    for reason, rows in untested(read_report(folder / "reports" / "latest")["claims"]).items():
        print(f"{preset}: not counted: {', '.join(rows)}: {reason}")
    counts: dict[str, dict[str, int]] = found
    return counts


def main() -> None:
    """Count the presets that are named, all without a name, and keep the counts beside this file."""
    parser = argparse.ArgumentParser(prog="python -m prolepsis.doctor.count", description=main.__doc__)
    parser.add_argument("preset", nargs="*", choices=[[], *SHAPES], default=[])
    for preset in parser.parse_args().preset or SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            counted = count(preset, Path(folder))
        kept = json.loads(COUNTED.read_text()) if COUNTED.exists() else {}
        COUNTED.write_text(json.dumps(kept | {preset: counted}, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
