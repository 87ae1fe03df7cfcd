"""Mixtures of experts: the same numbers as transformers', and no row that depends on another's routing."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import linear

from prolepsis.errors import UserError
from prolepsis.subjects.experts import evaluate_densely
from tests.tiny import tiny_subject

seeds = st.integers(0, 2**16)
few = settings(max_examples=20, deadline=None)


def mixture(seed: int, dtype: torch.dtype = torch.float64) -> Any:
    """The first mixture of a tiny GPT-OSS whose biases are drawn too, densely evaluated."""
    found = tiny_subject("gpt_oss", seed, dtype=dtype).layer(0).mlp
    generator = torch.Generator().manual_seed(seed)
    for name in ("gate_up_proj_bias", "down_proj_bias"):
        getattr(found.experts, name).copy_(torch.randn(getattr(found.experts, name).shape, generator=generator))
    return found


def rows(mlp: Any, seed: int, scale: float) -> torch.Tensor:
    """Random input [2, 5, d] of a mixture."""
    generator = torch.Generator().manual_seed(seed)
    drawn = scale * torch.randn(2, 5, mlp.router.weight.shape[1], generator=generator, dtype=torch.float64)
    return drawn.to(mlp.router.weight.dtype)


@few
@given(seed=seeds, scale=st.sampled_from((0.1, 3.0, 100.0)))
@torch.no_grad()
def test_a_dense_mixture_is_the_mixture(seed: int, scale: float) -> None:
    """Every expert on every row gives what transformers gives, also where gates and values are clamped."""
    mlp = mixture(seed)
    x = rows(mlp, seed, scale)
    dense, weights = mlp(x)
    if hasattr(mlp.experts, "config"):
        # Newer transformers would choose a product that takes no float64.
        mlp.experts.config._experts_implementation = "eager"
    plain = type(mlp).forward(mlp, x)[0]
    assert torch.allclose(dense, plain, rtol=1e-12, atol=1e-12 * float(plain.abs().max()))
    best = linear(x.flatten(0, 1), mlp.router.weight, mlp.router.bias).topk(mlp.router.top_k)
    chosen = torch.zeros_like(weights).scatter(1, best.indices, best.values.softmax(-1))
    assert torch.allclose(weights, chosen, rtol=1e-9, atol=1e-12)


@few
@given(seed=seeds, changed=st.integers(0, 4))
@torch.no_grad()
def test_where_one_row_is_routed_moves_no_bit_of_another(seed: int, changed: int) -> None:
    """With another row beside them, which other experts take, all rows come out the same bit for bit."""
    mlp = mixture(seed, torch.float32)
    x = rows(mlp, seed, 1.0)
    other = x.clone()
    other[0, changed] = -x[0, changed]
    same = torch.ones(2, 5, dtype=torch.bool)
    same[0, changed] = False
    assert torch.equal(mlp(x)[0][same], mlp(other)[0][same])
    assert not torch.equal(mlp(x)[0][~same], mlp(other)[0][~same])


def test_packed_experts_are_refused() -> None:
    """Weights that are no floating-point numbers are refused in one line."""
    mlp = mixture(0)
    del mlp.experts.gate_up_proj
    with pytest.raises(UserError, match="MXFP4"):
        evaluate_densely(mlp)
