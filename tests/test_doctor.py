"""Whether a run can start: what doctor counts, measures and finds, and a line for each thing that is short."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import astuple, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch

from prolepsis import cli, ledger
from prolepsis.commands.command import DIFFERENT, OK, USER_ERROR
from prolepsis.commands.doctor import grouped
from prolepsis.doctor import expect, machine
from prolepsis.doctor.diagnosis import diagnose
from prolepsis.doctor.expect import Sizes, peak_bytes
from prolepsis.doctor.machine import Machine, host_memory, look_at
from prolepsis.doctor.work import Rates
from prolepsis.subjects.loading import load_subject
from prolepsis.subjects.source import SubjectSource
from tests.machines import CPU, GIB, GPU
from tests.tiny import tiny_subject

CLAIMS = ledger.load(Path(__file__).parent.parent / "claims" / "ledger.toml")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a tiny model, with a tokenizer."""
    tiny_subject("llama", dtype=torch.float32).model.save_pretrained(tmp_path / "mine")
    load_subject("planted-llama-irrevocable").tokenizer.save_pretrained(tmp_path / "mine")
    return tmp_path / "mine"


@pytest.fixture
def nothing_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def found_of(source: SubjectSource, machine: Machine, dtype: str = "float32"):  # type: ignore[no-untyped-def]
    """What is found of a subject without any network."""
    (found,) = diagnose([source], CLAIMS, machine, dtype, online=False)
    return found


def test_this_machine_is_measured() -> None:
    """Rates and sizes are positive, what is free is part of what there is, and a GPU that is not there says so."""
    machine = look_at("cpu", "float32")
    assert machine.lacking is None
    assert min(astuple(machine.rates)) > 0
    assert 0 < machine.host_free_bytes <= machine.host_bytes
    assert (machine.total_bytes, machine.host_bytes) == (machine.host_bytes, host_memory()[0])
    if not torch.cuda.is_available():
        assert re.match(r"no GPU that torch can use as cuda .* --device cpu", str(look_at("cuda", "float32").lacking))


def gpu(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let torch say that it has a GPU of 16 GiB; gives its free bytes, which can be changed."""
    free = [15 * GIB]
    monkeypatch.setattr("prolepsis.subjects.loading.check_device", lambda *_: None)
    said = {"mem_get_info": lambda _: (*free, 16 * GIB), "get_device_name": lambda _: "a GPU"}
    for name, answer in (said | {"is_bf16_supported": lambda: True}).items():
        monkeypatch.setattr(torch.cuda, name, answer)
    return free


def test_what_is_free_is_read_before_rates_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that torch keeps of the measurement are not missing from what is free."""
    free = gpu(monkeypatch)

    def taking(*_: str) -> Rates:
        free[0] -= GIB
        return CPU.rates

    monkeypatch.setattr(machine, "rates_of", taking)
    found = look_at("cuda", "float32")
    assert (found.free_bytes, found.total_bytes, found.rates, found.lacking) == (15 * GIB, 16 * GIB, CPU.rates, None)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 64.00 MiB."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`"),
        RuntimeError("CUDA driver error: out of memory"),
        RuntimeError("NVML_SUCCESS == r INTERNAL ASSERT FAILED at '../c10/cuda/CUDACachingAllocator.cpp':1131"),
    ],
    ids=["torch", "cuBLAS", "its handle", "CUDA", "its driver", "NVML"],
)
def test_a_full_gpu_is_short_and_has_no_rates(
    error: RuntimeError, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says that its memory is full and what is free, and the run cannot start."""
    gpu(monkeypatch)[0] = GIB // 64

    def full(*_: object, **__: object) -> torch.Tensor:
        raise error

    monkeypatch.setattr(torch, "randn", full)
    assert cli.main(["doctor", str(folder), "--device", "cuda"]) == DIFFERENT
    printed = capsys.readouterr()
    line = "short: cuda: its memory is full (16 MiB free of 16 GiB); free some, or use --device cpu"
    assert printed.out.splitlines().count(line) == 1
    assert "not measured" in printed.out
    assert "TFLOP" not in printed.out + printed.err


def test_another_error_of_a_gpu_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not about memory is raised as it is."""
    gpu(monkeypatch)

    def broken(*_: object, **__: object) -> torch.Tensor:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch, "randn", broken)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        look_at("cuda", "float32")


