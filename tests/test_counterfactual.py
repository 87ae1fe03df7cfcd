"""Counterfactual pairs of a data set: read in every format, screened on the subject, and asked like its own facts."""

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pyarrow
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from prolepsis import ledger
from prolepsis.engine import clean_run
from prolepsis.errors import HarnessFault, Untested, UserError
from prolepsis.experiments import counterfactual_pairs, families, measuring
from prolepsis.experiments.counterfactual_pairs import _pairs, _told_apart, screened
from prolepsis.experiments.fact_pairs import FactRuns, fact_pairs
from prolepsis.experiments.facts_asked import facts_of
from prolepsis.judge import judge_family
from prolepsis.report.subjects import open_subject, read_presets
from prolepsis.running.hooks import Read
from prolepsis.subject import Subject
from prolepsis.subjects.counterfactual import FIELDS, Counterfactuals, FactRow, distinct, find, read_rows
from prolepsis.subjects.loading import load_subject
from prolepsis.subjects.twins import IN_PLACE, untrained_in_place

torch.set_num_threads(1)

QUESTION = "\n\nRespond with one of Paris or Rome or unknown and nothing else.\n\nResponse:"
ROWS = [
    FactRow((f"The home of Ada is{QUESTION}", f"The home of Bo is{QUESTION}"), ("Paris", "Rome")),
    FactRow((f"Bo lives in, of all places,{QUESTION}", f"Cy lives in, of all places,{QUESTION}"), ("Rome", "Paris")),
]


def plain(row: FactRow) -> dict[str, str]:
    """A row as a data set has it, with a column that is not needed."""
    return dict(zip(FIELDS, (*row.prompts, *row.answers), strict=True)) | {"source": "made up"}


def write_jsonl(path: Path, rows: list[FactRow]) -> Path:
    """A row on each line."""
    path.write_text("".join(json.dumps(plain(row)) + "\n" for row in rows))
    return path


def write_csv(path: Path, rows: list[FactRow]) -> Path:
    """A table with a header."""
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, [*FIELDS, "source"])
        table.writeheader()
        table.writerows(map(plain, rows))
    return path


def write_parquet(path: Path, rows: list[FactRow]) -> Path:
    """A table as the hub stores it."""
    parquet.write_table(pyarrow.Table.from_pylist(list(map(plain, rows))), path)
    return path


def write_json(path: Path, rows: list[FactRow]) -> Path:
    """A list of rows."""
    path.write_text(json.dumps(list(map(plain, rows))))
    return path


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("write", [write_json, write_jsonl, write_csv, write_parquet])
def test_every_format_gives_the_same_rows(tmp_path: Path, write: Callable[[Path, list[FactRow]], Path]) -> None:
    """Line breaks, commas and columns that are not needed are the same rows in every format."""
    suffix = write.__name__.removeprefix("write_")
    assert list(read_rows(write(tmp_path / f"made.{suffix}", ROWS))) == ROWS


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("rows.json", "{", "holds no counterfactual pairs"),
        ("rows.json", "{}", "no list of rows"),
        ("rows.json", "[]", "holds no rows"),
        ("rows.jsonl", '{"original_prompt": "a"}\n', "no 'counterfactual_prompt'"),
        ("rows.jsonl", json.dumps(plain(replace(ROWS[0], answers=("", "Rome")))), "row 1 has an empty"),
        ("rows.csv", "original_prompt,counterfactual_prompt\na,b\n", "no 'gt_original_target'"),
        ("rows.csv", ",".join(FIELDS) + "\na,b\n", "row 1 has an empty"),
        ("rows.parquet", "a", "holds no counterfactual pairs"),
        ("rows.txt", "a", "read from .parquet, .jsonl"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    """What cannot be read as rows is refused in one line that names the file."""
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message) as raised:
        read_rows(tmp_path / name)
    assert str(raised.value).startswith(str(tmp_path / name))
    assert "\n" not in str(raised.value)


def test_without_pyarrow_a_table_is_untested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the reader of parquet files is not installed, the reason says how to get it."""
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    with pytest.raises(Untested, match="pip install pyarrow"):
        read_rows(tmp_path / "rows.parquet")


def test_the_file_of_the_split_is_found(tmp_path: Path) -> None:
    """A name stands for a file, for a folder's one file of the test split, or for what could be downloaded."""
    made = write_jsonl(tmp_path / "test-00000-of-00001.jsonl", ROWS)
    write_jsonl(tmp_path / "train-00000-of-00001.jsonl", ROWS[:1])
    assert find(made.name, tmp_path, None).path == find(".", tmp_path, None).path == made
    missing = find("nobody/has-this", tmp_path, None)
    with pytest.raises(Untested, match=r"`hf download nobody/has-this --repo-type dataset`"):
        missing.rows  # noqa: B018
    write_jsonl(tmp_path / "test-00001-of-00002.jsonl", ROWS)
    with pytest.raises(UserError, match="one file with 'test' in its name"):
        find(".", tmp_path, None)
    with pytest.raises(UserError, match="neither a file nor a data set"):
        find("no such/thing/at all", tmp_path, None)


