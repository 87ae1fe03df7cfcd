"""What README and docs say is tried: every command and example is run, every link, name and figure looked up."""

import doctest
import json
import re
import tomllib
from collections.abc import Collection, Sequence
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
import yaml

from prolepsis import ledger, organisms
from prolepsis.cli import COMMANDS
from prolepsis.doctor import expect
from prolepsis.doctor.work import Rates, total
from prolepsis.errors import UserError
from prolepsis.judging import validity
from prolepsis.ledger import Kind, Role
from prolepsis.report.options import add_options
from prolepsis.report.pins import Key, read_pins
from prolepsis.report.subjects import known_subjects, read_presets
from prolepsis.report.table import COLOURS
from prolepsis.subjects.published import Convergence, Correction, PairSweep, Published, RhymePrompt, Steering
from prolepsis.subjects.task import Task
from tests.pages import PAGES, ROOT, Page, Run
from tests.terminal import ORGANISMS, Terminal, free_port
from tests.told_commands import ARRANGED, FAILING, FINE, INSTEAD

TEXT = "\n".join(page.path.read_text() for page in PAGES)
NAMES = ("organisms", "verdicts", "verify-the-paper", "verify-your-model")
GPU_PAGE = Page(ROOT / "docs" / "gpu.md")
COUNTED = ("gemma-2-2b-426k", "gemma-2-2b-2.5m", "llama-3.2-1b-524k")
COLUMNS = ("floating-point operations", "float32, TFLOP/s")
"""Which the tables of what was counted, and of cards, have second."""
ORGANISMS_PAGE, VERDICTS_PAGE, PAPER_PAGE, MODEL_PAGE = (Page(ROOT / "docs" / f"{name}.md") for name in NAMES)


def typed(command: str, folder: Path) -> str:
    """What is run for a command: itself, as a rule."""
    return INSTEAD[command].command.format(folder=folder, port=free_port()) if command in INSTEAD else command


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_whoever_follows_a_page_gets_through(page: Page, tmp_path: Path) -> None:
    """Every file a page shows can be written and every command run, in its order; what is shown printed is printed."""
    terminal = Terminal(tmp_path)
    for step in page.steps():
        if not isinstance(step, Run):
            step.apply(terminal.checkout)
            continue
        arranged = ARRANGED[step.command].variables if step.command in ARRANGED else {}
        done = terminal.run(typed(step.command, tmp_path), arranged)
        said = f"{page}: {step.command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        code, _, words = FAILING.get(step.command, FINE)
        assert done.returncode == code, said
        assert words in done.stdout + done.stderr, said
        assert step.printed in (None, done.stdout), said


def test_no_exception_is_made_for_nothing() -> None:
    """Every command that is arranged for, not run as written, or fails, stands in some page."""
    told = {command for page in PAGES for command in page.commands()}
    assert set(ARRANGED) | set(INSTEAD) | set(FAILING) <= told


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Page) -> None:
    """A link within the project names a file that is there, and a heading that the page has."""
    for link in page.links():
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = page.path.parent / name if name else page.path
        assert target.exists(), link
        assert not anchor or anchor in Page(target).anchors(), link


def test_every_page_can_be_found() -> None:
    """The README links to every page of docs/."""
    readme, *others = PAGES
    assert {str(page) for page in others} <= set(readme.links())


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_examples_are_well_formed(page: Page) -> None:
    """Every block of Python, TOML, JSON and YAML is one, and what a Python session shows is what comes out."""
    for text in page.blocks("python"):
        if text.startswith(">>> "):
            session = doctest.DocTestParser().get_doctest(text, {}, str(page), str(page), 0)
            assert doctest.DocTestRunner(verbose=False).run(session).failed == 0
        elif not text.startswith(" "):
            compile(text, str(page), "exec")
    for language, read in (("toml", tomllib.loads), ("json", json.loads), ("yaml", yaml.safe_load)):
        for text in page.blocks(language):
            read(text)


def test_every_option_and_subcommand_is_told() -> None:
    """Each --claims-… option and each subcommand of prolepsis stands in the README or the docs."""
    parser = pytest.Parser(_ispytest=True)
    add_options(parser)
    options = [name for group in parser._groups for option in group.options for name in option.names()]
    assert "--claims-subject" in options
    assert [name for name in options if name not in TEXT] == []
    assert [command.name for command in COMMANDS if f"prolepsis {command.name}" not in TEXT] == []


def test_every_module_of_claims_is_told() -> None:
    """The README says of each module in claims/ what it asks."""
    told = set(re.findall(r"`(test_\w+)`", (ROOT / "README.md").read_text()))
    assert told == {path.stem for path in (ROOT / "claims").glob("test_*.py")}


def explained(page: Page) -> set[str]:
    """The keys that tables of a page explain."""
    tables = [table for table in page.tables() if table[0] == ["key", "meaning"]]
    return {key for table in tables for row in table[1:] for key in row[0].split(", ")}


def test_every_key_of_a_preset_is_explained(tmp_path: Path) -> None:
    """The keys a preset may have are those that are explained, and the example with published runs is one."""
    (tmp_path / "a.toml").write_text('[[subject]]\nunknown = "a"\n')
    with pytest.raises(UserError, match="known: ") as refused:
        read_presets(tmp_path / "a.toml")
    known = str(refused.value).rpartition("known: ")[2].split(", ")
    kinds = (Published, Steering, PairSweep, RhymePrompt, Correction, Convergence)
    inner = {field.name for kind in kinds for field in fields(kind)}
    task = {field.name for field in fields(Task)}
    assert {*known, *inner - {"prompts", "rhyme"}, *task} == explained(MODEL_PAGE)
    (tmp_path / "b.toml").write_text(MODEL_PAGE.blocks("toml")[1])
    (preset,) = read_presets(tmp_path / "b.toml")
    assert preset.published is not None
    assert None not in (preset.published.pairs, preset.published.correction)


