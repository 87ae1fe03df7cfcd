"""What a run downloads, and what it says when it may not or cannot."""

import re
import shutil
from collections import namedtuple
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import hf_hub_download

from prolepsis.errors import Untested
from prolepsis.experiments.families import experiment
from prolepsis.experiments.feature_activity import Activity
from prolepsis.experiments.vocabulary_scan import tokens_of
from prolepsis.hub import gather
from prolepsis.hub.needs import NOTHING, SCAN, Needs, needs
from prolepsis.hub.room import SPARE
from prolepsis.layouts.files import Folder
from prolepsis.names import Feature
from prolepsis.report.options import _may_fetch
from prolepsis.report.subjects import open_subject, read_presets
from prolepsis.subject import Subject, transcoder_of
from prolepsis.subjects.loading import ORGANISMS, load_subject
from prolepsis.subjects.published import PRESETS
from prolepsis.subjects.source import SubjectSource
from prolepsis.transcoder import Transcoder
from tests.claims_project import ClaimsProject, output_of
from tests.hub_server import Hub, Repo
from tests.test_layouts import LAYERS as PER_LAYER
from tests.test_layouts import WRITERS, random_layer

PLANNER = ORGANISMS / "planner"


@dataclass(frozen=True)
class Needed(Folder):
    """A folder of which nothing can be read but what is ``declared``."""

    declared: Needs

    def read(self, name: str, tensor: str, dtype: torch.dtype, index: Any = slice(None)) -> torch.Tensor:
        """Refuse what is not declared."""
        if not (self.declared.encoders if name.startswith("W_enc") else self.declared.decoders):
            raise Untested(f"{name} is read")
        return super().read(name, tensor, dtype, index)


@pytest.fixture(scope="module")
def planner() -> Subject:
    """A bundled organism; what a run in this process would import first, and then forget, is imported with it."""
    return load_subject(str(PLANNER))


def with_parts(subject: Subject, declared: Needs) -> Subject:
    """The subject, of whose transcoder nothing but what is ``declared`` is there."""
    return replace(subject, transcoder=Transcoder.open(Needed(subject.transcoder.folder, declared)), twin=None)


@pytest.mark.parametrize("name", ["dedicated_features", "rhyme_word_gap", "fact_steering", "absorption"])
def test_an_experiment_reads_no_more_than_it_says(planner: Subject, name: str) -> None:
    """An experiment of few needs can be run where nothing else of the transcoder is there."""
    assert needs([name]) in (NOTHING, SCAN)
    assert experiment(name)(with_parts(planner, needs([name]))).values


def test_a_scan_does_read_decoders(planner: Subject) -> None:
    """Where the decoders are not there, the vocabulary scan cannot be run."""
    with pytest.raises(Untested, match=r"W_dec_0\.safetensors is read"):
        experiment("dedicated_features")(with_parts(planner, NOTHING))


def may_fetch(source: SubjectSource, *, mark: str = "", named: tuple[str, ...] = ()) -> bool:
    """Whether a run with these options may download ``source``."""
    return _may_fetch(source, SimpleNamespace(markexpr=mark, claims_subject=named))


def test_only_what_was_asked_for_is_downloaded(tmp_path: Path) -> None:
    """``-m gpu`` downloads the paper's models and the user's own; others only by name, and nothing without either."""
    presets = {source.id: source for source in read_presets(PRESETS)}
    paper, other = presets["gemma-2-2b-426k"], presets["gemma-3-27b"]
    (tmp_path / "mine.toml").write_text('[[subject]]\nid = "mine"\nmodel = "o/model"\n')
    (mine,) = read_presets(tmp_path / "mine.toml")
    for source in (paper, mine):
        assert may_fetch(source, mark="gpu")
        assert not may_fetch(source)
        assert not may_fetch(source, mark="not gpu")
    assert not may_fetch(other, mark="gpu")
    assert may_fetch(other, named=("gemma-3-27b",))
    assert not may_fetch(SubjectSource("planner", "organism"), mark="gpu", named=("planner",))


@pytest.fixture
def preset(hub: Hub, project: ClaimsProject, planner: Subject) -> str:  # noqa: ARG001
    """A preset whose model and transcoder are a bundled organism's, on a hub, and claims that scan its vocabulary."""
    hub.add("o/planner", PLANNER)
    hub.add("o/clt", PLANNER / "transcoder")
    ledger = (project.path / "claims" / "ledger.toml").read_text()
    project.write("claims/ledger.toml", re.sub(r'experiment = ".*"', 'experiment = "dedicated_features"', ledger))
    conftest = (project.path / "conftest.py").read_text()
    project.write("conftest.py", conftest.replace("def load_subject(", "def unused("))
    text = '[[subject]]\nid = "mine"\nmodel = "o/planner"\ntranscoder = "o/clt"\n'
    return f"--claims-preset={project.write('mine.toml', text)}"


def test_a_run_downloads_measures_and_says_of_what_commit(hub: Hub, project: ClaimsProject, preset: str) -> None:
    """Asked for by name, a subject is downloaded, files and sizes shown first, and its verdicts carry the commits."""
    result = project.run(preset, subjects=("mine",))
    shown = output_of(result)
    assert result.ret == 0
    assert shown.index("downloading 1.69 MiB from o/planner@cccccccc (4 files):") < shown.index("  model.safetensors  ")
    # Progress bars are for terminals.
    assert "%|" not in shown + result.stderr.str()
    (subject,) = project.report()["subjects"]
    assert subject["revision"] == subject["transcoder_revision"] == "c" * 40
    assert (subject["model"], subject["transcoder"]) == ("o/planner", "o/clt")
    hub.requests.clear()
    assert project.run(preset, subjects=("mine",)).ret == 0
    assert hub.requests == []


