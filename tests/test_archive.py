"""Recorded outputs: found by their contents, measured without a model, never enough to support a claim."""

import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from statistics import fmean

import pytest

from prolepsis import archive, ledger
from prolepsis.archive.files import Archive, Recording, open_archive
from prolepsis.archive.kinds import KINDS
from prolepsis.errors import Untested, UserError
from prolepsis.judge import Verdict, judge, judge_family
from prolepsis.ledger import Claim
from prolepsis.measurement import Measurement
from tests.claims_project import ROOT, ROW, ClaimsProject, output_of
from tests.recorded_files import (
    FLAT,
    SPIKE,
    convergence,
    pair,
    pair_sweep,
    position_sweep,
    scan,
    texts,
    whole_archive,
    write,
)

OF_PAPER = ["recorded-gemma-2-2b-2.5m", "recorded-gemma-2-2b-426k", "recorded-llama-3.2-1b-524k"]
WITHOUT_TORCH = """
import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from prolepsis import archive, ledger
from prolepsis.archive.files import open_archive
for recording in open_archive(Path(sys.argv[1])).recordings:
    archive.measure(ledger.rows(tier="archive"), recording)
assert not {"torch", "transformers"} & set(sys.modules)
"""


def by_id(found: Archive) -> dict[str, Recording]:
    """The recordings of an archive by their ids."""
    return {recording.id: recording for recording in found.recordings}


def judged(recording: Recording) -> dict[tuple[str, str], tuple[Claim, Verdict]]:
    """Every archive row that is asked of a recording, with its verdict."""
    claims = [claim for claim in ledger.rows(tier="archive") if archive.asks(claim, recording)]
    found = archive.measure(claims, recording)
    families = {claim.family for claim in claims}
    verdicts = [judge_family([claim for claim in claims if claim.family == family], found) for family in families]
    return {claim.key: (claim, of[claim.key]) for claim in claims for of in verdicts if claim.key in of}


def test_recordings_are_found_by_their_contents(tmp_path: Path) -> None:
    """What lies anywhere in the folder counts if its keys are those of a recording; all else is skipped and named."""
    write(tmp_path, "deep/down/a.json", pair_sweep(pair(SPIKE, "out"), pair(FLAT, "about")))
    write(tmp_path, "b.json", position_sweep(SPIKE))
    write(tmp_path, "other.json", {"clt_repo": "someone/clt-tiny-1b-5K"})
    write(tmp_path, "list.json", [1, 2])
    (tmp_path / "broken.json").write_text("{")
    found = open_archive(tmp_path)
    tiny = by_id(found)["recorded-tiny-1b-5k"]
    assert (tiny.preset, tiny.model, tiny.transcoder) == ("tiny-1b-5k", "tiny", "someone/clt-tiny-1b-5K")
    assert {kind: path.name for kind, path in tiny.files.items()} == {
        "pair sweep": "a.json",
        "position sweep": "b.json",
    }
    broken, unknown = found.skipped
    assert broken.startswith("broken.json: cannot be read as JSON")
    assert unknown == "of no known kind and skipped: list.json, other.json"


def test_a_recording_of_a_model_lies_with_its_transcoder(tmp_path: Path) -> None:
    """Convergence, scans and texts name no transcoder; they are found under the preset whose figures they are."""
    write(tmp_path, "convergence.json", convergence([[1.0]]))
    write(tmp_path, "scan.json", scan({"AW1 T": [("out", "AW1 T"), ("about", "AH0 B AW1 T")]}, 3))
    write(tmp_path, "texts.json", texts())
    found = by_id(open_archive(tmp_path))
    assert sorted(found) == OF_PAPER
    assert set(found["recorded-llama-3.2-1b-524k"].files) == {"convergence run"}
    assert set(found["recorded-gemma-2-2b-426k"].files) == {"rhyme-group scan", "generated-text list"}


def test_a_second_file_of_a_kind_is_a_recording_of_its_own(tmp_path: Path) -> None:
    """All files of a kind are kept, the longer named asked what their kind can tell; the same twice is skipped."""
    write(tmp_path, "a.json", pair_sweep(pair(SPIKE, "out")))
    write(tmp_path, "again/tiny-1b-5k-second run.json", pair_sweep(pair(FLAT, "out")))
    write(tmp_path, "again/tiny-1b-5k_second_run.json", pair_sweep(pair(FLAT, "about")))
    write(tmp_path, "b.json", pair_sweep(pair(SPIKE, "out")))
    found = open_archive(tmp_path)
    assert found.skipped == ("b.json: the same file as a.json; skipped",)
    assert set(by_id(found)) - set(OF_PAPER) == {
        "recorded-tiny-1b-5k",
        "recorded-tiny-1b-5k-second-run",
        "recorded-tiny-1b-5k-second-run-2",
    }
    second = by_id(found)["recorded-tiny-1b-5k-second-run"]
    asked = {claim.experiment for claim in ledger.rows(tier="archive") if archive.asks(claim, second)}
    assert asked
    assert {archive.MODULES[experiment] for experiment in asked} == {"pair_sweep"}


