"""A claim and its parts, as a row of the ledger holds them (imports no torch)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypedDict

from prolepsis.reachability.edited_runs import EditedRun

Variant = Literal["published", "asked"]
Kind = Literal["effect", "absence", "exclusivity", "universal", "equality", "ordering", "arithmetic"]
Role = Literal["null", "rival", "positive", "sham", "guard"]
Dtype = Literal["float32", "bfloat16"]
Tier = Literal["arithmetic", "property", "organism", "archive", "gpu"]
Population = Literal["prompts like these", "these prompts", "this prompt", "models like these", "the paper"]


class Published(TypedDict):
    """What is printed at one place: a number or text, its count and interval, what it is made of, what it lists.

    ``clusters`` is how many things the trials of a count are of, where one may decide several alike.
    """

    value: float | str
    k: int | None
    n: int | None
    clusters: int | None
    low: float | None
    high: float | None
    of: str | None
    items: tuple[str, ...]
    name: str
    where: str


@dataclass(frozen=True)
class Control:
    """A control arm and the role it plays for one claim; ``label`` is how a sentence calls it.

    ``reported`` is where the paper reports the control, empty where it does not.
    """

    name: str
    role: Role
    bound: float | None
    label: str
    reported: str = ""


class Side(NamedTuple):
    """The answer a claim gives to a question on which claims disagree."""

    question: str
    answer: str


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
    within: float
    family: str
    published: tuple[Published, ...]
    tolerance: float | None
    tolerance_why: str
    controls: tuple[Control, ...]
    experiment: str
    untested: str
    model: str
    disputes: tuple[Side, ...]
    suite: str
    tiers: tuple[Tier, ...]
    runs: tuple[EditedRun, ...] = ()
    dtype: Dtype | None = None

    @property
    def key(self) -> tuple[str, str]:
        """(id, variant), unique in a ledger."""
        return self.id, self.variant

    @property
    def limits(self) -> tuple[float, float]:
        """What the bounds of a value are held against: theta0 ± within for an equality, else theta0 on either side."""
        within = self.within if self.kind == "equality" else 0.0
        return self.theta0 - within, self.theta0 + within

    def arms(self, role: Role) -> tuple[Control, ...]:
        """The controls that play ``role``."""
        return tuple(control for control in self.controls if control.role == role)


def lists_of(published: Iterable[Published]) -> dict[str, tuple[str, ...]]:
    """The named lists among published entries, as an ``of`` beside them calls them."""
    return {entry["name"]: entry["items"] for entry in published if entry["name"]}
