"""The odd-even network and GroCo's loss: as published, with the defects that their page states."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from geqlib.frames.ordering_loss import group_ordering_losses
from geqlib.frames.sorting_network import Swap, odd_even_sort
from tests.frames.oracle_soft_orders import groco, odd_even

SWAPS: Any = get_args(Swap)


def keys(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("swap", SWAPS)
@pytest.mark.parametrize("n", [0, 1, 2, 5, 8])
def test_layers_one_by_one(n: int, swap: Any) -> None:
    for row in keys(3, n):
        values, matrix = odd_even_sort(row, steepness=7.0, swap=swap)
        expected = odd_even(row.tolist(), 7.0, swap)
        torch.testing.assert_close(values, torch.tensor(expected[0]), atol=1e-9, rtol=0)
        torch.testing.assert_close(matrix, torch.tensor(expected[1]), atol=1e-9, rtol=0)
        torch.testing.assert_close(matrix @ row, values)
    batch = odd_even_sort(keys(3, 2, n), swap=swap)[1]
    assert batch.shape == (3, 2, n, n)
    assert n == 0 or (batch.sum(-1) - 1).abs().max() < 1e-12
    assert n == 0 or (batch.sum(-2) - 1).abs().max() < 1e-12


def test_steep_networks_sort() -> None:
    row = keys(9)
    values, matrix = odd_even_sort(row, steepness=1e9, swap="logistic")
    torch.testing.assert_close(values, row.sort().values)
    assert torch.equal(matrix.round(), torch.eye(9).double()[row.argsort()])


@pytest.mark.parametrize("swap", SWAPS)
def test_derivatives(swap: Any) -> None:
    row = keys(5).requires_grad_()
    assert gradcheck(lambda k: odd_even_sort(k, steepness=3.0, swap=swap), row)
    tied = torch.zeros(6).double().requires_grad_()
    (gradient,) = torch.autograd.grad(odd_even_sort(tied, swap=swap)[1][0, 0], tied)
    assert gradient.isfinite().all()


def test_the_network_is_not_invariant() -> None:
    """What was measured on 8 Gaussian keys: differences of 0.1 between shuffles, for s = 10."""
    differences = []
    for seed in range(40):
        row = keys(8, seed=seed)
        order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
        one = odd_even_sort(row, steepness=10.0)
        other = odd_even_sort(row[order], steepness=10.0)
        differences.append(float((one[0] - other[0]).abs().max()))
        sorted_first = odd_even_sort(row.sort().values, steepness=10.0)[0]
        again = odd_even_sort(row[order].sort().values, steepness=10.0)[0]
        assert torch.equal(sorted_first, again)
    assert 0.05 < sum(differences) / 40 < 0.2


def test_keys_that_are_sorted_first_still_jump() -> None:
    """Where two neighbours tie that the first layer does not compare; elsewhere not."""
    jumps = []
    for first in range(7):
        row = keys(8).sort().values
        row[first + 1] = row[first]
        matrix = odd_even_sort(row, steepness=10.0)[1]
        swapped = torch.arange(8)
        swapped[[first, first + 1]] = swapped[[first + 1, first]]
        jumps.append(float((matrix - matrix[:, swapped]).abs().max()))
    assert max(jumps[0::2]) < 1e-12 and min(jumps[1::2]) > 1e-3


def test_the_published_loss() -> None:
    for views, others, steepness in ((1, 10, 1.0), (3, 4, 1.0), (1, 1, 5.0)):
        own, other = keys(4, views).tanh(), keys(4, others, seed=1).tanh()
        losses = group_ordering_losses(own, other, steepness=steepness)
        assert losses.shape == (4,)
        assert abs(float(losses.mean()) - groco(own, other, steepness)) < 1e-12


def test_gradients_of_the_loss() -> None:
    own, other = keys(2, 2).tanh().requires_grad_(), keys(2, 3, seed=1).tanh().requires_grad_()
    assert gradcheck(lambda a, b: group_ordering_losses(a, b).sum(), (own, other))
    equal = torch.ones(2, 2).double().requires_grad_()
    loss = group_ordering_losses(equal, torch.ones(2, 5).double()).sum()
    (gradient,) = torch.autograd.grad(loss, equal)
    assert gradient.isfinite().all() and (gradient < 0).any()


def test_errors() -> None:
    for steepness in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="steepness must be positive and finite"):
            odd_even_sort(keys(3), steepness=steepness)
    with pytest.raises(ValueError, match="swap must be one of"):
        odd_even_sort(keys(3), swap="bitonic")  # type: ignore[arg-type]
    for own, other in (
        (keys(2, 0), keys(2, 3)),
        (keys(2, 1), keys(2, 0)),
        (keys(2, 1), keys(3, 1)),
    ):
        with pytest.raises(ValueError, match="each anchor needs at least one"):
            group_ordering_losses(own, other)
