"""Attributes are invariant, independent, as many as the orbits need, and safe to differentiate."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.functional import hessian, jacobian
from torch.nn.functional import normalize

from geqlib.ponita.invariants import (
    DIMENSION,
    FIBER,
    SPATIAL,
    Space,
    check_space,
    fiber_attributes,
    pair_attributes,
    pair_count,
    spatial_attributes,
)
from geqlib.radial import safe_sqrt
from geqlib.testing import random_rotation

Options = dict[str, bool]
ORIENTED: tuple[Space, ...] = ("R2xS1", "R3xS2", "SE3")
PAIRS: list[tuple[Space, Options]] = [
    ("R2xS1", {}),
    ("R2xS1", {"chiral": True}),
    ("R3xS2", {}),
    ("R3xS2", {"smooth": True}),
    ("R3xS2", {"fourth": True}),
    ("R3xS2", {"chiral": True}),
    ("R3xS2", {"fourth": True, "chiral": True}),
    ("SE3", {}),
]


def draw(space: Space, count: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Offsets [count, d] and orientations at both ends."""
    generator = torch.Generator().manual_seed(0)
    d = DIMENSION[space]
    if space == "SE3":
        turns = torch.stack([random_rotation(3, generator) for _ in range(2 * count)])
        ends = turns[:count], turns[count:]
    else:
        raw = torch.randn(2, count, d, generator=generator, dtype=torch.float64)
        ends = tuple(normalize(raw, dim=-1))
    return torch.randn(count, d, generator=generator, dtype=torch.float64), ends[0], ends[1]


def turn(matrix: Tensor, ori: Tensor) -> Tensor:
    return matrix @ ori if ori.dim() == 3 else ori @ matrix.T


