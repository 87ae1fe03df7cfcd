from pathlib import Path

import pytest

# A run inside this process forgets the modules it was the first to import, and torch cannot be imported again.
from prolepsis import ledger
from prolepsis.errors import Untested, UserError
from prolepsis.report import devices
from prolepsis.report.state import RUN
from prolepsis.report.subjects import open_subject, read_presets
from prolepsis.subjects.published import PRESETS
from tests.claims_project import ClaimsProject, output_of, pin

WORKERS = pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "n2"])
PRESET = '[[subject]]\nid = "mine"\nmodel = "folder"\ntranscoder = "clt"\ntask = "task.json"\n'


def subjects_of(project: ClaimsProject) -> list[str]:
    """Ids in the latest report, sorted."""
    return sorted({row["subject"] for row in project.report()["claims"]})


@WORKERS
def test_claims_subject(project: ClaimsProject, workers: tuple[str, ...]) -> None:
    """--claims-subject keeps only the subjects it names, by id or by folder, however often it is given."""
    project.write("organisms/my planner/subject.json", "{}")
    project.run(*workers, subjects=("planner", "organisms/my planner", "window-1")).assert_outcomes(passed=9)
    assert subjects_of(project) == ["my planner", "planner", "window-1"]
    assert {row["tier"] for row in project.report()["claims"]} == {"organism"}


@WORKERS
def test_an_unknown_subject_is_refused(project: ClaimsProject, workers: tuple[str, ...]) -> None:
    """A subject that is no id and no folder ends the run with code 4 and one line that lists the ids."""
    result = project.run(*workers, subjects=("plannner",))
    assert result.ret == 4
    (line,) = [line for line in result.errlines if line]
    assert line.startswith("ERROR: no subject 'plannner': not a folder, and not among ")
    assert "gpt-oss-20b, improviser, " in line
    assert "planner, planner-untrained, " in line
    assert line.endswith("; near it: planner")


def test_an_empty_subject_is_no_folder(project: ClaimsProject) -> None:
    """An empty name, as an unset variable gives, is refused; it is not the folder one stands in."""
    result = project.run(subjects=("",))
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: no subject '': not a folder*"])


def test_a_folder_cannot_take_a_bundled_id(project: ClaimsProject) -> None:
    """A folder named like another subject is refused, because pins and reports go by id."""
    project.write("mine/planner/subject.json", "{}")
    result = project.run(subjects=("mine/planner",))
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: mine/planner: the subject id 'planner' is taken*"])


def unasked_presets() -> list[str]:
    """The presets a run meets without naming them."""
    return [source.id for source in read_presets(PRESETS) if not source.on_request]


def test_a_preset_on_request_is_met_where_it_is_named(project: ClaimsProject) -> None:
    """A preset on request takes part when --claims-subject names it, and in no other run."""
    (asked, *_) = [source.id for source in read_presets(PRESETS) if source.on_request]
    project.run(subjects=(asked,)).assert_outcomes(skipped=3)
    assert subjects_of(project) == [asked]
    assert asked not in unasked_presets()


def test_without_options_every_bundled_subject_is_met(project: ClaimsProject) -> None:
    """A plain run meets each bundled subject, and each preset that is not there on request."""
    project.pytester.runpytest_inprocess("claims", "-m", "not gpu")
    assert len(subjects_of(project)) == 26
    project.pytester.runpytest_inprocess("claims")
    assert len(subjects_of(project)) == 26 + len(unasked_presets())


@WORKERS
def test_claims_model_and_transcoder(project: ClaimsProject, workers: tuple[str, ...]) -> None:
    """--claims-model keeps the model in a folder alone, as a subject of real weights with the transcoder beside it."""
    project.write("weights/my-model/config.json", "{}")
    project.write("weights/clt/config.yaml", "")
    options = ("--claims-model=weights/my-model", "--claims-transcoder=weights/clt")
    project.run(*options, *workers, subjects=()).assert_outcomes(passed=3)
    (subject,) = project.report()["subjects"]
    assert subject["id"] == "my-model"
    assert subject["model"] == str(project.path / "weights/my-model")
    assert subject["transcoder"] == str(project.path / "weights/clt")
    assert {row["tier"] for row in project.report()["claims"]} == {"gpu"}
    project.run(*options, *workers, subjects=("planner",)).assert_outcomes(passed=6)
    assert subjects_of(project) == ["my-model", "planner"]


def test_a_model_is_called_by_its_own_folder(project: ClaimsProject) -> None:
    """Behind a link that --claims-model names, the subject bears the name of the folder itself, and is the only one."""
    project.write("weights/my-model/config.json", "{}")
    (project.path / "latest").symlink_to("weights/my-model")
    project.run("--claims-model=latest", subjects=()).assert_outcomes(passed=3)
    assert subjects_of(project) == ["my-model"]


