"""Orientation grids: exact groups, invariant orbits, antipodes, quadrature, reproducibility."""

import itertools
import math
import pickle
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import eval_legendre
from torch import Tensor

from geqlib.sphere.grids import (
    GroupName,
    RotationMethod,
    SphereMethod,
    antipodes,
    circle_grid,
    rotation_grid,
    rotation_group,
    sphere_grid,
)

EYE = torch.eye(3, dtype=torch.float64)
GROUPS: dict[GroupName, int] = {"tetrahedral": 12, "octahedral": 24, "icosahedral": 60}
GROUP_OF: dict[int, GroupName] = {
    4: "tetrahedral",
    6: "octahedral",
    8: "octahedral",
    12: "icosahedral",
    20: "icosahedral",
    24: "octahedral",
    30: "icosahedral",
    60: "icosahedral",
}
DESIGN = {4: 2, 6: 3, 8: 3, 12: 5, 20: 5, 24: 5, 30: 5, 60: 9}
SPHERE_CASES: list[tuple[int, SphereMethod, bool]] = [
    (1, "auto", False),
    (2, "auto", False),
    (7, "auto", False),
    (12, "auto", True),
    (16, "auto", False),
    (4, "auto", True),
    (15, "fibonacci", False),
    (9, "repulsion", False),
    (10, "repulsion", False),
    (10, "repulsion", True),
]
ROTATION_CASES: list[tuple[int, RotationMethod]] = [
    (1, "auto"),
    (12, "auto"),
    (16, "auto"),
    (257, "auto"),
    (60, "polyhedral"),
    (33, "spiral"),
    (9, "repulsion"),
]


def same_set(a: Tensor, b: Tensor, atol: float = 1e-12) -> bool:
    """Whether the rows of a and b agree up to a permutation."""
    distance = (a.flatten(1)[:, None] - b.flatten(1)).abs().amax(-1)
    nearest = distance.argmin(1)
    return bool(distance.amin(1).max() < atol) and nearest.unique().numel() == len(b) == len(a)


def symmetries(grid: Tensor, name: GroupName) -> int:
    """How many rotations of the group map the grid to itself."""
    return sum(same_set(grid @ rotation.T, grid) for rotation in rotation_group(name))


def design_error(grid: Tensor, degree: int) -> float:
    """Mean over pairs of P_degree, the squared norm of the mean harmonic, over n^2."""
    cosine = (grid @ grid.T).clamp(-1, 1).numpy()
    return abs(float(eval_legendre(degree, cosine).mean()))


def global_random_state() -> tuple[object, ...]:
    numpy_state = repr(pickle.dumps(np.random.get_state()))
    return torch.get_rng_state().tolist(), numpy_state, random.getstate()


def largest_cosine(grid: Tensor) -> float:
    return float((grid @ grid.T).fill_diagonal_(-1).max())


def smallest_angle(rotations: Tensor) -> float:
    trace = torch.einsum("aij,bij->ab", rotations, rotations).fill_diagonal_(-1)
    return float(((trace.max() - 1) / 2).clamp(-1, 1).arccos())


@pytest.mark.parametrize("name", GROUPS)
def test_groups_are_groups(name: GroupName) -> None:
    group = rotation_group(name)
    assert group.shape == (GROUPS[name], 3, 3) and group.dtype == torch.float64
    assert torch.equal(group[0], EYE)
    torch.testing.assert_close(group @ group.mT, EYE.expand_as(group), atol=1e-15, rtol=0)
    torch.testing.assert_close(torch.linalg.det(group), torch.ones(len(group)).double())
    assert same_set(group.mT, group)
    for rotation in group:
        assert same_set(rotation @ group, group)


def test_group_order_is_by_angle_and_deterministic() -> None:
    for name in GROUPS:
        group = rotation_group(name)
        trace = group.diagonal(dim1=1, dim2=2).sum(-1)
        assert bool((trace.diff() < 1e-12).all())
        assert torch.equal(group, rotation_group(name))


def test_tetrahedral_group_is_in_the_other_two() -> None:
    small = rotation_group("tetrahedral").flatten(1)
    for name in ("octahedral", "icosahedral"):
        large = rotation_group(name).flatten(1)
        assert bool((small[:, None] == large).all(-1).any(1).all())


