"""A transcoder of a repository that is only partly here, and transfers that break."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from prolepsis.errors import Untested, UserError
from prolepsis.hub import gather, last_rows, ranges
from prolepsis.hub.files import HubFiles
from prolepsis.hub.last_rows import fetch_last, kept_bytes, kept_last
from prolepsis.hub.ranges import header
from prolepsis.hub.repository import listed
from prolepsis.names import Feature
from prolepsis.subjects.source import SubjectSource
from prolepsis.transcoder import Transcoder
from tests.hub_server import TOKEN, Hub, etag
from tests.test_hub_plan import PUBLISHED, SOURCE
from tests.test_layouts import LAYERS as PER_LAYER
from tests.test_layouts import WRITERS, random_layer
from tests.test_transcoder import FEATURES, LAYERS, WIDTH, random_parts, written

ROOT = Path(__file__).parent.parent
STEERED = (*PUBLISHED.sweep.suppress, PUBLISHED.sweep.inject)


def opened(source: SubjectSource, experiments: list[str], *, online: bool = True) -> Transcoder:
    """The transcoder of ``source`` as a run would open it."""
    gathered = gather(source, experiments, (lambda _: None) if online else None)
    return Transcoder.open(HubFiles(gathered.transcoder, online=online, lacking=gathered.lacking), LAYERS, WIDTH)


def untested(call: object) -> str:
    """The one-line message of the Untested that ``call`` raises."""
    with pytest.raises(Untested) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["cross-layer", "cross-layer bfloat16", "bundles", "Gemma Scope 2, cross-layer"])
def test_single_rows_are_read_by_ranges_and_kept(hub: Hub, tmp_path: Path, kind: str) -> None:
    """A published feature's rows are those of the file, for a few bytes once; then no network is needed for them."""
    folder = tmp_path / "mine"
    if kind.startswith("cross-layer"):
        written(folder, random_parts(7), dtype=torch.bfloat16 if kind.endswith("16") else torch.float32)
    else:
        WRITERS[kind](folder, [random_layer(7, layer) for layer in range(PER_LAYER)])
    hub.add("o/clt", folder)
    whole = Transcoder.open(folder)
    transcoder = opened(SOURCE, ["published_spike"])
    for feature in STEERED:
        assert torch.equal(transcoder.rows(feature), whole.rows(feature))
    files = [name for name in hub.sent if name.endswith(".safetensors") and name != "model.safetensors"]
    assert all(span is not None for name in files for _, span in hub.asked_for(name))
    hub.requests.clear()
    again = opened(SOURCE, ["published_spike"], online=False)
    for feature in STEERED:
        assert torch.equal(again.rows(feature), whole.rows(feature))
    assert hub.requests == []


def test_what_is_not_here_is_named_where_it_is_read(hub: Hub) -> None:
    """A transcoder that is partly here opens; what reads another file is untested, naming file, size and command."""
    transcoder = opened(SOURCE, ["published_spike"])
    size = len(hub.repos["o/clt"].files["W_dec_1.safetensors"])
    message = untested(lambda: transcoder.last_decoder(1))
    assert f"W_dec_1.safetensors ({size} B) of o/clt@cccccccc" in message
    assert f"`hf download o/clt W_dec_1.safetensors --revision {'c' * 40}`" in message
    assert "W_enc_0" in untested(lambda: transcoder.encode(0, torch.zeros(1, WIDTH)))


MANY = [Feature(0, index) for index in (3, 0, 4)] + [Feature(1, 2), Feature(1, 3)]


ASKED_OF = {
    "close": (1 << 20, False, ["GET"], []),
    "apart": (0, False, ["HEAD", "GET", "GET"], []),
    "close, elsewhere": (1 << 20, True, ["GET"], ["GET"]),
    "apart, elsewhere": (0, True, ["HEAD"], ["GET", "GET"]),
}
"""Bytes between rows that are read along, whether files are sent from another host, and what is asked of the hub and of
that one for rows 0, 3 and 4."""


