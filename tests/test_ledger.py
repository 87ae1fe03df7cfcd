"""The ledger of claims: what a row says, and how a malformed one is named."""

import re
from dataclasses import replace

import pytest

from prolepsis.errors import UserError
from prolepsis.ledger import Claim, Control, Side, load, rows

ROW = """
[[claim]]
id = "X01"
variant = "asked"
section = "5"
source = "an earlier paper"
statement = "Exchanging the row at the planning site exchanges the rhyme."
kind = "exclusivity"
population = "prompts like these"
scale = "nats"
theta0 = 1.0
delta = 0.5
family = "Q2"
published = [
  {value = 0.699, k = 95, n = 136, low = 0.62, high = 0.78, where = "section 5"},
  {value = "70-71 %", where = "table 1"},
  {name = "top", value = 2, items = ["L21:H5", "L20:H6"], where = "table 2"},
  {value = 20.5, of = "mean_layer(top)", where = "section 6"},
]
tolerance = 0.05
tolerance_why = "the printed digits"
controls = [
  {name = "untrained", role = "null", label = "the untrained twin"},
  {name = "mean difference", role = "rival"},
  {name = "all positions", role = "positive", bound = 1.0},
  {name = "self", role = "sham"},
  {name = "kl", role = "guard", bound = 0.1},
]
experiment = "interchange"
dtype = "bfloat16"
tiers = ["organism", "gpu"]
"""
SUM = """
[[claim]]
id = "B14"
variant = "published"
section = "5"
statement = "44 pairs are 4 prompts times 11 groups."
kind = "arithmetic"
population = "the paper"
scale = "pairs"
family = "Q2"
experiment = "arithmetic"
tiers = ["arithmetic"]
"""
PLAIN = {"k": None, "n": None, "clusters": None, "low": None, "high": None, "of": None, "items": (), "name": ""}


@pytest.fixture
def ledger(tmp_path):
    """Writes a ledger file and returns its path."""

    def write(text):
        path = tmp_path / "ledger.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_complete_row_is_read_field_by_field(ledger):
    """Every field of a row reaches the claim in its own type."""
    assert load(ledger(ROW))[0] == Claim(
        id="X01",
        variant="asked",
        section="5",
        source="an earlier paper",
        statement="Exchanging the row at the planning site exchanges the rhyme.",
        kind="exclusivity",
        population="prompts like these",
        scale="nats",
        theta0=1.0,
        delta=0.5,
        within=0.0,
        family="Q2",
        published=(
            {**PLAIN, "value": 0.699, "k": 95, "n": 136, "low": 0.62, "high": 0.78, "where": "section 5"},
            {**PLAIN, "value": "70-71 %", "where": "table 1"},
            {**PLAIN, "value": 2.0, "items": ("L21:H5", "L20:H6"), "name": "top", "where": "table 2"},
            {**PLAIN, "value": 20.5, "of": "mean_layer(top)", "where": "section 6"},
        ),
        tolerance=0.05,
        tolerance_why="the printed digits",
        controls=(
            Control("untrained", "null", None, "the untrained twin"),
            Control("mean difference", "rival", None, "mean difference"),
            Control("all positions", "positive", 1.0, "all positions"),
            Control("self", "sham", None, "self"),
            Control("kl", "guard", 0.1, "kl"),
        ),
        experiment="interchange",
        untested="",
        model="",
        disputes=(),
        suite="couplets",
        tiers=("organism", "gpu"),
        dtype="bfloat16",
    )


@pytest.mark.parametrize(("scale", "delta"), [("nats", 1.0), ("proportion", 0.2)])
def test_delta_has_the_default_of_its_scale(ledger, scale, delta):
    """Without delta a claim asks for 1 nat, or .20 of a proportion."""
    text = ROW.replace('scale = "nats"', f'scale = "{scale}"').replace("delta = 0.5\n", "")
    assert load(ledger(text))[0].delta == delta


EQUAL = ROW.replace('kind = "exclusivity"', 'kind = "equality"').replace("delta = 0.5", "within = 0.25")


UNSCALED = EQUAL.replace('scale = "nats"', 'scale = "ratio"')


