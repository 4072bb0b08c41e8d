"""Point sets at which geometry degenerates."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def degenerate_sets(dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Symmetric and singular point sets: name -> positions [n, 3], spacing about 1.

    Distances of zero, vanishing centred positions, rank-deficient and isotropic covariances: what
    breaks frames, norms and angles.

    Example:
        >>> degenerate_sets(torch.float32)["two"]
        tensor([[ 0.2500,  0.5000, -0.1250],
                [-0.2500, -0.5000,  0.1250]])
    """
    cube = torch.cartesian_prod(*[torch.tensor([-0.5, 0.5], dtype=torch.float64)] * 3)
    axes = torch.eye(3, dtype=torch.float64)
    line = torch.tensor([[1.0, 2.0, -0.5]], dtype=torch.float64)
    sets = {
        "single": line,
        "single_at_origin": 0 * line,
        "two": torch.cat([line, -line]) / 4,
        "coincident": line.repeat(4, 1),
        "coincident_at_origin": 0 * line.repeat(4, 1),
        "coincident_pair": torch.cat([axes, axes[:1], -line]),
        "collinear": torch.arange(-2.0, 3.0, dtype=torch.float64)[:, None] * line,
        "collinear_uneven": axes[:1] * line.new_tensor([[-1.0], [0.0], [0.3], [2.0]]),
        "planar": line.new_tensor([[0, 0, 0], [1, 0, 0], [0, 2, 0], [1.5, 1, 0], [-1, 0.7, 0]]),
        "triangle": _polygon(3),
        "square": _polygon(4),
        "hexagon": _polygon(6),
        "hexagon_centred": torch.cat([_polygon(6), 0 * axes[:1]]),
        "tetrahedron": cube[cube.prod(dim=1) > 0],
        "cube": cube,
        "octahedron": torch.cat([axes, -axes]),
        "octahedron_centred": torch.cat([axes, -axes, 0 * axes[:1]]),
        "prism": torch.cat([_polygon(3) + 0.4 * axes[2], _polygon(3) - 0.4 * axes[2]]),
        "far_away": axes + 1000 * line,
    }
    return {name: pos.to(dtype) for name, pos in sets.items()}


def _polygon(n: int) -> Tensor:
    """Regular polygon [n, 3] of radius 1 in the plane z = 0."""
    angle = torch.arange(n, dtype=torch.float64) * (2 * math.pi / n)
    return torch.stack([angle.cos(), angle.sin(), 0 * angle], dim=1)
