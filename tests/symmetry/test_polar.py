"""Polar coordinates: round trips, derivatives at rotations, Haar measures by Monte Carlo."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from geqlib.symmetry.affine import Linear, haar_weights, random_matrices, stretch_basis
from geqlib.symmetry.groups import parse_group
from geqlib.symmetry.polar import coordinates, exp, from_coordinates, log, polar, polar_basis
from geqlib.symmetry.rotations import random_rotation
from geqlib.testing import equivariance_error

EXACT = 1e-12


def drawn(count: int, dim: int, group: Linear = "GL+", seed: int = 0, scale: float = 0.5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    options = {"scale": scale, "dtype": torch.float64, "generator": generator}
    return random_matrices(count, dim, group, **options)


def apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().abs().max())


@pytest.mark.parametrize("dim", [1, 2, 3, 4])
def test_polar_factors_are_those_of_scipy(dim: int) -> None:
    g = drawn(20, dim)
    stretch, rotation = polar(g)
    assert apart(stretch @ rotation, g) < EXACT
    assert apart(rotation @ rotation.mT, torch.eye(dim)) < EXACT
    for k in range(20):
        expected = scipy.linalg.polar(g[k].numpy(), side="left")
        assert np.abs(expected[0] - rotation[k].numpy()).max() < EXACT
        assert np.abs(expected[1] - stretch[k].numpy()).max() < EXACT


@pytest.mark.parametrize("dim", [1, 2, 3, 4])
@pytest.mark.parametrize("scale", [0.2, 1.0])
def test_round_trips(dim: int, scale: float) -> None:
    g = drawn(50, dim, scale=scale)
    size = g.abs().amax()
    assert apart(exp(log(g)), g) < EXACT * size
    assert apart(from_coordinates(coordinates(g), dim), g) < EXACT * size
    x = torch.randn(50, dim, dim, generator=torch.Generator().manual_seed(1)).double() / 2
    assert apart(log(exp(x)), x) < EXACT


def test_round_trips_in_the_special_linear_group() -> None:
    g = drawn(50, 3, "SL")
    assert apart(torch.linalg.det(g), torch.ones(50)) < EXACT
    values = coordinates(g, traceless=True)
    assert values.shape == (50, 8)
    assert apart(from_coordinates(values, 3, traceless=True), g) < EXACT


def test_logarithms_are_those_of_scipy() -> None:
    for g in drawn(5, 3):
        stretch, rotation = (part.numpy() for part in polar(g))
        expected = scipy.linalg.logm(stretch) + scipy.linalg.logm(rotation)
        assert np.abs(log(g).numpy() - expected).max() < EXACT


def test_the_basis_is_orthonormal() -> None:
    for dim in (1, 2, 3):
        basis = polar_basis(dim)
        gram = torch.einsum("aij,bij->ab", basis, basis)
        assert apart(gram, torch.eye(dim * dim)) < EXACT
        traces = polar_basis(dim, traceless=True).diagonal(dim1=1, dim2=2).sum(1)
        assert bool((traces.abs() < EXACT).all())


def test_differences_of_elements_are_invariant_from_the_left() -> None:
    """What kernels of two elements depend on: the coordinates of h^-1 k, also for affine maps."""
    g, h, k = drawn(3, 3)
    t, u = torch.randn(2, 3, generator=torch.Generator().manual_seed(2)).double()

    def difference(h: Tensor, u: Tensor, k: Tensor, v: Tensor) -> Tensor:
        inverse = torch.linalg.inv(h)
        return torch.cat([inverse @ (v - u), coordinates(inverse @ k)])

    before = difference(h, u, k, 2 * u)
    after = difference(g @ h, g @ u + t, g @ k, g @ (2 * u) + t)
    assert apart(before, after) < EXACT


@pytest.mark.parametrize("dim", [2, 3])
def test_derivatives_at_rotations_and_at_the_identity(dim: int) -> None:
    """Where all singular values are equal, and derivatives of eigenvectors infinite."""
    turn = random_rotation(dim, torch.Generator().manual_seed(0))
    for g in (torch.eye(dim, dtype=torch.float64), turn):
        leaf = g.clone().requires_grad_()
        assert torch.autograd.gradcheck(log, (leaf,), fast_mode=dim > 2)
        assert torch.autograd.gradgradcheck(log, (leaf,), fast_mode=dim > 2)


def test_nothing_is_nan_near_rotations() -> None:
    turn = random_rotation(3, torch.Generator().manual_seed(0))
    for size in (0.0, 1e-16, 1e-12, 1e-8, 1e-4):
        noise = size * torch.randn(8, 3, 3, generator=torch.Generator().manual_seed(1)).double()
        g = (turn + noise).requires_grad_()
        values = coordinates(g)
        (slope,) = torch.autograd.grad(values.square().sum(), g)
        assert bool(values.isfinite().all() & slope.isfinite().all())
        assert values[:, :6].detach().abs().max() < 4 * size + EXACT
        assert bool(haar_weights(g).isfinite().all())


def test_single_precision() -> None:
    g = drawn(20, 3).float()
    assert log(g).dtype == torch.float32
    assert apart(exp(log(g)), g) < 1e-5 * float(g.abs().max())


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (torch.tensor([[1.0, 2.0], [2.0, 4.0]]), "matrix 0 is singular"),
        (torch.zeros(2, 3, 3), "matrix 0 is singular"),
        (torch.tensor([[torch.nan, 0.0], [0.0, 1.0]]), "matrix 0 is NaN"),
        (torch.diag(torch.tensor([1.0, -1.0])), "negative determinant"),
        (-torch.eye(2, dtype=torch.float64), "by pi"),
        (torch.zeros(2, 3), "shape"),
        (torch.eye(2).long(), "floating point"),
    ],
)
def test_bad_matrices(matrix: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        log(matrix)


def test_other_bad_input() -> None:
    with pytest.raises(ValueError, match=r"determinant 4: those of SL\(n\) have 1"):
        coordinates(2 * torch.eye(2), traceless=True)
    for shape in ((3,), (2, 3)):
        with pytest.raises(ValueError, match=r"of shape \[\.\.\., n, n\]"):
            exp(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"GL\+\(2\) has 4 coordinates"):
        from_coordinates(torch.zeros(3), 2)
    with pytest.raises(ValueError, match="scale is a standard deviation"):
        random_matrices(1, 2, scale=-1.0)
    with pytest.raises(ValueError, match="group must be one of"):
        stretch_basis(2, "Sp")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no density"):
        haar_weights(torch.eye(2), scale=0.0)


# --- Haar measures -------------------------------------------------------------------------------


def bump(g: Tensor) -> Tensor:
    """A function that falls off fast, and is not invariant to anything."""
    inverse = torch.linalg.inv(g)
    norms = g.square().sum((-1, -2)) + inverse.square().sum((-1, -2)) / 2
    return torch.exp(-norms) * (2 + g[..., 0, 1].tanh())


@pytest.mark.parametrize(("dim", "group"), [(2, "GL+"), (2, "SL"), (1, "R+"), (3, "GL+")])
def test_haar_integrals_are_invariant_from_both_sides(dim: int, group: Linear) -> None:
    count, scale = 40_000, 0.5
    g, h = drawn(count, dim, group), drawn(1, dim, group, seed=1, scale=0.3)
    weights = haar_weights(g, group, scale=scale)
    values = [weights * bump(x) if dim > 1 else weights * bump1(x) for x in (g, h @ g, g @ h)]
    means = [float(v.mean()) for v in values]
    errors = [float(v.std()) / count**0.5 for v in values]
    for k in (1, 2):  # five standard errors of the difference
        assert abs(means[k] - means[0]) < 5 * (errors[k] + errors[0])
    assert errors[0] < 0.1 * means[0]


def bump1(g: Tensor) -> Tensor:
    return torch.exp(-(g[..., 0, 0] + 1 / g[..., 0, 0]))


def test_an_integral_that_is_known() -> None:
    """Scalings: the integral of exp(-(s + 1 / s)) ds / s is 2 K_0(2)."""
    g = drawn(40_000, 1, "R+", scale=1.0)
    values = haar_weights(g, "R+", scale=1.0) * bump1(g)
    error = float(values.std()) / 200
    assert abs(float(values.mean()) - 2 * 0.113893872749533) < 5 * error


def test_errors_fall_as_one_over_the_root_of_the_number_of_samples() -> None:
    """Of 64 means of n samples, standard deviations are known to 9 percent; their slope over a
    factor of 64 in n to 0.03."""
    g = drawn(64 * 1024, 2)
    values = haar_weights(g, scale=0.5) * bump(g)
    few, many = (values[: 64 * n].view(64, n).mean(1).std() for n in (16, 1024))
    slope = math.log(float(many / few)) / math.log(1024 / 16)
    assert abs(slope + 0.5) < 0.15


def test_samples_have_the_spread_that_is_asked_for() -> None:
    values = coordinates(drawn(4000, 2, scale=0.3))
    # standard deviations of 4000 samples are known to 1.2 percent
    assert apart(values[:, :3].std(0), torch.full((3,), 0.3)) < 5 * 0.012 * 0.3
    assert apart(values[:, :3].mean(0), torch.zeros(3)) < 5 * 0.3 / 4000**0.5


# --- groups in rulers ----------------------------------------------------------------------------

POINTS = {"pos": (torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).double(), "point")}


def volume(pos: Tensor, first: int = 1) -> Tensor:
    return torch.linalg.det(pos[first : first + 3] - pos[:1])[None]


def ratio(pos: Tensor) -> Tensor:
    """Of volumes, which affine maps keep."""
    return volume(pos) / volume(pos, 2)


def test_affine_invariance_is_measured() -> None:
    def distances(pos: Tensor) -> Tensor:
        return torch.cdist(pos, pos).sum()[None]

    for group in ("Aff+(3)", "SAff(3)", "GL+(3)", "R+(3)"):
        assert equivariance_error(ratio, POINTS, "graph:scalar", group) < EXACT
    assert equivariance_error(volume, POINTS, "graph:scalar", "SAff(3)") < EXACT
    assert equivariance_error(volume, POINTS, "graph:scalar", "Aff+(3)") > 0.01
    assert equivariance_error(distances, POINTS, "graph:scalar", "SAff(3)") > 0.01
    mean = equivariance_error(lambda pos: pos.mean(0), POINTS, "graph:point", "S_n x Aff+(3)")
    assert mean < EXACT


def test_irreps_do_not_stretch() -> None:
    inputs = POINTS | {"x": (torch.zeros(6, 4).double(), "1x0e+1x1o")}
    with pytest.raises(ValueError, match=r"on which GL\+\(3\) does not act"):
        equivariance_error(lambda pos, x: x, inputs, "1x0e+1x1o", "GL+(3)")
    scalars = POINTS | {"x": (torch.zeros(6, 4).double(), "4x0e")}
    assert equivariance_error(lambda pos, x: x, scalars, "4x0e", "GL+(3)") == 0


def test_names_of_groups() -> None:
    assert parse_group("Aff+(2)").translates and parse_group("Aff+(2)").stretches
    assert not parse_group("E(3)").stretches
    with pytest.raises(ValueError, match="matrices of two groups"):
        parse_group("SO(3) x GL+(3)")
    with pytest.raises(ValueError, match="is unknown"):
        parse_group("GL(3)")


def test_no_frames_of_groups_that_are_not_compact() -> None:
    from geqlib.nn import FrameAveraging

    with pytest.raises(ValueError, match="not compact"):
        FrameAveraging(torch.nn.Identity(), "GL+(3)", inputs={"input": "vector"}, outputs="vector")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_matrices_whose_determinant_is_no_number(dtype: torch.dtype) -> None:
    """Of 1e20 or 1e-120, with others of size 1 beside them."""
    size = 20 if dtype == torch.float32 else 120
    scales = torch.tensor([10.0**size, 1.0, 10.0**-size], dtype=torch.float64)
    g = (scales[:, None, None] * drawn(3, 3)).to(dtype)
    rounding = 1e3 * torch.finfo(dtype).eps
    stretch, rotation = polar(g)
    assert ((stretch @ rotation - g).abs().amax((1, 2)) / scales).max() < rounding
    expected = log(drawn(3, 3)) + scales.log()[:, None, None] * torch.eye(3)
    assert apart(log(g).double(), expected) < 1e2 * rounding
    with pytest.raises(ValueError, match="matrix 2 has a negative determinant"):
        log(torch.stack([g[1], g[1], -g[2]]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:
    """Drawn and multiplied in it, and refused where it is inverted."""
    torch.manual_seed(0)
    g = random_matrices(50, 3, "SL", dtype=dtype)
    assert g.dtype == dtype and (torch.linalg.det(g.double()) - 1).abs().max() < 0.1
    x = 0.2 * torch.randn(3, 3, dtype=torch.float64)
    assert apart(exp(x.to(dtype)).double(), exp(x)) < 0.05
    with pytest.raises(ValueError, match="floating point, float32 or float64"):
        polar(g)


def test_autocast_rounds_nothing() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.manual_seed(0)
        g = random_matrices(50, 3, "SL")
        stretch, rotation = polar(g)
        values = coordinates(g, traceless=True)
        again = from_coordinates(values, 3, traceless=True)
    assert g.dtype == stretch.dtype == values.dtype == torch.float32
    assert (torch.linalg.det(g.double()) - 1).abs().max() < 1e-5
    assert apart(stretch @ rotation, g) < 1e-5 and apart(again, g) < 1e-4


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_no_matrices(dim: int) -> None:
    assert random_matrices(0, dim).shape == (0, dim, dim)
    assert haar_weights(random_matrices(0, dim)).shape == (0,)
    assert log(torch.zeros(2, 0, 0)).shape == (2, 0, 0)


def test_far_stretches_keep_their_determinant_to_rounding() -> None:
    g = drawn(100, 4, "SL", scale=3.0).float()
    assert haar_weights(g, "SL", scale=3.0).isfinite().all()
    with pytest.raises(ValueError, match="has determinant"):
        haar_weights(1.01 * drawn(1, 4, "SL").float(), "SL")


@pytest.mark.parametrize("scale", [math.nan, math.inf, -1.0])
def test_scales_are_finite(scale: float) -> None:
    with pytest.raises(ValueError, match="scale is a standard deviation"):
        random_matrices(2, 3, scale=scale)
