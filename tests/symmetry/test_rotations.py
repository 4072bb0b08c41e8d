"""Random rotations are rotations, uniform, and follow torch's seed."""

from __future__ import annotations

import pytest
import torch

from geqlib.symmetry.rotations import random_rotations


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, None])
@pytest.mark.parametrize("dim", [2, 3])
def test_rotations_are_proper_and_orthogonal(dim: int, dtype: torch.dtype | None) -> None:
    torch.manual_seed(0)
    r = random_rotations(50, dim, dtype=dtype)
    assert r.shape == (50, dim, dim) and r.dtype == (dtype or torch.get_default_dtype())
    atol = 1e-14 if dtype == torch.float64 else 1e-6
    eye = torch.eye(dim, dtype=r.dtype).expand_as(r)
    torch.testing.assert_close(r @ r.mT, eye, atol=atol, rtol=0)
    torch.testing.assert_close(torch.linalg.det(r), torch.ones(50, dtype=r.dtype))


def test_plane_angles_are_uniform() -> None:
    """The mean of exp(i k angle) vanishes."""
    torch.manual_seed(0)
    r = random_rotations(20000, 2, dtype=torch.float64)
    turn = torch.complex(r[:, 0, 0], r[:, 1, 0])
    assert max(float((turn**k).mean().abs()) for k in range(1, 5)) < 0.03


def test_space_rotations_are_uniform() -> None:
    """Moments of the Haar measure: E R = 0, E R_ij R_kl = delta_ik delta_jl / 3."""
    torch.manual_seed(0)
    r = random_rotations(20000, 3, dtype=torch.float64).flatten(1)
    assert float(r.mean(0).abs().max()) < 0.03
    second = r.T @ r / len(r)
    torch.testing.assert_close(second, torch.eye(9).double() / 3, atol=0.02, rtol=0)


def test_torch_seed_decides() -> None:
    draws = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        draws.append(random_rotations(3, 3))
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_none_at_all() -> None:
    assert random_rotations(0, 3).shape == (0, 3, 3)
    assert random_rotations(0, 2).shape == (0, 2, 2)


@pytest.mark.parametrize("dim", [1, 4])
def test_other_dimensions_are_refused(dim: int) -> None:
    with pytest.raises(ValueError, match=f"dim must be 2 or 3, got {dim}"):
        random_rotations(1, dim)
