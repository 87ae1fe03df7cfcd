"""The published protocol in a preset: what is read, what is refused, and how it reaches the subject."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from prolepsis import ledger
from prolepsis.errors import Untested, UserError
from prolepsis.experiments import families
from prolepsis.experiments.facts_asked import own_facts
from prolepsis.experiments.rhyme_pairs import task_of
from prolepsis.names import Feature, Head
from prolepsis.report.subjects import ENGLISH, PRESETS, known_subjects, open_subject, read_presets
from prolepsis.subject import transcoder_of
from prolepsis.subjects.loading import ORGANISMS, load_subject
from prolepsis.subjects.published import Published
from prolepsis.subjects.source import SubjectSource
from tests.published_subjects import PLAIN, PRESET, PROMPT, plain_run, probability_of, published_subject, rows_of


def read(folder: Path, text: str) -> Any:
    """The source of the only subject of a preset."""
    path = folder / "mine.toml"
    path.write_text(text)
    (source,) = read_presets(path)
    return source


def test_a_protocol_is_read_field_by_field(tmp_path: Path) -> None:
    """Features, heads, prompts and numbers of every part reach the subject's source in their own types."""
    found = read(tmp_path, PRESET).published
    assert found.sweep.prompt == PROMPT
    assert (found.sweep.suppress, found.sweep.inject) == ((Feature(1, 0), Feature(3, 1)), Feature(2, 2))
    assert (found.sweep.token, found.sweep.site, found.sweep.at, found.sweep.heads) == (None, None, "", ())
    (routing,) = found.routing
    assert (routing.token, routing.site, routing.at, routing.heads) == (24, 6, " about", (Head(2, 1),))
    assert (found.pairs.strength, found.pairs.prompts[0].rhyme) == (0.75, "who")
    assert (found.correction.first, found.correction.steps, str(found.correction.feature)) == (2, 4, "L0:4")
    assert (found.convergence.contrasts, found.convergence.redirect) == (("Would find a hidden",), "who")
    assert found.recurring == ()
    assert Published.of(PLAIN).recurring[:2] == (Head(2, 1), Head(3, 1))
    assert [len(one.recurring) for one in Published.of(PLAIN).routing] == [4, 3, 0, 1]


def test_a_model_without_a_task_is_asked_the_english_one(tmp_path: Path) -> None:
    """Real weights named by their folder alone are asked what the presets ask, unless a task lies beside them."""
    (tmp_path / "weights").mkdir()

    def named() -> SubjectSource:
        return known_subjects(None, "weights", None, None, tmp_path)["weights"]

    assert (named().tier, named().task) == ("gpu", str(ENGLISH))
    (tmp_path / "weights" / "task.json").write_text("{}")
    assert named().task is None


def test_a_task_beside_the_weights_is_screened_as_one_in_a_preset_is(tmp_path: Path) -> None:
    """A task without answers is completed by the model that is asked, wherever its file lies."""
    folder = Path(__file__).parent.parent / "fixtures" / "organisms" / "planner"
    shutil.copytree(folder, tmp_path / "mine", ignore=shutil.ignore_patterns("subject.json", "transcoder"))
    plain = json.loads((folder / "task.json").read_text())
    (tmp_path / "mine" / "task.json").write_text(json.dumps(plain | {"answers": {}}))
    task = open_subject(known_subjects(None, "mine", None, None, tmp_path)["mine"], "cpu", "float32").task
    assert task is not None
    assert set(task.answers) == {word for words in task.groups.values() for word in words}


def test_where_too_few_rhymes_can_be_asked_facts_still_can(tmp_path: Path) -> None:
    """The reason names the subject by its id and the words that were lost; its facts and its weights are there."""
    folder = Path(__file__).parent.parent / "fixtures" / "organisms" / "planner"
    shutil.copytree(folder, tmp_path / "mine", ignore=shutil.ignore_patterns("subject.json", "transcoder"))
    plain = json.loads((folder / "task.json").read_text())
    groups = plain["groups"] | {name: [f"quagga{name}", f"quokka{name}"] for name in list(plain["groups"])[11:]}
    (tmp_path / "mine" / "task.json").write_text(json.dumps(plain | {"answers": {}, "groups": groups}))
    subject = open_subject(known_subjects(None, "mine", None, None, tmp_path)["mine"], "cpu", "float32")
    with pytest.raises(Untested, match=r"mine: 10 rhyme groups of its task .* or alone: quagga"):
        task_of(subject)
    assert len(own_facts(subject)) >= 12


