import json
import math
import os
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prolepsis.errors import UserError
from prolepsis.report import storage
from prolepsis.report.rows import plain

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC)


def test_runs_that_start_together_get_different_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen runs that open a folder at one moment, in different seconds of the clock, share no number."""
    start = threading.Barrier(16)
    folders: list[Path] = []
    look = storage._highest_number

    def look_slowly(root: Path) -> int:
        number = look(root)
        time.sleep(0.01)
        return number

    # What a run has seen is out of date by the time it acts on it.
    monkeypatch.setattr(storage, "_highest_number", look_slowly)

    def open_one(moment: datetime) -> None:
        start.wait()
        folders.append(storage.new_run_folder(tmp_path, moment))

    threads = [threading.Thread(target=open_one, args=[(NOW, LATER)[i % 2]]) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = sorted(int(folder.name.split("-")[0]) for folder in folders)
    assert len(set(numbers)) == 16
    assert numbers[0] == 1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_number_is_never_used_again(tmp_path: Path) -> None:
    """The next run counts on from the highest number there is, gaps and other files notwithstanding."""
    (tmp_path / "0007-20250101T000000Z").mkdir()
    (tmp_path / "notes-9999").mkdir()
    assert storage.new_run_folder(tmp_path, NOW).name == "0008-20260102T030405Z"
    (tmp_path / "12345-20250101T000000Z").mkdir()
    assert storage.new_run_folder(tmp_path, NOW).name.startswith("12346-")


def test_a_root_that_is_a_file_is_the_users_error(tmp_path: Path) -> None:
    """A report root that cannot be a folder is refused in one line that names the option."""
    (tmp_path / "reports").write_text("")
    with pytest.raises(UserError, match=r"reports: no report can be written there .* --claims-report"):
        storage.new_run_folder(tmp_path / "reports", NOW)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that breaks off leaves the text that was there, and no litter beside it."""
    path = tmp_path / "report.json"
    storage.write_json(path, {"a": 1})

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        storage.write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_never_finds_half_a_file(tmp_path: Path) -> None:
    """While one thread writes again and again, every read is a whole document."""
    path = tmp_path / "report.json"
    values = [list(range(20_000)), list(range(5))]
    storage.write_json(path, values[0])
    done = threading.Event()

    def write() -> None:
        for number in range(40):
            storage.write_json(path, values[number % 2])
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    reads = 0
    while not done.is_set() or reads == 0:
        assert json.loads(path.read_text()) in values
        reads += 1
    thread.join()


def test_latest_is_a_relative_link_to_the_last_run(tmp_path: Path) -> None:
    """``latest`` points to the newer folder by name, so that the reports can be moved as a whole."""
    for moment in (NOW, LATER):
        folder = storage.new_run_folder(tmp_path, moment)
        storage.point_latest(folder)
        assert (tmp_path / "latest").readlink() == Path(folder.name)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0001-20260102T030405Z", "0002-20260102T030406Z", "latest"]


def test_a_journal_cut_short_keeps_its_whole_lines(tmp_path: Path) -> None:
    """Whole lines of every worker are read back, without one that a kill or, before others, a full disk cut short."""
    storage.append_journal(tmp_path, "gw0", '{"row": 0, "meas{"row": 0}')
    storage.append_journal(tmp_path, "gw0", '{"row": 1}')
    storage.append_journal(tmp_path, "gw1", '{"row": 2}')
    with (tmp_path / "journal-gw0.jsonl").open("a") as file:
        file.write('{"row": 3, "meas')
    assert storage.read_journals(tmp_path) == [{"row": 1}, {"row": 2}]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(value=JSON)
def test_every_report_is_strict_json(value: object) -> None:
    """Whatever numbers come in, the text is JSON without NaN or infinity."""
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == plain(value)


def test_foreign_types_become_plain() -> None:
    """Numpy scalars, tuples, dataclasses and non-finite numbers have a plain form; anything else is refused."""

    @dataclass
    class Value:
        low: float

    value = {1: (np.float32(0.5), np.int64(3), np.bool_(True)), "v": Value(math.nan), "i": np.float64("inf")}
    assert plain(value) == {"1": [0.5, 3, True], "v": {"low": None}, "i": None}
    with pytest.raises(TypeError, match="object"):
        plain({"x": object()})