@pytest.mark.parametrize(
    "files",
    [
        ["config.yaml"],
        ["config.yaml", "W_dec_0.safetensors"],
        ["W_enc_0.safetensors", "W_dec_0.safetensors"],
        ["config.yaml", "layer_1.safetensors"],
    ],
    ids=" ".join,
)
def test_a_transcoder_that_is_partly_here_leaves_the_rest_to_be_measured(
    hub: Hub, tmp_path: Path, files: list[str]
) -> None:
    """Whatever part another program left in the cache, the model is opened, and the reason says what to get."""
    hub.add("o/planner", PLANNER)
    folder = PLANNER / "transcoder"
    if "layer_1.safetensors" in files:
        folder = tmp_path / "layers"
        WRITERS["bundles"](folder, [random_layer(7, layer) for layer in range(PER_LAYER)])
    hub.add("o/clt", folder)
    source = SubjectSource("mine", "gpu", "o/planner", "o/clt")
    gather(source, [], lambda _: None)
    for file in files:
        hf_hub_download("o/clt", file)
    hub.requests.clear()
    subject = open_subject(source, "cpu", "float32")
    with pytest.raises(Untested, match="hf download o/clt") as caught:
        transcoder_of(subject)
    assert "\n" not in str(caught.value)
    assert hub.requests == []


def test_features_that_are_written_together_are_read_together(hub: Hub) -> None:
    """What all features of a transcoder write takes one request a layer, and the second time none."""
    hub.add("o/planner", PLANNER)
    hub.add("o/clt", PLANNER / "transcoder")
    source = SubjectSource("mine", "gpu", "o/planner", "o/clt")
    subject = open_subject(source, "cpu", "float32", gather(source, ["six_methods"], lambda _: None))
    transcoder, whole = transcoder_of(subject), Transcoder.open(PLANNER / "transcoder")
    features = [Feature(layer, i) for layer in range(transcoder.n_layers) for i in range(transcoder.n_features)]
    hub.requests.clear()
    written = Activity(subject).writes(dict.fromkeys(features, 1.0))
    # Of the last layer, whose rows are all a scan reads, the whole file is here.
    assert len(hub.requests) == transcoder.n_layers - 1
    assert torch.allclose(written[0], whole.decoder(0, 0).sum(0), rtol=0, atol=1e-4)
    tokens_of(subject, features, 1)
    assert len(hub.requests) == transcoder.n_layers - 1


def test_a_run_that_cannot_start_names_the_doctor(hub: Hub, project: ClaimsProject, preset: str) -> None:
    """When nothing could be measured the exit code is 1, and what to open and what to type is said."""
    hub.repos["o/planner"].gated = "nobody"
    result = project.run(preset, "-rs", subjects=("mine",))
    shown = output_of(result)
    assert result.ret == 1
    assert f"accept it at {hub.url}/o/planner and log in with `hf auth login`" in shown
    _, _, path = preset.partition("=")
    doctor = f"prolepsis doctor mine --preset {path}"
    assert f"although --claims-subject was asked for; `{doctor}` says what is missing" in " ".join(shown.split())


def test_a_mistake_of_the_users_ends_the_run(project: ClaimsProject, preset: str) -> None:
    """A revision that does not exist is the user's error: code 4 and one line."""
    path = Path(preset.partition("=")[2])
    path.write_text(path.read_text() + 'revision = "v2"\n')
    result = project.run(preset, subjects=("mine",))
    assert result.ret == 4
    assert output_of(result).count("subject mine: o/planner: has no revision 'v2'") == 1


def test_nothing_is_asked_of_the_hub_unless_the_user_asks(hub: Hub, project: ClaimsProject, preset: str) -> None:
    """A run that names neither the subject nor real models leaves the network alone, and says how to get the files."""
    result = project.run(preset, "-rs", "-k", "mine", subjects=())
    assert result.ret == 0
    assert "--claims-subject mine downloads what is needed" in output_of(result)
    assert hub.requests == []


def test_a_run_sums_its_downloads_before_the_first(
    hub: Hub, project: ClaimsProject, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Transcoders that do not fit beside two models are named before any transfer, and the models are measured."""
    path = Path(preset.partition("=")[2])
    hub.repos["o/other"] = Repo(hub.repos["o/planner"].files)
    path.write_text(path.read_text() + path.read_text().replace("mine", "other").replace("o/planner", "o/other"))
    models = 2 * sum(len(content) for name, content in hub.repos["o/planner"].files.items() if "/" not in name)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, 0, SPARE + models))
    result = project.run(preset, "-rs", subjects=("mine", "other"))
    shown = output_of(result)
    assert result.ret == 0
    assert shown.index("of other downloads and 1 GiB stay free") < shown.index("downloading 1.69 MiB from o/planner")
    assert "downloading 1.69 MiB from o/other" in shown
    assert "from o/clt" not in shown
    assert [subject["id"] for subject in project.report()["subjects"]] == ["mine", "other"]
    assert "untested" not in {row["verdict"] for row in project.report()["claims"]}


def test_a_worker_says_what_it_downloads_too(
    hub: Hub, project: ClaimsProject, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With workers the files and sizes are shown as well, on standard error."""
    use = {"HF_ENDPOINT": hub.url, "HF_HOME": str(project.path / "home"), "HF_HUB_DISABLE_XET": "1"}
    for name, value in use.items():
        monkeypatch.setenv(name, value)
    result = project.run_apart("claims", "-n1", preset, "--claims-subject=mine")
    assert result.ret == 0
    assert "downloading 1.69 MiB from o/planner@cccccccc (4 files):" in result.stderr.str()
