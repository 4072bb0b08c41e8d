"""The closed form equals LAPACK on generic, repeated, tiny and huge matrices."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from geqlib.frames import eigen3 as module
from geqlib.frames.eigen3 import eigen3, symmetric_eigen
from geqlib.testing import random_rotation


def spectra(values: Tensor, count: int = 40, seed: int = 0) -> Tensor:
    """Matrices with these eigenvalues, in random axes."""
    generator = torch.Generator().manual_seed(seed)
    turns = torch.stack([random_rotation(3, generator) for _ in range(count)])
    return turns @ torch.diag(values.double()) @ turns.mT


SPECTRA = {
    "generic": [3.0, 1.0, 0.2],
    "two large": [2.0, 2.0, -1.0],
    "two small": [2.0, 0.5, 0.5],
    "equal": [1.0, 1.0, 1.0],
    "zero": [0.0, 0.0, 0.0],
    "rank one": [1.0, 0.0, 0.0],
    "nearly equal": [1.0, 1.0 - 1e-9, 0.3],
    "all nearly equal": [1.0, 1.0 - 1e-10, 1.0 - 3e-10],
    "huge": [3e120, -1e120, 2e119],
    "tiny": [3e-120, -1e-120, 2e-121],
}


@pytest.mark.parametrize("name", SPECTRA)
def test_values_and_residuals(name: str) -> None:
    """Errors are rounding of the matrix: a few units of its norm, or of 1e-150 for zeros."""
    wanted = torch.tensor(SPECTRA[name], dtype=torch.float64).sort(descending=True).values
    matrix = spectra(wanted)
    values, vectors, rest = eigen3(matrix)
    scale = float(wanted.abs().max().clamp(min=1e-137))
    assert float((values - wanted).abs().max()) <= 20 * 2.3e-16 * scale
    eye = torch.eye(3).double()
    assert float((vectors.mT @ vectors - eye).abs().max()) < 1e-14
    residual = (matrix @ vectors - vectors * values[:, None]).abs().max()
    assert float(residual) <= 40 * 2.3e-16 * scale
    if name in ("generic", "two large", "two small", "rank one"):
        assert float(rest.max()) < 8 * 2.3e-16  # none is left to LAPACK


def test_dispatch_agrees_with_lapack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values, and projectors, which have no signs."""
    matrix = torch.randn(700, 3, 3, generator=torch.Generator().manual_seed(0)).double()
    matrix = matrix + matrix.mT
    values, vectors = symmetric_eigen(matrix)
    monkeypatch.setattr(module, "_FEW", len(matrix) + 1)
    others, axes = symmetric_eigen(matrix)
    torch.testing.assert_close(values, others, atol=1e-13, rtol=0)
    for k in range(3):
        one, two = (v[:, :, k, None] * v[:, None, :, k] for v in (vectors, axes))
        torch.testing.assert_close(one, two, atol=1e-10, rtol=0)


def test_what_fails_goes_to_lapack(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = spectra(torch.tensor([3.0, 1.0, 0.0]), 600)

    def broken(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        values, vectors, rest = eigen3(x)
        values, vectors, rest = values.clone(), vectors.clone(), rest.clone()
        values[3:9], vectors[3:9], rest[3:9] = 7.0, 0.0, 1.0
        return values, vectors, rest

    monkeypatch.setattr(module, "eigen3", broken)
    values, vectors = symmetric_eigen(matrix)
    torch.testing.assert_close(values, torch.tensor([3.0, 1.0, 0.0]).double().expand(600, 3))
    assert float((vectors.mT @ vectors - torch.eye(3).double()).abs().max()) < 1e-14


@pytest.mark.parametrize("dim", [2, 3, 4])
def test_derivatives(dim: int) -> None:
    """Of values and of projectors, by finite differences, to second order."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(2, dim, dim, generator=generator).double().requires_grad_()

    def fn(x: Tensor) -> tuple[Tensor, Tensor]:
        values, vectors = symmetric_eigen(x + x.mT)
        return values, vectors[:, :, 0, None] * vectors[:, None, :, 0]

    gradcheck(fn, (matrix,))
    gradgradcheck(fn, (matrix,), fast_mode=True)


@pytest.mark.parametrize("name", ["equal", "zero", "two large", "two small"])
def test_derivatives_are_finite_where_eigenvalues_meet(name: str) -> None:
    matrix = spectra(torch.tensor(SPECTRA[name]), 4).requires_grad_()
    values, vectors = symmetric_eigen(matrix)
    loss = (values * vectors.sum(1)).sum()
    (grad,) = torch.autograd.grad(loss, matrix, create_graph=True)
    (second,) = torch.autograd.grad(grad.square().sum(), matrix)
    assert bool(grad.isfinite().all() and second.isfinite().all())


def test_float32_and_empty() -> None:
    matrix = spectra(torch.tensor([3.0, 1.0, 0.2]), 600).float()
    values, _ = symmetric_eigen(matrix)
    torch.testing.assert_close(values, torch.tensor([3.0, 1.0, 0.2]).expand(600, 3))
    assert symmetric_eigen(matrix[:0])[1].shape == (0, 3, 3)
    with pytest.raises(ValueError, match=r"must have shape \[..., d, d\], got \[3, 2\]"):
        symmetric_eigen(torch.zeros(3, 2))