def moved(space: Space, improper: bool = False) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Pairs, and the same after a rotation or a reflection."""
    generator = torch.Generator().manual_seed(1)
    g = random_rotation(DIMENSION[space], generator, improper=improper)
    r, o, p = draw(space)
    return (r, o, p), (r @ g.T, turn(g, o), turn(g, p))


def along_the_group(space: Space, ori: Tensor, w: Tensor) -> Tensor:
    """The orientation, moved by the tangent vector w of the rotation group."""
    if space == "R2xS1":
        c, s = w[0].cos(), w[0].sin()
        return torch.stack([c * ori[0] - s * ori[1], s * ori[0] + c * ori[1]])
    eye = torch.eye(3, dtype=torch.float64)
    return torch.linalg.matrix_exp(torch.linalg.cross(w.expand(3, 3), eye).T) @ ori


def pair_jacobian(space: Space, options: Options, r: Tensor, o: Tensor, p: Tensor) -> Tensor:
    """Derivatives by both positions, and by both orientations along the rotation group."""
    still = torch.zeros(1 if space == "R2xS1" else 3, dtype=torch.float64)

    def attributes(at: Tensor, to: Tensor, w: Tensor, u: Tensor) -> Tensor:
        if space not in ORIENTED:
            return spatial_attributes(space, r + to - at)
        ends = along_the_group(space, o, w), along_the_group(space, p, u)
        return pair_attributes(space, r + to - at, *ends, **options)

    return torch.cat(jacobian(attributes, (0 * r, 0 * r, still, still)), -1)


@pytest.mark.parametrize(("space", "options"), PAIRS)
def test_pairs_are_invariant_under_rotations(space: Space, options: Options) -> None:
    before, after = moved(space)
    got, expected = (pair_attributes(space, *pair, **options) for pair in (after, before))
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=0)
    assert got.shape == (
        5,
        pair_count(space, **{k: v for k, v in options.items() if k != "smooth"}),
    )


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("space", ["R2", "R3"])
def test_distances_are_invariant_under_reflections(space: Space, smooth: bool) -> None:
    (r, *_), (moved_r, *_) = moved(space, improper=True)
    got = spatial_attributes(space, moved_r, smooth=smooth)
    expected = r.square().sum(-1, keepdim=True)
    torch.testing.assert_close(got, expected if smooth else expected.sqrt(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("fourth", [False, True])
def test_only_the_handedness_flips_under_reflections(fourth: bool) -> None:
    before, after = moved("R3xS2", improper=True)
    options = {"fourth": fourth, "chiral": True}
    got, expected = (pair_attributes("R3xS2", *pair, **options) for pair in (after, before))
    torch.testing.assert_close(got[:, :-1], expected[:, :-1], atol=1e-12, rtol=0)
    torch.testing.assert_close(got[:, -1], -expected[:, -1], atol=1e-12, rtol=0)
    assert expected[:, -1].abs().min() > 1e-3


def test_the_plane_tells_left_from_right() -> None:
    """o x r and o x o' change sign; o.r and o.o' do not."""
    before, after = moved("R2xS1", improper=True)
    got, expected = (pair_attributes("R2xS1", *pair, chiral=True) for pair in (after, before))
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0])
    torch.testing.assert_close(got, signs * expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("space", "options", "rank"),
    [
        ("R2", {}, 1),
        ("R3", {}, 1),
        ("R2xS1", {}, 3),
        ("R2xS1", {"chiral": True}, 3),
        ("R3xS2", {}, 3),
        ("R3xS2", {"smooth": True}, 3),
        ("R3xS2", {"fourth": True}, 4),
        ("R3xS2", {"chiral": True}, 4),
        ("R3xS2", {"fourth": True, "chiral": True}, 4),
        ("SE3", {}, 6),
    ],
)
def test_rank_on_generic_pairs(space: Space, options: Options, rank: int) -> None:
    for pair in zip(*draw(space), strict=True):
        derivatives = pair_jacobian(space, options, *pair)
        assert torch.linalg.matrix_rank(derivatives, tol=1e-9) == rank


@pytest.mark.parametrize("space", ORIENTED)
def test_spatial_and_fiber_parts_stand_first(space: Space) -> None:
    r, o, p = draw(space)
    pair = pair_attributes(space, r, o, p)
    parts = [spatial_attributes(space, r, o), fiber_attributes(space, o, p)]
    assert [x.size(-1) for x in parts] == [SPATIAL[space], FIBER[space]]
    assert torch.equal(pair, torch.cat(parts, -1))


@pytest.mark.parametrize("space", ORIENTED)
def test_all_leading_dimensions_broadcast(space: Space) -> None:
    r, o, p = draw(space, 3)
    chiral = space != "SE3"
    table = pair_attributes(space, r[:, None, None], o[:, None], p[None], chiral=chiral)
    assert table.shape == (3, 3, 3, pair_count(space, chiral=chiral))
    for i, j, k in itertools.product(range(3), repeat=3):
        one = pair_attributes(space, r[i], o[j], p[k], chiral=chiral)
        torch.testing.assert_close(table[i, j, k], one, atol=1e-15, rtol=0)


def test_smooth_attributes_have_second_derivatives_on_the_axis() -> None:
    o = normalize(torch.tensor([1.0, 2.0, -2.0], dtype=torch.float64), dim=0)

    def across(r: Tensor, smooth: bool) -> Tensor:
        return spatial_attributes("R3xS2", r, o, smooth=smooth)[1]

    for length in (0.0, 0.7, -3.0):
        curvature = hessian(lambda r: across(r, True), length * o)
        expected = 2 * (torch.eye(3).double() - torch.outer(o, o))
        torch.testing.assert_close(curvature, expected, atol=1e-12, rtol=0)
        assert bool(hessian(lambda r: across(r, False), length * o).isfinite().all())


def test_smooth_distance_is_the_square() -> None:
    zero = torch.zeros(3, dtype=torch.float64)
    curvature = hessian(lambda r: spatial_attributes("R3", r, smooth=True)[0], zero)
    assert torch.equal(curvature, 2 * torch.eye(3).double())


def test_safe_sqrt_has_no_derivatives_at_zero() -> None:
    x = torch.tensor([0.0, 4.0], dtype=torch.float64, requires_grad=True)
    value = safe_sqrt(x)
    derivatives = [value]
    for _ in range(3):
        derivatives += torch.autograd.grad(derivatives[-1].sum(), x, create_graph=True)
    at_zero, at_four = zip(*(d.tolist() for d in derivatives), strict=True)
    assert at_zero == (0.0, 0.0, 0.0, 0.0)
    assert at_four == pytest.approx((2.0, 1 / 4, -1 / 32, 3 / 256))


@pytest.mark.parametrize("space", ["R2xS1", "R3xS2", "SE3"])
def test_orientations_are_needed(space: Space) -> None:
    with pytest.raises(ValueError, match=f"space '{space}' needs orientations, got ori=None"):
        spatial_attributes(space, torch.zeros(1, DIMENSION[space]))


def test_unknown_spaces_are_named() -> None:
    unknown: Any = "S2"
    with pytest.raises(ValueError, match="space 'S2' is unknown: choose one of R2, R3, R2xS1"):
        check_space(unknown)
