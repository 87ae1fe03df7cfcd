"""Weights of untrained twins: drawn from a seed by numpy, so that they need not be stored and never change."""

from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, PretrainedConfig

Weights = dict[str, torch.Tensor]


def untrained_weights(config: PretrainedConfig, seed: int) -> Weights:
    """Parameter name → float32 tensor of a freshly initialised model of ``config``.

    Matrices and embeddings are normal with the config's ``initializer_range``, drawn from PCG64 in the order of the
    parameters' names; norms are neutral (1, or 0 where the family multiplies by 1 + weight) and biases 0. All values
    are rounded to float16, the precision organisms are stored in. Tied parameters appear once.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    neutral = 0.0 if config.model_type.startswith("gemma") else 1.0
    with torch.device("meta"):
        shapes = {name: tuple(p.shape) for name, p in _from_config(config).named_parameters()}
    weights: Weights = {}
    for name in sorted(shapes):
        if len(shapes[name]) > 1:
            draw = rng.standard_normal(shapes[name], dtype=np.float32) * np.float32(config.initializer_range)
            weights[name] = torch.from_numpy(draw).half().float()
        else:
            weights[name] = torch.full(shapes[name], 0.0 if name.endswith("bias") else neutral)
    return weights


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
