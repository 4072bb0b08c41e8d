"""Products with matrices of zeros and ones are the dense ones, with all their derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from geqlib.spen.incidence import Incidence, block_diagonal, from_zero, incidence, one_per_row


def random_matrix(seed: int) -> tuple[Incidence, Tensor]:
    """Some matrix with rows of no ones, and columns named twice in a row; and the same, dense."""
    rng = np.random.default_rng(seed)
    rows, columns = int(rng.integers(0, 6)), int(rng.integers(1, 5))
    count = rng.integers(0, 4, rows)
    index = rng.integers(0, columns, count.sum())
    full = torch.zeros(rows, columns).double()
    full.index_put_(
        (torch.from_numpy(np.repeat(np.arange(rows), count)), torch.from_numpy(index)),
        torch.ones(len(index)).double(),
        accumulate=True,
    )
    ptr = from_zero(torch.from_numpy(count).cumsum(0))
    return incidence(torch.from_numpy(index), ptr, columns), full


@pytest.mark.parametrize("seed", range(20))
def test_products_are_the_dense_ones(seed: int) -> None:
    matrix, full = random_matrix(seed)
    x = torch.randn(full.size(1), 3).double()
    y = torch.randn(full.size(0), 3).double()
    mean = full / full.sum(1, keepdim=True).clamp(min=1)
    close = {"atol": 1e-14, "rtol": 0}
    torch.testing.assert_close(matrix @ x, full @ x, **close)
    torch.testing.assert_close(matrix.T @ y, full.T @ y, **close)
    torch.testing.assert_close(matrix.mean(x), mean @ x, **close)
    torch.testing.assert_close(matrix.mean(x, times=2), 2 * mean @ x, **close)
    at = torch.tensor([0, 0, full.size(1) - 1])
    both = matrix.mean_and_select(x, at)
    torch.testing.assert_close(both[0], mean @ x, **close)
    assert torch.equal(both[1], x[at])
    at = torch.tensor([full.size(0) - 1, 0, 0])[: 3 * min(full.size(0), 1)]
    torch.testing.assert_close(matrix.rows(at) @ x, (full @ x)[at], **close)
    torch.testing.assert_close(matrix.rows(at).T @ y[at], full[at].T @ y[at], **close)
    assert matrix.counts().tolist() == full.sum(1).tolist()


@pytest.mark.parametrize("seed", range(4))
def test_derivatives(seed: int) -> None:
    matrix, full = random_matrix(seed)
    x = torch.randn(full.size(1), 2).double().requires_grad_()
    at = torch.tensor([0, 0, full.size(1) - 1])
    for fn in (
        lambda x: (matrix @ x).sin(),
        lambda x: matrix.mean(x, times=2).sin(),
        lambda x: torch.cat(matrix.mean_and_select(x, at)).sin(),
    ):
        assert gradcheck(fn, x) and gradgradcheck(fn, x)


def test_columns_of_strided_features() -> None:
    matrix, full = random_matrix(3)
    x = torch.randn(5, full.size(1)).double().T
    torch.testing.assert_close(matrix @ x, full @ x, atol=1e-14, rtol=0)


def test_blocks() -> None:
    parts, dense = zip(*map(random_matrix, range(5)), strict=True)
    whole = block_diagonal(parts) @ torch.eye(sum(d.size(1) for d in dense)).double()
    assert torch.equal(whole, torch.block_diag(*dense))


def test_one_per_row() -> None:
    matrix = one_per_row(torch.tensor([2, 0, 2]), 4) @ torch.eye(4)
    assert torch.equal(matrix, torch.eye(4)[[2, 0, 2]])
