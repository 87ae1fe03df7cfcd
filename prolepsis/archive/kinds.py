"""The kinds of recorded outputs: by which keys each is known, which module reads it, and whose run it is.

A recording belongs to a transcoder. What names a model alone lies with the transcoder its paper figures come from; what
names neither is told by what the paper says of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from prolepsis.errors import UserError

PAPER: Mapping[str, tuple[str, int]] = {
    "mntss/clt-gemma-2-2b-426k": ("google/gemma-2-2b", 425_984),
    "mntss/clt-llama-3.2-1b-524k": ("meta-llama/Llama-3.2-1B", 524_288),
    "mntss/clt-gemma-2-2b-2.5M": ("google/gemma-2-2b", 2_555_904),
}
"""The paper's transcoders → model and number of features (section 3); the first one of a model stands for the model."""


@dataclass(frozen=True)
class Kind:
    """``keys`` are those of the file or, with ``records``, of the first entry of the list it holds.

    ``module`` of :mod:`prolepsis.archive` reads it; ``owner`` gives (model, transcoder).
    """

    name: str
    module: str
    keys: frozenset[str]
    owner: Callable[[Any], tuple[str, str]]
    records: bool = False

    def knows(self, contents: Any) -> bool:
        """Whether a file with these contents is of this kind."""
        first = contents[0] if self.records and isinstance(contents, list) and contents else contents
        return isinstance(contents, list) == self.records and isinstance(first, dict) and self.keys <= first.keys()

    def parse(self, contents: Any) -> Any:
        """What the kind's module finds in a whole file; raises one of :data:`BROKEN` for another."""
        return import_module(f"prolepsis.archive.{self.module}").parse(contents)


BROKEN = (KeyError, IndexError, TypeError, ValueError, AttributeError, UserError)
"""What reading a file raises that lacks something."""


def _of_sweep(contents: Any) -> tuple[str, str]:
    return str(contents.get("model")), str(contents["clt_repo"])


def _of_routing(contents: Any) -> tuple[str, str]:
    return str(contents["model_id"]), str(contents["clt_repo"])


def _of_model(contents: Any) -> tuple[str, str]:
    return _standing_for(str(contents["model_id"]))


def _of_scan(contents: Any) -> tuple[str, str]:
    """A vocabulary scan names no model, but says how many features it read."""
    for transcoder, (model, features) in PAPER.items():
        if features == contents["n_features_loaded"]:
            return model, transcoder
    raise ValueError(f"{contents['n_features_loaded']} features are those of no transcoder of the paper")


def _of_texts(contents: Any) -> tuple[str, str]:
    """The paper generates texts with Gemma 2 2B alone (sections 3 and 7)."""
    return _standing_for(str(contents[0].get("model", "google/gemma-2-2b")))


def _of_facts(_: Any) -> tuple[str, str]:
    """The paper patches facts in Llama 3.2 1B alone (section 8)."""
    return _standing_for("meta-llama/Llama-3.2-1B")


def _standing_for(model: str) -> tuple[str, str]:
    named = (transcoder for transcoder, (of, _) in PAPER.items() if of.lower() == model.lower())
    return model, next(named, model)


KINDS = (
    Kind("pair sweep", "pair_sweep", frozenset({"clt_repo", "n_pairs", "results"}), _of_sweep),
    Kind("position sweep", "position_sweep", frozenset({"clt_repo", "inject_feature", "sweep"}), _of_sweep),
    Kind("head routing run", "head_routing", frozenset({"model_id", "clt_repo", "head_deltas"}), _of_routing),
    Kind("convergence run", "convergence", frozenset({"model_id", "convergence_matrix"}), _of_model),
    Kind("rhyme-group scan", "rhyme_groups", frozenset({"n_features_loaded", "rhyme_groups"}), _of_scan),
    Kind("generated-text list", "generated_texts", frozenset({"prompt", "generated"}), _of_texts, records=True),
    Kind(
        "counterfactual-pair list",
        "counterfactual_pairs",
        frozenset({"original_prompt", "counterfactual_prompt", "gt_original_target", "gt_counterfactual_target"}),
        _of_facts,
        records=True,
    ),
)
