"""The page of a report: one file, whose links resolve, whose pictures have words and whose colours can be read."""

import re
import tomllib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given

from prolepsis import ledger
from prolepsis.claim import Control
from prolepsis.errors import Untested
from prolepsis.judge import judge, untested
from prolepsis.report.figures import KINDS, draw_figures
from prolepsis.report.figures.chart import style_sheet
from prolepsis.report.figures.state_map import DEEPEST
from prolepsis.report.html import HERE, MEANINGS, html
from prolepsis.report.html.anchors import row_anchor
from prolepsis.report.html.forests import forests
from prolepsis.report.html.reversal import what_would_change
from prolepsis.report.html.strips import Strips
from prolepsis.report.rows import claim_row
from prolepsis.report.rows import plain as json_types
from prolepsis.subjects.source import SubjectSource
from tests.figure_samples import sample
from tests.judging import NULL, cases, good, make_claim, make_measurement, plain, rows, spread
from tests.report_pages import CLAIMS, ODD, PLANNER, page_of, stored_run

EXPECTED = ledger.LEDGER.parent / "expected.toml"


class Page(HTMLParser):
    """Tags, ids and addresses of a page, and the text of each element with an id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.addresses += [value for name, value in attrs if name in ("href", "src", "xlink:href") and value]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's folder."""
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    """The page."""
    return page_of(folder)


def test_every_link_resolves_within_the_page(text: str) -> None:
    """Ids are unique, every address is one of them, and nothing is fetched from anywhere."""
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    inside = [address for address in page.addresses if address.startswith("#")]
    assert {address[1:] for address in inside} <= set(page.ids)
    assert [address for address in page.addresses if not address.startswith("#")] == ["data:,"]
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org)", text)


def test_every_verdict_has_a_cell_that_leads_to_its_row(text: str, tmp_path: Path) -> None:
    """The matrix holds each claim on each subject once, and a row of that claim stands at the other end."""
    page, report = Page(text), stored_run(tmp_path)
    matrix = [found["href"] for tag, found in page.tags if tag == "a" and found.get("title") in MEANINGS]
    assert sorted(matrix) == sorted(f"#{row_anchor(row)}" for row in report["claims"])
    assert {row["verdict"] for row in report["claims"]} == set(MEANINGS)


def test_each_claim_has_one_section_that_says_everything(text: str, tmp_path: Path) -> None:
    """Statement, section, published values, reasons, what would change them, command, protocol and time are there."""
    sections = dict(re.findall(r'<section class="claim" id="([^"]*)">(.*?)</section>', text, re.DOTALL))
    assert set(sections) == {f"{claim.id}-{claim.variant}" for claim in CLAIMS}
    section = sections["B01-published"]
    for words in (
        "A plan is &#34;held&#34; at &lt;site&gt;.",
        "5.2, 4 of 9, [4, 6.5], §5 &lt;&amp;&gt;",
        "hf download",
    ):
        assert words in section
    assert "claim(id=&#39;B01&#39;, variant=&#39;published&#39;)&#34; --claims-dtype float32</code>" in section
    for row in stored_run(tmp_path)["claims"]:
        assert row["protocol"] is None or row["protocol"] in sections[f"{row['id']}-{row['variant']}"]
        anchor = re.escape(row_anchor(row))
        (said,) = re.findall(rf'<tr id="{anchor}".*?Would change it: ([^<]*)</p>', text, re.DOTALL)
        assert said.endswith(".")


def test_claims_that_cannot_all_be_true_stand_side_by_side(text: str) -> None:
    """A question that two claims answer differently is a table of their verdicts, which say what is borne out."""
    (table,) = re.findall(r"<summary>Is there a plan\?</summary>(.*?)</details>", text, re.DOTALL)
    (planner,) = re.findall(r"<tr><td>planner</td>(.*?)</tr>", table)
    assert re.findall(r'href="#(.*?)">(\w+)<', planner) == [
        ("X01-a-planner", "supported"),
        ("X02-a-planner", "supported"),
    ]
    assert planner.endswith("<td>yes and no</td>")


