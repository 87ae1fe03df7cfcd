"""Which files of a repository are needed, asked of a hub on loopback, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import hf_hub_download
from safetensors.torch import save_file

from prolepsis.doctor.diagnosis import diagnose
from prolepsis.errors import Untested, UserError
from prolepsis.experiments.families import MODULES
from prolepsis.experiments.observability import N_PAIRS
from prolepsis.hub import Plan, gather, plan
from prolepsis.hub.files import HubFiles
from prolepsis.hub.needs import READ_BY, ROWS_OF_ACTIVE, needs
from prolepsis.hub.remote import in_words
from prolepsis.hub.repository import Repository
from prolepsis.report.subjects import ENGLISH
from prolepsis.subjects.published import Published
from prolepsis.subjects.source import SubjectSource
from prolepsis.transcoder import Transcoder
from tests.hub_server import TOKEN, Hub, forget_sessions
from tests.test_doctor import CLAIMS, CPU
from tests.test_layouts import gemma_scope_2, random_layer
from tests.test_transcoder import FEATURES, LAYERS, WIDTH, random_parts

STEERED = {"prompt": "a", "suppress": ["L0:1", "L2:4"], "inject": "L1:3", "word": "b", "strength": 1.0}
PUBLISHED = Published.of({"sweep": STEERED})
SOURCE = SubjectSource("mine", "gpu", "o/model", "o/clt", published=PUBLISHED)
DECODERS = {f"W_dec_{layer}.safetensors" for layer in range(LAYERS)}
ENCODERS = {f"W_enc_{layer}.safetensors" for layer in range(LAYERS)}
SCANNED = {"W_dec_0.safetensors last rows", "W_dec_1.safetensors last rows", "W_dec_2.safetensors"}
ROWS = {"W_dec_0.safetensors row 1", "W_dec_1.safetensors row 3", "W_dec_2.safetensors row 4"}
ROW_BYTES = {f"W_dec_{layer}": (LAYERS - layer) * WIDTH * 4 for layer in range(LAYERS)}
MODEL = {"config.json", "tokenizer.json", "model.safetensors"}


def names(found: Plan, repo: str = "o/clt") -> set[str]:
    """The names of the planned files of a repository."""
    return {file.name for file in found.files if file.repo == repo}


@pytest.mark.parametrize(
    ("experiments", "wanted"),
    [
        (["interchange", "absorption"], set()),
        (["interchange", "published_spike"], {"config.yaml"} | ROWS),
        (["dedicated_features"], {"config.yaml"} | SCANNED),
        (["dedicated_features", "published_spike"], {"config.yaml"} | SCANNED | (ROWS - {"W_dec_2.safetensors row 4"})),
        (["localisation_rate"], {"config.yaml"} | SCANNED | ENCODERS),
    ],
    ids=["none", "published", "scan", "both", "all"],
)
def test_only_what_the_claims_need_is_planned(hub: Hub, experiments: list[str], wanted: set[str]) -> None:
    """A plan names the model's files and just those of the transcoder, each with the size the hub states."""
    found = plan(SOURCE, experiments, online=True)
    assert not found.problems
    assert names(found) == wanted
    assert names(found, "o/model") == MODEL
    for file in found.files:
        content = hub.repos[file.repo].files[file.name.split()[0]]
        assert file.size == (ROW_BYTES[file.name[:7]] if " row " in file.name else len(content))
        assert file.kept == (FEATURES * WIDTH * 4 if " last " in file.name else None)
    assert not any(file.present for file in found.files)
    assert found.missing_bytes == sum(file.size for file in found.files)
    # Headers are read to know the size of rows; no weights are.
    assert all(span == "bytes=0-4095" for method, path, span in hub.requests if "safetensors" in path)


def test_layers_in_folders_of_their_own_are_planned(hub: Hub, tmp_path: Path) -> None:
    """A repository of Gemma Scope 2's form needs the file of each layer, and is refused where one is there twice."""
    layers = [random_layer(0, layer) for layer in range(LAYERS)]
    place = "transcoder_all/layer_{}_width_5_l0_small/params.safetensors"
    hub.add("o/clt", gemma_scope_2(tmp_path / "scope", layers, dense=False, place=place))
    wanted = {place.format(layer) for layer in range(LAYERS)}
    assert names(plan(SOURCE, ["localisation_rate"], online=True)) >= wanted
    gathered = gather(replace(SOURCE, published=None), ["localisation_rate"], lambda _: None)
    assert isinstance(gathered.transcoder, Repository)
    assert Transcoder.open(HubFiles(gathered.transcoder, online=False)).n_layers == LAYERS
    twice = place.format(1).replace("small", "big")
    hub.repos["o/clt"].files[twice] = hub.repos["o/clt"].files[place.format(1)]
    forget_sessions()
    hub.repos["o/clt"].commit = "d" * 40
    (problem,) = plan(replace(SOURCE, transcoder_revision="d" * 40), ["localisation_rate"], online=True).problems
    assert "holds layer 1 more than once" in problem