def test_who_publishes_a_transcoder_is_said(tmp_path: Path) -> None:
    """A model named without a transcoder is measured without, and the reason says where one is to be had."""
    folder = Path(__file__).parent.parent / "fixtures" / "organisms" / "free-1"
    path = tmp_path / "mine.toml"
    path.write_text(f'[[subject]]\nid = "mine"\nmodel = "{folder}"\ntranscoder_from = "someone"\n')
    subject = open_subject(read_presets(path)[0], "cpu", "float32")
    assert families.experiment("layer_count")(subject).values
    with pytest.raises(
        Untested, match=r"give one with --claims-transcoder or in a preset; one is published by someone"
    ):
        transcoder_of(subject)


def test_a_preset_overrules_where_a_transcoder_is_said_to_read(tmp_path: Path) -> None:
    """``transcoder_hook`` counts, not what the files say, and one that is no place to read at is refused."""
    organism = ORGANISMS / "planner"
    for hook in ("mlp.hook_in", "elsewhere"):
        path = tmp_path / f"{hook}.toml"
        path.write_text(
            f'[[subject]]\nid = "mine"\nmodel = "{organism}"\ntranscoder = "{organism / "transcoder"}"\n'
            f'transcoder_hook = "{hook}"\n'
        )
    known, unknown = (read_presets(tmp_path / f"{hook}.toml")[0] for hook in ("mlp.hook_in", "elsewhere"))
    assert transcoder_of(open_subject(known, "cpu", "float32")).input_hook == "mlp.hook_in"
    with pytest.raises(UserError, match="'elsewhere'; supported: 'hook_resid_mid'"):
        open_subject(unknown, "cpu", "float32")


def test_the_papers_protocols_are_those_it_prints() -> None:
    """Each preset has the sweep of App. F.2, four prompts for pairs, and the routing sites and heads of App. E;
    convergence is of the factual prompt of App. F.6.

    Llama's pairs are the 44 of section 5, at the strength of App. F.2; the prompts of App. D.3's 47 are not printed.
    """
    found = {source.id: source.published for source in read_presets(PRESETS)}
    small, large, llama = found["gemma-2-2b-426k"], found["gemma-2-2b-2.5m"], found["llama-3.2-1b-524k"]
    assert small is not None
    assert large is not None
    assert llama is not None
    assert (str(small.sweep.inject), small.sweep.site, small.sweep.strength) == ("L22:10243", 31, 10.0)
    assert [str(feature) for feature in small.sweep.suppress] == ["L16:13725", "L25:9385"]
    assert [str(feature) for feature in large.sweep.suppress] == ["L25:57092", "L23:49923", "L20:77102"]
    assert (str(large.sweep.inject), str(llama.sweep.inject)) == ("L25:82839", "L14:13043")
    assert [each.pairs and len(each.pairs.prompts) for each in (small, large, llama)] == [4, 4, 4]
    assert [each.pairs and each.pairs.strength for each in (small, large, llama)] == [10.0, 10.0, 10.0]
    assert [[one.site for one in each.routing] for each in (small, large, llama)] == [[23], [23], [14, 16, 22, 15]]
    assert [str(one.heads[0]) for one in llama.routing] == ["L15:H8", "L6:H12", "L14:H22", "L9:H13"]
    assert [str(one.inject) for one in llama.routing] == ["L14:13043"] * 3 + ["L1:5297"]
    recurring = ["L11:H0", "L6:H12", "L9:H13", "L5:H17", "L6:H24"]
    assert [str(head) for head in llama.recurring] == recurring
    assert [[str(head) for head in one.recurring] for one in llama.routing] == [
        recurring[:1], recurring[1:], [], recurring,
    ]  # fmt: skip
    assert small.correction is not None
    assert (str(small.correction.feature), small.correction.first, small.correction.steps) == ("L20:12386", 23, 13)
    assert small.correction.strength == 2 * small.sweep.strength
    assert [
        (small.correction.strength * one.step / 12, *map(str, (one.committed, one.correct, one.head, one.total)))
        for one in small.correction.printed
    ] == [
        (0.0, "0.457", "8.0E-10", "0.023", "0.572"),
        (5.0, "0.472", "9.8E-9", "0.023", "0.579"),
        (10.0, "0.486", "1.2E-7", "0.023", "0.586"),
        (15.0, "0.499", "0.0000013", "0.023", "0.595"),
        (20.0, "0.509", "0.000014", "0.023", "0.613"),
    ]
    assert large.correction is llama.correction is None
    assert small.convergence == llama.convergence
    assert small.convergence is not None
    assert (small.convergence.prompt, small.convergence.redirect) == ("The capital of France is", "Berlin")
    assert small.convergence.contrasts[0] == "The capital of Germany is"
    assert large.convergence is None


def test_figures_of_prompts_that_are_not_printed_are_not_held_against_others() -> None:
    """No figure of the 47 Llama pairs of App. D.3 is asked of the 44 that can be run: their row says why not."""
    rows = [claim for claim in ledger.rows(tier="gpu") if claim.model.startswith("llama") and "D.3" in claim.section]
    assert [claim.id for claim in rows] == ["B15g"]
    assert all("prompts of the 47 pairs are not printed" in claim.untested for claim in rows)