def test_names_and_statements_are_never_markup(text: str) -> None:
    """What the ledger or a folder is called comes out as text."""
    assert "<b>&#34;name" not in text
    assert '<b>"name' not in text
    assert "<site>" not in text


def test_each_figure_is_shown_once_and_has_words(text: str) -> None:
    """Every drawing is in the page once, with a title and a description; strips beside their numbers need none."""
    pictures = re.findall(r"<svg\b[^>]*>.*?</svg>", text, re.DOTALL)
    figures = [svg for svg in pictures if "aria-hidden" not in svg]
    assert len(figures) == len(KINDS) + 2
    for svg in figures:
        assert re.search(r"<title>[^<]+</title><desc>[^<]{20,}</desc>", svg)
    titles = [re.findall(r"<title>(.*?)</title>", svg)[0] for svg in figures]
    assert len(titles) == len(set(titles))
    assert len(re.findall(r">state map</a>", text)) == 2


def test_a_forest_is_of_what_is_printed_and_was_measured_on_real_models(tmp_path: Path) -> None:
    """A line for each printed value in the unit of its claim, a figure for each subject and unit; no organisms."""
    rows = stored_run(tmp_path)["claims"]
    (svg,) = forests(rows)
    root = ElementTree.fromstring(svg)
    assert root.findtext("{*}title") == "Published and measured: some-model, nats"
    assert "X03 asked: 5.2, 1" in (root.findtext("{*}desc") or "")
    (real,) = (row for row in rows if row["subject"] == "some-model" and row["measured"])
    printed = [{**real["published"][0], "value": value} for value in (5.2, 6.0)]
    other = {**real, "published": printed, "measured": {**real["measured"], "unit": "proportion", "value": 0.5}}
    assert len(forests([real, other])) == 1
    assert len(forests([real, {**other, "published": [{**printed[0], "value": 0.25}]}])) == 2
    (both,) = forests([{**real, "published": printed}])
    assert "X03 asked: 5.2, 1; X03 asked: 6, 1" in both
    assert forests([{**row, "tier": "organism"} for row in rows]) == []


def test_a_figure_whose_file_is_gone_is_left_out(tmp_path: Path) -> None:
    """A page is made all the same, without a dead link."""
    report = stored_run(tmp_path)
    for path in (tmp_path / "figures").iterdir():
        path.unlink()
    text = html(report, CLAIMS, tmp_path)
    assert "<figure" not in text
    assert "state map" not in text


def test_a_claim_that_left_the_ledger_is_still_shown(tmp_path: Path) -> None:
    """A stored run is shown by its own rows where the ledger has no such claim any more."""
    text = html(stored_run(tmp_path), CLAIMS[1:], tmp_path)
    assert 'id="B01-published"' in text


def test_an_empty_run_is_a_page(tmp_path: Path) -> None:
    """A run that was stopped before anything was measured has its head and nothing else."""
    report = {**stored_run(tmp_path), "claims": []}
    report["run"]["complete"] = False
    text = html(report, CLAIMS, tmp_path)
    assert "Not complete" in text
    assert "<table" not in text


def colours() -> dict[str, dict[str, str]]:
    """Scheme → name → colour, from the style sheets."""
    sheet = style_sheet() + (HERE / "page.css").read_text()
    dark = "".join(re.findall(r"@media \(prefers-color-scheme: dark\) \{\s*:root \{(.*?)\}", sheet, re.DOTALL))
    light = re.sub(r"@media \(prefers-color-scheme: dark\) \{.*?\}\s*\}", "", sheet, flags=re.DOTALL)
    return {
        "light": dict(re.findall(r"--([\w-]+): (#\w{6})", light)),
        "dark": dict(re.findall(r"--([\w-]+): (#\w{6})", dark)),
    }