def test_what_lies_here_is_planned_without_the_network(hub: Hub, tmp_path: Path) -> None:
    """Offline, and for plain folders, nothing is asked; what is not here is a problem with its cure."""
    offline = plan(SOURCE, ["localisation_rate"], online=False)
    assert [line.split(";")[0] for line in offline.problems] == [
        "not on this machine: o/model", "not on this machine: o/clt",
    ]  # fmt: skip
    folders = SubjectSource("mine", "gpu", str(tmp_path / "model"), str(tmp_path / "clt"))
    assert plan(folders, ["localisation_rate"], online=True).files == ()
    assert hub.requests == []
    assert not (tmp_path / "home").exists()


def test_what_was_gathered_is_whole_offline(hub: Hub) -> None:
    """Everything planned is downloaded once and no more; afterwards the same plan is met without any request."""
    told: list[str] = []
    gathered = gather(SOURCE, ["localisation_rate"], told.append)
    assert gathered.lacking is None
    assert told[0].startswith("downloading ")
    assert any(line.startswith("  model.safetensors  ") for line in told)
    for repo in hub.repos.values():
        for name in repo.files.keys() & (MODEL | ENCODERS):
            assert hub.sent[name] == len(repo.files[name])
    assert "README.md" not in hub.sent
    hub.requests.clear()
    told.clear()
    assert gather(SOURCE, ["localisation_rate"], told.append) == gathered
    assert gather(SOURCE, ["localisation_rate"]) == replace(gathered, online=False)
    assert told == []
    assert hub.requests == []


@pytest.mark.parametrize("indexed", [True, False], ids=["indexed", "by pattern"])
def test_sharded_weights_are_named_and_others_left_alone(hub: Hub, tmp_path: Path, indexed: bool) -> None:
    """All shards are needed; weights in other formats and folders are not."""
    folder = tmp_path / "model"
    (folder / "model.safetensors").unlink()
    shards = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    for shard in shards:
        save_file({"weight": torch.zeros(8)}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shards[0], "b": shards[1]}}))
    for other in ("original/consolidated.00.pth", "pytorch_model.bin", "model.gguf", "tf_model.h5"):
        (folder / other).parent.mkdir(exist_ok=True)
        (folder / other).write_text("x")
    hub.add("o/model", folder)
    assert names(plan(SOURCE, [], online=True), "o/model") == {
        "config.json", "tokenizer.json", "model.safetensors.index.json", *shards,
    }  # fmt: skip
    if indexed:
        # As `hf download` leaves them when it is stopped: the hub was never asked by us.
        gather(SOURCE, [], lambda _: None)
        for listing in (tmp_path / "home" / "assets").rglob("listing.json"):
            listing.unlink()
        (lost,) = (tmp_path / "home").rglob(shards[1])
        lost.unlink()
        with pytest.raises(Untested, match=rf"o/model@cccccccc: {shards[1]}"):
            gather(SOURCE, [])


def test_a_pinned_revision_is_asked_for_and_kept(hub: Hub) -> None:
    """What is here stays in use when the branch moves on; a pin on the new commit downloads only what has changed."""
    first = gather(SOURCE, [], lambda _: None)
    old, repo = hub.sent.copy(), hub.repos["o/model"]
    repo.commit = "d" * 40
    repo.files["config.json"] = b'{"new": 1}'
    assert gather(SOURCE, [], lambda _: None).model == first.model
    pinned = SubjectSource("mine", "gpu", "o/model", "o/clt", revision="d" * 40)
    found = plan(pinned, [], online=True)
    assert {file.name for file in found.missing} == {"config.json"}
    gathered = gather(pinned, [], lambda _: None)
    assert gathered.revision == "d" * 40
    assert (gathered.model / "config.json").read_bytes() == b'{"new": 1}'
    assert hub.sent["model.safetensors"] == old["model.safetensors"]
    assert (gathered.model / "model.safetensors").read_bytes() == repo.files["model.safetensors"]


