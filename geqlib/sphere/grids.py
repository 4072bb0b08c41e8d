"""Orientation grids on S^1, S^2 and SO(3) for position-orientation networks.

PONITA (Bekkers et al., "Fast, Expressive SE(n) Equivariant Networks through Weight-Sharing in
Position-Orientation Space", ICLR 2024, arXiv:2310.02970) replaces the integral over orientations
by the mean over a grid. A network is then exactly equivariant to the rotations that map the grid
to itself, and to the others as well as that mean integrates. Polyhedral grids are orbits of a
rotation group, and spherical designs: exact for every polynomial up to degree t.

    n      4  6  8  12  20  24  30  60
    t      2  3  3   5   5   5   5   9
    group  T  O  O   I   I   O   I   I

All but the tetrahedron hold -o for each o, at index (i + n/2) mod n. Grids are float64 on the CPU
(whatever torch's defaults) and leave the global random state alone. Equal seeds give equal bits on
one machine; between machines a repulsion grid may differ, so keep grids in the checkpoint.
"""

import math
from collections.abc import Collection
from functools import lru_cache
from numbers import Integral
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.constants import golden
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation
from torch import Tensor

from geqlib.sphere.harmonics import legendre_polynomials

GroupName = Literal["tetrahedral", "octahedral", "icosahedral"]
SphereMethod = Literal["auto", "polyhedral", "fibonacci", "repulsion"]
RotationMethod = Literal["auto", "polyhedral", "spiral", "repulsion"]
Array = NDArray[np.float64]

COMPOUND_DEGREE = 16  # of the harmonics that `compound_rotations` averages out
COMPOUND_STARTS = 3
_GROUPS: dict[int, GroupName] = {12: "tetrahedral", 24: "octahedral", 60: "icosahedral"}
# The orbits of 24 and 60 have a free parameter, spent on the lowest degree that their group
# leaves invariant: 4 for the octahedral; 6 for the icosahedral, where u = x^2 solves
# 2 sqrt(5) u^3 - (3 sqrt(5) - 1) u^2 + (sqrt(5) - 1) u + 2/21 = 0.
_U24 = 1 / 3 - math.sqrt(2 / 45)
_U60 = 0.367962387715700895
_ORBITS: dict[int, tuple[GroupName, tuple[float, float, float]]] = {
    4: ("tetrahedral", (1.0, 1.0, 1.0)),
    6: ("octahedral", (1.0, 0.0, 0.0)),
    8: ("octahedral", (1.0, 1.0, 1.0)),
    12: ("icosahedral", (golden, 0.0, 1.0)),
    20: ("icosahedral", (1.0, 1.0, 1.0)),
    24: ("octahedral", (math.sqrt(_U24), math.sqrt(_U24), math.sqrt(1 - 2 * _U24))),
    30: ("icosahedral", (1.0, 0.0, 0.0)),
    60: ("icosahedral", (math.sqrt(_U60), 0.0, math.sqrt(1 - _U60))),
}


def rotation_group(name: GroupName) -> Tensor:
    """Rotations [n, 3, 3] of a solid: 12 (tetrahedral), 24 (octahedral) or 60 (icosahedral).

    The identity is first and angles increase from there. The tetrahedral group is the
    intersection of the other two. Any other name is a `ValueError`.

    Example:
        >>> rotation_group("octahedral").shape
        torch.Size([24, 3, 3])
    """
    _check_choice("rotation_group: name", name, get_args(GroupName))
    rough = Rotation.create_group(name[0].upper()).as_matrix()
    # Every entry is one of these up to sign; snapping removes scipy's last-bit rounding.
    values = np.array([0.0, 0.5, golden / 2, (golden - 1) / 2, 1.0])
    exact = np.sign(rough) * values[np.abs(np.abs(rough)[..., None] - values).argmin(-1)] + 0.0
    keys = np.column_stack([exact.reshape(-1, 9), -np.trace(exact, axis1=1, axis2=2)])
    return torch.from_numpy(exact[np.lexsort(keys.round(6).T)])