def mixed(top: str, bottom: str, share: float) -> str:
    """``top`` laid over ``bottom`` with an opacity."""
    parts = [(int(top[i : i + 2], 16), int(bottom[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(share * a + (1 - share) * b):02x}" for a, b in parts)


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2.2."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(scheme: str) -> None:
    """Text has a contrast of 4.5 against whatever it stands on, and marks one of 3 (WCAG 2.2, AA)."""
    of = colours()[scheme]
    for ground in ("paper", "card"):
        for ink in ("ink", "muted", "link", "first", "second", "third", "fourth"):
            assert contrast(of[ink], of[ground]) >= 4.5, (ink, ground)
        assert contrast(of["fifth"], of[ground]) >= 3
    for verdict in ("supported", "contradicted", "vacuous", "inconclusive", "untested"):
        assert contrast(of["ink"], of[verdict]) >= 4.5, verdict
    for cell in ("first", "second"):
        assert contrast(of["ink"], mixed(of[cell], of["paper"], DEEPEST)) >= 4.5, cell


def test_both_schemes_name_the_same_colours() -> None:
    """No colour of one scheme is left to the other."""
    assert set(colours()["light"]) == set(colours()["dark"])


@plain
@given(cases())
def test_every_verdict_says_what_would_change_it(case) -> None:
    """A sentence for any claim and any measurement, in finite numbers."""
    claim, measurement = case
    row = json_types(claim_row(claim, PLANNER, judge(claim, measurement), measurement, None))
    said = what_would_change(row, claim)
    assert said[0].isupper()
    assert said.endswith(".")
    assert not re.search(r"\bnan\b|None|–", said)


@pytest.mark.parametrize(
    ("claim", "measurement", "said"),
    [
        (make_claim(), good(), r"A lower bound below 1 \(now 4\.9.*\), or a difference from the untrained twin of 1"),
        (make_claim(), good(value=-3.0), r"An upper bound of 1 or more \(now -2\.9"),
        (make_claim(), good(null=5.0), r"A difference from the untrained twin that may reach 1 \(now it is at most 0"),
        (make_claim(), good(value=1.01), r"An interval on one side of 1 \(now 0\.9.* to 1\.0"),
        (make_claim(), make_measurement(spread(5, size=4), {"null": spread(0, size=4)}), r"At least 6 clusters"),
        (make_claim(), make_measurement(spread(5)), r"The untrained twin measured\."),
        (make_claim(kind="absence"), good(value=0.0, null=5.0), r"An upper bound of 1 or more \(now 0\.0"),
        (make_claim(kind="absence"), good(), r"A lower bound of 1 or less \(now 4\.9"),
        (make_claim(kind="equality", theta0=5.0), good(), r"A bound outside 4 to 6 \(now 4\.9.* to 5\.0"),
        (make_claim(kind="universal"), good(value=-3.0), r"No item below 0\."),
        (make_claim(controls=(NULL, Control("rival", "rival", None, "the mean difference")), kind="exclusivity"),
         good(rival=5.0), r"The mean difference falling short by 1 or more"),
        (make_claim(), good(reach=rows(claimed=False, other=True)), r"only another wiring"),
        (make_claim(), good(reach=rows(claimed=True, other=False)), r"only another wiring"),
        (make_claim(), Untested("weights, 5 GiB"), r"Getting what is missing"),
        (make_claim(kind="arithmetic"), make_measurement({}, detail={"disagreements": []}), r"Other printed figures"),
    ],
)  # fmt: skip
def test_what_would_change_a_verdict_names_the_bound_that_decided(claim, measurement, said: str) -> None:
    """The deciding bound stands beside the threshold that it met or missed."""
    stored = None if isinstance(measurement, Untested) else measurement
    row = json_types(claim_row(claim, PLANNER, judge(claim, measurement), stored, None))
    assert re.search(said, what_would_change(row, claim)), what_would_change(row, claim)


def test_what_would_change_it_does_change_it() -> None:
    """A supported effect that is moved past its nearest threshold loses the verdict, and keeps it short of that."""
    claim = make_claim()
    row = json_types(claim_row(claim, PLANNER, judge(claim, good()), good(), None))
    now = [float(found) for found in re.findall(r"now (?:at least )?(-?[\d.]+)", what_would_change(row, claim))]
    for by, verdict in ((min(now) - 1 - 0.01, "supported"), (min(now) - 1 + 0.01, "inconclusive")):
        moved = replace(good(), values={item: value - by for item, value in good().values.items()})
        assert judge(claim, moved).verdict == verdict


def test_published_and_measured_stand_on_one_axis(tmp_path: Path) -> None:
    """Places on the strips of a claim rise with the values, whatever they are of, and an outlier becomes an arrow."""
    found = [row for row in stored_run(tmp_path)["claims"] if row["id"] == "B01"]
    strips = Strips(found, CLAIMS[0])

    def centre(svg: str, role: str) -> float:
        x, half = re.findall(rf'<path class={role} d="[^"]*M(-?\d+) \d+h(\d)', svg)[0]
        return float(x) + float(half) / 2

    measured, printed = strips.row(found[0]), strips.printed(found[0]["published"][0])
    assert centre(measured, "n") < centre(measured, "m") < centre(printed, "q")
    far = {**found[0], "measured": {**found[0]["measured"], "value": 1e4, "ci": [9e3, None]}}
    assert Strips([*found, *found, far], CLAIMS[0]).scale.high < 100
    assert re.search(r"<path class=m d=\"M\d+ 9H240M228 5l8 4", Strips([*found, *found, far], CLAIMS[0]).row(far))


def test_a_printed_number_in_another_unit_is_not_drawn(tmp_path: Path) -> None:
    """A ratio of a million is no proportion: it is said in words only."""
    (found,) = [row for row in stored_run(tmp_path)["claims"] if row["id"] == "B01" and row["subject"] == ODD.id]
    entry = {**found["published"][0], "value": 1e6}
    row = {
        **found,
        "published": [entry],
        "measured": {**found["measured"], "unit": "proportion", "value": 0.4, "ci": [0, 1]},
    }
    assert Strips([row], CLAIMS[0]).printed(entry) == ""
    assert Strips([row], None).printed(entry) == ""


def test_the_page_of_the_default_run_is_small(tmp_path: Path) -> None:
    """With every pinned row, as many controls as the ledger names and every figure of every subject: 3 MB at most."""
    claims = {claim.key: claim for claim in ledger.rows()}
    pinned = tomllib.loads(EXPECTED.read_text())["expected"]
    figures = {
        subject: [draw_figures(tmp_path, subject, sample(kind.name))[0] for kind in KINDS[:12]]
        for subject in {pin["subject"] for pin in pinned if pin["tier"] == "organism"}
    }
    numbers = {"value": 0.5123456, "ci": [0.4123456, 0.6123456]}
    found = []
    for pin in pinned:
        claim = claims[pin["claim"], pin["variant"]]
        row = claim_row(claim, SubjectSource(pin["subject"], pin["tier"]), untested(claim, pin["reason"]), None, None)
        row |= {"verdict": pin["verdict"], "protocol": "0123456789abcdef", "seconds": 1.5}
        row["figures"] = figures.get(pin["subject"], [])[len(found) % 12 :][:1]
        if claim.kind != "arithmetic":
            row["measured"] = {**numbers, "unit": claim.scale, "k": None, "n": 48, "clusters": 24}
            row["measured"] |= {"ci_method": "delete-one-group jackknife", "sided": "one-sided 97.5 %"}
            row["controls"] = [
                {"name": arm.name, "role": arm.role, "difference": 0.2123456, "passed": True, **numbers}
                for arm in claim.controls
            ]
        found.append(json_types(row))
    report = {**stored_run(tmp_path), "claims": found}
    assert len(found) > 1800
    page = html(report, list(claims.values()), tmp_path)
    assert page.count("<figure ") > 300
    assert len(page.encode()) < 3_000_000