def failing(hub: Hub, how: str, monkeypatch: pytest.MonkeyPatch, home: Path) -> SubjectSource:
    """Let the hub refuse in one of its ways; gives what to ask it for."""
    from huggingface_hub import constants

    source = SOURCE
    if how in ("gated", "gated for this account"):
        hub.repos["o/model"].gated = "nobody"
    if how == "gated for this account":
        home.mkdir(exist_ok=True)
        (home / "token").write_text(TOKEN)
    if how == "missing":
        source = SubjectSource("mine", "gpu", "o/nothing", None)
    if how == "revision":
        source = SubjectSource("mine", "gpu", "o/model", None, revision="v2")
    if how == "no name":
        source = SubjectSource("mine", "gpu", "a/b/c d", None)
    if how == "undeclared":
        del hub.repos["o/clt"].files["config.yaml"]
    if how == "broken":
        hub.status = 500
    if how == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        forget_sessions()
    if how == "down":
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    return source


REFUSALS = [
    ("gated", Untested, ("o/model", "accept it at {url}/o/model", "`hf auth login`")),
    ("gated for this account", Untested, ("o/model", "accept it at {url}/o/model")),
    ("missing", Untested, ("o/nothing", "check its name at {url}/o/nothing", "`hf auth login`")),
    ("revision", UserError, ("o/model", "'v2'", "{url}/o/model/commits/main")),
    ("no name", UserError, ("a/b/c d", "neither a folder nor")),
    ("undeclared", UserError, ("o/clt", "has no config.yaml", "in a folder")),
    ("broken", Untested, ("o/model", "500", "run again later")),
    ("offline", Untested, ("o/model", "HF_HUB_OFFLINE")),
    ("down", Untested, ("o/model", "http://127.0.0.1:9", "run again")),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=[how for how, _, _ in REFUSALS])
def test_a_refusal_is_one_line_with_its_cure(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: tuple[str, type[Exception], tuple[str, ...]]
) -> None:
    """What stands in the way is named with the page or command that helps: untested, or an error of the user's."""
    how, kind, said = refusal
    source = failing(hub, how, monkeypatch, tmp_path / "home")
    found = plan(source, ["published_spike"], online=True)
    assert found.problems
    assert bool(found.mistakes) == (kind is UserError)
    with pytest.raises(kind) as caught:
        gather(source, ["published_spike"], lambda _: None)
    message = str(caught.value)
    assert "\n" not in message
    for part in said:
        assert part.format(url=hub.url) in message
        assert part.format(url=hub.url) in found.problems[0]


def test_an_accepted_licence_lets_in(hub: Hub, tmp_path: Path) -> None:
    """With the token of an account that has accepted it, a gated model is downloaded."""
    hub.repos["o/model"].gated = "ask"
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "token").write_text(TOKEN)
    gather(SOURCE, [], lambda _: None)
    assert hub.sent["model.safetensors"] == len(hub.repos["o/model"].files["model.safetensors"])


def test_what_is_here_needs_no_hub(hub: Hub) -> None:
    """A model that was downloaded is found again although the hub refuses everything."""
    gather(SOURCE, [], lambda _: None)
    hub.status = 503
    assert gather(SOURCE, [], lambda _: None).model.is_dir()


def left_by_others(repo: str, *files: str) -> None:
    """Put files into the cache as `hf download` and other programs leave them: we never asked the hub for its list."""
    for file in files:
        hf_hub_download(repo, file)


@pytest.mark.parametrize("online", [True, False])
def test_a_cache_that_others_filled_is_used_as_it_is(hub: Hub, online: bool) -> None:
    """Of a whole model and transcoder nothing is fetched; a run that may ask does so once, for the list of files."""
    for name, repo in hub.repos.items():
        left_by_others(name, *repo.files)
    hub.requests.clear()
    gathered = gather(SOURCE, [*MODULES], (lambda _: None) if online else None)
    assert gathered.lacking is None
    files = HubFiles(gathered.transcoder, online=online)
    assert torch.equal(Transcoder.open(files).decoder(0, 1), random_parts(0)["decoders"][0][:, 1])
    assert {path for _, path, _ in hub.requests} == (
        {f"/api/models/{name}/revision/{'c' * 40}" for name in hub.repos} if online else set()
    )
    hub.requests.clear()
    gather(SOURCE, [*MODULES], lambda _: None) if online else gather(SOURCE, [*MODULES])
    assert hub.requests == []


def test_a_cache_that_others_filled_does_not_move_on_with_its_branch(hub: Hub) -> None:
    """What is whole at the commit that is here stays in use, although the branch has another one now."""
    for name, repo in hub.repos.items():
        left_by_others(name, *repo.files)
    sent = hub.sent.copy()
    hub.repos["o/clt"].commit = "d" * 40
    assert gather(SOURCE, ["localisation_rate"], lambda _: None).transcoder.commit == "c" * 40
    assert hub.sent == sent