# ---------------------------------------------------------------- pairs

names = st.lists(st.sampled_from(["Ada", "Bo", "Cy", "Di", "Ed"]), min_size=1, max_size=2).map(" ".join)
wordings = st.sampled_from(["The home of {} is", "{} lives in", "Of all there are {}"])


@settings(deadline=None)
@given(st.lists(st.tuples(wordings, names, names), min_size=1, max_size=12), st.booleans())
def test_a_row_is_a_pair_that_says_what_the_row_says(asked: list[tuple[str, str, str]], instructed: bool) -> None:
    """Prompts and answers are the row's, third subjects fit, and rows with a prompt in common are one cluster."""
    after = QUESTION if instructed else ""
    home = {name: ("Paris", "Rome")[len(name) % 2] for _, *both in asked for name in both}
    rows = [
        FactRow((wording.format(first) + after, wording.format(second) + after), (home[first], home[second]))
        for wording, first, second in asked
        if first != second
    ]
    pairs = _pairs(rows)
    assert len(pairs) == len(rows)
    for row, pair in zip(rows, pairs, strict=True):
        assert (pair.recipient.text, pair.donor.text) == row.prompts
        assert (pair.recipient.answer, pair.donor.answer) == row.answers
        assert {*row.answers, *(("unknown",) if instructed else ())} <= set(pair.donor.relation.options)
        assert pair.same_answer is None or pair.same_answer.answer == row.answers[0]
        assert pair.mismatched is None or pair.mismatched.answer not in row.answers
        for other, of in zip(rows, pairs, strict=True):
            if set(row.prompts) & set(other.prompts):
                assert pair.cluster == of.cluster
    assert len({(pair.cluster, pair.half) for pair in pairs}) == len({pair.cluster for pair in pairs})


@given(st.lists(st.sampled_from(ROWS), max_size=6))
def test_repeats_are_counted_once(rows: list[FactRow]) -> None:
    """Of equal pairs of prompts the first stays, and the order of the others."""
    assert list(distinct(rows)) == list(dict.fromkeys(rows))


# ---------------------------------------------------------------- screened on a subject


@cache
def planner() -> Subject:
    """A subject that knows its facts."""
    return load_subject("planner")


def rows_of(subject: Subject) -> list[FactRow]:
    """The subject's own facts as a data set would have them: some twice, some with the wrong answer."""
    assert subject.task is not None
    rows = [
        FactRow((pair.recipient.text, pair.donor.text), (pair.recipient.answer, pair.donor.answer))
        for pair in fact_pairs(subject.task)
    ]
    wrong = [
        FactRow((one.prompts[0], other.prompts[0]), row.answers)
        for row, one, other in zip(rows[:8:2], rows[8:16:2], rows[16:24:2], strict=True)
    ]
    return [*wrong, *rows[1:], *rows[20:25]]


def asked(subject: Subject, folder: Path, rows: list[FactRow]) -> Subject:
    """The subject with a data set."""
    made = write_jsonl(folder / "rows.jsonl", rows)
    return replace(subject, pairs=Counterfactuals("made-up", made, folder / "screens"))


def says(subject: Subject, prompt: str) -> str:
    """The most likely next token by a run of its own."""
    return subject.decode(
        [int(clean_run(subject, subject.encode(prompt)).read(Read()).last_logits[0].argmax())]
    ).strip()


def test_the_screen_keeps_what_is_answered_rightly_twice(tmp_path: Path) -> None:
    """The counts of every stage are those of the file and of single runs, and the pairs are the rows that are left."""
    rows = rows_of(planner())
    subject = asked(planner(), tmp_path, rows)
    right = [row for row in dict.fromkeys(rows) if tuple(says(subject, p) for p in row.prompts) == row.answers]
    found = screened(subject)
    assert 12 < len(right) < len(set(rows)) < len(rows)
    assert found.counts == {
        "rows": len(rows),
        "unique pairs": len({row.prompts for row in rows}),
        "both answered rightly": len(right),
        "told apart": len(right),
        "asked": len(right),
    }
    assert [(pair.recipient.text, pair.donor.text) for pair in facts_of(subject)] == [row.prompts for row in right]
    assert found.counted()["unique pairs"] == {"counted": len({row.prompts for row in rows}), "published": 1866}


def test_options_that_begin_alike_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """An option that begins like another is left out, and a pair whose answers do is not asked."""
    rows = rows_of(planner())
    (home, work), answers = rows[10].prompts, rows[10].answers
    asked_for = " or ".join((*answers, "nobody knows", "nobody", answers[1] + " too"))
    instructed = f"{{}}\n\nRespond with one of {asked_for} and nothing else."
    pairs = _pairs([FactRow((instructed.format(home), instructed.format(work)), answers)])
    assert len(pairs[0].donor.relation.options) == 5
    first = {option: number for number, option in enumerate(pairs[0].donor.relation.options)}
    first |= {"nobody": first["nobody knows"], answers[1] + " too": first[answers[1]]}
    monkeypatch.setattr(FactRuns, "first_token", lambda _, option: first[option])
    # The planner knows no instructions.
    monkeypatch.setattr(Subject, "encode", lambda _, text: list(text.encode()))
    (kept,) = _told_apart(planner(), pairs)
    assert kept.recipient.relation.options == kept.donor.relation.options == (*answers, "nobody knows")
    assert (kept.recipient.text, kept.donor.text) == (instructed.format(home), instructed.format(work))
    first[answers[0]] = first[answers[1]]
    assert _told_apart(planner(), pairs) == []