def test_a_folder_that_fits_can_start(folder: Path) -> None:
    """Nothing is fetched or short; its own configuration is read, and what was not counted is said."""
    found = found_of(SubjectSource("mine", "gpu", model=str(folder)), CPU)
    assert (found.problems, found.folders, found.missing_bytes) == ((), (folder,), 0)
    assert found.sizes == Sizes(tiny_subject("llama").size, 0, 4, documented=False)
    assert found.peak_bytes == peak_bytes(found.sizes, expect.ANY, CPU) > found.sizes.weight_bytes
    assert found.claims > 20
    assert any("no work was counted" in line for line in found.remarks)


@pytest.mark.parametrize("beside", [True, False])
def test_a_task_that_is_refused_keeps_a_run_from_starting(folder: Path, *, beside: bool) -> None:
    """The one a preset names, or the one that lies beside the weights."""
    path = folder / ("task.json" if beside else "asked.json")
    path.write_text("{}")
    source = SubjectSource("mine", "gpu", model=str(folder), task=None if beside else "asked.json", base=folder)
    (problem,) = found_of(source, CPU).problems
    assert problem.startswith(f"{path}: groups")


def test_families_that_were_not_counted_are_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory and time are those of the others, and a family that is asked nothing is left out."""
    counted = {"mine": {"q2": {"layer_tokens": 10**9, "keys": 10**10}, "loading": {"logits": 5}, "no family": {}}}
    monkeypatch.setattr(expect, "COUNTED", tmp_path / "counted.json")
    expect.COUNTED.write_text(json.dumps(counted))
    found = found_of(SubjectSource("mine", "gpu", model=str(folder)), CPU)
    assert [one.family for one in found.expected] == ["loading", "q2"]
    assert found.seconds == pytest.approx(sum(one.seconds for one in found.expected))
    (line,) = [line for line in found.remarks if "not counted" in line]
    assert "q3" in line.split(", ")
    assert "q2" not in line.split(", ")


def test_a_run_on_a_cpu_says_beforehand_how_long_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At least, for the families that are asked; nothing is said of a subject that was not counted."""
    subject = tiny_subject("llama", dtype=torch.float32)
    monkeypatch.setattr(expect, "COUNTED", tmp_path / "counted.json")
    expect.COUNTED.write_text(json.dumps({subject.id: {"q2": {"layer_tokens": 10**15}, "q3": {"logits": 1}}}))
    said = expect.slowness(subject, {"q2", "q5"})
    assert said is not None
    assert re.match(r"tiny-llama-0: at least [\d.]+ h on this CPU, by counted operations and [\d.]+ GFLOP/s;", said)
    assert expect.slowness(subject, {"q5"}) is None


@pytest.mark.parametrize(
    ("machine", "line"),
    [
        (replace(GPU, free_bytes=100), r"and cuda has 100 B free of 16 GiB; free some, or use --dtype bfloat16 or"),
        (replace(CPU, free_bytes=100), r"and cpu has 100 B free of 16 GiB; free some, or use a larger machine"),
        (replace(GPU, host_free_bytes=100), "passes through main memory, 1 GiB, and 100 B are free"),
        (replace(GPU, lacking="no GPU here"), "no GPU here"),
    ],
)
def test_what_does_not_fit_is_short(folder: Path, machine: Machine, line: str) -> None:
    """One line with the figures and the cure."""
    found = found_of(SubjectSource("mine", "gpu", model=str(folder)), machine)
    (problem,) = found.problems
    assert line in problem
    # Without a device there is no time to be known.
    assert any("no work was counted" in remark for remark in found.remarks) == (machine.lacking is None)


