"""The nearest tokens of a direction: those of sorting all cosines, also where most are looked at in float16 alone."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from prolepsis.experiments import nearest_tokens
from prolepsis.experiments.nearest_tokens import ASTRAY, LEFT_OVER, Vocabulary, largest

SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed: int, *shape: int) -> torch.Tensor:
    """Numbers of a standard normal distribution."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module", autouse=True)
def as_on_a_gpu() -> Iterator[None]:
    """Vocabularies are held as a GPU holds them, and none of these small ones is a single block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest_tokens, "HALVES_ON", {"cpu"})
        patch.setattr(nearest_tokens, "ROWS_AT_ONCE", 97)
        yield


@given(n=st.integers(1, 4), size=st.integers(1, 3000), k=st.integers(1, 20), seed=st.integers(0, 2**32 - 1))
def test_the_largest_are_those_of_sorting_all(n: int, size: int, k: int, seed: int) -> None:
    """Looking into the blocks of the largest maxima alone finds the same values as sorting everything, ties or not."""
    values = torch.randn(n, size, generator=torch.Generator().manual_seed(seed)).mul(8).round().div(8)
    found, places = largest(values, min(k, size))
    assert torch.equal(found, values.sort(-1, descending=True).values[:, :k])
    assert torch.equal(values.gather(1, places), found)
    assert all(len(set(row)) == len(row) for row in places.tolist())


@given(n=st.integers(1, 5), size=st.integers(1, 3000), width=st.integers(1, 300), seed=SEEDS)
def test_no_cosine_in_float16_is_further_astray(n: int, size: int, width: int, seed: int) -> None:
    """Cosines of unit rows in float16 are off by less than half of what is allowed for."""
    rows, directions = drawn(seed, size, width), normalize(drawn(seed + 1, n, width), dim=-1)
    exact = directions.double() @ normalize(rows.double(), dim=-1).T
    assert ((directions.half() @ Vocabulary.of(rows).units.T).double() - exact).abs().max() < ASTRAY / 2


@given(
    size=st.integers(20, 2000),
    k=st.integers(1, 20),
    spread=st.sampled_from([0.0, 1e-3, 1e-2, 0.1, 1.0]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    seed=SEEDS,
)
def test_looking_in_float16_first_changes_nothing(
    size: int, k: int, spread: float, dtype: torch.dtype, seed: int
) -> None:
    """The nearest tokens and their cosines are those of sorting all, however close the tokens lie to each other."""
    rows = (drawn(seed, 1, 24) + spread * drawn(seed + 1, size, 24)).to(dtype)
    directions = drawn(seed + 2, 5, 24)
    directions[0] = rows[size // 2]
    cosines, tokens = Vocabulary.of(rows).nearest(directions, k)
    exact = normalize(directions.double(), dim=-1) @ normalize(rows.double(), dim=-1).T  # [n, V]
    torch.testing.assert_close(cosines.double(), exact.sort(-1, descending=True).values[:, :k], rtol=0, atol=1e-6)
    torch.testing.assert_close(exact.gather(1, tokens), cosines.double(), rtol=0, atol=1e-6)
    assert all(len(set(row)) == len(row) for row in tokens.tolist())


@given(
    size=st.integers(20, 2000),
    width=st.integers(2, 64),
    n_words=st.integers(1, 20),
    least=st.sampled_from([0.0, 0.3, 0.6]),
    seed=SEEDS,
)
def test_looking_at_a_few_words_first_finds_what_belongs_to_them(
    size: int, width: int, n_words: int, least: float, seed: int
) -> None:
    """What counts are the directions whose nearest token is one of the words and near enough, with its cosine."""
    rows, directions = drawn(seed, size, width), drawn(seed + 1, 9, width)
    words = torch.randperm(size, generator=torch.Generator().manual_seed(seed))[:n_words]
    directions[0] = rows[words[0]]
    vocabulary = Vocabulary.of(rows)
    cosines, tokens = vocabulary.pointing_at(directions, words, least)
    nearest, places = (found[:, 0] for found in vocabulary.nearest(directions))
    counts = torch.isin(places, words) & (nearest >= least)
    assert torch.equal(torch.isin(tokens, words) & (cosines >= least) & (cosines > 0), counts)
    assert torch.equal(tokens[counts], places[counts])
    torch.testing.assert_close(cosines[counts], nearest[counts], rtol=0, atol=1e-6)


@pytest.mark.parametrize("k", [1, 2])
def test_tokens_as_near_as_float16_can_tell_are_all_computed_again(k: int) -> None:
    """Where more tokens than are left over may be the k-th, the k nearest come out, one of them much nearer or not."""
    apart = torch.tensor([1.0, -1.0]).repeat(32)
    crowd = 1 + 1e-2 * drawn(0, 20 * LEFT_OVER, 64)
    crowd -= (crowd @ apart / 64)[:, None] * apart
    directions = crowd[::LEFT_OVER] + 2 * (k - 1) * apart
    vocabulary = torch.cat([crowd, apart[None]])
    _, tokens = Vocabulary.of(vocabulary).nearest(directions, k)
    exact = normalize(directions.double(), dim=-1) @ normalize(vocabulary.double(), dim=-1).T
    assert torch.equal(tokens, exact.topk(k).indices)
