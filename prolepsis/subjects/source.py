"""A subject by name, before anything of it is loaded (imports no torch)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from prolepsis.archive.files import Recording
from prolepsis.subjects.published import Published


@dataclass(frozen=True)
class SubjectSource:
    """A subject by name, before anything is loaded.

    ``model`` and ``transcoder`` are folders, relative to ``base``, or Hugging Face repositories; a bundled subject has
    neither, and a ``recording`` stands for a model that is not there. Revisions pin a branch, tag or commit of a
    repository. Sizes are what a download takes, in GiB; ``licence`` is the page where its terms are accepted,
    ``published`` what the paper ran on it, ``pairs`` a data set of counterfactual pairs: a file, a folder or a Hugging
    Face repository. ``transcoder_from`` is who publishes a transcoder for a model that is named without one;
    ``transcoder_hook`` is where its features read, known better than by its files. What is there ``on_request`` is met
    where it is named alone.
    """

    id: str
    tier: Literal["arithmetic", "property", "organism", "archive", "gpu"]
    model: str | None = None
    transcoder: str | None = None
    task: str | None = None
    licence: str | None = None
    model_gib: float | None = None
    transcoder_gib: float | None = None
    revision: str | None = None
    transcoder_revision: str | None = None
    base: Path = field(default_factory=Path)
    recording: Recording | None = None
    published: Published | None = None
    pairs: str | None = None
    transcoder_from: str | None = None
    transcoder_hook: str | None = None
    on_request: bool = False


PAPER = SubjectSource(id="paper", tier="arithmetic")
"""What arithmetic claims are about: the paper itself, which is never loaded."""

RANDOM = SubjectSource(id="random-transformers", tier="property")
"""Tiny transformers with random weights, made when they are measured: what comes out there comes out of the wiring."""