def test_a_preset_file_keeps_nothing_away(project: ClaimsProject) -> None:
    """--claims-preset alone adds its subjects to all others."""
    project.write("mine.toml", PRESET)
    project.run("--claims-preset=mine.toml", "-m", "gpu", subjects=())
    assert subjects_of(project) == sorted(["mine", *unasked_presets()])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--claims-model=nowhere",), "nowhere: no such folder"),
        (("--claims-transcoder=clt",), "--claims-transcoder needs the model"),
        (
            ("--claims-preset=nowhere.toml",),
            "nowhere.toml: no preset file can be read there (No such file",
        ),
        (("--claims-expected=nowhere.toml",), "nowhere.toml: no such file"),
    ],
)
def test_what_is_not_there_is_refused(project: ClaimsProject, options: tuple[str, ...], message: str) -> None:
    """An option that names something missing ends the run with code 4 and one line."""
    result = project.run(*options)
    assert result.ret == 4
    (line,) = [line for line in result.errlines if line]
    assert message in line


@WORKERS
def test_claims_preset(project: ClaimsProject, workers: tuple[str, ...]) -> None:
    """--claims-preset adds the subjects of a TOML file, whose paths start at that file."""
    project.write("presets/mine.toml", PRESET)
    project.run("--claims-preset=presets/mine.toml", *workers, subjects=("mine",)).assert_outcomes(passed=3)
    assert subjects_of(project) == ["mine"]
    (subject,) = project.report()["subjects"]
    assert (subject["model"], subject["transcoder"]) == ("folder", "clt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[subject]]\nid = 'a'\n", "subject 1: model is missing"),
        (PRESET + "[[subject]]\nid = 3\nmodel = 'm'\n", "subject 2: id must be of type str, not 3"),
        (PRESET + "weights = 'w'\n", "subject 1: unknown key 'weights'; known: id, model"),
        (PRESET + "revision = 'v1'\n", "subject 1: revision names a commit of a repository, and model is a folder"),
        (
            PRESET + "transcoder_revision = 'v1'\n",
            "subject 1: transcoder_revision names a commit of a repository, and ",
        ),
        ("[[subject]\n", "not valid TOML"),
        ("", "holds no [[subject]] table"),
        ('subject = "x"', "subject is no list of tables; begin each with [[subject]]"),
        ('[subject]\nid = "x"', "subject is no list of tables; begin each with [[subject]]"),
        (PRESET.replace("mine", "planner"), "two subjects are called 'planner'"),
    ],
)
def test_a_broken_preset_is_named(project: ClaimsProject, text: str, message: str) -> None:
    """A defect in a preset file ends the run with code 4 and one line that names the file or the id, and the field."""
    project.write("mine.toml", text)
    for name in ("folder", "clt"):
        (project.path / name).mkdir()
    result = project.run("--claims-preset=mine.toml")
    assert result.ret == 4
    (line,) = [line for line in result.errlines if line]
    assert message in line


@WORKERS
def test_claims_report(project: ClaimsProject, workers: tuple[str, ...]) -> None:
    """--claims-report puts the numbered runs into another folder, which is made where needed."""
    for _ in range(2):
        project.run("--claims-report=a/b", *workers)
    names = sorted(path.name.split("-")[0] for path in (project.path / "a/b").glob("[!.]*"))
    assert names == ["0001", "0002", "latest"]
    assert project.report("a/b")["run"]["id"].startswith("0002-")
    assert not (project.path / "reports").exists()


@WORKERS
def test_a_report_folder_that_cannot_be_written_stops_the_run(project: ClaimsProject, workers: tuple[str, ...]) -> None:
    """Before anything is measured, an unwritable report folder ends the run with code 4 and one line."""
    project.write("taken", "a file")
    result = project.run("--claims-report=taken", *workers)
    assert result.ret == 4
    (line,) = [line for line in result.errlines if line]
    assert "taken: no report can be written there" in line
    assert project.log() == []


@WORKERS
def test_claims_expected(project: ClaimsProject, workers: tuple[str, ...]) -> None:
    """--claims-expected takes the pins from another file, and those of claims/ no longer count."""
    project.want({"planner": "vacuous"})
    project.pin(planner="supported")
    project.write("other.toml", pin("planner", "vacuous"))
    result = project.run("--claims-expected=other.toml", *workers, subjects=("planner",))
    result.assert_outcomes(xfailed=3)
    assert result.ret == 0
    assert {(row["expected"], row["changed"]) for row in project.report()["claims"]} == {("vacuous", False)}