@pytest.mark.parametrize("how", ASKED_OF)
def test_many_rows_come_in_few_requests(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Rows that lie close are one request; for others the hub is asked once where the file lies; then all are kept."""
    transcoder, whole = opened(SOURCE, ["published_spike"]), Transcoder.open(tmp_path / "clt")
    (tmp_path / "home" / "token").write_text(TOKEN)
    gap, hub.elsewhere, of_hub, of_other = ASKED_OF[how]
    monkeypatch.setattr(ranges, "_GAP", gap)
    hub.requests.clear()
    found = transcoder.rows_of(MANY)
    assert set(found) == set(MANY)
    for feature in MANY:
        assert torch.equal(found[feature], whole.rows(feature))
    asked = [(path.startswith("/elsewhere/"), method) for method, path, _ in hub.requests if "W_dec_0" in path]
    assert [method for other, method in asked if not other] == of_hub
    assert [method for other, method in asked if other] == of_other
    hub.requests.clear()
    transcoder.rows_of(MANY)
    assert hub.requests == []


def test_no_request_is_larger_than_what_is_held_at_once(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are all asked for are read by parts."""
    transcoder, row = opened(SOURCE, ["published_spike"]), LAYERS * WIDTH * 4
    monkeypatch.setattr(ranges, "_AT_ONCE", 2 * row)
    hub.requests.clear()
    transcoder.rows_of(Feature(0, index) for index in range(FEATURES))
    spans = [span for method, span in hub.asked_for("W_dec_0.safetensors") if method == "GET"]
    assert len(spans) == -(-FEATURES // 2)
    for span in spans:
        first, last = map(int, span.removeprefix("bytes=").split("-"))
        assert last + 1 - first <= 2 * row


def test_of_many_rows_those_that_came_are_kept(hub: Hub) -> None:
    """Where a request breaks, what others brought is not asked for again."""
    transcoder = opened(SOURCE, ["published_spike"])
    hub.cut["W_dec_1.safetensors"] = 1
    assert "run again" in untested(lambda: transcoder.rows_of(MANY))
    hub.requests.clear()
    transcoder.rows_of(MANY)
    assert [path.rpartition("/")[2] for _, path, _ in hub.requests] == ["W_dec_1.safetensors"]


@pytest.mark.usefixtures("hub")
def test_a_row_never_read_is_untested_offline() -> None:
    """Offline only the rows that were read before are there."""
    opened(SOURCE, ["published_spike"]).rows(Feature(1, 3))
    again = opened(SOURCE, ["published_spike"], online=False)
    assert again.rows(Feature(1, 3)).shape == (LAYERS - 1, WIDTH)
    assert "W_dec_1.safetensors" in untested(lambda: again.rows(Feature(1, 2)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_scan_keeps_the_rows_of_the_last_layer_alone(hub: Hub, tmp_path: Path, dtype: torch.dtype) -> None:
    """Decoders of several target layers pass by once; what stays are the rows a scan reads, those of the file."""
    whole = Transcoder.open(written(tmp_path / "mine", random_parts(3), dtype=dtype))
    hub.add("o/clt", tmp_path / "mine")
    transcoder = opened(SOURCE, ["dedicated_features"])
    for layer in range(LAYERS):
        assert torch.equal(transcoder.last_decoder(layer), whole.last_decoder(layer))
    assert [len(hub.asked_for(f"W_dec_{layer}.safetensors")) for layer in (0, 1)] == [2, 2]  # its header, its values
    home = tmp_path / "home"
    assert {path.name for path in (home / "hub").rglob("W_*")} == {"W_dec_2.safetensors"}
    assert "W_dec_0" in untested(lambda: transcoder.decoder(0, 1))
    hub.requests.clear()
    again = opened(SOURCE, ["dedicated_features"], online=False)
    assert torch.equal(again.last_decoder(0), whole.last_decoder(0))
    assert hub.requests == []


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "whole files"])
@pytest.mark.parametrize("cut", [1, 100, 170, 230])
def test_a_scan_goes_on_where_its_transfer_broke(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, ranges: bool, cut: int
) -> None:
    """After a broken transfer nothing bears the name of the rows; the next try asks for the rest, and has them all."""
    monkeypatch.setattr(last_rows, "_TRIES", 1)
    monkeypatch.setattr(last_rows, "_CHUNK", 16)
    repository = listed("o/clt", "main")
    size = kept_bytes(header(repository, "W_dec_0.safetensors"))
    hub.ranges, hub.cut["W_dec_0.safetensors"] = ranges, cut
    assert "run again" in untested(lambda: fetch_last(repository, "W_dec_0.safetensors"))
    assert kept_last(repository, "W_dec_0.safetensors") is None
    hub.requests.clear()
    fetch_last(repository, "W_dec_0.safetensors")
    kept = kept_last(repository, "W_dec_0.safetensors")
    assert torch.equal(load_file(kept)["W_dec_0"], random_parts(0)["decoders"][0][:, -1])
    assert size == FEATURES * WIDTH * 4
    row, length = LAYERS * WIDTH * 4, len(hub.repos["o/clt"].files["W_dec_0.safetensors"])
    ((_, span),) = hub.asked_for("W_dec_0.safetensors")
    if ranges:
        assert span.startswith(f"bytes={length - FEATURES * row + cut // row * row}-")


def test_a_server_without_ranges_sends_whole_files(hub: Hub, tmp_path: Path) -> None:
    """Where ranges are ignored, the files of the published features' layers are downloaded whole, and no other."""
    hub.ranges = False
    source = replace(SOURCE, published=replace(PUBLISHED, sweep=replace(PUBLISHED.sweep, suppress=())))
    transcoder = opened(source, ["published_spike"])
    assert torch.equal(transcoder.rows(Feature(1, 3)), Transcoder.open(tmp_path / "clt").rows(Feature(1, 3)))
    here = {path.name for path in (tmp_path / "home").rglob("W_*.safetensors")}
    assert here == {"W_enc_1.safetensors", "W_dec_1.safetensors"}
    assert "W_dec_0" in untested(lambda: transcoder.rows(Feature(0, 1)))


def test_a_scan_without_ranges_brings_encoders_that_say_what_they_are(hub: Hub) -> None:
    """Where headers cannot be read alone, a scan has a whole file of encoders, and opens."""
    hub.ranges = False
    transcoder = opened(SOURCE, ["dedicated_features"])
    assert torch.equal(transcoder.last_decoder(1), random_parts(0)["decoders"][1][:, -1])
    assert [name for name in sorted(hub.sent) if "W_enc" in name and hub.asked_for(name)[-1][1] is None] == [
        "W_enc_0.safetensors"
    ]


def test_the_digest_is_that_of_the_commit(hub: Hub) -> None:
    """However much of it is here, a transcoder is known by its commit; another commit is another one."""
    partly, wholly = opened(SOURCE, ["published_spike"]).digest, opened(SOURCE, ["localisation_rate"]).digest
    assert partly == wholly
    hub.repos["o/clt"].commit = "d" * 40
    pinned = replace(SOURCE, transcoder_revision="d" * 40)
    assert opened(pinned, ["published_spike"]).digest != partly
    assert opened(pinned, ["published_spike"]).revision == "d" * 40


@pytest.mark.parametrize(
    ("layers", "width", "what"), [(LAYERS + 1, WIDTH, "layers"), (LAYERS, WIDTH + 1, "dimensions")]
)
@pytest.mark.usefixtures("hub")
def test_a_transcoder_for_another_model_is_refused(layers: int, width: int, what: str) -> None:
    """One of another depth or width is the user's error, although only its headers were read."""
    files = HubFiles(gather(SOURCE, ["published_spike"], lambda _: None).transcoder, online=True)
    with pytest.raises(UserError, match=rf"o/clt@cccccccc: this transcoder has \d {what}, the model \d"):
        Transcoder.open(files, layers, width)


@pytest.mark.usefixtures("hub")
def test_a_feature_the_transcoder_lacks_is_refused_before_anything_is_downloaded() -> None:
    """A published feature beyond the last one is the user's error, seen in the header."""
    source = replace(SOURCE, published=replace(PUBLISHED, sweep=replace(PUBLISHED.sweep, inject=Feature(1, 99))))
    with pytest.raises(UserError, match=r"W_dec_1.safetensors: has no row for L1:99"):
        gather(source, ["published_spike"], lambda _: None)


def test_a_row_cut_short_is_not_kept(hub: Hub) -> None:
    """When the connection breaks within a row, nothing is kept of it, and the next try reads it whole."""
    transcoder = opened(SOURCE, ["published_spike"])
    hub.cut["W_dec_1.safetensors"] = 5
    assert "run again" in untested(lambda: transcoder.rows(Feature(1, 3)))
    assert torch.equal(transcoder.rows(Feature(1, 3)), random_parts(0)["decoders"][1][3])


@pytest.mark.usefixtures("hub")
def test_a_file_cut_short_in_the_cache_is_fetched_again(tmp_path: Path) -> None:
    """A file that is not of the size the hub states is taken for missing, offline and online."""
    gather(SOURCE, [], lambda _: None)
    (blob,) = {path.resolve() for path in (tmp_path / "home").rglob("model.safetensors")}
    content = blob.read_bytes()
    blob.write_bytes(content[:-1])
    assert "o/model@cccccccc: model.safetensors" in untested(lambda: gather(SOURCE, []))
    gathered = gather(SOURCE, [], lambda _: None)
    assert (gathered.model / "model.safetensors").read_bytes() == content


def test_no_room_is_said_before_anything_is_transferred(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is needed and what is free is named, and not a byte of weights is asked for."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, 1 << 40, 12 << 20))
    message = untested(lambda: gather(SOURCE, [], lambda _: None))
    assert "are to be kept" in message
    assert "12 MiB" in message
    assert "HF_HOME" in message
    assert "model.safetensors" not in hub.sent


def test_a_transcoder_without_room_leaves_the_rest_to_be_measured(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only the transcoder has no room the run goes on without it, and says so beforehand."""
    gather(SOURCE, [], lambda _: None)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, 1 << 40, 12 << 20))
    told: list[str] = []
    gathered = gather(SOURCE, ["localisation_rate"], told.append)
    assert told == [gathered.lacking]
    assert "config.yaml" not in hub.sent


def test_a_transcoder_that_cannot_be_had_leaves_the_rest_to_be_measured(hub: Hub) -> None:
    """Where the hub shows nothing of the transcoder the model is measured without it, and the reason is kept."""
    del hub.repos["o/clt"]
    gathered = gather(SOURCE, ["localisation_rate"], lambda _: None)
    assert (gathered.model / "config.json").exists()
    assert gathered.transcoder is None
    assert "o/clt: the hub shows no such repository" in str(gathered.lacking)
    offline = gather(SOURCE, ["localisation_rate"])
    assert "not on this machine: o/clt" in str(offline.lacking)
    assert "--claims-subject mine downloads what is needed" in str(offline.lacking)


def test_a_disk_that_fills_up_is_one_line(hub: Hub, tmp_path: Path) -> None:
    """A file that cannot be written to its end is untested, and nothing bears its name."""
    hub.repos["o/model"].files["model.safetensors"] = bytes(1 << 20)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, before[1]))
    try:
        message = untested(lambda: gather(SOURCE, [], lambda _: None))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "cannot be written" in message
    assert "free space" in message
    assert not list((tmp_path / "home").rglob("model.safetensors"))
    gather(SOURCE, [], lambda _: None)


DOWNLOAD = """
import sys
from prolepsis.hub import gather
from prolepsis.subjects.source import SubjectSource
gather(SubjectSource("mine", "gpu", "o/model", None), [], print)
"""


def test_a_killed_download_goes_on_where_it_stopped(hub: Hub, tmp_path: Path) -> None:
    """A process killed within a file leaves nothing that passes for it; the next one asks for the rest only."""
    content = bytes(16 << 20)  # it is written by pieces of ten million bytes
    hub.repos["o/model"].files["model.safetensors"] = content
    hub.stall["model.safetensors"] = 12 << 20
    environment = os.environ | {
        "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    with subprocess.Popen([sys.executable, "-c", DOWNLOAD], env=environment, cwd=tmp_path) as process:
        while not hub.stalled.wait(0.05):
            assert process.poll() is None
        while not any(path.stat().st_size for path in (tmp_path / "home").rglob("*.incomplete")):
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert not list((tmp_path / "home").rglob("model.safetensors"))
    hub.stall.clear()
    hub.requests.clear()
    gathered = gather(SubjectSource("mine", "gpu", "o/model", None), [], lambda _: None)
    assert (gathered.model / "model.safetensors").read_bytes() == content
    (span,) = [span for method, span in hub.asked_for("model.safetensors") if method == "GET"]
    assert span is not None
    assert span.startswith("bytes=")
    assert not span.startswith("bytes=0-")


def test_what_was_spoiled_is_never_taken_for_whole(hub: Hub, tmp_path: Path) -> None:
    """A part that does not belong to the file is seen by its digest when the rest is there, and thrown away."""
    content = bytes(11 << 20)
    hub.repos["o/model"].files["model.safetensors"] = content
    blobs = tmp_path / "home" / "hub" / "models--o--model" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{etag('model.safetensors', content)}.incomplete").write_bytes(b"x" * 1000)
    assert "is not what the hub lists" in untested(lambda: gather(SOURCE, [], lambda _: None))
    assert not list((tmp_path / "home").rglob("model.safetensors"))
    assert (gather(SOURCE, [], lambda _: None).model / "model.safetensors").read_bytes() == content
