"""What the experiment commands find: the figures of plain passes, of the paper's own experiments, and known answers."""

import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from prolepsis import cli
from prolepsis.commands.command import OK
from prolepsis.engine import clean_run
from prolepsis.experiments.published_correction import correction_test
from prolepsis.experiments.published_routing import routed_prompts
from prolepsis.experiments.published_sweep import sweep_prompt
from prolepsis.report.subjects import open_subject, read_presets
from prolepsis.subject import Subject
from prolepsis.subjects.loading import kept_subject
from prolepsis.subjects.task import Task
from tests.published_subjects import PRESET, PROMPT, plain_run, probability_of, published_subject, rows_of

IRREVOCABLE = "planted-llama-irrevocable"


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset file beside the model and the transcoder it names."""
    folder = tmp_path_factory.mktemp("preset")
    made = published_subject("llama", folder / "clt")
    made.model.to(torch.float32).save_pretrained(folder / "model")
    made.tokenizer.save_pretrained(folder / "model")
    (folder / "mine.toml").write_text(PRESET)
    return folder / "mine.toml"


@pytest.fixture(scope="module")
def mine(preset: Path) -> Subject:
    """The subject of the preset."""
    (source,) = read_presets(preset)
    return open_subject(source, "cpu", "float32")


def found(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    """The JSON of a command that succeeds."""
    written = tmp_path / "found.json"
    assert cli.main([*arguments, "--json", str(written)]) == OK
    read: dict[str, Any] = json.loads(written.read_text())
    return read


@pytest.fixture
def of_preset(preset: Path) -> list[str]:
    """The options that ask the preset's subject."""
    return ["--subject", "mine", "--preset", str(preset)]


def test_a_preset_is_swept_as_published(tmp_path: Path, of_preset: list[str], mine: Subject) -> None:
    """With nothing else said, sweep finds what the published experiment does, and where it peaks."""
    swept, known = found(tmp_path, "sweep", *of_preset), mine.once(sweep_prompt)
    assert swept["digest"] == mine.digest
    assert swept["prompt"] == f"{PROMPT} "
    assert swept["P by position"] == {arm: list(values) for arm, values in known.probabilities.items()}
    odds = swept["log-odds by position"]["measured"]
    assert swept["argmax"]["measured"] == odds.index(max(odds))
    assert swept["floor"]["measured"] == statistics.median(odds)


def test_what_is_said_replaces_what_was_published(tmp_path: Path, of_preset: list[str], mine: Subject) -> None:
    """Prompt, features, word and strength are the user's where given; the figures are those of plain hooks."""
    text = "Nobody knows about,\nAnd found a"
    features = ["--suppress", "L0:4,L1:1", "--suppress", "L3:2", "--inject", "L1:3", "--strength", "0.7"]
    typed = text.replace("\n", r"\n")
    swept = found(tmp_path, "sweep", *of_preset, "--prompt", typed, *features, "--word", "who")
    assert (swept["prompt"], swept["suppress"]) == (text, ["L0:4", "L1:1", "L3:2"])
    writes = rows_of(mine, {"L0:4": -0.7, "L1:1": -0.7, "L3:2": -0.7, "L1:3": 0.7})
    for position in (0, 3, len(swept["tokens"]) - 1):
        expected = probability_of(mine, plain_run(mine, text, writes, position), "who")
        assert swept["P by position"]["measured"][position] == pytest.approx(expected, rel=1e-4)


def test_a_prompt_of_ones_own_has_nothing_suppressed(tmp_path: Path, of_preset: list[str]) -> None:
    """The features a preset suppresses belong to its prompt: another one keeps the injection alone."""
    swept = found(tmp_path, "sweep", *of_preset, "--prompt", PROMPT)
    assert (swept["prompt"], swept["suppress"], swept["inject"]) == (PROMPT, [], "L2:2")


