"""What doctor expects of a run: work that is counted, and the memory and time that follow from it."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from prolepsis import cli
from prolepsis.doctor import expect
from prolepsis.doctor.counter import Counter
from prolepsis.doctor.expect import Sizes, peak_bytes, works_of
from prolepsis.doctor.started import each_start
from prolepsis.doctor.work import LOADING, Rates, Work
from prolepsis.edits import Add
from prolepsis.engine import clean_run
from prolepsis.experiments import nearest_tokens
from prolepsis.experiments.vocabulary_scan import top_tokens
from prolepsis.running.batching import MOST_BYTES
from prolepsis.running.generation import generate
from prolepsis.subjects.model_size import ModelSize
from prolepsis.subjects.twins import untrained_in_place
from tests.live_bytes import LiveBytes
from tests.machines import GIB, GPU
from tests.published_subjects import FEATURES, published_subject
from tests.tiny import rows_like, tiny_subject


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_counted_work_is_what_a_counter_of_operations_sees(family: str, tmp_path: Path) -> None:
    """Sweeps, generation, encoders, the vocabulary scan: counts times closed forms, less what rotary positions take."""
    subject = published_subject(family, tmp_path)
    subject = replace(subject, model=subject.model.float())
    counter, tokens = Counter(tmp_path / "work.json"), subject.encode("She wandered in the dark about")
    counter.watch(subject)
    rows = [[Add(1, 3, rows_like(subject, seed, 1)[0])] for seed in range(5)]
    with pytest.MonkeyPatch.context() as patch, FlopCounterMode(display=False) as operations, torch.no_grad():
        counter.install(patch)
        clean = clean_run(subject, tokens)
        clean.edit(rows)
        generate(subject, [tokens] * 3, rows[:3], max_new_tokens=4)
        subject.features(2, clean.resid_post(2))
        top_tokens(subject)
    work = counter.now
    counted = work.operations(subject.size, FEATURES)
    assert (work.encoded, work.scans, work.logits) == (len(tokens), subject.n_layers, 5 + 3 * 4)
    assert counted <= operations.get_total_flops() <= 1.03 * counted


def test_twins_are_counted_by_what_drawing_and_reading_them_moves(tmp_path: Path) -> None:
    """Each moves the weights of the whole model twice, whatever else is done."""
    subject, counter = tiny_subject("llama"), Counter(tmp_path / "work.json")
    with pytest.MonkeyPatch.context() as patch:
        counter.install(patch)
        for _ in range(2):
            with untrained_in_place(subject):
                pass
    assert counter.now == Work(twins=2)
    assert counter.now.moved_bytes(subject.size, 0, 4) == 2 * 2 * 4 * subject.size.weights


def test_time_is_the_longest_of_computing_reading_and_starting() -> None:
    """At given rates and a bandwidth; works add up."""
    size = ModelSize(2, 4, 1, 1, 4, 8, 10)
    work = Work(layer_tokens=10, layer_calls=1) + Work(layer_tokens=20, layer_calls=2)
    assert work == Work(layer_tokens=30, layer_calls=3)
    computing, reading = 30 * size.layer_operations(0), 3 * 2 * size.layer_weights
    assert work.seconds(size, 0, 2, Rates(1.0, 1e9, 1e9, 1.0)) == computing
    assert work.seconds(size, 0, 2, Rates(1e9, 1e9, 1.0, 1.0)) == reading
    assert (work + Work(starts=10**6)).seconds(size, 0, 2, Rates(1e9, 1e9, 1e9, 2.0)) == 10**6 / 2


def test_operations_are_started_and_views_are_not() -> None:
    """A sum and a product count, in place or not; another shape of the same numbers does not."""
    found: list[None] = []
    rows = torch.ones(2, 3)
    with each_start(lambda: found.append(None)):
        rows.view(3, 2).T.expand(2, 2, 3)[:, 0]
        assert not found
        rows.add_(1)
        rows @ rows.T
    assert len(found) == 2


def test_a_scan_takes_the_time_of_products_in_its_own_dtype() -> None:
    """Its operations are at the rate of scans, all others at that of products."""
    size, others = ModelSize(2, 4, 1, 1, 4, 8, 10), Work(layer_tokens=3, logits=2)
    alone, both = Work(scans=5), others + Work(scans=5)
    assert alone.seconds(size, 7, 2, Rates(1.0, 4.0, 1e9, 1.0)) == 2 * 5 * 7 * size.unembedding_weights / 4
    assert both.seconds(size, 7, 2, Rates(2.0, 4.0, 1e9, 1.0)) == pytest.approx(
        others.operations(size, 7) / 2 + alone.operations(size, 7) / 4
    )


def test_the_papers_subjects_are_counted_and_stay_below_sixteen_gigabytes() -> None:
    """In float32 on a GPU of 16 GiB no family that was counted is expected to take more than 16 GB."""
    for subject in json.loads(expect.COUNTED.read_text()):
        sizes = expect.sizes_of(subject, None, None, "float32")
        assert sizes is not None
        assert sizes.documented
        for work in works_of(subject).values():
            assert sizes.weight_bytes <= peak_bytes(sizes, work, GPU) < 16e9
            assert sizes.weight_bytes < peak_bytes(sizes, work, GPU) or replace(work, twins=0, starts=0) == Work()


@pytest.mark.parametrize("halves", [False, True])
@pytest.mark.parametrize(("n_vocab", "d_model"), [(20000, 64), (3000, 512)])
def test_looking_for_nearest_tokens_takes_no_more_memory_than_is_planned(
    halves: bool, n_vocab: int, d_model: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tensors alive at once while a scan looks stay below the closed form, and above half of it."""
    monkeypatch.setattr(nearest_tokens, "HALVES_ON", {"cpu"} if halves else set())
    for module in (nearest_tokens, expect):
        monkeypatch.setattr(module, "ROWS_AT_ONCE", 1000)
    monkeypatch.setattr(expect, "COSINES_AT_ONCE", 1 << 20)
    rows, directions = (torch.randn(n, d_model) for n in (n_vocab, expect.COSINES_AT_ONCE // n_vocab))
    with LiveBytes() as live:
        nearest_tokens.Vocabulary.of(rows).nearest(directions)
    planned = expect.looking_bytes(ModelSize(1, d_model, 1, 1, 4, 8, n_vocab), 10**6, halves=halves)
    assert planned / 2 <= live.peak <= planned


def test_a_batch_takes_what_is_free_and_no_more_than_makes_anything_faster() -> None:
    """On a GPU half of what the weights leave free, and at most what a batch may ever take."""
    size = ModelSize(26, 2304, 8, 4, 256, 9216, 256000)
    sizes, work = Sizes(size, 0, 4, documented=True), Work(layer_tokens=1, keys=33, logits=1)
    small, large = (peak_bytes(sizes, work, replace(GPU, free_bytes=free * GIB)) for free in (11, 140))
    assert small < large < sizes.weight_bytes + MOST_BYTES["cuda"] + GIB
    assert small < 12 * GIB


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.034, "0.034 s"), (9.96, "10 s"), (99.4, "99 s"), (99.6, "2 min"), (5370, "90 min"), (5400, "1.5 h")],
)
def test_times_are_said_as_a_person_says_them(seconds: float, said: str) -> None:
    """In seconds, minutes or hours, and never in powers of ten."""
    assert expect.in_time(seconds) == said


def test_a_run_with_the_counter_writes_what_each_family_did(tmp_path: Path) -> None:
    """A pytest run on one bundled subject gives the family's own work, and loading's apart."""
    work = tmp_path / "work.json"
    root = Path(cli.__file__).parent.parent
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "claims", "-q", "-k", "X85", "--claims-subject", "planted-llama-direct"),
            *("--claims-report", str(tmp_path), "-p", "prolepsis.doctor.counter", "--work", str(work)),
            *("-p", "no:cacheprovider"),
        ],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert work.exists(), done.stdout
    works = {family: Work(**counts) for family, counts in json.loads(work.read_text()).items()}
    assert set(works) == {LOADING, "anchors"}
    assert works["anchors"].layer_tokens > works["anchors"].layer_calls > 0
    assert works["anchors"].keys > works["anchors"].layer_tokens
    assert works["anchors"].starts > 20 * works["anchors"].layer_calls
