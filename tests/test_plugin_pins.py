import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prolepsis.errors import UserError
from prolepsis.report.pin_update import update_pins
from prolepsis.report.pins import VERDICTS, Key, Pin, read_pins, standing

CLAIMS = {("X01", "asked"), ("X02", "asked")}
GOOD = '[[expected]]\nclaim = "X01"\nvariant = "asked"\nsubject = "planner"\ntier = "organism"\n'


def row(verdict: str, tier: str = "organism", margin: float | None = 5.0, subject: str = "planner") -> dict[str, Any]:
    """The part of a report row that pins look at."""
    return {
        "id": "X01", "variant": "asked", "subject": subject, "tier": tier,
        "verdict": verdict, "reason": "because", "margin": margin,
    }  # fmt: skip


@pytest.mark.parametrize("verdict", VERDICTS)
@pytest.mark.parametrize("pinned", [None, *VERDICTS])
def test_a_test_passes_only_on_support_that_no_pin_denies(verdict: str, pinned: str | None) -> None:
    """Met and supported passes, met and anything else is an expected failure, and everything else fails."""
    pin = pinned and Pin(pinned, "")
    result = standing(row(verdict), pin or None, update=False)
    met = pinned in (None, verdict) if verdict == "supported" else pinned == verdict
    assert result.outcome == (("passed" if verdict == "supported" else "xfailed") if met else "failed")
    if pinned not in (None, verdict):
        assert result.why == f"pinned {pinned}, now {verdict}: because"


@pytest.mark.parametrize("update", [False, True])
@pytest.mark.parametrize(
    ("verdict", "pinned", "outcome"),
    [("vacuous", None, "xfailed"), ("vacuous", "vacuous", "xfailed"), ("vacuous", "supported", "failed"),
     ("supported", None, "passed")],
)  # fmt: skip
def test_what_cannot_be_pinned_fails_only_where_a_pin_says_another(
    verdict: str, pinned: str | None, outcome: str, update: bool
) -> None:
    """A verdict too near its threshold to be pinned is no failure by itself: nothing could ever be done about it."""
    pin = pinned and Pin(pinned, "")
    assert standing(row(verdict, margin=1.9), pin or None, update=update).outcome == outcome


@pytest.mark.parametrize("pinned", [None, "supported", "vacuous"])
@pytest.mark.parametrize(("tier", "outcome"), [("organism", "failed"), ("gpu", "skipped")])
def test_untested_fails_where_nothing_can_be_missing(tier: str, outcome: str, pinned: str | None) -> None:
    """Untested fails on organisms, which come with the project, and skips on real weights, whatever is pinned."""
    pin = pinned and Pin(pinned, "")
    assert standing(row("untested", tier, None), pin or None, update=False).outcome == outcome


@pytest.mark.parametrize(
    ("verdict", "margin", "outcome"),
    [("contradicted", 2.0, "xfailed"), ("contradicted", 1.9, "failed"), ("inconclusive", 0.1, "xfailed")],
)
def test_an_update_accepts_only_what_it_pins(verdict: str, margin: float, outcome: str) -> None:
    """While pinning, a verdict counts as met exactly when its margin allows it to be pinned."""
    assert standing(row(verdict, margin=margin), Pin("supported", ""), update=True).outcome == outcome


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        (GOOD + 'verdict = "supported"\nreason = "r"\n[[expected]]\nclaim = 3\n', 8, "claim is missing or not a text"),
        ("# pins\n" + GOOD + 'verdict = "likely"\nreason = "r"\n', 2, "'likely' is not one of supported"),
        (GOOD + 'verdict = "untested"\nreason = "r"\n', 1, "untested cannot be pinned"),
        (GOOD + 'verdict = "supported"\n', 1, "reason is missing"),
        (GOOD + 'verdict = "supported"\nreason = "r"\nwhy = "r"\n', 1, "unknown key 'why'"),
        ((GOOD + 'verdict = "supported"\nreason = "r"\n') * 2, 8, "pinned twice"),
        (GOOD.replace("X01", "X09") + 'verdict = "supported"\nreason = "r"\n', 1, "no claim X09"),
        (GOOD + "verdict = supported\n", 6, "not valid TOML"),
        ("expected = 3\n", 1, "[[expected]]"),
        ("other = 3\n", 1, "[[expected]]"),
    ],
)
def test_a_broken_pin_is_named_by_its_line(tmp_path: Path, text: str, line: int, what: str) -> None:
    """Every defect of the file is one line that starts with file and line number and says what is wrong."""
    path = tmp_path / "expected.toml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_pins(path, CLAIMS)
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: ")
    assert what in message
    assert "\n" not in message


