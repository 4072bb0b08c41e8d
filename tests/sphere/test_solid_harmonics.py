"""Solid harmonics, and the rotations that turn edges to the pole."""

from __future__ import annotations

import pytest
import torch

from benchmarks.peers.edge_frames import EdgeFrames
from geqlib.sphere.harmonics import SolidHarmonics, spherical_harmonics, wigner


def vectors(count: int = 20) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 8])
def test_solid_harmonics_are_spherical_ones_times_powers(degree: int) -> None:
    v = vectors()
    length = v.norm(dim=1, keepdim=True)
    powers = [length**ell for ell in range(degree + 1) for _ in range(2 * ell + 1)]
    expected = spherical_harmonics(degree, v / length) * torch.cat(powers, 1)
    got = SolidHarmonics(degree)(v)
    # rounding grows with the length to the power of the degree
    torch.testing.assert_close(got, expected, atol=1e-11, rtol=1e-12)


def test_solid_harmonics_are_smooth_at_zero() -> None:
    v = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(SolidHarmonics(3), v)


def test_negative_degree() -> None:
    with pytest.raises(ValueError, match="degree must be at least 0, got -1"):
        SolidHarmonics(-1)


def test_frames_turn_edges_to_the_pole() -> None:
    axes = torch.cat([torch.eye(3), -torch.eye(3)]).double()
    v = torch.cat([torch.nn.functional.normalize(vectors(), dim=1), axes])
    frames = EdgeFrames(4)(v)
    pole = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64).expand_as(v)
    torch.testing.assert_close((frames[1] @ v.unsqueeze(2))[..., 0], pole, atol=1e-14, rtol=0)
    for ell, frame in enumerate(frames):
        one = torch.eye(2 * ell + 1).double().expand_as(frame)
        torch.testing.assert_close(frame @ frame.mT, one, atol=1e-12, rtol=0)
        for turn, got in zip(frames[1][:3], frame[:3], strict=True):
            assert torch.linalg.det(turn) > 0
            torch.testing.assert_close(got, wigner(ell, turn), atol=1e-12, rtol=0)
