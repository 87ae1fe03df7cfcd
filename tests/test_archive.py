"""Recorded outputs: found by their contents, measured without a model, never enough to support a claim."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from prolepsis import archive, ledger
from prolepsis.archive.files import Recording, recordings
from prolepsis.errors import Untested, UserError
from prolepsis.judge import judge_family
from prolepsis.measurement import Measurement
from tests.claims_project import ROW, ClaimsProject

REPOSITORY = "someone/clt-tiny-1b-5K"
SPIKE = [1e-9, 2e-9, 1e-9, 0.4]
FLAT = [1e-9, 3e-9, 1e-9, 2e-9]


def pair(probabilities: list[float], word: str, prompt: str = "a prompt") -> dict[str, Any]:
    """A recorded pair, its positions in no order."""
    positions = [{"position": i, "token": "t", "p_inject": p} for i, p in enumerate(probabilities)]
    feature = {"layer": 2, "index": len(word)}
    return {
        "prompt_text": prompt, "natural_group": "-at", "alt_group": f"-{word}", "inject_word": word,
        "inject_feature": feature, "positions": positions[::-1],
    }  # fmt: skip


def write(folder: Path, name: str, contents: object) -> Path:
    """A file of an archive."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(contents))
    return path


def pair_sweep(*pairs: dict[str, Any]) -> dict[str, Any]:
    """A recorded pair sweep."""
    return {"model": "tiny", "clt_repo": REPOSITORY, "n_pairs": len(pairs), "inject_strength": 10.0, "results": pairs}


def position_sweep(probabilities: list[float]) -> dict[str, Any]:
    """A recorded position sweep."""
    entries = [{"position": i, "prob": p} for i, p in enumerate(probabilities)]
    return {"model": "tiny", "clt_repo": REPOSITORY, "inject_feature": {}, "sweep": entries}


def recording(folder: Path) -> Recording:
    """A recording of a pair that localises, one that does not, and a position sweep."""
    write(folder, "deep/down/a.json", pair_sweep(pair(SPIKE, "out"), pair(FLAT, "about", "another")))
    write(folder, "b.json", position_sweep(SPIKE))
    write(folder, "other.json", {"clt_repo": REPOSITORY})
    (folder / "broken.json").write_text("{")
    (found,) = recordings(folder)
    return found


def value(found: Measurement) -> float:
    """The single value of a measurement."""
    (only,) = found.values.values()
    return only


def read(experiment: str, found: Recording) -> Measurement:
    """What a recording says to a claim of this experiment."""
    path = found.files["pair sweep"].parent / "ledger.toml"
    path.write_text(ROW.format(id="B99", variant="published").replace('"B99 published"', f'"{experiment}"'))
    (measured,) = archive.measure(ledger.load(path), found).values()
    ledger.load.cache_clear()
    if isinstance(measured, Untested):
        raise measured
    return measured


def test_recordings_are_found_by_their_contents(tmp_path: Path) -> None:
    """What lies anywhere in the folder counts if its keys are those of a recording; all else is passed over."""
    found = recording(tmp_path)
    assert (found.id, found.model, found.transcoder) == ("recorded-tiny-1b-5k", "tiny", REPOSITORY)
    assert {kind: path.name for kind, path in found.files.items()} == {
        "pair sweep": "a.json",
        "position sweep": "b.json",
    }


def test_pairs_are_measured_as_a_sweep_is(tmp_path: Path) -> None:
    """A pair localises when its last position is the only maximum, and counts when some position stands out."""
    found = read("localisation_rate", recording(tmp_path))
    assert list(found.values.values()) == [1.0, 0.0]
    assert found.detectable == ("1: -at -> out",)
    assert found.clusters["1: -at -> out"] == ("a prompt", "L2:3")
    gains = read("redirect_gain", recording(tmp_path)).values
    assert gains["1: -at -> out"] == pytest.approx(math.log(0.4 / 0.6) - math.log(1e-9), abs=0.5)


def test_single_figures(tmp_path: Path) -> None:
    """Every figure of the recorded pairs, and of the recorded position sweep, is read off them."""
    found = recording(tmp_path)
    assert value(read("published_best_redirect", found)) == 0.4
    assert value(read("published_weakest_redirect", found)) == 3e-9
    assert value(read("published_median_redirect", found)) == pytest.approx(0.2)
    assert value(read("recorded_strength", found)) == 10.0
    assert value(read("published_strong_pairs", found)) == 1
    assert value(read("published_strong_groups", found)) == 1
    assert value(read("published_words_astray", found)) == 1
    assert value(read("published_floor", found)) == pytest.approx(1.5e-9)
    assert value(read("published_best_ratio", found)) == pytest.approx(0.4 / 1.5e-9)
    assert value(read("published_noise_pairs", found)) == 1.0
    assert value(read("published_spike", found)) == 0.4
    assert value(read("published_baseline", found)) == 1e-9