def test_the_shortest_name_is_the_run_and_longer_ones_its_variants(tmp_path: Path) -> None:
    """A run comes before a variant whose name goes on, although "-" sorts before "."."""
    write(tmp_path, "tiny-1b-5k-alone.json", pair_sweep(pair(SPIKE, "out")))
    write(tmp_path, "tiny-1b-5k.json", pair_sweep(pair(FLAT, "out")))
    found = by_id(open_archive(tmp_path))
    assert found["recorded-tiny-1b-5k"].files["pair sweep"].name == "tiny-1b-5k.json"
    assert found["recorded-tiny-1b-5k-alone"].files["pair sweep"].name == "tiny-1b-5k-alone.json"


@pytest.mark.parametrize("lacking", ["positions", "inject_word", "inject_feature"])
def test_a_broken_file_is_skipped_and_named(tmp_path: Path, lacking: str) -> None:
    """A recorded pair that lacks something leaves its claims untested, for a reason that names the file."""
    entry = pair(SPIKE, "out")
    del entry[lacking]
    write(tmp_path, "down/a.json", pair_sweep(entry))
    found = open_archive(tmp_path)
    said = f"down/a.json: not a whole pair sweep (KeyError: '{lacking}'); get it again"
    assert found.skipped == (f"{said}; skipped",)
    claims, tiny = ledger.rows("q2", tier="archive"), by_id(found)["recorded-tiny-1b-5k"]
    assert {str(missing) for missing in archive.measure(claims, tiny).values()} == {said}


@pytest.mark.parametrize("value", [0.0, 1.0, float("nan"), "0.5", True, None])
def test_what_is_no_probability_breaks_a_file(tmp_path: Path, value: object) -> None:
    """A probability without log-odds, or that is no number, never reaches a measurement."""
    write(tmp_path, "a.json", position_sweep(SPIKE) | {"sweep": [{"position": i, "prob": value} for i in range(3)]})
    write(tmp_path, "b.json", pair_sweep(pair(SPIKE, "out")))
    found = open_archive(tmp_path)
    assert len(found.skipped) == 1
    assert "a.json: not a whole position sweep (ValueError: " in found.skipped[0]
    assert set(by_id(found)["recorded-tiny-1b-5k"].files) == {"pair sweep"}


def test_a_whole_file_is_used_beside_a_broken_one(tmp_path: Path) -> None:
    """A broken file of a kind does not stand in the way of a whole one, whichever is found first."""
    write(tmp_path, "a.json", pair_sweep() | {"n_pairs": 3})
    write(tmp_path, "b.json", pair_sweep(pair(SPIKE, "out")))
    found = open_archive(tmp_path)
    assert "3 pairs are announced, 0 are there" in found.skipped[0]
    assert by_id(found)["recorded-tiny-1b-5k"].files["pair sweep"].name == "b.json"


