"""The densities of two moons and two Gaussians: how well can a subset be chosen?"""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor

from geqlib.data.subsets import GAUSSIAN_STD, MOON_NOISE

STEPS = 500  # along a half circle


def density_ratios(name: str, points: Tensor, chosen: Tensor) -> Tensor:
    """[n] log of the density of the class of the subset over that of the background.

    Args:
        name: "moons" or "gaussians".
        points: [n, 2] of one set.
        chosen: [n] booleans, which say which class is the background: the one of higher likelihood
            for the others.
    """
    logs = (moon_densities if name == "moons" else gaussian_densities)(points.double())
    background = logs[~chosen].sum(0).argmax()
    return logs[:, 1 - background] - logs[:, background]


def moon_densities(points: Tensor) -> Tensor:
    """[n, 2] log densities of noisy half circles, up to a constant."""
    t = torch.linspace(0, pi, STEPS, dtype=torch.float64)
    upper = torch.stack([t.cos(), t.sin()], 1)
    circles = torch.stack([upper, torch.tensor([1.0, 0.5]) - upper])
    plain = (points - torch.tensor([-1.0, -0.2])) / 2
    squares = (plain[:, None, None] - circles).square().sum(-1)
    return (-squares / (2 * MOON_NOISE**2)).logsumexp(2)


def gaussian_densities(points: Tensor) -> Tensor:
    """[n, 2] log densities, up to a constant."""
    centre = torch.full((2,), 0.5**0.5, dtype=torch.float64)
    squares = (points[:, None] - torch.stack([centre, -centre])).square().sum(-1)
    return -squares / (2 * GAUSSIAN_STD**2)
