"""Vectors survive the way to functions of orientation and back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from geqlib.ponita.network import lengths, lift_vectors, orientation_axes, read_vectors
from geqlib.sphere.grids import circle_grid, rotation_grid, rotation_group, sphere_grid
from geqlib.symmetry.rotations import random_rotations

GRIDS = {
    "circle": circle_grid(8),
    "icosahedron": sphere_grid(12),
    "octahedron": sphere_grid(6),
    "rotations": rotation_grid(5, "spiral"),
}


def vectors(d: int, nodes: int = 4, channels: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(d)
    return torch.randn(nodes, channels, d, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("grid", GRIDS)
def test_reading_a_lifted_vector(grid: str) -> None:
    """v / d from unit vectors, v from rotations."""
    axes = orientation_axes(GRIDS[grid], single=False)
    v = vectors(axes.size(-1))
    share = 1 if grid == "rotations" else axes.size(-1)
    back = read_vectors(lift_vectors(v, axes), axes)
    torch.testing.assert_close(back, v / share, atol=1e-14, rtol=0)


@pytest.mark.parametrize("grid", GRIDS)
def test_entries_are_the_formulas(grid: str) -> None:
    directions = GRIDS[grid]
    axes = orientation_axes(directions, single=False)
    _, count, per, d = axes.shape
    v = vectors(d)
    f = lift_vectors(v, axes)
    assert f.shape == (4, count, per * 2)
    back = read_vectors(f, axes)
    for n, k in ((0, 0), (3, 1)):
        read = torch.zeros(d, dtype=torch.float64)
        for o, a in ((o, a) for o in range(count) for a in range(per)):
            axis = directions[o] if per == 1 else directions[o][:, a]
            torch.testing.assert_close(f[n, o, a * 2 + k], axis @ v[n, k], atol=1e-14, rtol=0)
            read += f[n, o, a * 2 + k] * axis / count
        torch.testing.assert_close(back[n, k], read, atol=1e-14, rtol=0)


def test_one_orientation_a_node_sees_its_own_axis() -> None:
    v = vectors(3)
    ori = normalize(vectors(3, channels=1)[:, 0], dim=-1)
    axes = orientation_axes(ori, single=True)
    assert axes.shape == (4, 1, 1, 3)
    f = lift_vectors(v, axes)
    torch.testing.assert_close(f[:, 0], (v * ori[:, None]).sum(-1), atol=1e-14, rtol=0)
    back = read_vectors(f, axes)
    torch.testing.assert_close(back, f[:, 0, :, None] * ori[:, None], atol=1e-14, rtol=0)


def test_one_rotation_a_node_loses_nothing() -> None:
    torch.manual_seed(0)
    axes = orientation_axes(random_rotations(4, 3, dtype=torch.float64), single=True)
    assert axes.shape == (4, 1, 3, 3)
    v = vectors(3)
    torch.testing.assert_close(read_vectors(lift_vectors(v, axes), axes), v, atol=1e-14, rtol=0)


@pytest.mark.parametrize("grid", ["icosahedron", "octahedron"])
def test_the_grid_turns_with_the_vectors(grid: str) -> None:
    """Lifting g v permutes the lifted v as g permutes the grid."""
    directions, v = GRIDS[grid], vectors(3)
    axes = orientation_axes(directions, single=False)
    name = "icosahedral" if grid == "icosahedron" else "octahedral"
    for g in rotation_group(name)[1:4]:
        place = (directions @ g.T @ directions.T).argmax(0)  # o_place = g^-1 o
        moved = lift_vectors(v @ g.T, axes)
        torch.testing.assert_close(moved, lift_vectors(v, axes)[:, place], atol=1e-14, rtol=0)


def test_no_nodes_and_no_vectors() -> None:
    axes = orientation_axes(sphere_grid(6), single=False)
    assert read_vectors(lift_vectors(vectors(3, nodes=0), axes), axes).shape == (0, 2, 3)
    assert read_vectors(lift_vectors(vectors(3, channels=0), axes), axes).shape == (4, 0, 3)


def test_lengths_have_no_slope_at_zero() -> None:
    v = torch.tensor([[[3.0, 4.0], [0.0, 0.0]]], dtype=torch.float64, requires_grad=True)
    value = lengths(v)
    assert value.tolist() == [[5.0, 0.0]]
    (slope,) = torch.autograd.grad(value.sum(), v)
    torch.testing.assert_close(slope[0], torch.tensor([[0.6, 0.8], [0.0, 0.0]]).double())
