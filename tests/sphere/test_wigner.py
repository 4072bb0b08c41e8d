"""Wigner matrices of many rotations are those of one, and of reflections as well."""

from __future__ import annotations

import pytest
import torch

from geqlib.sphere.harmonics import spherical_harmonics, wigner
from geqlib.sphere.wigner import WignerMatrices
from geqlib.symmetry.rotations import random_rotations


def turns(count: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return random_rotations(count, 3, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("degree", [0, 1, 4])
def test_each_is_the_matrix_of_one_rotation(degree: int) -> None:
    matrices = WignerMatrices(degree)(turns())
    assert len(matrices) == degree + 1
    for ell, matrix in enumerate(matrices):
        expected = torch.stack([wigner(ell, turn) for turn in turns()])
        torch.testing.assert_close(matrix, expected, atol=1e-13, rtol=0)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_harmonics_turn_by_them(sign: float) -> None:
    """Under rotations, and under reflections, of which harmonics of degree l have (-1)^l."""
    points = torch.nn.functional.normalize(
        torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64), dim=1
    )
    turn = sign * turns(1)
    before, after = spherical_harmonics(3, points), spherical_harmonics(3, points @ turn[0].T)
    for ell, matrix in enumerate(WignerMatrices(3)(turn)):
        part = slice(ell**2, (ell + 1) ** 2)
        expected = before[:, part] @ matrix[0].T
        torch.testing.assert_close(after[:, part], expected, atol=1e-13, rtol=0)


def test_derivatives_and_precision() -> None:
    turn = turns(2).requires_grad_()
    assert torch.autograd.gradcheck(lambda r: WignerMatrices(3)(r)[3], turn)
    single = WignerMatrices(3)(turns().float())[3]
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, WignerMatrices(3)(turns())[3].float(), atol=1e-5, rtol=0)
    assert WignerMatrices(3)(turns()[:0])[3].shape == (0, 7, 7)


def test_negative_degree() -> None:
    with pytest.raises(ValueError, match="degree must be at least 0, got -1"):
        WignerMatrices(-1)