@pytest.mark.parametrize("contents", [None, {}, [], [{"prompt": "no text"}], {"clt_repo": "x"}])
def test_an_archive_without_recordings_is_refused(tmp_path: Path, contents: object) -> None:
    """A folder that is none, or holds no file of a known kind, is named with what is known."""
    if contents is not None:
        write(tmp_path, "a.json", contents)
    with pytest.raises(UserError, match="holds no recorded output; known are pair sweep, position sweep, head routing"):
        open_archive(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        open_archive(tmp_path / "nowhere")


def test_every_row_is_measured_or_says_what_would_tell_it(tmp_path: Path) -> None:
    """A whole archive measures every row but those that nothing recorded tells, and those say what would."""
    whole_archive(tmp_path)
    measured: set[tuple[str, str]] = set()
    reasons: dict[tuple[str, str], str] = {}
    for recording in open_archive(tmp_path).recordings:
        for key, (_, verdict) in judged(recording).items():
            if verdict.verdict == "untested":
                reasons[key] = verdict.reason
            else:
                measured.add(key)
    rows = ledger.rows(tier="archive")
    unread = {claim.key for claim in rows if claim.experiment in archive.UNREAD}
    unread |= {claim.key for claim in rows if claim.experiment == "injection_total"}
    assert {claim.key for claim in rows} - measured == unread
    assert all("would t" in reasons[key] for key in unread)


def met(claim: Claim, found: Measurement) -> Claim:
    """The claim as it would have to be for what was recorded to meet it by far."""
    value = fmean(found.values.values()) if found.values else 0.0
    if claim.kind == "equality":
        return replace(claim, theta0=value, within=10 + abs(value), delta=1e-9)
    return replace(claim, theta0=value + (10 if claim.kind == "absence" else -10), delta=1e-9)


def test_no_recording_supports_a_claim(tmp_path: Path) -> None:
    """Without its null arms a recording leaves every row open, or worse, even if it meets what the row claims."""
    whole_archive(tmp_path)
    for recording in open_archive(tmp_path).recordings:
        for claim, verdict in judged(recording).values():
            assert verdict.verdict != "supported", f"{claim.id} on {recording.id}: {verdict}"
        for key, found in archive.measure(ledger.rows(tier="archive"), recording).items():
            if isinstance(found, Measurement):
                (claim,) = (claim for claim in ledger.rows(tier="archive") if claim.key == key)
                verdict = judge(met(claim, found), found)
                assert verdict.verdict in ("inconclusive", "vacuous", "contradicted"), f"{claim.id}: {verdict}"
                assert verdict.verdict == "inconclusive" or found.reach is not None, f"{claim.id}: {verdict}"


def test_an_empty_recording_leaves_everything_untested(tmp_path: Path) -> None:
    """The paper's transcoders are asked even when nothing was recorded of them, each row with a reason of its own."""
    write(tmp_path, "b.json", position_sweep(SPIKE))
    empty = by_id(open_archive(tmp_path))["recorded-llama-3.2-1b-524k"]
    reasons = {claim.id: verdict for claim, verdict in judged(empty).values()}
    assert {verdict.verdict for verdict in reasons.values()} == {"untested"}
    assert reasons["B34"].reason == "no pair sweep was recorded for recorded-llama-3.2-1b-524k"
    assert "B01" not in reasons, "a figure of another transcoder"


def test_archives_are_read_without_torch(tmp_path: Path) -> None:
    """Opening and measuring a whole archive imports neither torch nor transformers."""
    whole_archive(tmp_path)
    command = [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def archive_row(project: ClaimsProject) -> None:
    """Add a row of the archive tier to a project's ledger."""
    row = ROW.format(id="B29", variant="published").replace('"B29 published"', '"published_median_redirect"')
    row = row.replace('"organism", "gpu"', '"archive"').replace('"prompts like these"', '"this prompt"')
    row = row.replace('"nats"', '"probability"\ndelta = 0.1\nmodel = "tiny-1b-5k"')
    ledger_path = project.path / "claims" / "ledger.toml"
    ledger_path.write_text(ledger_path.read_text() + row)


def test_claims_archive(project: ClaimsProject) -> None:
    """--claims-archive judges recordings and nothing else, and a folder that holds none ends the run with code 4."""
    archive_row(project)
    write(project.path, "clone/a.json", pair_sweep(pair(SPIKE, "out")))
    write(project.path, "clone/package.json", {"name": "clone"})
    result = project.run("--claims-archive=clone", "--claims-update-expected", subjects=())
    result.assert_outcomes(xfailed=1, skipped=1)
    assert "--claims-archive: of no known kind and skipped: package.json" in output_of(result)
    assert project.verdicts() == {"B29 published recorded-tiny-1b-5k": "contradicted"}
    assert project.log() == []
    assert project.run("--claims-archive=claims", subjects=()).ret == 4


def test_claims_archive_that_is_broken(project: ClaimsProject) -> None:
    """A broken recording is named in the summary and in its row's reason; nothing was measured, so the code is 1."""
    archive_row(project)
    write(project.path, "clone/a.json", pair_sweep(pair(SPIKE, "out")) | {"n_pairs": 2})
    result = project.run("--claims-archive=clone", subjects=())
    assert result.ret == 1
    (row,) = project.report()["claims"]
    named = "a.json: not a whole pair sweep (ValueError: 2 pairs are announced, 1 are there); get it again"
    assert (row["verdict"], row["reason"]) == ("untested", named)
    assert f"--claims-archive: {named}; skipped" in output_of(result)


def test_a_recording_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    """Reading a kind that was not recorded is Untested, and names kind and recording."""
    write(tmp_path, "b.json", position_sweep(SPIKE))
    with pytest.raises(Untested, match="no pair sweep was recorded for recorded-tiny-1b-5k"):
        by_id(open_archive(tmp_path))["recorded-tiny-1b-5k"].read("pair sweep", lambda contents: contents)


def test_every_kind_is_read_by_its_module() -> None:
    """Each kind's module bears its name, and every module that measures belongs to a kind."""
    named = {kind.module: import_module(f"prolepsis.archive.{kind.module}").KIND for kind in KINDS}
    assert named == {kind.module: kind.name for kind in KINDS}
    assert named.keys() == archive.READERS.keys()