def test_the_word_is_the_one_the_feature_writes(tmp_path: Path, of_preset: list[str]) -> None:
    """Where another feature is injected and no word named, its last decoder row says which word is read."""
    assert found(tmp_path, "sweep", *of_preset, "--inject", "L0:4")["word"] == "who"


def test_a_preset_is_routed_as_published(tmp_path: Path, of_preset: list[str], mine: Subject) -> None:
    """With nothing else said, route finds the Δattention of the first published routing prompt."""
    routed, (known, *_) = found(tmp_path, "route", *of_preset), mine.once(routed_prompts)
    assert (routed["site"], routed["prompt"]) == (6, PROMPT)
    assert routed["Δattention"]["both"] == {str(head): value for head, value in known.changes["both"].items()}
    assert routed["P of the word"] == known.probabilities


def test_a_site_of_ones_own_is_written_at(tmp_path: Path, of_preset: list[str], mine: Subject) -> None:
    """--position moves the site: attention to it is that of plain passes with and without hooks there."""
    routed = found(tmp_path, "route", *of_preset, "--position", "2", "--inject", "L0:4", "--strength", "0.9")
    assert routed["suppress"] == []
    plain = [plain_run(mine, PROMPT, writes, 2).attentions for writes in ({}, rows_of(mine, {"L0:4": 0.9}))]
    for layer in range(mine.n_layers):
        change = (plain[1][layer] - plain[0][layer])[0, :, -1, 2].tolist()
        ours = [routed["Δattention"]["both"][f"L{layer}:H{head}"] for head in range(mine.n_heads)]
        assert ours == pytest.approx(change, abs=1e-6)


def test_a_preset_is_corrected_as_published(tmp_path: Path, of_preset: list[str], mine: Subject) -> None:
    """With nothing else said, correct finds what the published test does, with the commitment and without."""
    corrected, known = found(tmp_path, "correct", *of_preset), mine.once(correction_test)
    assert corrected["with the commitment"] == [vars(each) for each in known.committed]
    assert corrected["without the commitment"] == [vars(each) for each in known.uncommitted]
    assert corrected["strengths"] == [0.0, 1.0, 2.0, 3.0]
    longer = found(tmp_path, "correct", *of_preset, "--steps", "7", "--correct-strength", "6", "--head", "L3:H0")
    assert longer["strengths"] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert longer["with the commitment"][3]["correct"] == pytest.approx(known.committed[3].correct, rel=1e-4)
    assert longer["head"] == "L3:H0"


def test_the_planted_router_is_found_to_carry(tmp_path: Path) -> None:
    """In the planted organism one head carries all of the redirect, and no head's pattern below it changes."""
    routed = found(tmp_path, "route", "--subject", IRREVOCABLE)
    shares = routed["share of the redirect"]
    assert shares.pop("all reached heads") == pytest.approx(1, abs=1e-3)
    carriers = [head for head, share in shares.items() if share > 0.5]
    assert carriers == ["L2:H1"]
    assert all(change == 0 for head, change in routed["Δattention"]["both"].items() if head.startswith("L0"))


def test_where_the_planted_plan_is_held(tmp_path: Path) -> None:
    """The plan stands at the line break up to the router's layer and at the last token from there on, whole."""
    patched = found(tmp_path, "patch", "--subject", IRREVOCABLE)
    places = [place["prompt"] for place in patched["positions"]]
    held = [places[max(range(len(row)), key=row.__getitem__)] for row in patched["effects"]]
    line_break, last = patched["prompt"].index("<nl>"), len(patched["prompt"]) - 1
    assert held == [line_break, line_break, last, last]
    assert all(max(row) == pytest.approx(patched["whole prompt"], abs=1e-3) for row in patched["effects"])
    one = found(tmp_path, "patch", "--subject", IRREVOCABLE, "--position", str(line_break))
    column = places.index(line_break)
    assert [value for (value,) in one["effects"]] == pytest.approx(
        [row[column] for row in patched["effects"]], abs=1e-5
    )


