"""Memory for one feature's decoder rows, on a transcoder of the size of Gemma 2 2B's (W_dec_0 of 1.8 GiB).

Run ``python benchmarks/bench_transcoder.py``, or ``pytest benchmarks/bench_transcoder.py --benchmark-only``.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

BAR_BYTES = 50 << 20
LAYERS, FEATURES, WIDTH = 26, 16384, 2304

# The peak is the kernel's own high-water mark, set back just before the call: ru_maxrss would start at what the
# imports, or the process this one was forked from, once held.
_MEASURE = """
import json, re, sys, time
from pathlib import Path
from prolepsis.names import Feature
from prolepsis.transcoder import Transcoder

def status(field):
    return int(re.search(field + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

folder, layers, features = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

def measured(call):
    Path("/proc/self/clear_refs").write_text("5")
    before, start = status("VmRSS"), time.perf_counter()
    result = call()
    return result, {"peak_bytes": status("VmHWM") - before, "seconds": time.perf_counter() - start}

transcoder, opened = measured(lambda: Transcoder.open(folder))
rows, read = measured(lambda: transcoder.rows(Feature(0, features // 2)))
own, decoder = measured(lambda: transcoder.decoder(0, 0))
assert rows.shape == (layers, transcoder.d_model) and own.shape == (features, transcoder.d_model)
result = {"open": opened, "rows": read, "decoder": decoder}
print(json.dumps(result))
"""


def write_sparse_transcoder(folder: Path, layers: int, features: int, width: int) -> Path:
    """Write a bfloat16 transcoder of zeros whose files are holes: full size to read, next to nothing on the disk."""
    config = {
        "model_name": "zeros",
        "model_kind": "cross_layer_transcoder",
        "feature_input_hook": "hook_resid_mid",
        "feature_output_hook": "hook_mlp_out",
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    for layer in range(layers):
        encoder = {"W_enc": [features, width], "b_enc": [features], "b_dec": [width]}
        for kind, shapes in (("W_enc", encoder), ("W_dec", {"W_dec": [features, layers - layer, width]})):
            _write_holes(folder / f"{kind}_{layer}.safetensors", {f"{k}_{layer}": v for k, v in shapes.items()})
    return folder


def _write_holes(path: Path, shapes: dict[str, list[int]]) -> None:
    header: dict[str, Any] = {}
    end = 0
    for name, shape in shapes.items():
        size = 2
        for extent in shape:
            size *= extent
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def measure(layers: int, features: int, width: int) -> dict[str, dict[str, float]]:
    """Peak resident memory beyond what was held before, and seconds, of three reads in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        write_sparse_transcoder(Path(folder), layers, features, width)
        command = [sys.executable, "-c", _MEASURE, folder, str(layers), str(features)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, dict[str, float]] = json.loads(done.stdout)
    return result


def test_rows_of_a_feature_stay_under_the_bar(benchmark: Any) -> None:
    """One feature's rows of a 1.8 GiB decoder file take less than 50 MB of memory."""
    result = benchmark.pedantic(measure, args=(LAYERS, FEATURES, WIDTH), rounds=1)
    benchmark.extra_info.update(result)
    assert result["rows"]["peak_bytes"] < BAR_BYTES


if __name__ == "__main__":
    outcome = measure(LAYERS, FEATURES, WIDTH)
    for name, figures in outcome.items():
        print(f"{name:8} peak {figures['peak_bytes'] / 2**20:8.1f} MiB  {figures['seconds'] * 1e3:8.1f} ms")
    assert outcome["rows"]["peak_bytes"] < BAR_BYTES, "a feature's rows took more than 50 MB"