OUTCOME = '{ strength = 2.0, committed = "0.4", correct = "1e-3", head = "0.1", total = "0.3" }'
BROKEN = {
    "no sweep": ("[subject.published.sweep]", "[subject.published.swap]", "published: sweep is missing; give it"),
    "feature": ('inject = "L2:2"', 'inject = "22:10243"',
                "published.sweep: inject: feature '22:10243' is not of the form L22:10243; write it so"),
    "feature number": ('suppress = ["L1:0", "L3:1"]', "suppress = [3]",
                       "published.sweep: suppress: feature '3' is not of the form L22:10243; write it so"),
    "feature twice": ('"L3:1"]', '"L1:0"]', "published.sweep: suppress names L1:0 twice; remove one"),
    "both": ('"L3:1"]', '"L2:2"]', "published.sweep: inject is L2:2, which is suppressed too; name another feature"),
    "no word": ('word = "around"\n', "", "published.sweep: word is missing; give it"),
    "strength text": ("strength = 1.5", 'strength = "1.5"', "published.sweep: strength is '1.5'; give a finite number"),
    "strength zero": ("strength = 1.5", "strength = 0", "published.sweep: strength is 0; give a number above 0"),
    "site": ("site = 6", "site = -1", "published.routing 1: site is -1; give a whole number ≥ 0"),
    "at without site": ("site = 6\n", "", "published.routing 1: at is ' about' but site is missing; give the position"),
    "head": ('heads = ["L2:H1"]', 'heads = ["L2:1"]',
             "published.routing 1: heads: head 'L2:1' is not of the form L21:H5; write it so"),
    "rhyme": ('rhyme = "who"', "rhyme = 3", "published.pairs.prompts 1: rhyme is 3; give a text in quotes"),
    "steps": ("steps = 4", "steps = 1", "published.correction: steps is 1; give at least 2"),
    "first": ('feature = "L0:4"', 'feature = "L3:4"',
              "published.correction: first is 2 but L3:4 writes from layer 3 on; give a layer it writes"),
    "printed number": ('head = "L2:H1"\n', f'head = "L2:H1"\nprinted = [{OUTCOME.replace("0.4", "much")}]\n',
                       "published.correction.printed 1: committed is 'much'; give it as printed, in quotes"),
    "printed strength": ('head = "L2:H1"\n', f'head = "L2:H1"\nprinted = [{OUTCOME.replace("2.0", "2.5")}]\n',
                         "published.correction.printed 1: strength is 2.5, none of the 4 that are run; give one"),
    "no contrast": ('contrasts = ["Would find a hidden"]', "contrasts = []",
                    "published.convergence: contrasts is missing; give at least one prompt to contrast with"),
    "unknown": ("steps = 4", "steps = 4\nstep = 1", "published.correction: step is not a field; known: feature, first"),
    "no table": (PRESET[PRESET.index("[subject.published.sweep]"):], "published = 3",
                 "published must be of type dict, not 3"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_malformed_protocol_is_one_line(tmp_path: Path, case: str) -> None:
    """A fault in a preset's protocol names the file, the subject, the part and field, and the cure."""
    old, new, message = BROKEN[case]
    assert old in PRESET
    with pytest.raises(UserError) as caught:
        read(tmp_path, PRESET.replace(old, new, 1))
    assert str(caught.value).startswith(f"{tmp_path / 'mine.toml'}: subject 1: {message}")
    assert "\n" not in str(caught.value)


def test_a_preset_brings_its_protocol_to_the_subject(tmp_path: Path) -> None:
    """A model folder opened by a preset is measured on the preset's own prompt, as plain hooks measure it."""
    made = published_subject("llama", tmp_path / "clt")
    made.model.to(torch.float32).save_pretrained(tmp_path / "model")
    made.tokenizer.save_pretrained(tmp_path / "model")
    subject = open_subject(read(tmp_path, PRESET), "cpu", "float32")
    assert subject.published == read(tmp_path, PRESET).published
    writes = rows_of(subject, {"L1:0": -1.5, "L3:1": -1.5, "L2:2": 1.5})
    expected = probability_of(subject, plain_run(subject, f"{PROMPT} ", writes, 13), "around")
    (found,) = families.experiment("published_spike")(subject).values.values()
    assert found == pytest.approx(expected, rel=1e-4)


def test_the_protocol_is_part_of_what_is_measured(tmp_path: Path) -> None:
    """A changed protocol changes the subject's digest, so that nothing measured before is taken over."""
    subjects = [published_subject("llama", tmp_path), published_subject("llama", tmp_path, recurring=["L1:H0"])]
    assert subjects[0].digest != subjects[1].digest
    assert load_subject("planted-llama-direct").published is None