def test_prompts_of_unequal_length_are_matched_from_the_end(tmp_path: Path) -> None:
    """Where the donor is longer, positions after the difference are those of equal distance from the end."""
    patched = found(
        tmp_path, "patch", "--subject", IRREVOCABLE, "--word", "bat",
        "--prompt", "f0 cat <nl> f3", "--donor", "f0 f1 f2 bat <nl> f3",
    )  # fmt: skip
    matched = [(place["prompt"], place["donor"]) for place in patched["positions"]]
    assert matched[-2:] == [(3, 5), (4, 6)]
    assert all(patched["prompt"][p] == patched["donor"][q] for p, q in matched[-2:])


def test_the_planted_absorber_takes_a_deviation_back(tmp_path: Path) -> None:
    """Only in the layer above the second does the contrast shrink, and a random direction nowhere."""
    seen = found(tmp_path, "converge", "--subject", "planted-llama-absorber")["length over the length written"]
    assert seen["contrast"]["1"]["2"] < 0.1
    assert seen["contrast"]["2"]["3"] == pytest.approx(1, abs=1e-3)
    assert all(
        length == pytest.approx(1, abs=1e-2) for read in seen["random direction"].values() for length in read.values()
    )


def test_a_contrast_is_multiplied(tmp_path: Path, of_preset: list[str], mine: Subject) -> None:
    """Right where twice the contrast is written, its cosine is that of the plain sum with the clean row."""
    texts = ("She wandered in the dark about", "She wandered in the dark out")
    seen = found(tmp_path, "converge", *of_preset, "--prompt", texts[0], "--contrast", texts[1], "--strength", "2")
    clean, other = (clean_run(mine, mine.encode(text)) for text in texts)
    assert seen["layers written"] == [0, 1, 2]
    for layer in seen["layers written"]:
        row, contrast = clean.resid_post(layer)[-1], clean.resid_post(layer)[-1] - other.resid_post(layer)[-1]
        at_once = seen["cosines from the layer written on"]["contrast"][str(layer)][0]
        assert at_once == pytest.approx(float(torch.cosine_similarity(row + 2 * contrast, row, dim=0)), abs=1e-5)
        assert abs(at_once - float(torch.cosine_similarity(row + contrast, row, dim=0))) > 1e-3


def test_the_lens_of_the_last_layer_is_the_model(tmp_path: Path) -> None:
    """At the last layer the lens gives the model's own log-odds, rank and top tokens, at any position."""
    subject = kept_subject(IRREVOCABLE)
    text = "f0 f1 f2 cat <nl> f3"
    lens = ["lens", "--subject", IRREVOCABLE, "--prompt", text, "--word", "bat", "--word", "cat", "--top", "2"]
    for position in (3, 6):
        shown = found(tmp_path, *lens, "--position", str(position))
        logits = subject.model(torch.tensor([subject.encode(text)])).logits[0, position].double()
        for word in ("bat", "cat"):
            token = subject.word_id(word)
            expected = logits[token] - torch.cat([logits[:token], logits[token + 1 :]]).logsumexp(-1)
            assert shown["log-odds"][word][-1] == pytest.approx(float(expected), abs=1e-4)
            assert shown["rank"][word][-1] == 1 + int((logits > logits[token]).sum())
        assert [each["P"] for each in shown["most likely"][-1]] == pytest.approx(
            logits.softmax(-1).topk(2).values.tolist(), abs=1e-5
        )


def test_a_skipped_layer_is_the_identity(tmp_path: Path) -> None:
    """Lines are what a model without those layers writes; without the router's layer none rhymes."""
    runs = found(tmp_path, "skip", "--subject", IRREVOCABLE, "--layers", "2", "--layers", "L0..1")["runs"]
    assert [run["without"] for run in runs] == [[], [2], [0, 1]]
    assert [run["rhymes"] for run in runs] == [True, False, False]
    assert runs[0]["nats per token"] < 0.1 < runs[1]["nats per token"]


