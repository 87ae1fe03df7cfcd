"""The page of a report in a real browser: no errors, filters that work, legible on a phone and in the dark."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from tests.report_pages import CLAIMS, page_of

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
pytestmark = pytest.mark.skipif(not BROWSER, reason="no Chromium here: apt-get install chromium")

HARNESS = """
<body style="margin:0"><iframe src="page.html" style="border:0;width:{width}px;height:900px"></iframe><pre></pre>
<script>addEventListener("message", (event) => {{ document.querySelector("pre").textContent = event.data; }});</script>
"""

SCRIPT = """
<script>
addEventListener("load", () => setTimeout(async () => {{
  const pause = () => new Promise((done) => setTimeout(done, 30));
  const all = (selector) => [...document.querySelectorAll(selector)];
  const seen = (node) => node.getClientRects().length > 0;
  const form = document.getElementById("filter");
  const choose = async (name, value) => {{
    form.reset();
    await pause();
    form.elements[name].value = value;
    form.dispatchEvent(new Event("input"));
    await pause();
  }};
  document.head.append(Object.assign(document.createElement("style"), {{
    textContent: ".claim {{ content-visibility: visible !important; }}" }}));
  {body}
}}, 50));
</script>
"""


def run_page(folder: Path, body: str, *options: str, width: int = 1200, change: tuple[str, str] = ("", "")) -> Any:
    """What ``body``, run inside the page, hands to ``tell``; and what the page wrote to the console."""
    (folder / "run").mkdir()
    page = page_of(folder / "run").replace(*change)
    tell = "const tell = (value) => parent.postMessage(JSON.stringify(value), '*');"
    (folder / "page.html").write_text(page + SCRIPT.format(body=tell + body), encoding="utf-8")
    (folder / "harness.html").write_text(HARNESS.format(width=width), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr"]
    flags += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=20000", "--window-size=1300,1000"]
    command = [BROWSER, *flags, *options, "--dump-dom", (folder / "harness.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    told = unescape(re.findall(r"<pre>(.*?)</pre>", done.stdout, re.DOTALL)[0])
    return (json.loads(told) if told else None), re.findall(r".*CONSOLE.*", done.stderr)


FILTERS = """
  const rows = () => all(".rows tr[id]").filter(seen).map((row) => row.id);
  const cells = () => all(".matrix td a").filter((a) => getComputedStyle(a).visibility === "visible" && seen(a)).length;
  const found = {start: [rows().length, cells()]};
  const asked = [["v", "supported"], ["t", "gpu"], ["s", "planner"], ["c", "depth does"], ["c", "nothing like it"]];
  for (const [name, value] of asked) {
    await choose(name, value);
    const figures = () => all("figure").filter((figure) => !figure.hidden).length;
    found[`${name} ${value}`] = [rows(), cells(), all(".claim").filter(seen).length, form.elements.n.value, figures()];
  }
  location.hash = "#" + all(".matrix td a")[0].hash.slice(1);
  await pause();
  found.revealed = rows().length;
  location.hash = all("figure")[0].id;
  await pause();
  found.opened = seen(all("figure")[0]);
  tell(found);
"""


def test_filters_show_what_was_asked_for_and_links_lead_there(tmp_path: Path) -> None:
    """Rows, sections, cells of the matrix and the count follow the filter; a link undoes it; no error is logged."""
    found, console = run_page(tmp_path, FILTERS)
    assert console == []
    total, cells = found["start"]
    assert total == cells
    for asked, part in (("v supported", None), ("t gpu", "some-model"), ("s planner", "-planner")):
        rows, cells, sections, count, _ = found[asked]
        assert 0 < len(rows) == cells < total
        assert sections == len({row.split("-")[0] for row in rows})
        assert count == f"{len(rows)} of {total} shown"
        assert part is None or all(row.endswith(part) for row in rows)
    assert found["s planner"][4] < found["v supported"][4]
    assert [row.split("-")[0] for row in found["c depth does"][0]] == ["X02"] * len(found["c depth does"][0])
    assert found["c nothing like it"][:4] == [[], 0, 0, f"0 of {total} shown"]
    assert found["revealed"] == total
    assert found["opened"]


LAYOUT = """
  for (const details of all("details")) details.open = true;
  await pause();
  const outside = [];
  for (const svg of all("svg.figure")) {
    const width = svg.viewBox.baseVal.width;
    for (const text of svg.querySelectorAll("text")) {
      const box = text.getBBox();
      if (box.x < -1 || box.x + box.width > width + 1) outside.push([svg.textContent.slice(0, 30), text.textContent]);
    }
  }
  const texts = all("svg.figure text");
  const small = texts.filter((text) => text.getBoundingClientRect().height < 9).length;
  tell({wide: document.documentElement.scrollWidth, room: innerWidth, outside, small, drawn: texts.length});
"""


@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_overflows(tmp_path: Path, width: int) -> None:
    """The page is no wider than the screen, and no label of a figure is cut off or too small to read."""
    found, _ = run_page(tmp_path, LAYOUT, width=width)
    assert found["room"] == width
    assert found["wide"] <= width
    assert found["outside"] == []
    assert found["drawn"] > 100
    assert found["small"] == 0


CONTRAST = """
  for (const details of all("details")) details.open = true;
  await pause();
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => parse(colour).slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor, parts = parse(colour);
      if (parts.length < 4 || parts[3] > 0) return colour;
    }
    return "rgb(0, 0, 0)";
  };
  const least = {ratio: 99};
  let seenTexts = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const node = text.parentElement;
    if (!text.data.trim() || !seen(node) || node.closest("script")) continue;
    seenTexts += 1;
    const style = getComputedStyle(node);
    const pair = [light(node.closest("svg") ? style.fill : style.color), light(ground(node))].sort((a, b) => a - b);
    const ratio = (pair[1] + 0.05) / (pair[0] + 0.05);
    if (ratio < least.ratio) Object.assign(least, {ratio, text: text.data.trim().slice(0, 40), tag: node.tagName});
  }
  tell({...least, seenTexts, ground: ground(document.body)});
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_in_the_page_can_be_read(tmp_path: Path, scheme: str) -> None:
    """What the browser paints has a contrast of 4.5 at least between each text and its ground, in both schemes."""
    preferred = f"--blink-settings=preferredColorScheme={int(scheme == 'light')}"
    found, _ = run_page(tmp_path, CONTRAST, preferred)
    assert found["ground"] == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}[scheme]
    assert found["seenTexts"] > 200
    assert found["ratio"] >= 4.5, found


def test_the_page_is_whole_without_its_script(tmp_path: Path) -> None:
    """Without the script every row is shown and no filter is offered."""
    body = "tell([all('.rows tr[id]').filter(seen).length, all('.rows tr[id]').length, seen(form)]);"
    (shown, every, form), _ = run_page(tmp_path, body, change=('"use strict";', '"use strict"; if (1) throw "off";'))
    assert shown == every > len(CLAIMS)
    assert not form


def test_an_error_in_the_page_would_be_seen(tmp_path: Path) -> None:
    """The console is read: a script that fails is in it."""
    _, console = run_page(tmp_path, "", change=('"use strict";', '"use strict"; nothing.here;'))
    assert any("nothing is not defined" in line for line in console)