def test_an_equality_says_what_counts_as_equal(ledger):
    """What counts as equal is the equality's own, and delta, which its nulls are held to, the default of the scale."""
    claim = load(ledger(EQUAL))[0]
    assert (claim.within, claim.delta, claim.limits) == (0.25, 1.0, (0.75, 1.25))
    assert replace(claim, kind="effect").limits == (1.0, 1.0)


def test_an_equality_that_is_compared_with_nothing_needs_no_delta(ledger):
    """On a scale without a default delta may be left out where there is no null and no rival."""
    alone = re.sub(r"controls = \[.*?\n\]\n", "", UNSCALED, flags=re.DOTALL)
    assert load(ledger(alone))[0].controls == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (EQUAL.replace("within = 0.25", "delta = 0.5"), "within is missing; give how far from theta0 still counts"),
        (EQUAL.replace("within = 0.25", "within = 0"), "within is 0; give a number above 0"),
        (ROW.replace("delta = 0.5", "within = 0.5"), "within is for equality; remove it"),
        (UNSCALED, "delta is missing and scale 'ratio' has no default"),
    ],
)
def test_what_counts_as_equal_is_given_for_equalities_alone(ledger, text, message):
    """An equality that has only delta is refused by a line that names within, as is one with nulls and no delta."""
    with pytest.raises(UserError, match=message):
        load(ledger(text))


def test_a_variant_may_share_its_id(ledger):
    """(id, variant) identifies a row, so both variants of a claim may stand."""
    claims = load(ledger(ROW + ROW.replace('"asked"', '"published"')))
    assert [claim.key for claim in claims] == [("X01", "asked"), ("X01", "published")]


def test_rows_are_chosen_by_family_variant_and_tier(ledger, monkeypatch):
    """rows() restricts the project's ledger, keeping its order."""
    path = ledger(ROW + SUM + ROW.replace('"Q2"', '"Q3"').replace("X01", "X02"))
    monkeypatch.setattr("prolepsis.ledger.LEDGER", path)
    assert [claim.id for claim in rows()] == ["X01", "B14", "X02"]
    assert [claim.id for claim in rows(family="Q2")] == ["X01", "B14"]
    assert [claim.id for claim in rows(variant="asked", tier="gpu")] == ["X01", "X02"]
    assert [claim.id for claim in rows(tier="arithmetic")] == ["B14"]


