"""Sampled points are on the surface, uniform by area, with the surface's normals."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest

from geqlib.data.points.surfaces import (
    Surface,
    blob,
    box,
    cone,
    cylinder,
    ellipsoid,
    random_surface,
    torus,
)

AXES = np.array([0.5, 0.8, 1.1])
WAVES = np.array([[1.0, -0.5, 2.0], [0.3, 1.5, -1.0]])
HEIGHTS = np.array([0.2, 0.15])
COUNT = 40_000
DEVIATIONS = 5.0  # a right sampler fails once in a million comparisons


def radius(u: np.ndarray) -> np.ndarray:
    return np.exp(np.sin(u @ WAVES.T) @ HEIGHTS)


def outside_blob(x: np.ndarray) -> np.ndarray:
    size = np.linalg.norm(x, axis=-1)
    return size - radius(x / size[..., None])


def outside_torus(x: np.ndarray) -> np.ndarray:
    return np.hypot(np.hypot(x[..., 0], x[..., 1]) - 1.0, x[..., 2]) - 0.4


# what is 0 on the surface and positive outside, and a sampler
SMOOTH: dict[str, tuple[Callable, Callable]] = {
    "ellipsoid": (lambda x: ((x / AXES) ** 2).sum(-1) - 1, lambda n, r: ellipsoid(AXES, n, r)),
    "torus": (outside_torus, lambda n, r: torus(1.0, 0.4, n, r)),
    "blob": (outside_blob, lambda n, r: blob(WAVES, HEIGHTS, n, r)),
}
EDGED: dict[str, tuple[Callable, Callable]] = {
    "box": (lambda x: (np.abs(x) / AXES).max(-1) - 1, lambda n, r: box(AXES, n, r)),
    "cylinder": (
        lambda x: np.maximum(np.hypot(x[..., 0], x[..., 1]) - 0.7, np.abs(x[..., 2]) - 0.6),
        lambda n, r: cylinder(0.7, 1.2, n, r),
    ),
    "cone": (
        lambda x: np.maximum(
            np.hypot(x[..., 0], x[..., 1]) - 0.7 + x[..., 2] * 0.7 / 1.2, -x[..., 2]
        ),
        lambda n, r: cone(0.7, 1.2, n, r),
    ),
}
# total areas, and of the part with z > 0.3, by elementary geometry
SLOPE = np.hypot(0.7, 1.2)


@pytest.mark.parametrize("name", [*SMOOTH, *EDGED])
def test_points_are_on_the_surface_and_normals_are_the_gradient(name: str) -> None:
    outside, sample = (SMOOTH | EDGED)[name]
    points, normals = sample(500, np.random.default_rng(0))
    assert np.abs(outside(points)).max() < 1e-12
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-14)
    step = 1e-6
    gradient = np.stack(
        [(outside(points + step * e) - outside(points - step * e)) / (2 * step) for e in np.eye(3)],
        1,
    )
    gradient /= np.linalg.norm(gradient, axis=1, keepdims=True)
    # central differences err by step^2 and by rounding / step; at edges there is no gradient
    wrong = np.abs(gradient - normals).max(1) > 1e-7
    assert wrong.sum() <= (0 if name in SMOOTH else 2)


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_surfaces_are_uniform_by_area(name: str) -> None:
    """Means of functions equal quadratures over a fine grid of the surface's parameters."""
    points = SMOOTH[name][1](COUNT, np.random.default_rng(1))[0]
    grid, area = parametrised(name)
    for function in (
        lambda x: x[:, 0],
        lambda x: x[:, 2] ** 2,
        lambda x: x[:, 0] * x[:, 1],
        lambda x: np.linalg.norm(x, axis=1),
        lambda x: (x[:, 0] > 0.3).astype(float),
    ):
        values, exact = function(points), (function(grid) * area).sum() / area.sum()
        assert abs(values.mean() - exact) < DEVIATIONS * values.std() / COUNT**0.5 + 2e-3


def parametrised(name: str, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Midpoints of a grid of two angles, and the areas of its cells by central differences."""
    a, b = np.meshgrid((np.arange(n) + 0.5) / n, (np.arange(n) + 0.5) / n, indexing="ij")

    def at(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        around = np.stack([np.cos(2 * np.pi * b), np.sin(2 * np.pi * b)], -1)
        if name == "torus":
            tube = 2 * np.pi * a[..., None]
            return np.concatenate([(1 + 0.4 * np.cos(tube)) * around, 0.4 * np.sin(tube)], -1)
        up = np.pi * a[..., None]
        u = np.concatenate([np.sin(up) * around, np.cos(up)], -1)
        return AXES * u if name == "ellipsoid" else radius(u)[..., None] * u

    h = 0.5 / n
    across = np.cross(at(a + h, b) - at(a - h, b), at(a, b + h) - at(a, b - h))
    return at(a, b).reshape(-1, 3), np.linalg.norm(across, axis=-1).flatten()


@pytest.mark.parametrize(
    ("name", "normal_part", "share"),
    [
        ("box", lambda n: n[:, 0] > 0.5, 0.8 * 1.1 / (2 * (0.8 * 1.1 + 0.5 * 1.1 + 0.5 * 0.8))),
        ("cylinder", lambda n: n[:, 2] == 0, 1.2 / (1.2 + 0.7)),
        ("cone", lambda n: n[:, 2] > 0, SLOPE / (SLOPE + 0.7)),
    ],
)
def test_faces_have_their_share(name: str, normal_part: Callable, share: float) -> None:
    normals = EDGED[name][1](COUNT, np.random.default_rng(2))[1]
    actual = normal_part(normals).mean()
    assert abs(actual - share) < DEVIATIONS * (share * (1 - share) / COUNT) ** 0.5


def test_discs_and_cone_are_uniform() -> None:
    """Half of a disc, or of a cone's side, is within 1 / sqrt(2) of its radius."""
    for points, normals in (
        EDGED[k][1](COUNT, np.random.default_rng(3)) for k in ("cylinder", "cone")
    ):
        end = normals[:, 2] == -1
        for part in (end, ~end & (normals[:, 2] > 0)):
            near = np.hypot(*points[part, :2].T) < 0.7 / 2**0.5
            assert abs(near.mean() - 0.5) < DEVIATIONS * 0.5 / part.sum() ** 0.5


@pytest.mark.parametrize("name", get_args(Surface))
def test_random_surfaces(name: Surface) -> None:
    points, normals = random_surface(name, 50, np.random.default_rng(4))
    same = random_surface(name, 50, np.random.default_rng(4))
    other = random_surface(name, 50, np.random.default_rng(5))
    assert points.shape == normals.shape == (50, 3) and np.isfinite(points).all()
    assert np.array_equal(points, same[0]) and np.array_equal(normals, same[1])
    assert not np.allclose(points, other[0])
    assert ((points - points.mean(0)) * normals).sum(1).mean() > 0  # outward


def test_unknown_surface() -> None:
    with pytest.raises(ValueError, match="'cube' is unknown: choose sphere, ellipsoid"):
        random_surface("cube", 3, np.random.default_rng(0))  # type: ignore[arg-type]