def circle_grid(n: int) -> Tensor:
    """Equispaced unit vectors (cos 2 pi k/n, sin 2 pi k/n) on S^1, [n, 2]; `ValueError` for n < 1.

    Even n holds the exact antipode of element i at index (i + n/2) mod n.

    Example:
        >>> circle_grid(1)
        tensor([[1., 0.]], dtype=torch.float64)
    """
    _check_integer("circle_grid: n", n, least=1)
    angle = np.arange(n) * (2 * np.pi / n)
    grid = torch.from_numpy(np.stack([np.cos(angle), np.sin(angle)], -1))
    return grid if n % 2 else torch.cat([grid[: n // 2], -grid[: n // 2]])


def sphere_grid(
    n: int, method: SphereMethod = "auto", *, antipodal: bool = False, seed: int = 0
) -> Tensor:
    """Unit vectors [n, 3] spread over S^2.

    Args:
        n: number of vectors.
        method: "polyhedral", an orbit, for n in the table above; "fibonacci", the spiral
            z_i = 1 - (2i + 1)/n, phi_i = 2 pi i/golden (Gonzalez, Math. Geosci. 42, 2010);
            "repulsion", a random start that descends the energy sum 1/|o_i - o_j|; "auto",
            polyhedral where n has one, else antipodal repulsion (n even) or fibonacci (n odd).
        antipodal: demand -o for each o, at index (i + n/2) mod n and to the last bit; repulsion
            then spreads n/2 axes with both their ends.
        seed: of the random start of repulsion, which costs some hundred steps of n^2 each.

    Raises:
        ValueError: n < 1, an unknown method, a negative seed, "polyhedral" with n not in the
            table, or `antipodal` where n is odd or the method has no antipodes.

    Example:
        >>> sphere_grid(16, "repulsion", antipodal=True, seed=1).shape
        torch.Size([16, 3])
    """
    _check_integer("sphere_grid: n", n, least=1)
    _check_integer("sphere_grid: seed", seed, least=0)
    _check_choice("sphere_grid: method", method, get_args(SphereMethod))
    if antipodal and n % 2:
        raise ValueError(f"sphere_grid: antipodal=True needs an even n, got {n}; try {n + 1}.")
    if method == "auto" and n in _ORBITS and not (antipodal and n == 4):
        method = "polyhedral"
    elif method == "auto":
        antipodal = n % 2 == 0
        method = "repulsion" if antipodal else "fibonacci"
    if antipodal and (method == "fibonacci" or (method == "polyhedral" and n == 4)):
        raise ValueError(f"sphere_grid: {method!r} of n = {n} has no antipodes; use 'repulsion'.")
    if method == "polyhedral":
        return _polyhedral_sphere(n)
    if method == "fibonacci":
        return _fibonacci_sphere(n)
    points = torch.from_numpy(_repel(n // 2 if antipodal else n, 3, antipodal, seed))
    return torch.cat([points, -points]) if antipodal else points


def rotation_grid(n: int, method: RotationMethod = "auto", *, seed: int = 0) -> Tensor:
    """Rotation matrices [n, 3, 3] spread over SO(3).

    Args:
        n: number of rotations.
        method: "polyhedral", the group of 12, 24 or 60 rotations; "spiral" (Alexa, "Super-Fibonacci
            Spirals", CVPR 2022), instant; "repulsion", a random start of unit quaternions that
            descends sum |q_i - q_j|^-2 + |q_i + q_j|^-2, some ten times better at low degrees;
            "auto", polyhedral where n has one, else repulsion up to n = 256, else spiral.
        seed: of the random start of repulsion, which costs some hundred steps of n^2 each.

    Raises:
        ValueError: n < 1, an unknown method, a negative seed, or "polyhedral" with another n.

    Example:
        >>> rotation_grid(100, "spiral").shape
        torch.Size([100, 3, 3])
    """
    _check_integer("rotation_grid: n", n, least=1)
    _check_integer("rotation_grid: seed", seed, least=0)
    _check_choice("rotation_grid: method", method, get_args(RotationMethod))
    if method == "auto" and n in _GROUPS:
        method = "polyhedral"
    elif method == "auto":
        method = "repulsion" if n <= 256 else "spiral"
    if method == "polyhedral":
        _check_choice("rotation_grid: n of method 'polyhedral'", n, _GROUPS)
        return rotation_group(_GROUPS[n])
    quaternions = _spiral(n) if method == "spiral" else _repel(n, 4, True, seed)
    return torch.from_numpy(Rotation.from_quat(quaternions).as_matrix())


def compound_rotations(grid: Tensor, count: int) -> Tensor:
    """Rotations [count, 3, 3], the identity first, whose copies of a grid integrate well together.

    The mean over the points of all copies should see as little as possible of the spherical
    harmonics of degree l = 1, 2, ...: what is minimal is

        sum_l 2^-l mean_ij P_l(p_i . p_j)

    over those points p, where P_l are Legendre polynomials. An icosahedron is exact up to degree
    5; a compound of five leaves 4 % of the amplitude of degree 6.

    Args:
        grid: [O, 3] unit vectors.
        count: of rotations, at least 1.

    Example:
        >>> compound_rotations(sphere_grid(12), 2).shape
        torch.Size([2, 3, 3])
    """
    if count < 1:
        raise ValueError(f"The number of rotations must be at least 1, got {count}.")
    points = tuple(map(tuple, grid.detach().double().cpu().tolist()))
    return _compound(points, count).clone()


@lru_cache(maxsize=8)
def _compound(points: tuple[tuple[float, ...], ...], count: int) -> Tensor:
    grid = torch.tensor(points, dtype=torch.float64)
    if count == 1:
        return torch.eye(3, dtype=torch.float64)[None]

    def loss(vectors: np.ndarray) -> tuple[float, np.ndarray]:
        leaf = torch.tensor(vectors, requires_grad=True)
        value = _unevenness(torch.einsum("kij,oj->koi", _matrices(leaf), grid).flatten(0, 1))
        (slope,) = torch.autograd.grad(value, leaf)
        return value.item(), slope.numpy()

    rng = np.random.default_rng(0)
    with torch.enable_grad():
        ends = [
            minimize(loss, rng.normal(size=3 * (count - 1)), jac=True, method="BFGS")
            for _ in range(COMPOUND_STARTS)
        ]
    best = min(ends, key=lambda end: end.fun)
    return _matrices(torch.from_numpy(best.x))


def _matrices(vectors: Tensor) -> Tensor:
    """The identity and the rotations by these vectors."""
    x, y, z = vectors.view(-1, 3).T
    zero = torch.zeros_like(x)
    rows = [torch.stack(row, -1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    turns = torch.linalg.matrix_exp(torch.stack(rows, 1))
    return torch.cat([torch.eye(3, dtype=turns.dtype)[None], turns])


def _unevenness(points: Tensor) -> Tensor:
    polynomials = legendre_polynomials(COMPOUND_DEGREE, points @ points.T)
    means = [p.mean() / 2**ell for ell, p in enumerate(polynomials) if ell]
    return torch.stack(means).sum()


def antipodes(grid: Tensor) -> Tensor | None:
    """Indices [n] with grid[antipodes(grid)] = -grid to 1e-6, or None where one is missing.

    `grid` is vectors [n, d] or rotations [n, 3, 3] (always None); else a `ValueError`.

    Example:
        >>> antipodes(sphere_grid(6))
        tensor([3, 4, 5, 0, 1, 2])
    """
    if grid.dim() == 3 and grid.shape[1:] == (3, 3):
        return None
    if grid.dim() != 2 or len(grid) == 0:
        raise ValueError(f"antipodes: grid must be [n, d] or [n, 3, 3], got {list(grid.shape)}.")
    points = grid.detach().double()
    # cdist's matrix-product path loses half the digits of small distances.
    distance = torch.cdist(points, -points, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distance.min(dim=1)
    return nearest.indices if bool((nearest.values < 1e-6).all()) else None


def _polyhedral_sphere(n: int) -> Tensor:
    _check_choice("sphere_grid: n of method 'polyhedral'", n, _ORBITS)
    name, start = _ORBITS[n]
    orbit = rotation_group(name) @ torch.from_numpy(np.array(start) / np.linalg.norm(start))
    same = (orbit[:, None] - orbit).norm(dim=-1) < 1e-9
    points = orbit[~same.tril(-1).any(dim=1)]
    opposite = antipodes(points)
    if opposite is None:
        return points
    half = points[torch.arange(n, device="cpu") < opposite]
    return torch.cat([half, -half])


def _fibonacci_sphere(n: int) -> Tensor:
    z = 1 - (2 * np.arange(n) + 1) / n
    radius, angle = np.sqrt(1 - z**2), np.arange(n) * (2 * np.pi / golden)
    return torch.from_numpy(np.stack([radius * np.cos(angle), radius * np.sin(angle), z], -1))


def _spiral(n: int) -> Array:
    """Super-Fibonacci quaternions [n, 4], with the paper's phi and psi."""
    s = np.arange(n) + 0.5
    alpha, beta = 2 * np.pi * s / math.sqrt(2), 2 * np.pi * s / 1.533751168755204288118041
    a, b = np.sqrt(s / n), np.sqrt(1 - s / n)
    return np.stack([a * np.sin(alpha), a * np.cos(alpha), b * np.sin(beta), b * np.cos(beta)], -1)


def _repel(n: int, dim: int, antipodal: bool, seed: int) -> Array:
    """Unit vectors [n, dim] of low energy sum |o_i - o_j|^(2 - dim), Coulomb's law in R^dim.

    With `antipodal` each vector stands for a pair of charges, o and -o.
    """

    def energy(flat: Array) -> tuple[float, Array]:
        x = flat.reshape(n, dim)
        length = np.linalg.norm(x, axis=1, keepdims=True)
        o = x / length
        value, slope = _coulomb(np.einsum("id,jd->ij", o, o), dim, antipodal)
        pull = np.einsum("ij,jd->id", slope, o)
        return value, ((pull - (pull * o).sum(1, keepdims=True) * o) / length).ravel()

    start = np.random.default_rng(seed).standard_normal(n * dim)
    options = {"maxiter": 500, "ftol": 1e-13, "gtol": 1e-9}
    x = minimize(energy, start, jac=True, method="L-BFGS-B", options=options).x.reshape(n, dim)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def _coulomb(cosine: Array, dim: int, antipodal: bool) -> tuple[float, Array]:
    """Energy of all pairs from their cosines [n, n], and its slope [n, n] in each cosine."""
    value, slope = 0.0, np.zeros_like(cosine)
    for sign in (1, -1) if antipodal else (1,):
        squared = np.maximum(2 - 2 * sign * cosine, 1e-12)
        np.fill_diagonal(squared, np.inf)
        power = squared ** (1 - dim / 2)
        value += float(power.sum()) / 2
        slope += sign * (dim - 2) * power / squared
    return value, slope


def _check_integer(where: str, value: int, *, least: int) -> None:
    if not isinstance(value, Integral) or value < least:
        raise ValueError(f"{where} must be an integer of at least {least}, got {value!r}.")


def _check_choice(where: str, value: object, choices: Collection[object]) -> None:
    if value not in choices:
        raise ValueError(f"{where} must be one of {', '.join(map(repr, choices))}, got {value!r}.")