def test_a_cache_that_others_filled_needs_no_hub_that_answers(hub: Hub) -> None:
    """Where the hub refuses, what is whole is used all the same."""
    for name, repo in hub.repos.items():
        left_by_others(name, *repo.files)
    hub.status = 503
    gathered = gather(SOURCE, ["localisation_rate"], lambda _: None)
    assert gathered.lacking is None
    assert HubFiles(gathered.transcoder, online=True).path("W_dec_0.safetensors").is_file()


LEFT = {
    "no tokenizer": ("o/model", ["config.json", "model.safetensors"]),
    "one layer": ("o/clt", ["config.yaml", "W_enc_0.safetensors", "W_dec_0.safetensors"]),
    "one file of decoders": ("o/clt", ["config.yaml", "W_dec_0.safetensors"]),
    "encoders alone": ("o/clt", ["config.yaml", *sorted(ENCODERS)]),
    "a configuration": ("o/clt", ["config.yaml"]),
}


@pytest.mark.parametrize("experiments", [["published_spike"], ["dedicated_features"], ["localisation_rate"]])
@pytest.mark.parametrize("left", LEFT)
@pytest.mark.usefixtures("hub")
def test_what_others_left_out_is_fetched(left: str, experiments: list[str]) -> None:
    """A cache that another program filled in part is not taken for all there is: the rest comes as if from none."""
    left_by_others(LEFT[left][0], *LEFT[left][1])
    gathered = gather(SOURCE, experiments, lambda _: None)
    assert gathered.lacking is None
    assert (gathered.model / "tokenizer.json").is_file()
    transcoder = Transcoder.open(HubFiles(gathered.transcoder, online=True), LAYERS, WIDTH)
    parts = random_parts(0)["decoders"]
    if experiments == ["published_spike"]:
        for feature in (*PUBLISHED.sweep.suppress, PUBLISHED.sweep.inject):
            assert torch.equal(transcoder.rows(feature), parts[feature.layer][feature.index])
    else:
        assert torch.equal(transcoder.last_decoder(1), parts[1][:, -1])
    found = plan(SOURCE, experiments, online=False)
    assert not found.problems


@pytest.mark.parametrize("down", [False, True], ids=["offline", "hub down"])
@pytest.mark.parametrize("left", LEFT)
def test_what_others_left_out_is_named_where_it_cannot_be_had(hub: Hub, left: str, down: bool) -> None:
    """Without the hub what is not here is no mistake of the user: the reason names it, or the refusal."""
    repo, files = LEFT[left]
    left_by_others(repo, *files)
    if repo == "o/clt":
        gather(SOURCE, [], lambda _: None)
    hub.status = 503 if down else None
    found = plan(SOURCE, ["localisation_rate", "published_spike"], online=down)
    assert not found.mistakes
    (problem,) = [line for line in found.problems if repo in line]
    assert ("the hub answers 503" if down else f"`hf download {repo}`") in problem
    assert problem.startswith(f"{repo}: " if down else f"not on this machine: {repo}@cccccccc: ")
    assert bool(found.blocking) == (repo == "o/model")


@pytest.mark.usefixtures("hub")
def test_rows_that_no_plan_can_name_are_announced() -> None:
    """Where active features are steered run and doctor say beforehand how many rows that may take, of what size."""
    told: list[str] = []
    gather(SOURCE, ["six_methods"], told.append)
    mean = sum(ROW_BYTES[f"W_dec_{layer}"] for layer in (0, 1)) // 2
    (line,) = [line for line in told if "besides" in line]
    assert f"up to 152 rows for each feature that is active at a position, {in_words(152 * mean)}" in line
    told.clear()
    gather(SOURCE, ["localisation_rate"], told.append)
    assert told == []
    (found,) = diagnose([SOURCE], CLAIMS, CPU, "float32", online=True)
    assert line in found.remarks


def test_the_announced_rows_are_those_that_can_be_asked_for() -> None:
    """Donor and recipient of two pairs a group of the English task, and the six methods' prompts twice."""
    groups = json.loads(ENGLISH.read_text())["groups"]
    assert 2 * 2 * len(groups) + 2 * N_PAIRS == ROWS_OF_ACTIVE


def test_every_experiment_says_what_it_reads() -> None:
    """The needs of every experiment are known, and nothing else is listed."""
    assert all(needs([experiment]) is not None for experiment in MODULES)
    assert set(READ_BY) <= set(MODULES) | set(MODULES.values())
    assert FEATURES > 4  # the row that is asked for exists
