"""The untrained twin of a model that is too large to stand beside another: its own weights, drawn anew in place."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from prolepsis.errors import HarnessFault
from prolepsis.organisms.untrained import untrained_constant
from prolepsis.subject import Subject
from prolepsis.subjects.checkpoint import Checkpoint
from prolepsis.watching import watched

IN_PLACE = "untrained in place"
"""What a subject names as its twin when the twin is to be made of itself."""
SEED = 1000
_TWIN = f"-untrained-{SEED}"


def twin_of(subject: Subject) -> Subject:
    """The untrained twin by name, the same one every time on one kind of device (other GPUs draw other numbers).

    It is untrained within :func:`untrained_in_place` only.
    """
    return subject.once(_twin)


class Weights:
    """The weights of a subject: what gives the trained ones back, and whether others stand in their place.

    ``untrained`` and ``lost`` say that they do: for now, or for good where the trained ones could not be put back.
    """

    def __init__(self, subject: Subject) -> None:
        self.parameters = dict(subject.model.named_parameters())
        self.trained = Checkpoint(subject.folder, self.parameters)
        self.untrained = self.lost = False


@contextmanager
def untrained_in_place(subject: Subject) -> Iterator[Subject]:
    """While active, the subject's model is an untrained one; its trained weights come back bit for bit, also on error.

    Yields the twin, a subject of its own with the same configuration, task and transcoder (which was trained on the
    trained model, there being none for this one); what has been measured on it is kept with the subject. What
    :func:`untrained_constant` gives no value is normal with the configuration's ``initializer_range``, drawn on the
    model's own device. No two models are held: the trained weights are read again from the folder they came from, and
    only where none gives them back bit for bit do they wait in the host's memory. Within itself it changes nothing.
    Where they cannot be put back the subject is of no use any more: see :func:`check_trained`.
    """
    check_trained(subject)
    weights, twin = subject.once(Weights), twin_of(subject)
    if weights.untrained:
        yield twin
        return
    try:
        weights.untrained = True
        _draw(weights.parameters, subject.config)
        yield twin
    finally:
        weights.lost = True
        weights.trained.restore()
        weights.lost = weights.untrained = False


def check_trained(subject: Subject) -> None:
    """Raises HarnessFault where trained weights could not be put back: what is measured would be another model."""
    if Weights in subject.known and subject.once(Weights).lost:
        raise HarnessFault(f"{subject.id}: its trained weights could not be put back after its twin; run it anew")


def is_twin(subject: Subject) -> bool:
    """Whether a subject was made in place of another."""
    return subject.digest.endswith(_TWIN)


def _twin(subject: Subject) -> Subject:
    twin = replace(subject, id=f"{subject.id}-untrained", twin=None, same_behaviour=None, ladder=())
    # Hashing the weights of a large model takes longer than drawing them; these follow from subject and seed.
    twin.__dict__["digest"] = f"{subject.digest}{_TWIN}"
    return twin


@torch.no_grad()
def _draw(parameters: dict[str, Any], config: Any) -> None:
    generator = None
    for name in watched(sorted(parameters), "weights drawn"):
        parameter = parameters[name]
        if generator is None:
            generator = torch.Generator(parameter.device).manual_seed(SEED)
        constant = untrained_constant(name, parameter.dim(), config.model_type)
        if constant is None:
            parameter.normal_(0.0, config.initializer_range, generator=generator)
        else:
            parameter.fill_(constant)
