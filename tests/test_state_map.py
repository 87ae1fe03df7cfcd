"""The state map says where the plan is, layer by layer, and its figure shows what the map says."""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prolepsis.experiments.interchange import hand_off, interchange
from prolepsis.experiments.rhyme_pairs import Runs
from prolepsis.experiments.sites import find_sites
from prolepsis.experiments.state_map import EMBEDDING, LAST, RHYME_WORD, StateMap, state_map
from prolepsis.report.figures import draw_figures
from prolepsis.report.figures.state_map import describe
from prolepsis.subject import Subject
from prolepsis.subjects.loading import load_subject
from tests.claims_project import ClaimsProject

torch.set_num_threads(1)


@cache
def subject_of(name: str) -> Subject:
    """A bundled subject; what has been measured on it stays with it."""
    return load_subject(name)


@cache
def map_of(name: str) -> StateMap:
    """The state map of a bundled subject."""
    subject = subject_of(name)
    return state_map(subject.once(find_sites), subject.once(Runs))


@pytest.mark.parametrize(
    ("name", "carriers"),
    [
        ("planted-llama-irrevocable", [RHYME_WORD, "<nl>", "<nl>", LAST, LAST]),
        ("planted-llama-no-plan", [RHYME_WORD, RHYME_WORD, RHYME_WORD, RHYME_WORD, LAST]),
    ],
)
def test_the_map_follows_the_planted_circuit(name: str, carriers: list[str]) -> None:
    """The plan is at the newline from search to route; without a plan the rhyme word itself is read at the end."""
    found = map_of(name)
    assert list(found.carriers().values()) == carriers
    assert [row["layer"] for row in found.hand_offs()] == [
        layer for layer in range(4) if carriers[layer] != carriers[layer + 1]
    ]


def test_one_row_carries_everything_from_the_word_to_the_end() -> None:
    """The whole plan moves: each layer's carrier of a planted planner has the effect of the whole prompt."""
    found = map_of("planted-llama-irrevocable")
    whole = found.rows[EMBEDDING][0]
    for row in found.rows.values():
        assert max(cell for cell in row if cell is not None) == pytest.approx(whole, rel=1e-4)
        assert sum(abs(cell) for cell in row if cell is not None) == pytest.approx(whole, rel=1e-3)


def test_only_what_the_wiring_keeps_from_the_answer_has_no_value() -> None:
    """Rows of the last layer are read by their own position alone, and every other row of a global model is read."""
    found = map_of("planted-llama-no-plan")
    for layer, row in found.rows.items():
        assert [cell is None for cell in row] == [layer == 3] * (len(row) - 1) + [False]


def test_a_map_without_effects_names_no_carrier() -> None:
    """Where nothing reaches a nat there is no plan to hand off."""
    found = map_of("planted-llama-untrained")
    assert found.carriers() == {}
    assert found.hand_offs() == []
    assert "Hand-offs: none" in describe("untrained", found.plain())[1]


def test_columns_count_their_pairs() -> None:
    """Each pair is in the columns between its rhyme word and its last position, and nowhere else."""
    found, sites = map_of("planted-llama-irrevocable"), subject_of("planted-llama-irrevocable").once(find_sites)
    runs = subject_of("planted-llama-irrevocable").once(Runs)
    spans = [len(runs.clean(pair.recipient).tokens) - 1 - sites.source[pair.id] for pair in sites.pairs]
    assert found.pairs[0] == found.pairs[-1] == len(sites.pairs)
    assert list(found.pairs[1:-1]) == [sum(span > offset for span in spans) for offset in range(1, max(spans))]


def test_both_measurements_hold_the_map_and_share_a_figure(tmp_path: Path) -> None:
    """Interchange and hand-off store the map, and their rows of one subject list one file."""
    subject = subject_of("planted-llama-irrevocable")
    stored = [{"detail": dict(measured.detail)} for measured in (interchange(subject), hand_off(subject))]
    assert stored[0]["detail"]["state map"] == stored[1]["detail"]["state map"] == map_of(subject.id).plain()
    first = draw_figures(tmp_path, subject.id, stored[0])
    before = (tmp_path / first[0]).stat().st_mtime_ns
    assert first == draw_figures(tmp_path, subject.id, stored[1]) == ["figures/state-map-planted-llama-irrevocable.svg"]
    assert (tmp_path / first[0]).stat().st_mtime_ns == before


CELLS = st.one_of(st.none(), st.floats(-30, 30))


@settings(deadline=None, max_examples=15)
@given(st.data(), st.integers(2, 5), st.integers(2, 4))
def test_a_figure_shows_every_number_and_says_it_in_words(data: st.DataObject, n_roles: int, n_layers: int) -> None:
    """Every number of the map stands in the SVG, every label too, and it has a title and a text alternative."""
    rows = [[*(data.draw(CELLS) for _ in range(n_roles - 1)), data.draw(st.floats(-30, 30))] for _ in range(n_layers)]
    roles = [f"<${i}&>" for i in range(n_roles)]
    plain: dict[str, Any] = {"roles": roles, "pairs": [7] * n_roles, "layers": list(range(-1, n_layers - 1))}
    plain |= {"nats": rows, "hand-offs": [{"layer": 1, "from": roles[0], "to": roles[1]}]}
    text, root = drawn("a/b", plain)
    for cell in (cell for row in rows for cell in row if cell is not None):
        assert f"{round(cell, 1) + 0:.1f}" in text
    for label in ("embedding", "layer 0", "interchange effect (nats), by layer and token", *roles):
        assert label in text
    assert root.get("role") == "img"
    assert "before it is spoken? a/b" in (root.findtext("{*}title") or "")
    assert f"at layer 1 from {roles[0]} to {roles[1]}" in (root.findtext("{*}desc") or "")


def drawn(subject: str, plain: dict[str, Any]) -> tuple[str, ElementTree.Element]:
    """All text of the figure of a map, and its SVG; drawn twice, it is the same to the byte."""
    contents = []
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            (path,) = draw_figures(Path(folder), subject, {"detail": {"state map": plain}})
            contents.append((Path(folder) / path).read_text(encoding="utf-8"))
    assert contents[0] == contents[1]
    root = ElementTree.fromstring(contents[0])
    return "\n".join(" ".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")), root


def test_a_measurement_without_a_map_has_no_figure(tmp_path: Path) -> None:
    """Nothing is drawn, and no folder made, for what was not measured or holds no map."""
    assert draw_figures(tmp_path, "subject", None) == draw_figures(tmp_path, "subject", {"detail": {}}) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_the_rows_of_a_run_list_their_figures(project: ClaimsProject, workers: tuple[str, ...]) -> None:
    """What a run measured a map of has its figure in the run's folder, and the rows that hold it name the file."""
    project.want({"X01 planner": "mapped", "X02 planner": "mapped"})
    project.run(*workers)
    rows = {(row["id"], row["subject"]): row["figures"] for row in project.report()["claims"]}
    assert rows["X01", "planner"] == rows["X02", "planner"] == ["figures/state-map-planner.svg"]
    assert rows["X01", "improviser"] == rows["X02", "improviser"] == []
    latest = project.path / "reports" / "latest"
    assert [path.name for path in (latest / "figures").iterdir()] == ["state-map-planner.svg"]
