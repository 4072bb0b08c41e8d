"""The kernel of 3 x 3 eigenvectors decomposes any symmetric matrix, as its twin and LAPACK do."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from geqlib.frames.eigen3 import symmetric_eigen
from geqlib.kernels import plain
from geqlib.models import FAGNN
from geqlib.testing import random_rotation

SPECTRA = {
    "generic": [3.0, 1.0, 0.2],
    "two large": [2.0, 2.0, -1.0],
    "two small": [2.0, 0.5, 0.5],
    "equal": [1.0, 1.0, 1.0],
    "zero": [0.0, 0.0, 0.0],
    "rank one": [1.0, 0.0, 0.0],
    "nearly equal": [1.0, 1.0 - 1e-9, 0.3],
    "all nearly equal": [1.0, 1.0 - 1e-10, 1.0 - 3e-10],
    "graded": [1.0, 1e-8, 1e-16],
}
SIZES = {torch.float64: (1.0, 1e120, 1e-120), torch.float32: (1.0, 1e15, 1e-15)}


def turned(values: Tensor, count: int) -> Tensor:
    """Matrices with these eigenvalues: the first diagonal, the others in random axes."""
    generator = torch.Generator().manual_seed(0)
    turns = torch.stack([random_rotation(3, generator) for _ in range(count - 1)])
    turns = torch.cat([torch.eye(3).double()[None], turns.double()])
    matrix = turns @ torch.diag(values) @ turns.mT
    return (matrix + matrix.mT) / 2


@pytest.mark.parametrize("dtype", SIZES)
@pytest.mark.parametrize("name", SPECTRA)
def test_values_vectors_and_residuals(name: str, dtype: torch.dtype, only_fused: str) -> None:
    """To rounding of the matrix, in any units; vectors are orthonormal for every spectrum."""
    wanted = torch.tensor(SPECTRA[name], dtype=torch.float64).sort(descending=True).values
    eps = torch.finfo(dtype).eps
    for size in SIZES[dtype]:
        matrix = turned(size * wanted, 70).to(dtype)
        values, vectors = symmetric_eigen(matrix.to(only_fused))
        values, vectors, matrix = values.cpu().double(), vectors.cpu().double(), matrix.double()
        scale = size * float(wanted.abs().max())
        assert float((values - size * wanted).abs().max()) <= 10 * eps * scale
        assert float((matrix @ vectors - vectors * values[:, None]).abs().max()) <= 10 * eps * scale
        assert float((vectors.mT @ vectors - torch.eye(3).double()).abs().max()) <= 16 * eps
        assert bool((values.diff(dim=1) <= 0).all())


@pytest.mark.parametrize("count", [0, 1, 2000])
def test_equals_the_twin(count: int, only_fused: str) -> None:
    """Values, and projectors, which have no signs, of matrices that are not contiguous."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(3, 3, count, generator=generator).double().to(only_fused)
    matrix = (matrix + matrix.transpose(0, 1)).permute(2, 0, 1)
    values, vectors = symmetric_eigen(matrix)
    with plain():
        others, axes = symmetric_eigen(matrix)
    torch.testing.assert_close(values, others, atol=1e-13, rtol=0)
    for k in range(3):
        one, two = (v[:, :, k, None] * v[:, None, :, k] for v in (vectors, axes))
        torch.testing.assert_close(one, two, atol=1e-9, rtol=0)


def test_derivatives(only_fused: str) -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(2, 3, 3, generator=generator).double().to(only_fused).requires_grad_()

    def fn(x: Tensor) -> tuple[Tensor, Tensor]:
        values, vectors = symmetric_eigen(x + x.mT)
        return values, vectors[:, :, 0, None] * vectors[:, None, :, 0]

    gradcheck(fn, (matrix,))
    gradgradcheck(fn, (matrix,), fast_mode=True)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_in_its_matrix(bad: float, only_fused: str) -> None:
    matrix = turned(torch.tensor([3.0, 1.0, 0.2]).double(), 5)
    matrix[2, 1, 0] = bad
    values, _ = symmetric_eigen(matrix.to(only_fused))
    assert values.isfinite().all(1).tolist() == [True, True, False, True, True]


def test_a_network_with_frames(only_fused: str) -> None:
    """FA-GNN, whose frames come from eigenvectors: the same with the kernel and without."""
    generator = torch.Generator().manual_seed(0)
    pos, vec = torch.randn(12, 3, generator=generator), torch.randn(12, 1, 3, generator=generator)
    batch = torch.arange(3).repeat_interleave(4)
    edge_index = (batch[:, None] == batch).fill_diagonal_(False).nonzero().T
    net = FAGNN(0, 1, 1, 1, channels=8, layers=2, hidden_vectors=3, detach=True).double()
    net, (pos, vec, edge_index, batch) = (
        net.to(only_fused),
        (x.to(only_fused) for x in (pos.double(), vec.double(), edge_index, batch)),
    )
    outputs = net(pos, edge_index, vec=vec, batch=batch, num_graphs=3)
    with plain():
        others = net(pos, edge_index, vec=vec, batch=batch, num_graphs=3)
    for one, two in zip(outputs, others, strict=True):
        torch.testing.assert_close(one, two, atol=1e-12, rtol=1e-10)
