"""Data sets of counterfactual pairs, asked of a hub on loopback."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from prolepsis.doctor.diagnosis import diagnose
from prolepsis.errors import Untested, UserError
from prolepsis.hub import RemoteFile, gather, plan
from prolepsis.hub.data_sets import fetch_pairs, planned_pairs
from prolepsis.subjects.counterfactual import find
from tests.hub_server import Hub
from tests.test_counterfactual import ROWS, write_jsonl
from tests.test_doctor import CLAIMS, CPU
from tests.test_hub_plan import SOURCE

ASKED = replace(SOURCE, pairs="o/pairs")
TEST = "test-00000-of-00001.jsonl"


@pytest.fixture
def data_set(hub: Hub, tmp_path: Path) -> Hub:
    """A hub whose repository of pairs has two splits."""
    (tmp_path / "data").mkdir()
    write_jsonl(tmp_path / "data" / TEST, ROWS)
    write_jsonl(tmp_path / "data" / "train-00000-of-00001.jsonl", ROWS[:1])
    hub.add("o/pairs", tmp_path / "data")
    return hub


def test_the_split_that_is_asked_comes_once(data_set: Hub, tmp_path: Path) -> None:
    """Claims on pairs bring the one file of their split, told of before; after that nothing is asked any more."""
    told: list[str] = []
    gather(ASKED, ["exact_flips"], told.append)
    assert any("of the data set o/pairs (1 file)" in line for line in told)
    assert find("o/pairs", tmp_path, None).rows == tuple(ROWS)
    assert "train-00000-of-00001.jsonl" not in data_set.sent
    asked = len(data_set.requests)
    file = planned_pairs(ASKED, online=True)
    assert file == RemoteFile("datasets/o/pairs", "main", TEST, len_of(data_set), present=True)
    fetch_pairs(file, told.append)
    assert len(data_set.requests) == asked


def len_of(hub: Hub) -> int:
    """Bytes of the split that is asked."""
    return len(hub.repos["o/pairs"].files[TEST])


def test_pairs_are_summed_with_all_that_is_to_be_fetched(data_set: Hub) -> None:
    """The file of the split is one of a plan's, with its size where the hub is asked, and without where it is not."""
    found, offline = (plan(ASKED, ["exact_flips"], online) for online in (True, False))
    without = plan(SOURCE, ["exact_flips"], online=True)
    assert found.missing_bytes - without.missing_bytes == len_of(data_set)
    assert (offline.pairs.size, offline.pairs.present) == (None, False)
    assert plan(ASKED, ["interchange", "shared_heads"], online=True).pairs is None
    assert plan(ASKED, ["recurring_heads"], online=True).pairs == found.pairs
    (diagnosis,) = diagnose([ASKED], CLAIMS, CPU, "float32", online=True)
    assert found.pairs in diagnosis.files


@pytest.mark.parametrize(("experiments", "may"), [(["interchange"], True), (["exact_flips"], False)])
def test_pairs_that_nobody_asked_for_stay_there(data_set: Hub, experiments: list[str], may: bool) -> None:
    """Neither a run without claims on pairs nor one that may not download asks for the data set."""
    gather(SOURCE, [], lambda _: None)
    gather(ASKED, experiments, (lambda _: None) if may else None)
    assert not any("datasets" in path for _, path, _ in data_set.requests)


def test_what_the_hub_refuses_leaves_the_rest_to_be_measured(hub: Hub, tmp_path: Path) -> None:
    """Without the data set the run goes on and says why; only what is asked of pairs is untested."""
    told: list[str] = []
    gather(ASKED, ["exact_flips"], told.append)
    assert any(line.startswith("datasets/o/pairs: the hub shows no such repository") for line in told)
    assert hub.requests
    with pytest.raises(Untested, match="hf download o/pairs --repo-type dataset"):
        _ = find("o/pairs", tmp_path, None).rows


def test_a_transfer_that_was_cut_short_is_tried_again(
    data_set: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a broken transfer leaves in the cache is no data set: it is untested, and the next run brings it."""
    # huggingface_hub waits a second before each of its tries.
    monkeypatch.setattr(time, "sleep", lambda _: None)
    told: list[str] = []
    data_set.broken.add(TEST)
    gather(ASKED, ["exact_flips"], told.append)
    assert any(line.startswith("datasets/o/pairs: asking") and "run again" in line for line in told)
    assert list((tmp_path / "home" / "hub" / "datasets--o--pairs" / "snapshots").iterdir())
    assert find("o/pairs", tmp_path, None).path is None
    data_set.broken.clear()
    gather(ASKED, ["exact_flips"], told.append)
    assert find("o/pairs", tmp_path, None).rows == tuple(ROWS)


def test_a_data_set_of_several_tests_is_refused(data_set: Hub) -> None:
    """Which of two files is meant is for the user to say."""
    data_set.repos["o/pairs"].files["second-test.jsonl"] = b"{}"
    with pytest.raises(
        UserError, match=r"o/pairs: one file with 'test' in its name is needed, found second-test.jsonl"
    ):
        gather(ASKED, ["exact_flips"], lambda _: None)