def test_a_subject_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What passed is kept under the subject's digest, and a damaged file is made again."""
    rows, whole = rows_of(planner()), counterfactual_pairs.first_words
    first = screened(asked(planner(), tmp_path, rows))
    (kept,) = (tmp_path / "screens").iterdir()
    assert kept.stem == asked(planner(), tmp_path, rows).digest != asked(planner(), tmp_path, rows[1:]).digest

    def never(*_: object) -> dict[str, str]:
        raise AssertionError("asked again")

    monkeypatch.setattr(counterfactual_pairs, "first_words", never)
    assert screened(asked(planner(), tmp_path, rows)).pairs == first.pairs
    with pytest.raises(AssertionError, match="asked again"):
        screened(asked(planner(), tmp_path, rows[1:]))
    monkeypatch.setattr(counterfactual_pairs, "first_words", whole)
    text = kept.read_text()
    for damaged in (text[: len(text) // 2], "[3, 1]", "[100000]", "{}"):
        kept.write_text(damaged)
        assert screened(asked(planner(), tmp_path, rows)).pairs == first.pairs
        assert kept.read_text() == text


def test_the_twin_is_asked_what_its_subject_answers(tmp_path: Path) -> None:
    """An untrained twin meets its subject's pairs, and never screens any itself."""
    subject = replace(asked(planner(), tmp_path, rows_of(planner())), twin=IN_PLACE)
    with untrained_in_place(subject) as twin, pytest.raises(HarnessFault, match="not screened"):
        facts_of(twin)
    pairs = facts_of(subject)
    with untrained_in_place(subject) as twin:
        assert facts_of(twin) is pairs


def test_the_experiments_on_facts_run_on_a_data_set(tmp_path: Path) -> None:
    """Every claim on facts is measured and judged on the pairs of the file, with those left aside that are doubtful."""
    subject = replace(asked(planner(), tmp_path, rows_of(planner())[:34]), twin=IN_PLACE, same_behaviour=None)
    claims = [claim for claim in ledger.rows(family="q5", tier="gpu") if not claim.untested]
    measured = measuring.measure(claims, subject)
    assert set(judge_family(claims, measured)) == {claim.key for claim in claims}
    ids = {pair.id for pair in facts_of(subject)}
    for found in measured.values():
        assert {re.sub(r", (L\d+\.\.\d+|fact token \d+)$", "", item) for item in found.values} <= ids
        assert found.detail["pairs"]["stages"] == screened(subject).counted()
        assert found.detail["pairs"]["lengths differ"] == found.detail["pairs"]["answer in the fact"] == []


def test_what_the_data_set_is_can_be_measured(tmp_path: Path) -> None:
    """The printed numbers of pairs, and the shares of doubtful ones, are those of the file and the screen."""
    rows = rows_of(planner())
    subject = asked(planner(), tmp_path, rows)

    def measured(name: str) -> float:
        (found,) = families.experiment(name)(subject).values.values()
        return found

    right = screened(subject).right
    assert measured("unscreened_pairs") == len({row.prompts for row in rows})
    assert measured("gold_pairs") == len(right)
    assert measured("answers_given_away") == 0
    assert measured("unequal_lengths") == 0


def test_lengths_of_facts_are_in_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts of as many words differ where the tokenizer cuts one of them into more tokens."""
    subject = asked(planner(), tmp_path, rows_of(planner()))
    right = screened(subject).right
    assert not any(row.differs_in_length for row in right)
    encode, longer = subject.encode, {right[0].facts[0], right[1].facts[1]}
    monkeypatch.setattr(Subject, "encode", lambda _, text: encode(text) + [0] * (text in longer))
    (found,) = families.experiment("unequal_lengths")(subject).values.values()
    assert found == sum(len({fact in longer for fact in row.facts}) > 1 for row in right) / len(right) > 0


def test_a_preset_names_its_data_set(tmp_path: Path) -> None:
    """Where the file is missing the claims on facts are untested and say what to get; the others are measured."""
    folder = Path(__file__).parent.parent / "fixtures" / "organisms" / "window-1"
    preset = tmp_path / "mine.toml"
    preset.write_text(f'[[subject]]\nid = "mine"\nmodel = "{folder}"\npairs = "nobody/has-this"\n')
    subject = open_subject(read_presets(preset)[0], "cpu", "float32")
    with pytest.raises(Untested, match="hf download nobody/has-this"):
        facts_of(subject)
    assert families.experiment("layer_count")(subject).values
