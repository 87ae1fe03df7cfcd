"""The ledger of claims: what the paper says, and what each claim would have to show (imports no torch).

``claims/ledger.toml`` is a list of ``[[claim]]`` tables. Fields of a row (o = optional):

==============  ======================================================================================================
id              "B06"; a capital letter and two or three digits, then perhaps a small letter. Our own claims are X….
variant         "published" (as the paper ran it) or "asked" (as it should be asked); (id, variant) is unique
section         where the paper says it
source        o the other paper whose claim it is; empty for the paper under test
statement       the claim in one sentence
kind            effect (value ≥ theta0) · absence (value < theta0) · exclusivity (an effect no rival reaches) ·
                universal (every item ≥ theta0) · equality (|value − theta0| < delta) · ordering (mean difference >
                theta0) · arithmetic (the paper's own numbers agree)
population      "prompts like these" · "these prompts" · "this prompt" · "models like these" · "the paper"
scale           unit of value, theta0, delta, tolerance and bounds: "nats", "proportion", "probability", …
theta0          the criterion; not for arithmetic
delta         o smallest difference worth the name, > 0; 1 for nats, .20 for a proportion, else to be given
family          claims judged together; errors are held to alpha within family and subject
published     o list of {value, k, n, low, high, of, where}; value (number or text) and where are needed; of is
                the sum, product or quotient of other printed numbers that the value is said to be, as "4 * 34"
tolerance     o how far from the published value still agrees; needs tolerance_why
tolerance_why o why that far
controls      o list of {name, role, bound, label}; name is the arm of the measurement, label how a sentence calls it.
                role null, rival: no bound · positive: bound its lower 95 % bound must reach · guard: bound its mean
                must not pass · sham: largest deviation from clean, 0 unless given
experiment      name of the experiment that measures it; may be left out of an untested row
untested      o why nothing here can execute the row, whatever subject it is asked of: its verdict is untested, and this
                the reason
model         o the preset whose figure it is, "gemma-2-2b-426k" for example; asked of every model unless given
suite         o the bundled subjects it is asked of (prolepsis.organisms.SUITES); "couplets" unless given
tiers           any of arithmetic, property, organism, archive, gpu; arithmetic claims have that one alone
==============  ======================================================================================================
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

from prolepsis.errors import UserError
from prolepsis.organisms import SUITES
from prolepsis.toml_tables import Fault, Table, read_tables

Variant = Literal["published", "asked"]
Kind = Literal["effect", "absence", "exclusivity", "universal", "equality", "ordering", "arithmetic"]
Role = Literal["null", "rival", "positive", "sham", "guard"]
Tier = Literal["arithmetic", "property", "organism", "archive", "gpu"]
Population = Literal["prompts like these", "these prompts", "this prompt", "models like these", "the paper"]

LEDGER = Path(__file__).parent.parent / "claims" / "ledger.toml"
DEFAULT_DELTA = {"nats": 1.0, "proportion": 0.20}


class Published(TypedDict):
    """A value as printed: the number (or text), its count, its interval, what it is made of, and where it stands."""

    value: float | str
    k: int | None
    n: int | None
    low: float | None
    high: float | None
    of: str | None
    where: str


@dataclass(frozen=True)
class Control:
    """A control arm and the role it plays for one claim; ``label`` is how a sentence calls it."""

    name: str
    role: Role
    bound: float | None
    label: str


@dataclass(frozen=True)
class Claim:
    """One row of the ledger; the module's docstring says what each field means."""

    id: str
    variant: Variant
    section: str
    source: str
    statement: str
    kind: Kind
    population: Population
    scale: str
    theta0: float
    delta: float
    family: str
    published: tuple[Published, ...]
    tolerance: float | None
    tolerance_why: str
    controls: tuple[Control, ...]
    experiment: str
    untested: str
    model: str
    suite: str
    tiers: tuple[Tier, ...]

    @property
    def key(self) -> tuple[str, str]:
        """(id, variant), unique in a ledger."""
        return self.id, self.variant

    def arms(self, role: Role) -> tuple[Control, ...]:
        """The controls that play ``role``."""
        return tuple(control for control in self.controls if control.role == role)


def rows(family: str | None = None, variant: Variant | None = None, tier: Tier | None = None) -> tuple[Claim, ...]:
    """The claims of the project's ledger, in its order, restricted to a family, a variant or a tier."""
    return tuple(
        claim
        for claim in load(LEDGER)
        if family in (None, claim.family) and variant in (None, claim.variant) and (tier is None or tier in claim.tiers)
    )


@cache
def load(path: Path) -> tuple[Claim, ...]:
    """Every claim of a ledger file; raises UserError "file:line: claim X01: what is wrong and its cure"."""
    name = _shown(path)
    try:
        tables = read_tables(path, "claim", name)
    except OSError:
        raise UserError(f"{name}: no ledger here; run from a checkout of the project, where claims/ lies") from None
    seen: dict[tuple[str, str], int] = {}
    claims = []
    for line, table in tables:
        try:
            claim = _claim(table)
            if claim.key in seen:
                raise Fault(f"is already given as {claim.variant} at line {seen[claim.key]}; use another id")
        except Fault as fault:
            raise UserError(f"{name}:{line}: claim {table.get('id', '?')}: {fault}") from None
        seen[claim.key] = line
        claims.append(claim)
    return tuple(claims)