def test_offline_it_says_what_it_could_not_ask(nothing_cached: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run cannot start; each missing repository is a line with its command, and the licence was not asked."""
    assert cli.main(["doctor", "gemma-2-2b-426k", "--device", "cpu"]) == DIFFERENT
    said = capsys.readouterr().out
    for line in (
        "not asked (HF_HUB_OFFLINE)",
        "short: not on this machine: google/gemma-2-2b; get it with `hf download google/gemma-2-2b`",
        "offline: whether the licence is accepted was not asked; it is at https://huggingface.co/google/gemma-2-2b",
        "the run cannot start",
    ):
        assert line in said
    assert str(nothing_cached) in "".join(said.split())


def test_what_was_found_is_written_as_json(
    folder: Path, nothing_cached: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--json keeps machine, files, figures and problems; one subject that can start is enough without SUBJECT."""
    preset = tmp_path / "mine.toml"
    preset.write_text(f'[[subject]]\nid = "mine"\nmodel = "{folder}"\n')
    out = tmp_path / "doctor.json"
    assert cli.main(["doctor", "--preset", str(preset), "--device", "cpu", "--json", str(out)]) == OK
    assert not nothing_cached.exists()
    plain = json.loads(out.read_text())
    can_start = {one["subject"]: one["can_start"] for one in plain["subjects"]}
    assert can_start["mine"]
    assert not can_start["gemma-2-2b-426k"]
    assert plain["machine"]["device"] == "cpu"
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines() if line.rstrip().endswith((" yes", " no"))] == list(can_start)


@pytest.mark.usefixtures("nothing_cached")
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nosuch"], "subject 'nosuch' is not among"),
        (["planner"], "subject 'planner' is bundled and needs nothing"),
        (["gemma-2-2b-426k", "--transcoder", "x"], "--transcoder needs the model it reads"),
        (["gemma-2-2b-426k", "--device", "abacus"], "--device abacus cannot be used"),
    ],
)
def test_what_cannot_be_asked_is_one_line(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A subject that is not known, or a device that is none, leaves with 4."""
    assert cli.main(["doctor", *arguments]) == USER_ERROR
    assert line in capsys.readouterr().err


def test_several_subjects_are_looked_at_together(
    folder: Path, nothing_cached: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line each and one for all, which can start where each can; a subject that is named twice is one."""
    preset = tmp_path / "mine.toml"
    preset.write_text("".join(f'[[subject]]\nid = "{name}"\nmodel = "{folder}"\n' for name in ("mine", "yours")))
    asked = ["doctor", "--preset", str(preset), "--device", "cpu"]
    assert cli.main([*asked, "mine", "yours", "mine"]) == OK
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    table = [line for line in lines if line and line[-1] in ("yes", "no")]
    assert [line[0] for line in table] == ["mine", "yours", "together"]
    assert cli.main([*asked, "mine", "gemma-2-2b-426k"]) == DIFFERENT
    assert not nothing_cached.exists()


class _Gated(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(403)
        self.send_header("X-Error-Code", "GatedRepo")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def gated() -> Iterator[str]:
    """The address of a hub that lets nobody in."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Gated)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_gated_repository_names_the_page_and_the_command(gated: str, tmp_path: Path) -> None:
    """Without a token, the page where the licence is accepted and the command to log in."""
    hidden = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    asked = ("doctor", "llama-3.2-1b-524k", "--device", "cpu")
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from prolepsis.cli import main; sys.exit(main())", *asked],
        env=environment | {"HF_ENDPOINT": gated, "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == DIFFERENT, done.stderr
    page = f"{gated}/meta-llama/Llama-3.2-1B"
    assert (
        f"its licence is not accepted by this account; accept it at {page} and log in with `hf auth login`"
        in done.stdout
    )


def test_what_many_subjects_lack_alike_is_one_line() -> None:
    """Lines that differ in what they are about alone are put together, in the order in which they came."""
    lines = ["a: no answer: x", "b: 2 GiB", "c: no answer: x", "a: no answer: x"]
    assert list(grouped(lines)) == ["a, c: no answer: x", "b: 2 GiB"]