BROKEN = {
    "id missing": ('id = "X01"\n', "", "id is missing"),
    "id malformed": ('"X01"', '"first"', "id is 'first'"),
    "variant": ('"asked"', '"mine"', "variant is 'mine'; choose one of published, asked"),
    "section": ('section = "5"', "section = 5", "section is 5; give a text"),
    "source": ('source = "an earlier paper"', "source = 3", "source is 3"),
    "statement empty": ('statement = "Exchanging the row at the planning site exchanges the rhyme."',
                        'statement = " "', "statement is ' '"),
    "kind": ('"exclusivity"', '"causal"', "kind is 'causal'"),
    "population": ('"prompts like these"', '"most prompts"', "population is 'most prompts'"),
    "scale missing": ('scale = "nats"\n', "", "scale is missing"),
    "theta0 missing": ("theta0 = 1.0\n", "", "theta0 is missing; give the criterion"),
    "theta0 text": ("theta0 = 1.0", 'theta0 = "1"', "theta0 is '1'; give a finite number"),
    "theta0 nan": ("theta0 = 1.0", "theta0 = nan", "theta0 is nan"),
    "theta0 bool": ("theta0 = 1.0", "theta0 = true", "theta0 is True"),
    "delta zero": ("delta = 0.5", "delta = 0", "delta is 0; give a number above 0"),
    "delta missing": ('scale = "nats"\ntheta0 = 1.0\ndelta = 0.5', 'scale = "ratio"\ntheta0 = 1.0', "delta is missing"),
    "family missing": ('family = "Q2"\n', "", "family is missing"),
    "published no list": ("published = [", "published = 3\nother = [", "published is 3; give a list"),
    "published no table": ('{value = "70-71 %", where = "table 1"}', "0.7", "published 2: is 0.7; write it as a table"),
    "published value": ("value = 0.699, ", "", "published 1: value is missing"),
    "published where": (', where = "table 1"', "", "published 2: where is missing"),
    "published count": ("k = 95", "k = -1", "published 1: k is -1"),
    "published k above n": ("k = 95", "k = 137", "published 1: k is 137 but n is 136"),
    "published interval": ("low = 0.62", "low = 0.9", "published 1: low 0.9 is above high 0.78"),
    "published unknown": ("low = 0.62", "lower = 0.62", "published 1: lower is not a field"),
    "items no list": ('["L21:H5", "L20:H6"]', '"L21:H5"', "published 3: items is 'L21:H5'; give a list"),
    "items no text": ('["L21:H5", "L20:H6"]', "[21, 20]", "published 3: items holds 21; give texts in quotes"),
    "items twice": ('"L20:H6"]', '"L21:H5"]', "published 3: items names 'L21:H5' twice"),
    "name without items": (', items = ["L21:H5", "L20:H6"]', "", "published 3: name is 'top'; name a list of items"),
    "name malformed": ('"top"', '"the top"', "published 3: name is 'the top'; name a list of items"),
    "name twice": ('{value = 20.5, of = "mean_layer(top)"', '{name = "top", value = 1, items = ["L1:H1"]',
                   "two lists of published are named 'top'"),
    "of an unknown list": ("mean_layer(top)", "mean_layer(last)", "published 4: of: 'last' names no list of this row"),
    "of no number": ("mean_layer(top)", "top", "published 4: of: 'top' gives a list, no number; count it"),
    "of no list": ('items = ["L21:H5", "L20:H6"]', 'items = ["L21:H5"], of = "1 + 1"',
                   "published 3: of: '1 + 1' gives a number, no list"),
    "of no expression": ("mean_layer(top)", "2 ** 9", "published 4: of: '2 ** 9' is no expression"),
    "tolerance without why": ('tolerance_why = "the printed digits"\n', "", "tolerance and tolerance_why go together"),
    "why without tolerance": ("tolerance = 0.05\n", "", "tolerance and tolerance_why go together"),
    "tolerance negative": ("tolerance = 0.05", "tolerance = -1", "tolerance is -1; give a number ≥ 0"),
    "dtype": ('"bfloat16"', '"float16"', "dtype is 'float16'; choose one of float32, bfloat16"),
    "role": ('role = "sham"', 'role = "placebo"', "control 4: role is 'placebo'"),
    "positive unbound": (', bound = 1.0', "", "control 'all positions': a positive control needs a bound"),
    "guard unbound": (', bound = 0.1', "", "control 'kl': a guard control needs a bound"),
    "null bound": ('role = "rival"', 'role = "rival", bound = 1', "control 'mean difference': a rival takes no bound"),
    "sham negative": ('role = "sham"', 'role = "sham", bound = -1', "control 'self': a sham's bound"),
    "control twice": ('"kl"', '"self"', "control 'self' is named twice"),
    "no rival": ('role = "rival"', 'role = "null"', "kind is exclusivity but no control is a rival"),
    "experiment missing": ('experiment = "interchange"\n', "", "experiment is missing"),
    "untested empty": ('experiment = "interchange"', 'untested = ""', "experiment is missing"),
    "untested number": ('experiment = "interchange"', "untested = 3", "untested is 3; give a text"),
    "untested organism": ('experiment = "interchange"', 'untested = "no data"', "untested is for what only real"),
    "tiers empty": ('["organism", "gpu"]', "[]", "tiers is []"),
    "tiers unknown": ('"gpu"', '"cloud"', "tiers holds 'cloud'"),
    "tiers twice": ('"gpu"', '"organism"', "tiers names 'organism' twice"),
    "tiers arithmetic": ('["organism", "gpu"]', '["arithmetic"]', "kind arithmetic and tiers"),
    "the paper": ('"prompts like these"', '"the paper"', 'population "the paper" belongs to arithmetic'),
    "unknown field": ("family =", "famly = 1\nfamily =", "famly is not a field"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_malformed_row_is_named_by_its_line(ledger, case):
    """Each malformed field gives one line: file, line of the row, claim, what is wrong with a cure."""
    old, new, message = BROKEN[case]
    assert old in ROW
    path = ledger("# first\n" + SUM + "\n" + ROW.replace(old, new, 1))
    line = 3 + SUM.count("\n") + 1
    with pytest.raises(UserError) as caught:
        load(path)
    name = {"id missing": r"\?", "id malformed": "first"}.get(case, "X01")
    assert re.fullmatch(rf"\S+ledger\.toml:{line}: claim {name}: .*{re.escape(message)}.*", str(caught.value))
    assert len(re.split("; ", str(caught.value))) >= 2


def test_a_repeated_key_names_both_lines(ledger):
    """The second row of an (id, variant) is refused, with the line of the first."""
    with pytest.raises(UserError, match=rf":{2 + ROW.count(chr(10))}: claim X01: is already given as asked at line 2"):
        load(ledger(ROW + ROW))


def test_an_untested_row_needs_no_experiment(ledger):
    """A row that says why nothing can execute it may name an experiment or not."""
    reason = 'untested = "the corpus was not published"'
    text = ROW.replace('tiers = ["organism", "gpu"]', f'{reason}\ntiers = ["archive", "gpu"]')
    without = text.replace('experiment = "interchange"\n', "").replace('"asked"', '"published"')
    claims = load(ledger(text + without))
    assert [claim.experiment for claim in claims] == ["interchange", ""]
    assert {claim.untested for claim in claims} == {"the corpus was not published"}


def disputed(*answers):
    """ROW, one for each answer, which it gives to one question."""
    sides = (f'disputes = [{{question = "is a plan held?", answer = "{answer}"}}]\ntiers =' for answer in answers)
    return "".join(ROW.replace("tiers =", side).replace("X01", f"X{n:02}") for n, side in enumerate(sides, 1))


def test_rows_may_answer_one_question_differently(ledger):
    """Each row of a dispute has the question and its own answer."""
    sides = [claim.disputes for claim in load(ledger(disputed("yes", "no", "no")))]
    assert sides == [(Side("is a plan held?", answer),) for answer in ("yes", "no", "no")]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('answer = "no"', 'answer = "yes"', "has the one answer 'yes'; write the question as another row has it"),
        ('held?", answer = "no"', 'kept?", answer = "no"', "has the one answer 'yes'"),
        (', answer = "no"', "", "dispute 1: answer is missing; give it"),
        ('answer = "no"', 'answer = "no", by = 1', "dispute 1: by is not a field"),
        ('"no"}', '"no"}, {question = "is a plan held?", answer = "yes"}', "is answered twice; a row gives one answer"),
    ],
)
def test_a_dispute_that_is_none_is_refused(ledger, old, new, message):
    """A question without two answers, answered twice by one row, or not answered, is one line."""
    text = disputed("yes", "no")
    assert old in text
    with pytest.raises(UserError, match=r"ledger\.toml:\d+: claim X0[12]: .*dispute") as caught:
        load(ledger(text.replace(old, new)))
    assert message in str(caught.value)


def test_arithmetic_takes_no_criterion(ledger):
    """theta0 on an arithmetic row is refused."""
    with pytest.raises(UserError, match="claim B14: theta0 means nothing for arithmetic; remove it"):
        load(ledger(SUM + "theta0 = 1"))


@pytest.mark.parametrize(
    ("text", "line"),
    [("[[claim]]\nid = \n", 2), ('\n\n[[claim]]\nid = "X', 4), ("claim = 3", 1), ("[other]\na = 1", 1)],
)
def test_a_file_that_is_no_ledger_is_named_by_its_line(ledger, text, line):
    """Broken TOML is one line with the line number of the fault; other tables are refused."""
    with pytest.raises(UserError, match=rf"ledger\.toml:{line}: ") as caught:
        load(ledger(text))
    assert "\n" not in str(caught.value)


def test_a_missing_or_unreadable_ledger_is_one_line(tmp_path):
    """A file that is not there, or not text, is named with its cure."""
    with pytest.raises(UserError, match="no ledger here; run from a checkout"):
        load(tmp_path / "absent.toml")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not UTF-8 text; save it as UTF-8"):
        load(binary)