def _shown(path: Path) -> str:
    root = LEDGER.parent.parent
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _claim(plain: Any) -> Claim:
    table = Table(plain)
    identifier = table.text("id")
    if not re.fullmatch(r"[A-Z]\d{2,3}[a-z]?", identifier):
        raise Fault(f"id is {identifier!r}; write a capital letter and two digits, as X01")
    kind = table.one_of("kind", get_args(Kind))
    scale = table.text("scale")
    untested = table.text("untested", default="")
    claim = Claim(
        id=identifier,
        variant=table.one_of("variant", get_args(Variant)),
        section=table.text("section"),
        source=table.text("source", default=""),
        statement=table.text("statement"),
        kind=kind,
        population=table.one_of("population", get_args(Population)),
        scale=scale,
        theta0=_theta0(table, kind),
        delta=_delta(table, kind, scale),
        family=table.text("family"),
        published=tuple(_published(entry, i) for i, entry in enumerate(table.items("published"), 1)),
        tolerance=_tolerance(table),
        tolerance_why=table.text("tolerance_why", default=""),
        controls=_controls(table.items("controls")),
        experiment=table.text("experiment", default="" if untested else None),
        untested=untested,
        model=table.text("model", default=""),
        suite=table.one_of("suite", tuple(SUITES), default="couplets"),
        tiers=_tiers(table.items("tiers", optional=False), kind),
    )
    table.done()
    if kind == "exclusivity" and not claim.arms("rival"):
        raise Fault("kind is exclusivity but no control is a rival; name the rival it is to exclude")
    if (kind == "arithmetic") != (claim.population == "the paper"):
        raise Fault('population "the paper" belongs to arithmetic claims, and only to them; correct one of the two')
    if untested and not set(claim.tiers) <= {"archive", "gpu"}:
        raise Fault("untested is for what only real weights or recordings could tell; leave archive or gpu in tiers")
    return claim


def _theta0(table: Table, kind: str) -> float:
    theta0: float | None = table.number("theta0", optional=True)
    if kind == "arithmetic":
        if theta0 is not None:
            raise Fault("theta0 means nothing for arithmetic; remove it")
        return 0.0
    if theta0 is None:
        raise Fault("theta0 is missing; give the criterion the value has to meet")
    return theta0


def _delta(table: Table, kind: str, scale: str) -> float:
    delta: float | None = table.number("delta", optional=True)
    if delta is None and kind != "arithmetic" and scale not in DEFAULT_DELTA:
        raise Fault(f"delta is missing and scale {scale!r} has no default; give the smallest difference that counts")
    if delta is not None and delta <= 0:
        raise Fault(f"delta is {delta:g}; give a number above 0")
    return DEFAULT_DELTA.get(scale, 1.0) if delta is None else delta


def _tolerance(table: Table) -> float | None:
    tolerance: float | None = table.number("tolerance", optional=True)
    if tolerance is not None and tolerance < 0:
        raise Fault(f"tolerance is {tolerance:g}; give a number ≥ 0")
    why = table.text("tolerance_why", default="")
    if (tolerance is not None) != bool(why.strip()):
        raise Fault("tolerance and tolerance_why go together; give both or neither")
    return tolerance


def _published(plain: Any, place: int) -> Published:
    table = Table(plain, f"published {place}: ")
    value = plain.get("value")
    entry = Published(
        value=table.text("value") if isinstance(value, str) else table.number("value"),
        where=table.text("where"),
        k=table.count("k"),
        n=table.count("n"),
        low=table.number("low", optional=True),
        high=table.number("high", optional=True),
        of=table.text("of", default="") or None,
    )
    table.done()
    k, n, low, high = entry["k"], entry["n"], entry["low"], entry["high"]
    if k is not None and (n is None or k > n):
        raise Fault(f"published {place}: k is {k} but n is {n}; give k ≤ n")
    if low is not None and high is not None and low > high:
        raise Fault(f"published {place}: low {low:g} is above high {high:g}; swap them")
    return entry


def _controls(entries: list[Any]) -> tuple[Control, ...]:
    controls: list[Control] = []
    for place, plain in enumerate(entries, 1):
        table = Table(plain, f"control {place}: ")
        name, role = table.text("name"), table.one_of("role", get_args(Role))
        bound: float | None = table.number("bound", optional=True)
        controls.append(Control(name, role, bound, table.text("label", default="") or name))
        table.done()
        if role in ("positive", "guard") and bound is None:
            raise Fault(f"control {name!r}: a {role} control needs a bound; give the value it has to keep")
        if role in ("null", "rival") and bound is not None:
            raise Fault(f"control {name!r}: a {role} takes no bound, delta is its measure; remove it")
        if role == "sham" and bound is not None and bound < 0:
            raise Fault(f"control {name!r}: a sham's bound is the largest deviation; give a number ≥ 0")
    twice = _first_repeated(control.name for control in controls)
    if twice is not None:
        raise Fault(f"control {twice!r} is named twice; one arm has one role")
    return tuple(controls)


def _tiers(entries: list[Any], kind: str) -> tuple[Tier, ...]:
    for tier in entries:
        if tier not in get_args(Tier):
            raise Fault(f"tiers holds {tier!r}; choose among {', '.join(get_args(Tier))}")
    if _first_repeated(entries) is not None:
        raise Fault(f"tiers names {_first_repeated(entries)!r} twice; remove one")
    if (kind == "arithmetic") != ("arithmetic" in entries) or (kind == "arithmetic" and len(entries) > 1):
        raise Fault('kind arithmetic and tiers = ["arithmetic"] go together; correct one of the two')
    return tuple(entries)


def _first_repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