def test_the_layer_gradient_is_a_rank_correlation(tmp_path: Path) -> None:
    """Of two pairs, the earlier feature's with the larger ratio ranks them alike; one layer alone tells nothing."""
    late = pair(FLAT, "about")
    write(tmp_path, "a.json", pair_sweep(pair(SPIKE, "out"), {**late, "inject_feature": {"layer": 3, "index": 5}}))
    assert value(read("published_layer_gradient", recordings(tmp_path)[0])) == pytest.approx(1)
    write(tmp_path, "a.json", pair_sweep(pair(SPIKE, "out"), late))
    with pytest.raises(Untested, match="all injected features lie in one layer"):
        read("published_layer_gradient", recordings(tmp_path)[0])


def test_what_was_not_recorded_is_untested(tmp_path: Path) -> None:
    """A claim that needs another recording, or that no recording tells, is untested and says which."""
    write(tmp_path, "b.json", position_sweep(SPIKE))
    (found,) = recordings(tmp_path)
    claims = [
        c for c in ledger.rows(family="recorded") if c.experiment in ("recorded_strength", "published_first_head")
    ]
    told = {str(missing) for missing in archive.measure(claims, found).values()}
    assert told == {
        "no pair sweep was recorded for recorded-tiny-1b-5k",
        "nothing recorded tells published first head",
    }


def test_a_recording_never_supports_a_claim(tmp_path: Path) -> None:
    """Without its null arms even a perfect recording leaves a claim open."""
    pairs = [pair(SPIKE, "x" * (1 + i % 9), f"prompt {i}") for i in range(40)]
    write(tmp_path, "a.json", pair_sweep(*pairs))
    (found,) = recordings(tmp_path)
    claims = ledger.rows(family="q2", tier="archive")
    verdicts = judge_family(claims, archive.measure(claims, found))
    assert {verdict.verdict for verdict in verdicts.values()} == {"inconclusive"}
    assert "not measured" in verdicts["B06", "published"].reason


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no recorded output; known are pair sweeps and position sweeps"),
        ({"a.json": pair_sweep(), "b.json": pair_sweep()}, "a pair sweep of someone/clt-tiny-1b-5K is also in"),
    ],
)
def test_an_archive_that_cannot_be_read_is_refused(tmp_path: Path, files: dict[str, object], message: str) -> None:
    """A folder without recordings, or with two of a kind, is named with what to do."""
    for name, contents in files.items():
        write(tmp_path, name, contents)
    with pytest.raises(UserError, match=message):
        recordings(tmp_path)


def test_a_recording_that_lacks_something_is_named(tmp_path: Path) -> None:
    """A recorded pair without its positions is a user error that names the file."""
    entry = pair(SPIKE, "out")
    del entry["positions"]
    write(tmp_path, "a.json", pair_sweep(entry))
    (found,) = recordings(tmp_path)
    with pytest.raises(UserError, match=r"a.json: not a whole pair sweep \(KeyError: 'positions'\)"):
        read("published_best_redirect", found)


def test_claims_archive(project: ClaimsProject) -> None:
    """--claims-archive judges recordings and nothing else, and a folder that holds none ends the run with code 4."""
    write(project.path, "clone/a.json", pair_sweep(pair(SPIKE, "out")))
    row = ROW.format(id="B29", variant="published").replace('"B29 published"', '"published_median_redirect"')
    row = row.replace('"organism", "gpu"', '"archive"').replace('"prompts like these"', '"this prompt"')
    row = row.replace('"nats"', '"probability"\ndelta = 0.1')
    ledger_path = project.path / "claims" / "ledger.toml"
    ledger_path.write_text(ledger_path.read_text() + row)
    project.run("--claims-archive=clone", "--claims-update-expected", subjects=()).assert_outcomes(xfailed=1, skipped=1)
    assert project.verdicts() == {"B29 published recorded-tiny-1b-5k": "contradicted"}
    assert project.log() == []
    assert project.run("--claims-archive=claims", subjects=()).ret == 4
