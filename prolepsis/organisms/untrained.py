"""Weights of untrained twins: drawn from a seed by numpy, so that they need not be stored and never change."""

from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, PretrainedConfig

Weights = dict[str, torch.Tensor]


def untrained_weights(config: PretrainedConfig, seed: int) -> Weights:
    """Parameter name → float32 tensor of a freshly initialised model of ``config``.

    What :func:`untrained_constant` gives no value is normal with the config's ``initializer_range``, drawn from PCG64
    in the order of the parameters' names. All values are rounded to float16, the precision organisms are stored in.
    Tied parameters appear once.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    with torch.device("meta"):
        shapes = {name: tuple(p.shape) for name, p in _from_config(config).named_parameters()}
    weights: Weights = {}
    for name in sorted(shapes):
        constant = untrained_constant(name, len(shapes[name]), config.model_type)
        if constant is None:
            draw = rng.standard_normal(shapes[name], dtype=np.float32) * np.float32(config.initializer_range)
            weights[name] = torch.from_numpy(draw).half().float()
        else:
            weights[name] = torch.full(shapes[name], constant)
    return weights


def untrained_constant(name: str, n_axes: int, model_type: str) -> float | None:
    """What every number of a parameter is before training, None where they are drawn.

    Matrices, embeddings and attention sinks are drawn. Norms are neutral (1, or 0 where the family multiplies by
    1 + weight) and biases 0, those of all experts together too.
    """
    if name.endswith("bias"):
        return 0.0
    if n_axes > 1 or name.endswith("sinks"):
        return None
    return 0.0 if model_type.startswith("gemma") else 1.0


def untrained_model(config: PretrainedConfig, seed: int) -> Any:
    """A float32 model of ``config`` with eager attention and :func:`untrained_weights` of ``seed``."""
    weights = untrained_weights(config, seed)
    model = _from_config(config).float()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
    return model.eval()


def _from_config(config: PretrainedConfig) -> Any:
    auto: Any = AutoModelForCausalLM
    return auto.from_config(config, attn_implementation="eager")