def test_octahedral_group_is_signed_permutations_to_the_bit() -> None:
    group = rotation_group("octahedral")
    assert torch.equal(group.abs().sum(1), torch.ones(24, 3).double())
    assert set(group.unique().tolist()) == {-1.0, 0.0, 1.0}


@pytest.mark.parametrize("n", GROUP_OF)
def test_orbits_are_invariant(n: int) -> None:
    grid = sphere_grid(n, "polyhedral")
    assert grid.shape == (n, 3)
    assert symmetries(grid, GROUP_OF[n]) == GROUPS[GROUP_OF[n]]
    assert torch.equal(grid, sphere_grid(n))


@pytest.mark.parametrize("n", GROUP_OF)
def test_orbits_are_designs(n: int) -> None:
    grid = sphere_grid(n, "polyhedral")
    torch.testing.assert_close(grid.T @ grid / n, EYE / 3, atol=1e-12, rtol=0)
    for degree in range(1, DESIGN[n] + 1):
        assert design_error(grid, degree) < 1e-14
    assert design_error(grid, DESIGN[n] + 1) > 1e-3


def test_generic_grids_have_no_polyhedral_symmetry() -> None:
    assert symmetries(sphere_grid(15, "fibonacci"), "icosahedral") == 1


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 10])
def test_circle(n: int) -> None:
    grid = circle_grid(n)
    angle = 2 * math.pi * torch.arange(n).double() / n
    assert torch.equal(grid[0], torch.tensor([1.0, 0.0]).double())
    torch.testing.assert_close(grid, torch.stack([angle.cos(), angle.sin()], -1))
    if n % 2 == 0:
        assert torch.equal(grid[n // 2 :], -grid[: n // 2])


@pytest.mark.parametrize(("n", "method", "antipodal"), SPHERE_CASES)
def test_sphere_shapes_and_norms(n: int, method: SphereMethod, antipodal: bool) -> None:
    grid = sphere_grid(n, method, antipodal=antipodal)
    assert grid.shape == (n, 3) and grid.dtype == torch.float64
    torch.testing.assert_close(grid.norm(dim=-1), torch.ones(n).double(), atol=1e-15, rtol=0)
    assert n == 1 or largest_cosine(grid) < 0.9


@pytest.mark.parametrize(
    "grid",
    [sphere_grid(n) for n in GROUP_OF if n != 4]
    + [sphere_grid(2), sphere_grid(18), sphere_grid(4, antipodal=True)]
    + [sphere_grid(14, "repulsion", antipodal=True, seed=3), circle_grid(6)],
    ids=lambda grid: f"{tuple(grid.shape)}",
)
def test_antipodes_are_exact_and_in_the_second_half(grid: Tensor) -> None:
    index = antipodes(grid)
    assert index is not None and index.dtype == torch.long
    assert torch.equal(grid[index], -grid)
    assert torch.equal(index, (torch.arange(len(grid)) + len(grid) // 2) % len(grid))


def test_antipodes_of_a_shuffled_float32_grid() -> None:
    shuffle = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    grid = sphere_grid(30).float()[shuffle] + 1e-8
    index = antipodes(grid)
    assert index is not None
    torch.testing.assert_close(grid[index], -grid, atol=1e-6, rtol=0)


def test_antipodes_missing() -> None:
    grids = [sphere_grid(4), circle_grid(3), sphere_grid(13), sphere_grid(12)[:-1]]
    assert all(antipodes(grid) is None for grid in [*grids, rotation_grid(12)])


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: sphere_grid(10, "repulsion", seed=seed),
        lambda seed: sphere_grid(14, seed=seed),
        lambda seed: rotation_grid(10, seed=seed),
    ],
)
def test_seeds_are_reproducible(make: Callable[[int], Tensor]) -> None:
    assert torch.equal(make(5), make(5))
    assert not torch.equal(make(5), make(6))


def test_global_random_state_is_neither_read_nor_changed() -> None:
    grids = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        before = global_random_state()
        grids.append([sphere_grid(10), sphere_grid(9, "repulsion"), rotation_grid(9)])
        assert global_random_state() == before
    assert all(torch.equal(a, b) for a, b in zip(*grids, strict=True))


def test_default_device_does_not_matter() -> None:
    with torch.device("meta"):
        grids = [sphere_grid(12), sphere_grid(9), sphere_grid(10), circle_grid(4), rotation_grid(5)]
    again = [sphere_grid(12), sphere_grid(9), sphere_grid(10), circle_grid(4), rotation_grid(5)]
    assert all(torch.equal(a, b) for a, b in zip(grids, again, strict=True))


@pytest.mark.parametrize("antipodal", [False, True])
def test_sphere_repulsion_spreads_better_than_random(antipodal: bool) -> None:
    start = np.random.default_rng(0).standard_normal((40, 3))
    noise = torch.nn.functional.normalize(torch.from_numpy(start), dim=-1)
    grid = sphere_grid(40, "repulsion", antipodal=antipodal)
    angle = math.degrees(math.acos(largest_cosine(grid)))
    assert angle > 29 > 3 * math.degrees(math.acos(largest_cosine(noise)))


@pytest.mark.parametrize(("n", "cosine"), [(4, -1 / 3), (6, 0.0), (12, 1 / math.sqrt(5))])
def test_sphere_repulsion_finds_the_solids(n: int, cosine: float) -> None:
    assert largest_cosine(sphere_grid(n, "repulsion")) == pytest.approx(cosine, abs=1e-4)


@pytest.mark.parametrize(("n", "method"), ROTATION_CASES)
def test_rotation_grids_are_rotations(n: int, method: RotationMethod) -> None:
    grid = rotation_grid(n, method)
    assert grid.shape == (n, 3, 3) and grid.dtype == torch.float64
    torch.testing.assert_close(grid @ grid.mT, EYE.expand_as(grid), atol=1e-14, rtol=0)
    torch.testing.assert_close(torch.linalg.det(grid), torch.ones(n).double())
    assert n == 1 or smallest_angle(grid) > math.radians(20)


def test_rotation_repulsion_spreads_better_than_the_spiral() -> None:
    assert smallest_angle(rotation_grid(24, "repulsion")) == pytest.approx(math.pi / 2, abs=1e-3)
    for n, seed in itertools.product((8, 40), (0, 1)):
        repelled = smallest_angle(rotation_grid(n, "repulsion", seed=seed))
        assert repelled > 1.3 * smallest_angle(rotation_grid(n, "spiral"))


INTEGER = "must be an integer of at least"
ERRORS: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], str]] = [
    (rotation_group, ("cubic",), {}, "name must be one of 'tetrahedral', .* got 'cubic'"),
    (circle_grid, (0,), {}, f"circle_grid: n {INTEGER} 1, got 0"),
    (sphere_grid, (-2,), {}, f"sphere_grid: n {INTEGER} 1, got -2"),
    (sphere_grid, (4.0,), {}, rf"sphere_grid: n {INTEGER} 1, got 4\.0"),
    (sphere_grid, (7, "polyhedral"), {}, "one of 4, 6, 8, 12, 20, 24, 30, 60, got 7"),
    (sphere_grid, (7, "spiral"), {}, "sphere_grid: method must be one of .* got 'spiral'"),
    (sphere_grid, (8,), {"seed": -1}, f"sphere_grid: seed {INTEGER} 0, got -1"),
    (sphere_grid, (8,), {"seed": None}, f"sphere_grid: seed {INTEGER} 0, got None"),
    (sphere_grid, (7,), {"antipodal": True}, "needs an even n, got 7; try 8"),
    (sphere_grid, (4, "polyhedral"), {"antipodal": True}, "no antipodes; use 'repulsion'"),
    (sphere_grid, (8, "fibonacci"), {"antipodal": True}, "no antipodes; use 'repulsion'"),
    (rotation_grid, (0,), {}, f"rotation_grid: n {INTEGER} 1, got 0"),
    (rotation_grid, (13, "polyhedral"), {}, "must be one of 12, 24, 60, got 13"),
    (rotation_grid, (13, "fibonacci"), {}, "rotation_grid: method must be .* got 'fibonacci'"),
    (rotation_grid, (13,), {"seed": -1}, f"rotation_grid: seed {INTEGER} 0, got -1"),
    (antipodes, (torch.zeros(3),), {}, r"must be \[n, d\] or \[n, 3, 3\], got \[3\]"),
    (antipodes, (torch.zeros(0, 3),), {}, r"antipodes: grid must be .* got \[0, 3\]"),
]


@pytest.mark.parametrize(("call", "args", "options", "message"), ERRORS)
def test_errors_say_what_and_how_to_mend(
    call: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        call(*args, **options)