def test_every_scanned_feature_writes_its_word(tmp_path: Path) -> None:
    """A scanned feature's last decoder row is nearest to its word of all tokens; a higher cut keeps fewer."""
    scanned = found(tmp_path, "scan", "--subject", "planner", "--rows", "1")
    subject = kept_subject("planner")
    assert subject.transcoder is not None
    embedding = torch.nn.functional.normalize(subject.unembedding.double(), dim=-1)
    for word, features in list(scanned["words"].items())[::10]:
        for name, cosine in features.items():
            layer, index = (int(part.lstrip("L")) for part in name.split(":"))
            row = subject.transcoder.last_decoder(layer)[index].double()
            cosines = embedding @ (row / row.norm())
            assert subject.decode([int(cosines.argmax())]).strip() == word
            assert cosine == pytest.approx(float(cosines.max()), abs=1e-5)
            assert cosine >= 0.3
    fewer = found(tmp_path, "scan", "--subject", "planner", "--cut", "0.6")["words"]
    assert 0 < len(fewer) < len(scanned["words"])
    assert all(cosine >= 0.6 for features in fewer.values() for cosine in features.values())


def test_rhyme_groups_are_those_of_the_task(tmp_path: Path) -> None:
    """In a small language words rhyme as its task says, in groups of two words or more; a higher cut keeps fewer."""
    grouped = found(tmp_path, "rhymes", "--subject", "planner")
    task = kept_subject("planner").task
    assert task is not None
    for ending, words in grouped["groups"].items():
        assert set(words) <= set(task.groups[ending])
        assert len(words) >= 2
    assert grouped["words in groups"] == sum(map(len, grouped["groups"].values()))
    fewer = found(tmp_path, "rhymes", "--subject", "planner", "--cut", "0.6")["words"]
    assert set(fewer) < set(grouped["words"])


def test_what_cannot_be_asked_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A word of several tokens is set apart, and a group left with one word, and an option and a template it lacks."""
    task = kept_subject("planner").task
    assert task is not None
    groups = {**task.groups, "at": (*task.groups["at"], "acrobat"), "odd": ("stood", "oddity")}
    answers = {**task.answers, "acrobat": "cat", "stood": "oddity", "oddity": "stood"}
    path = tmp_path / "task.json"
    path.write_text(Task(groups, answers, task.templates, task.line_end, facts=task.facts[:1]).to_json())
    screened = found(tmp_path, "screen", "--subject", "planner", "--task", str(path))
    assert screened["groups"]["at"]["lost"] == ["acrobat"]
    assert screened["groups"]["odd"] == {"words": ["stood"], "lost": ["oddity"], "rhymed": []}
    assert screened["groups"]["at"]["rhymed"] == list(task.groups["at"])
    unknown = replace(task.facts[0], options=("Atlantis", *task.facts[0].options))
    unread = replace(task.templates[0], id="unread", text="quagga {word}", stem="quagga {word}")
    path.write_text(Task(groups, answers, (*task.templates, unread), task.line_end, facts=(unknown,)).to_json())
    without = found(tmp_path, "screen", "--subject", "planner", "--task", str(path))
    assert (without["groups"], without["facts"]) == (screened["groups"], screened["facts"])
    assert cli.main(["screen", "--subject", "planner", "--task", str(path)]) == OK
    said = capsys.readouterr().out
    assert "template 'unread' cannot be asked: its tokenizer does not know 'quagga'" in said
    assert "of facts cannot be asked: 'Atlantis' (its tokenizer does not know how it begins)" in said
    path.write_text(Task(groups, answers, task.templates, task.line_end, facts=task.facts[:1]).to_json())
    untrained = found(tmp_path, "screen", "--subject", "planner-untrained", "--task", str(path))
    assert sum(len(group["rhymed"]) for group in untrained["groups"].values()) < 20
    assert sum(fact["completed"] for fact in untrained["facts"].values()) < len(untrained["facts"]) / 2
