"""From a table of the ledger to a claim, field by field (imports no torch); ledger.py says what the fields mean."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from prolepsis import expressions
from prolepsis.claim import Claim, Control, Dtype, Kind, Population, Published, Role, Side, Tier, Variant, lists_of
from prolepsis.errors import UserError
from prolepsis.organisms import SUITES
from prolepsis.reachability.edited_runs import EditedRun
from prolepsis.toml_tables import Fault, Table

DEFAULT_DELTA = {"nats": 1.0, "proportion": 0.20}


def read_claim(plain: Any) -> Claim:
    """The claim a ``[[claim]]`` table describes; raises Fault saying what is wrong with it and how to cure it."""
    table = Table(plain)
    identifier = table.text("id")
    if not re.fullmatch(r"[A-Z]\d{2,3}[a-z]?", identifier):
        raise Fault(f"id is {identifier!r}; write a capital letter and two digits, as X01")
    kind = table.one_of("kind", get_args(Kind))
    scale = table.text("scale")
    untested = table.text("untested", default="")
    controls = _controls(table.items("controls"))
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
        delta=_delta(table, kind, scale, controls),
        within=_within(table, kind),
        family=table.text("family"),
        published=_published(table.items("published")),
        tolerance=_tolerance(table),
        tolerance_why=table.text("tolerance_why", default=""),
        controls=controls,
        experiment=table.text("experiment", default="" if untested else None),
        untested=untested,
        model=table.text("model", default=""),
        disputes=_disputes(table.items("disputes")),
        suite=table.one_of("suite", tuple(SUITES), default="couplets"),
        tiers=_tiers(table.items("tiers", optional=False), kind),
        runs=tuple(_run(entry, i) for i, entry in enumerate(table.items("run"), 1)),
        dtype=_dtype(table),
    )
    table.done()
    unasked = [control.name for control in claim.controls if control.reported and claim.variant == "asked"]
    if unasked:
        raise Fault(f"control {unasked[0]!r}: reported is for published claims; the paper did not ask this one")
    if claim.runs and kind != "arithmetic":
        raise Fault("run belongs to arithmetic claims; an experiment describes its own runs")
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


def _delta(table: Table, kind: str, scale: str, controls: Sequence[Control]) -> float:
    delta: float | None = table.number("delta", optional=True)
    compared = kind != "equality" or any(control.role in ("null", "rival") for control in controls)
    if delta is None and kind != "arithmetic" and compared and scale not in DEFAULT_DELTA:
        raise Fault(f"delta is missing and scale {scale!r} has no default; give the smallest difference that counts")
    if delta is not None and delta <= 0:
        raise Fault(f"delta is {delta:g}; give a number above 0")
    return DEFAULT_DELTA.get(scale, 1.0) if delta is None else delta


def _within(table: Table, kind: str) -> float:
    within: float | None = table.number("within", optional=True)
    if kind != "equality":
        if within is not None:
            raise Fault("within is for equality; remove it")
        return 0.0
    if within is None:
        raise Fault("within is missing; give how far from theta0 still counts as equal, which delta does not say")
    if within <= 0:
        raise Fault(f"within is {within:g}; give a number above 0")
    return within


def _tolerance(table: Table) -> float | None:
    tolerance: float | None = table.number("tolerance", optional=True)
    if tolerance is not None and tolerance < 0:
        raise Fault(f"tolerance is {tolerance:g}; give a number ≥ 0")
    why = table.text("tolerance_why", default="")
    if (tolerance is not None) != bool(why.strip()):
        raise Fault("tolerance and tolerance_why go together; give both or neither")
    return tolerance


def _dtype(table: Table) -> Dtype | None:
    named: Dtype | None = table.one_of("dtype", get_args(Dtype)) if table.text("dtype", default="") else None
    return named


def _published(plain: list[Any]) -> tuple[Published, ...]:
    entries = tuple(_entry(one, place) for place, one in enumerate(plain, 1))
    lists = lists_of(entries)
    twice = _first_repeated(entry["name"] for entry in entries if entry["name"])
    if twice is not None:
        raise Fault(f"two lists of published are named {twice!r}; a name is for one list")
    for place, entry in enumerate(entries, 1):
        try:
            if entry["of"] is not None:
                (expressions.names if entry["items"] else expressions.number)(entry["of"], lists)
        except ValueError as error:
            raise Fault(f"published {place}: of: {error}; correct it") from None
    return entries


def _entry(plain: Any, place: int) -> Published:
    table = Table(plain, f"published {place}: ")
    value = table.plain.get("value")
    entry = Published(
        value=table.text("value") if isinstance(value, str) else table.number("value"),
        where=table.text("where"),
        k=table.count("k"),
        n=table.count("n"),
        clusters=table.count("clusters"),
        low=table.number("low", optional=True),
        high=table.number("high", optional=True),
        of=table.text("of", default="") or None,
        items=table.names("items"),
        name=table.text("name", default=""),
    )
    table.done()
    k, n, low, high = entry["k"], entry["n"], entry["low"], entry["high"]
    if k is not None and (n is None or k > n):
        raise Fault(f"published {place}: k is {k} but n is {n}; give k ≤ n")
    clusters = entry["clusters"]
    if clusters is not None and not (n is not None and 1 <= clusters <= n):
        raise Fault(f"published {place}: clusters is {clusters} but n is {n}; give at most as many as there are trials")
    if entry["name"] and not (entry["name"].isidentifier() and entry["items"]):
        raise Fault(f"published {place}: name is {entry['name']!r}; name a list of items, in letters, digits and _")
    if low is not None and high is not None and low > high:
        raise Fault(f"published {place}: low {low:g} is above high {high:g}; swap them")
    return entry


def _controls(entries: list[Any]) -> tuple[Control, ...]:
    controls: list[Control] = []
    for place, plain in enumerate(entries, 1):
        table = Table(plain, f"control {place}: ")
        name, role = table.text("name"), table.one_of("role", get_args(Role))
        bound: float | None = table.number("bound", optional=True)
        label, reported = table.text("label", default="") or name, table.text("reported", default="")
        controls.append(Control(name, role, bound, label, reported))
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


def _run(plain: Any, place: int) -> EditedRun:
    table = Table(plain, f"run {place}: ")
    tokens = table.count("tokens")
    run = EditedRun(
        label=table.text("label", default=""),
        wiring=table.text("wiring"),
        tokens=0 if tokens is None else tokens,
        varied=table.texts("varied"),
        given=table.texts("given"),
        responds=table.texts("responds"),
        still=table.texts("still"),
    )
    table.done()
    try:
        run.check()
    except UserError as error:
        raise Fault(f"run {place}: {error}") from None
    return run


def _disputes(entries: list[Any]) -> tuple[Side, ...]:
    sides = []
    for place, plain in enumerate(entries, 1):
        table = Table(plain, f"dispute {place}: ")
        sides.append(Side(table.text("question"), table.text("answer")))
        table.done()
    twice = _first_repeated(side.question for side in sides)
    if twice is not None:
        raise Fault(f"dispute {twice!r} is answered twice; a row gives one answer to a question")
    return tuple(sides)


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