@WORKERS
def test_claims_update_expected(project: ClaimsProject, workers: tuple[str, ...]) -> None:
    """--claims-update-expected pins what was measured well enough, and the next run is as pinned."""
    project.want({"improviser": "vacuous", "X01 planner": "narrowly", "window-1": "untested"})
    path = project.pin(planner="supported", latch="vacuous")
    before = path.read_text()
    subjects = ("planner", "improviser", "window-1")
    result = project.run("--claims-update-expected", *workers, subjects=subjects)
    result.assert_outcomes(passed=2, xfailed=3, failed=4)
    assert result.ret == 1
    assert "not pinned, margin below 2: X01 asked planner organism" in output_of(result)
    after = path.read_text()
    assert pin("latch", "vacuous") in after
    assert after.count('subject = "improviser"') == 3
    assert after.count('subject = "planner"') == 2
    assert "window-1" not in after
    assert before != after
    again = project.run(*workers, subjects=("improviser",))
    again.assert_outcomes(xfailed=3)
    assert again.ret == 0


@WORKERS
def test_the_environment_says_device_and_dtype(project: ClaimsProject, workers: tuple[str, ...]) -> None:
    """--claims-device and --claims-dtype are recorded with the numbers they made."""
    project.run("--claims-device=cpu:0", "--claims-dtype=bfloat16", *workers)
    environment = project.report()["environment"]
    assert (environment["device"], environment["dtype"]) == ("cpu:0", "bfloat16")
    assert project.run("--claims-dtype=int8").ret == 4


@pytest.mark.parametrize(
    ("device", "dtype", "message"),
    [
        ("abacus", "float32", "--claims-device abacus cannot be used: "),
        ("cpu", "float64", "its hand-set weights hold in float32 only"),
    ],
)
def test_device_and_dtype_reach_the_loader(project: ClaimsProject, device: str, dtype: str, message: str) -> None:
    """A device or dtype in which a bundled subject cannot be loaded ends the run with code 4 and one line."""
    conftest = (project.path / "conftest.py").read_text()
    project.write(
        "conftest.py", conftest.replace("def load_subject(wanted, pytestconfig)", "def unused(wanted, pytestconfig)")
    )
    result = project.run(f"--claims-device={device}", f"--claims-dtype={dtype}", subjects=("planted-llama-direct",))
    assert result.ret == 4
    assert output_of(result).count(message) == 1
    assert "Traceback" not in output_of(result)


@pytest.mark.parametrize("options", [("-m", "gpu"), ("--claims-subject=gemma-2-2b-426k",)])
def test_nothing_measured_is_a_failure_where_it_was_asked(project: ClaimsProject, options: tuple[str, ...]) -> None:
    """Asked for real weights that are not there, a run skips, says what to get, and still ends with code 1."""
    result = project.pytester.runpytest_inprocess("claims", "-rs", *options)
    assert result.ret == 1
    assert result.parseoutcomes().keys() <= {"skipped", "deselected"}
    assert f"nothing was measured although {' '.join(options).split('=')[0]} was asked for" in output_of(result)
    assert "google/gemma-2-2b is missing, get it" in output_of(result)


@pytest.mark.parametrize(
    ("options", "doctor"),
    [
        (("-m", "gpu"), "prolepsis doctor"),
        (("--claims-subject=gemma-2-2b-426k",), "prolepsis doctor gemma-2-2b-426k"),
        (("--claims-model=own/my-model",), "prolepsis doctor {here}/own/my-model"),
        (
            ("--claims-model=own/my-model", "--claims-transcoder=own/clt", "--claims-device=cpu:0"),
            "prolepsis doctor {here}/own/my-model --transcoder {here}/own/clt --device cpu:0",
        ),
        (("--claims-preset=mine.toml", "--claims-subject=mine"), "prolepsis doctor mine --preset {here}/mine.toml"),
        (
            ("--claims-subject=gemma-2-2b-426k", "--claims-subject=llama-3.2-1b-524k", "--claims-subject=planner"),
            "prolepsis doctor gemma-2-2b-426k llama-3.2-1b-524k",
        ),
    ],
)
def test_the_doctor_is_told_what_was_asked_for(project: ClaimsProject, options: tuple[str, ...], doctor: str) -> None:
    """Where a real model was not measured, the command that says what is missing names it as this run found it."""
    for folder in ("own/my-model", "own/clt"):
        (project.path / folder).mkdir(parents=True)
    project.write("mine.toml", '[[subject]]\nid = "mine"\nmodel = "own/my-model"\n')
    project.want(dict.fromkeys(("my-model", "mine", "planner"), "untested"))
    result = project.pytester.runpytest_inprocess("claims", *options)
    assert result.ret == 1
    assert f"; `{doctor.format(here=project.path)}` says what is missing" in output_of(result)


def test_a_doctor_does_not_cure_what_raised(project: ClaimsProject) -> None:
    """Where a real model was there and measuring it raised, nothing is said to be missing."""
    (project.path / "my-model").mkdir()
    project.want({"my-model": "error"})
    result = project.pytester.runpytest_inprocess("claims", "--claims-model=my-model")
    assert "nothing was measured although --claims-model was asked for" in output_of(result)
    assert "prolepsis doctor" not in output_of(result)


