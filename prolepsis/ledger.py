"""The ledger of claims: what the paper says, and what each claim would have to show (imports no torch).

``claims/ledger.toml`` is a list of ``[[claim]]`` tables. Fields of a row (o = optional):

==============  ======================================================================================================
id              "B06"; a capital letter and two or three digits, then perhaps a small letter. Our own claims are X….
variant         "published" (as the paper ran it) or "asked" (as it should be asked); (id, variant) is unique
section         where the paper says it
source        o the other paper whose claim it is; empty for the paper under test
statement       the claim in one sentence
kind            effect (value ≥ theta0) · absence (value < theta0) · exclusivity (an effect no rival reaches) ·
                universal (every item ≥ theta0) · equality (|value − theta0| < within) · ordering (mean difference >
                theta0) · arithmetic (the paper's own numbers agree, or the wiring leaves open what it says of a run)
population      "prompts like these" · "these prompts" · "this prompt" · "models like these" · "the paper"
scale           unit of value, theta0, delta, tolerance and bounds: "nats", "proportion", "probability", …
theta0          the criterion; not for arithmetic
delta         o smallest difference worth the name, > 0: 1 for nats, .20 for a proportion, else to be given; an equality
                without nulls and rivals needs none
within          for an equality, and only there: how far from theta0 still counts as equal, > 0
family          claims judged together; errors are held to alpha within family and subject
published     o list of {value, k, n, low, high, of, items, name, where}; value (number or text) and where are needed.
                of is what the value is said to be of other printed numbers, as "4 * 34", or of the row's lists, as
                "count(planning & factual)": see prolepsis.expressions. items is a list of names as printed; its value
                is how many it is said to have, or a text; of beside items is the list they are said to be. name is
                what of calls the list
tolerance     o how far from the published value still agrees; needs tolerance_why
tolerance_why o why that far
controls      o list of {name, role, bound, label, reported}; name is the arm of the measurement, label how a sentence
                calls it, reported where the paper reports it (nothing: it does not).
                role null, rival: no bound · positive: bound its lower 95 % bound must reach · guard: bound its mean
                must not pass · sham: largest deviation from clean, 0 unless given
experiment      name of the experiment that measures it; may be left out of an untested row
untested      o why nothing here can execute the row, whatever subject it is asked of: its verdict is untested, and this
                the reason
model         o the preset whose figure it is, "gemma-2-2b-426k" for example; asked of every model unless given
dtype         o the dtype the printed figure was made in, where rounding moves it by more than its last digit: "float32"
                or "bfloat16". Of a subject that rounds otherwise it is untested
disputes      o list of {question, answer}: rows that answer one question differently cannot all be true of one subject
suite         o the bundled subjects it is asked of (prolepsis.organisms.SUITES); "couplets" unless given
tiers           any of arithmetic, property, organism, archive, gpu; arithmetic claims have that one alone
run           o for arithmetic: list of {label, wiring, tokens, varied, given, responds, still}, each an edited run of
                the paper and what it says of it (prolepsis.reachability.edited_runs.EditedRun); label, given and one of
                responds and still may be left out
==============  ======================================================================================================
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from prolepsis.claim import Claim, Control, Kind, Population, Published, Role, Side, Tier, Variant, lists_of
from prolepsis.errors import UserError
from prolepsis.ledger_rows import read_claim
from prolepsis.toml_tables import Fault, read_tables

__all__ = [
    "LEDGER", "Claim", "Control", "Kind", "Population", "Published", "Role", "Side", "Tier", "Variant", "lists_of",
    "load", "rows",
]  # fmt: skip

LEDGER = Path(__file__).parent.parent / "claims" / "ledger.toml"


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
            claim = read_claim(table)
            if claim.key in seen:
                raise Fault(f"is already given as {claim.variant} at line {seen[claim.key]}; use another id")
        except Fault as fault:
            raise UserError(f"{name}:{line}: claim {table.get('id', '?')}: {fault}") from None
        seen[claim.key] = line
        claims.append(claim)
    _check_disputes(name, claims, seen)
    return tuple(claims)


def _check_disputes(name: str, claims: Sequence[Claim], lines: Mapping[tuple[str, str], int]) -> None:
    """A question needs two answers to be a dispute; one that has one is most likely misspelt."""
    answers: dict[str, set[str]] = {}
    for claim in claims:
        for question, answer in claim.disputes:
            answers.setdefault(question, set()).add(answer)
    for claim in claims:
        for question, answer in claim.disputes:
            if len(answers[question]) == 1:
                raise UserError(
                    f"{name}:{lines[claim.key]}: claim {claim.id}: dispute {question!r} has the one answer {answer!r}; "
                    "write the question as another row has it, or add the row that disagrees"
                )


def _shown(path: Path) -> str:
    root = LEDGER.parent.parent
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