def test_scores_are_those_that_were_stored() -> None:
    """Each figure of the table of organisms is that of its subject.json, to the digits that are given."""
    (table,) = (table for table in ORGANISMS_PAGE.tables() if "rhyme_rate" in table[0])
    (_, *scores), *rows = table
    assert rows
    for name, *cells in rows:
        stored = json.loads((ORGANISMS / name / "subject.json").read_text())["scores"]
        for score, cell in zip(scores, cells, strict=True):
            assert f"{stored[score]:.{len(cell.partition('.')[2])}f}" == cell, f"{name}: {score}"


def test_shapes_of_organisms_are_those_of_their_recipes() -> None:
    """Layers and width of the trained subjects are as the table says, and no trained subject is left out."""
    (table,) = (table for table in ORGANISMS_PAGE.tables() if table[0][1:3] == ["layers", "width"])
    for name, layers, width, _ in table[1:]:
        recipe = json.loads((ORGANISMS / name / "subject.json").read_text())["recipe"]
        assert (layers, width) == (str(recipe["layers"]), str(recipe["width"]))
    assert {row[0] for row in table[1:]} == set(organisms.TRAINED)


def test_every_bundled_subject_is_told() -> None:
    """Each subject stands on the page about them, planted ones by their variant and twins by whose twin they are."""
    told = {token.content for token in ORGANISMS_PAGE.inline if token.type == "code_inline"}
    for name in organisms.BUNDLED:
        variant = re.sub("^planted-(llama|gemma2)-", "", name)
        assert told & {name, variant, name.removesuffix("-untrained")}, name


def test_verdicts_on_the_paper_are_the_pinned_ones() -> None:
    """What is said to have come out so far is pinned so, on a subject that is asked."""
    pins = read_pins(ledger.LEDGER.parent / "expected.toml", {claim.key for claim in ledger.rows()})
    tiers = {source.id: source.tier for source in known_subjects(None, None, None, None, Path()).values()}
    (table,) = (table for table in PAPER_PAGE.tables() if table[0][:3] == ["claim", "on", "verdict"])
    assert len(table) > 1
    for claim, subject, verdict, _ in table[1:]:
        key = Key(*claim.split(), subject, tiers[subject])
        assert pins[key].verdict == verdict, key


def test_nothing_of_the_papers_models_is_pinned() -> None:
    """As long as the page says that no claim was measured on the paper's models, no pin says otherwise."""
    pins = read_pins(ledger.LEDGER.parent / "expected.toml", {claim.key for claim in ledger.rows()})
    assert not any(key.tier == "gpu" for key in pins)


def test_the_words_and_thresholds_of_judging_are_told() -> None:
    """Kinds, roles and verdicts are all explained, with the thresholds the judge has."""
    text = VERDICTS_PAGE.path.read_text()
    first = {row[0] for table in VERDICTS_PAGE.tables() for row in table[1:]}
    assert first == {*get_args(Kind), *get_args(Role)}
    assert set(COLOURS) - {"error"} <= set(re.findall(r"\w+", text))
    assert f"Fewer than {validity.MIN_CLUSTERS} clusters or {validity.MIN_ITEMS} items" in text
    assert f"more than {100 * validity.MAX_EXCLUDED:g} % of the items" in text


def test_the_work_that_is_told_is_what_was_counted() -> None:
    """Counts, layer calls, and the time of each card at the rates beside it follow from the counts that are kept."""
    sizes = {subject: expect.sizes_of(subject, None, None, "float32") for subject in COUNTED}
    works = {subject: expect.works_of(subject) for subject in COUNTED}

    def seconds(subject: str, families: Collection[str], peaks: Sequence[str]) -> float:
        size, (float32, float16, copies) = sizes[subject], (1e12 * float(peak) for peak in peaks)
        rates = Rates(float32 / 2, float16 / 2, 0.7 * copies, 150_000)
        return sum(works[subject][of].seconds(size.model, size.n_features, size.width, rates) for of in families)

    counted, cards = (next(t for t in GPU_PAGE.tables() if t[0][1] == column) for column in COLUMNS)
    for subject, told in zip(COUNTED, counted[1:], strict=True):
        work, size = total(works[subject]), sizes[subject]
        found = (
            work.operations(size.model, size.n_features),
            work.scan_operations(size.model, size.n_features),
            work.moved_bytes(size.model, size.n_features, size.width),
        )
        rounded = [f"{count:.1e}".replace("e+", "e") for count in found]
        assert told == [subject, *rounded, f"{work.starts / 1e6:.1f} million"]
    for _, *peaks, minutes in cards[1:]:
        assert minutes == f"{sum(seconds(subject, works[subject], peaks) for subject in COUNTED) / 60:.2g}"
    text = " ".join(GPU_PAGE.path.read_text().split())
    assert f"is {seconds(COUNTED[0], ['recorded'], cards[1][1:4]):.0f} seconds of that on an {cards[1][0]}" in text
    calls = round(sum(total(works[subject]).layer_calls for subject in COUNTED), -4)
    assert f"called {calls // 1000} 000 times" in text