def test_nothing_selected_is_a_failure_where_it_was_asked(project: ClaimsProject) -> None:
    """A subject that the rest of the selection leaves nothing of ends the run with code 1."""
    assert project.run("-m", "gpu").ret == 1
    assert not (project.path / "reports" / "latest").exists()


def test_a_claim_can_be_selected_by_its_mark(project: ClaimsProject) -> None:
    """``-m "claim(id=…)"`` selects the tests of one claim, in both variants."""
    project.run("-m", "claim(id='X02')").assert_outcomes(passed=4, deselected=2)


def test_what_is_missing_says_what_to_get(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A preset whose files are not in the cache is untested; the reason names each part, its size, and the licence."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    source = next(source for source in read_presets(PRESETS) if source.id == "gemma-2-2b-426k")
    with pytest.raises(Untested) as caught:
        open_subject(source, "cpu", "float32")
    message = str(caught.value)
    assert "google/gemma-2-2b; get it with `hf download google/gemma-2-2b`" in message
    assert "mntss/clt-gemma-2-2b-426k (26.5 GiB); get it with `hf download mntss/clt-gemma-2-2b-426k`" in message
    assert "https://huggingface.co/google/gemma-2-2b" in message
    assert "--claims-subject gemma-2-2b-426k downloads" in message
    snapshot = tmp_path / "models--google--gemma-2-2b" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    with pytest.raises(Untested, match=r"machine: google/gemma-2-2b@abc: model.safetensors, tokenizer.json; get it"):
        open_subject(source, "cpu", "float32")


def test_a_name_that_is_no_repository_is_refused(tmp_path: Path) -> None:
    """A preset's model that is no folder and cannot be a repository is the user's error."""
    path = tmp_path / "mine.toml"
    path.write_text('[[subject]]\nid = "mine"\nmodel = "a/b/c d"\n')
    with pytest.raises(UserError, match=r"subject mine: a/b/c d is neither a folder nor a Hugging Face repository"):
        open_subject(read_presets(path)[0], "cpu", "float32")


def test_the_paper_has_three_presets() -> None:
    """The presets name the three models and transcoders of the paper, with the transcoders' sizes and licence pages."""
    sources = [source for source in read_presets(PRESETS) if source.transcoder and not source.on_request]
    assert [source.id for source in sources] == ["gemma-2-2b-426k", "gemma-2-2b-2.5m", "llama-3.2-1b-524k"]
    assert all(s.licence and s.transcoder_gib and s.tier == "gpu" for s in sources)


def test_what_another_paper_says_of_a_model_has_its_preset() -> None:
    """Every row that some experiment can measure on one model alone names a preset."""
    presets = {source.id for source in read_presets(PRESETS)}
    named = {claim.model for claim in ledger.rows() if claim.model and not claim.untested}
    assert named <= presets
    assert {claim.model for claim in ledger.rows() if claim.source} - presets == {"claude-3.5-haiku"}


@pytest.mark.parametrize(
    ("torch", "visible", "found"),
    [
        ("2.9.1", None, True),
        ("2.9.1+cu128", "1", True),
        ("2.9.1+cpu", None, False),
        ("2.9.1", "", False),
        ("2.9.1", "-1", False),
    ],
)
def test_a_gpu_is_found_without_torch(
    monkeypatch: pytest.MonkeyPatch, torch: str, visible: str | None, found: bool
) -> None:
    """There has to be a driver, a torch that is not made for CPUs alone, and no variable that hides the GPU."""
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    monkeypatch.setattr(devices.shutil, "which", lambda _: None)
    monkeypatch.setattr(devices, "NVIDIA", Path(__file__))
    assert devices.has_gpu(torch, environment) == found
    monkeypatch.setattr(devices, "NVIDIA", Path(__file__) / "nowhere")
    assert not devices.has_gpu(torch, environment)


@pytest.mark.parametrize(
    ("options", "device"),
    [
        (("-m", "gpu"), "cuda"),
        (("-m", "not gpu"), "cpu"),
        (("--claims-subject=gemma-2-2b-426k",), "cuda"),
        (("--claims-subject=gemma-2-2b-426k", "--claims-subject=planner"), "cpu"),
        (("-m", "gpu", "--claims-device=cpu"), "cpu"),
    ],
)
def test_real_models_alone_are_loaded_on_a_gpu_where_there_is_one(
    project: ClaimsProject, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], device: str
) -> None:
    """Bundled subjects stay on the CPU, on which their verdicts are pinned, and so does what is asked for there."""
    monkeypatch.setattr("prolepsis.report.options.has_gpu", lambda *_: True)
    config = project.pytester.parseconfigure("claims", *options)
    assert config.stash[RUN].settings.device == device
