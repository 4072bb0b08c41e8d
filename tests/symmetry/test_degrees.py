"""Errors by degree are those of functions whose parts are known."""

from __future__ import annotations

import math

import pytest
import torch
from e3nn import o3
from torch import Tensor

from geqlib.sphere.quadrature import rotation_rule
from geqlib.symmetry.types import wigner_matrices
from geqlib.testing import error_by_degree

ROUNDING = 1e-7  # squares are known to 1e-15
POS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).double()
FLAT = POS[:, :2].contiguous()


def test_the_rule_averages_wigner_functions() -> None:
    rotations, weights = rotation_rule(4)
    for matrices in wigner_matrices(rotations, 4)[1:]:
        assert torch.einsum("n,nij->ij", weights, matrices).abs().max() < 1e-13
    assert abs(float(weights.sum()) - 1) < 1e-13
    wanted = torch.eye(3, dtype=torch.float64)
    assert (rotations @ rotations.mT - wanted).abs().max() < 1e-13


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_a_harmonic_breaks_in_its_degree_alone(degree: int) -> None:
    """Y_l has the mean square 1 / (4 pi) on the sphere, and is below 1."""

    def component(pos: Tensor) -> Tensor:
        return o3.spherical_harmonics(degree, pos, normalize=True)[:, degree]

    errors = error_by_degree(component, {"pos": (POS, "vector")}, "scalar", degree=3)
    # e3nn's constants are rounded to float32
    assert abs(errors[degree] - (4 * math.pi) ** -0.5) < 1e-6
    assert all(error < 1e-6 for k, error in errors.items() if k != degree)


@pytest.mark.parametrize("order", [1, 2])
def test_modes_in_the_plane(order: int) -> None:
    def mode(pos: Tensor) -> Tensor:
        return torch.cos(order * torch.atan2(pos[:, 1], pos[:, 0]))

    errors = error_by_degree(mode, {"pos": (FLAT, "vector")}, "scalar", "SO(2)", degree=3)
    assert abs(errors[order] - 0.5**0.5) < ROUNDING
    assert all(error < ROUNDING for k, error in errors.items() if k != order)


def test_a_fixed_direction_is_of_degree_one() -> None:
    def pushed(pos: Tensor) -> Tensor:
        return pos + torch.tensor([0.0, 0.3, 0.0], dtype=pos.dtype)

    errors = error_by_degree(pushed, {"pos": (POS, "vector")}, "vector")
    assert errors[1] > 0.05
    assert max(errors[2], errors["higher"]) < ROUNDING


def test_equivariant_functions_have_no_error() -> None:
    errors = error_by_degree(lambda pos: pos * pos.norm(), {"pos": (POS, "point")}, "point")
    assert max(errors.values()) < 1e-14


@pytest.mark.parametrize(
    ("group", "degree", "message"),
    [("O(3)", 2, "of SO.2. or SO.3."), ("SO(3)", 0, "degree must be at least 1")],
)
def test_bad_input(group: str, degree: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        error_by_degree(lambda pos: pos, {"pos": (POS, "point")}, "point", group, degree)
