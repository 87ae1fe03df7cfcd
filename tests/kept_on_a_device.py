"""What a GPU goes on holding from one family of claims to the next, counted without one.

    python -m tests.kept_on_a_device gemma-2-2b-426k

The gpu tier is run on random checkpoints that have the layers, heads, prompts and published features of the real ones
and are narrow, on the second device. What tensors take there when a family is done, less the weights, is scaled by how
much wider the real model is. As a plugin of that run this module counts them.
"""

import gc
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from prolepsis.doctor.count import narrow
from prolepsis.rehearsal import meter
from prolepsis.rehearsal.metered import LOADING
from prolepsis.rehearsal.run import ROOT, write_checkpoints
from prolepsis.rehearsal.shapes import GIB, SHAPES


def kept() -> int:
    """Bytes of all tensors on the second device."""
    from tests.second_device import SecondTensor

    inside = [thing.inner.untyped_storage() for thing in gc.get_objects() if type(thing) is SecondTensor]
    return sum({storage.data_ptr(): storage.nbytes() for storage in inside}.values())


def main(preset: str) -> None:
    """Print what is kept after each family, on the narrow model and at the width of the real one."""
    shape, real = narrow(preset), SHAPES[preset]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        table = write_checkpoints(shape, folder, "cpu", thresholds=False)
        command = [
            *(sys.executable, "-m", "pytest", "claims", "-m", "gpu", "--claims-subject", preset, "--claims-fresh"),
            *("--claims-preset", str(table), "--claims-report", str(folder / "reports"), "--claims-device", "second"),
            *("-p", "prolepsis.rehearsal.meter", "--meter", str(folder / "meter.json"), "-p", "tests.second_device"),
            *("-p", __spec__.name, "-p", "no:cacheprovider"),
        ]
        environment = {**os.environ, "HF_HUB_CACHE": str(folder / "hub"), "HF_HUB_OFFLINE": "1"}
        subprocess.run(command, cwd=ROOT, env=environment, check=False, stdout=subprocess.DEVNULL)
        taken = meter.read_meter(folder / "meter.json")
    weights = taken[LOADING].gpu_kept_bytes or 0
    wider = real.width / shape.width
    print(f"{preset}: {shape.width} wide, weights and what is kept with them {weights / GIB:.3f} GiB")
    for family, of in taken.items():
        beside = (of.gpu_kept_bytes or 0) - weights
        print(f"{family:20}{beside / GIB:8.3f} GiB, at a width of {real.width}{wider * beside / GIB:8.2f} GiB")


if __name__ == "__main__":
    main(sys.argv[1])
else:
    meter.gpu_kept = kept