def test_a_folder_is_no_file_of_pins(tmp_path: Path) -> None:
    """A folder in the place of the pins is named in one line."""
    with pytest.raises(UserError, match="no file of pins can be read there"):
        read_pins(tmp_path, set())


def test_no_file_is_no_pins(tmp_path: Path) -> None:
    """A project without pins has none, rather than an error."""
    assert read_pins(tmp_path / "expected.toml", CLAIMS) == {}


SUBJECTS = ["planner", "improviser", "window-1", "latch", "direct"]
PINNED = st.dictionaries(st.sampled_from(SUBJECTS), st.tuples(st.sampled_from(VERDICTS), st.text(max_size=8)))
FOUND = st.dictionaries(
    st.sampled_from(SUBJECTS),
    st.tuples(st.sampled_from([*VERDICTS, "untested"]), st.none() | st.floats(0, 4), st.text(max_size=8)),
)


@given(pinned=PINNED, found=FOUND)
def test_an_update_touches_only_what_was_measured(
    tmp_path_factory: pytest.TempPathFactory, pinned: dict[str, tuple[str, str]], found: dict[str, Any]
) -> None:
    """Measured keys get their verdict or lose their pin; the text of every other pin, comments included, stays."""
    path = tmp_path_factory.mktemp("pins") / "expected.toml"
    blocks = {
        subject: f"# about {subject}\n{GOOD.replace('planner', subject)}verdict = '{verdict}'   # surely\n"
        f"reason = 'as built {number}'\n"
        for number, (subject, (verdict, _)) in enumerate(pinned.items())
    }
    text = "# Pins of the project.\n\n" + "\n".join(blocks.values()) + "\n# the end\n"
    path.write_text(text)
    rows = [row(v, margin=m, subject=s) | {"reason": f"as built {len(r)}"} for s, (v, m, r) in found.items()]
    unpinned = update_pins(path, rows)
    after = path.read_text()
    pins = read_pins(path, CLAIMS)
    expected = {subject: verdict for subject, (verdict, _) in pinned.items()}
    for subject, (verdict, margin, _) in found.items():
        if verdict == "untested":
            continue
        if verdict == "inconclusive" or margin is None or margin >= 2:
            expected[subject] = verdict
        else:
            expected.pop(subject, None)
            assert Key("X01", "asked", subject, "organism") in unpinned
    assert {key.subject: pin.verdict for key, pin in pins.items()} == expected
    for subject, block in blocks.items():
        if subject in expected and found.get(subject, ("untested",))[0] in ("untested", pinned[subject][0]):
            assert block in after
        assert f"# about {subject}\n" in after
    assert after.startswith("# Pins of the project.\n\n")
    assert "# the end\n" in after
    kept = [key.subject for key in pins if key.subject in blocks]
    assert kept == [subject for subject in blocks if subject in expected]


def test_an_update_that_changes_nothing_leaves_the_file_alone(tmp_path: Path) -> None:
    """When every verdict is met, not one byte of the file changes."""
    path = tmp_path / "expected.toml"
    path.write_text(GOOD + 'verdict=\'supported\'\nreason="""two\nlines"""')
    before = path.read_text(), path.stat().st_ino
    assert update_pins(path, [row("supported") | {"reason": "two\nlines"}]) == []
    assert (path.read_text(), path.stat().st_ino) == before


def test_a_reason_of_other_words_is_pinned_anew(tmp_path: Path) -> None:
    """Where a verdict is met, other figures leave its reason alone, and another reason takes its place."""
    path = tmp_path / "expected.toml"
    for reason, kept in (("1.2 nats, at least 1", True), ("-0.3e-5 nats, at least −2.5", True), ("too few", False)):
        path.write_text(GOOD + 'verdict = "supported"\nreason = "1.1 nats, at least 0.9"\n')
        update_pins(path, [row("supported") | {"reason": reason}])
        expected = "1.1 nats, at least 0.9" if kept else reason
        assert tomllib.loads(path.read_text())["expected"][0]["reason"] == expected


def test_any_reason_can_be_pinned(tmp_path: Path) -> None:
    """Quotes, backslashes and line breaks in a reason survive being pinned."""
    path = tmp_path / "expected.toml"
    reason = 'a "quoted"\\ line\nand \x07\x7f another 🐎 — ≥ 2'
    update_pins(path, [row("vacuous") | {"reason": reason}])
    assert tomllib.loads(path.read_text())["expected"][0]["reason"] == reason
