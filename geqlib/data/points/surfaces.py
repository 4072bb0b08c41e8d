"""Points on surfaces, uniform by area, with their exact outward normals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.random import Generator

Surface = Literal["sphere", "ellipsoid", "torus", "box", "cylinder", "cone", "blob"]
Sampled = tuple[np.ndarray, np.ndarray]


def random_surface(name: Surface, count: int, rng: Generator) -> Sampled:
    """Points and normals [count, 3] of a surface with random proportions.

    The axes of box, cylinder, cone and torus are those of space; rotate the points to forget them.

    Args:
        name: of the surface. A "blob" is a sphere with smooth random bumps, r(u) below.
        count: of points.
        rng: of the proportions and of the points.

    Example:
        >>> points, normals = random_surface("box", 100, np.random.default_rng(0))
        >>> int(np.abs(normals).sum())
        100
    """
    if name == "sphere":
        return ellipsoid(np.ones(3), count, rng)
    if name == "ellipsoid":
        return ellipsoid(rng.uniform(0.4, 1, 3), count, rng)
    if name == "torus":
        return torus(1.0, rng.uniform(0.2, 0.6), count, rng)
    if name == "box":
        return box(rng.uniform(0.3, 1, 3), count, rng)
    if name in ("cylinder", "cone"):
        surface = cylinder if name == "cylinder" else cone
        return surface(rng.uniform(0.3, 1), rng.uniform(0.5, 2), count, rng)
    if name == "blob":
        return blob(rng.normal(0, 1.5, (4, 3)), rng.uniform(0, 0.2, 4), count, rng)
    raise ValueError(f"surface {name!r} is unknown: choose {', '.join(get_args(Surface))}.")


def ellipsoid(axes: np.ndarray, count: int, rng: Generator) -> Sampled:
    """Half axes [3]. The map a u of the sphere stretches areas by |u / a| times a constant."""

    def share(u: np.ndarray) -> np.ndarray:
        return np.linalg.norm(u / axes, axis=1) * axes.min()

    u = _accepted(count, rng, _directions, share)
    return u * axes, _unit(u / axes)


def torus(major: float, minor: float, count: int, rng: Generator) -> Sampled:
    """Around the third axis; the area at the angle t of the tube is as major + minor cos t."""

    def share(angle: np.ndarray) -> np.ndarray:
        return (major + minor * np.cos(angle)) / (major + minor)

    tube = _accepted(count, rng, lambda n, rng: rng.uniform(0, 2 * np.pi, n), share)
    around = _circle(count, rng)
    normals = np.concatenate([np.cos(tube)[:, None] * around, np.sin(tube)[:, None]], 1)
    centre = np.concatenate([major * around, np.zeros((count, 1))], 1)
    return centre + minor * normals, normals


def box(half: np.ndarray, count: int, rng: Generator) -> Sampled:
    """Half edges [3]."""
    areas = half.prod() / half
    axis = rng.choice(3, count, p=areas / areas.sum())
    normals = np.eye(3)[axis] * rng.choice([-1.0, 1.0], (count, 1))
    points = rng.uniform(-1, 1, (count, 3))
    return half * np.where(normals == 0, points, normals), normals


def cylinder(radius: float, height: float, count: int, rng: Generator) -> Sampled:
    """Closed by two discs, around the third axis."""
    up, around = np.array([0.0, 0, 1]), _circle(count, rng)
    side = rng.random(count) < height / (height + radius)
    flat = np.sqrt(np.where(side, 1.0, rng.random(count)))  # uniform in a disc
    end = rng.choice([-1.0, 1.0], count)
    z = height / 2 * np.where(side, rng.uniform(-1, 1, count), end)
    points = np.concatenate([radius * flat[:, None] * around, z[:, None]], 1)
    outward = np.concatenate([around, np.zeros((count, 1))], 1)
    return points, np.where(side[:, None], outward, end[:, None] * up)


def cone(radius: float, height: float, count: int, rng: Generator) -> Sampled:
    """Closed by a disc at z = 0, with its tip on the third axis."""
    slope, around = np.hypot(radius, height), _circle(count, rng)
    side = rng.random(count) < slope / (slope + radius)
    flat = np.sqrt(rng.random((count, 1)))  # areas of disc and side grow as its square
    z = np.where(side[:, None], height * (1 - flat), 0.0)
    outward = np.concatenate([height * around, np.full((count, 1), radius)], 1) / slope
    down = np.array([0.0, 0, -1])
    return np.concatenate([radius * flat * around, z], 1), np.where(side[:, None], outward, down)


def blob(waves: np.ndarray, heights: np.ndarray, count: int, rng: Generator) -> Sampled:
    """Points r(u) u with log r(u) = sum_k h_k sin(w_k . u).

    With g the part of grad log r that is tangent to the sphere, the normal is along u - g and the
    area r^2 sqrt(1 + |g|^2) du.

    Args:
        waves: w [K, 3].
        heights: h [K].
        count: of points.
        rng: of the points.
    """

    def radius_slope(u: np.ndarray) -> Sampled:
        phase = u @ waves.T
        slope = (heights * np.cos(phase)) @ waves
        slope = slope - (slope * u).sum(1, keepdims=True) * u
        return np.exp(np.sin(phase) @ heights)[:, None], slope

    size, steep = np.abs(heights), np.linalg.norm(waves, axis=1)
    most = np.exp(2 * size.sum()) * np.hypot(1, size @ steep)

    def share(u: np.ndarray) -> np.ndarray:
        radius, slope = radius_slope(u)
        return radius[:, 0] ** 2 * np.hypot(1, np.linalg.norm(slope, axis=1)) / most

    u = _accepted(count, rng, _directions, share)
    radius, slope = radius_slope(u)
    return radius * u, _unit(u - slope)


def _accepted(
    count: int,
    rng: Generator,
    draw: Callable[[int, Generator], np.ndarray],
    share: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Drawn values, each kept with the probability `share`, until there are enough."""
    accepted = draw(0, rng)
    while len(accepted) < count:
        values = draw(2 * count, rng)
        accepted = np.concatenate([accepted, values[rng.random(len(values)) < share(values)]])
    return accepted[:count]


def _directions(count: int, rng: Generator) -> np.ndarray:
    return _unit(rng.normal(size=(count, 3)))


def _circle(count: int, rng: Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi, count)
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)
