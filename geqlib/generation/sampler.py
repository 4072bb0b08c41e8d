"""The stochastic second-order sampler of Karras et al."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor

LARGEST = 1e100  # noise level, whose square is a number


@dataclass(frozen=True)
class HeunSampler:
    """Noise levels from the largest to 0, and a step of Heun's method from each to the next.

    Source: Karras et al., "Elucidating the design space of diffusion-based generative models"
    (NeurIPS 2022, arXiv 2206.00364), algorithm 2 and equation 5:

        sigma_i = (sigma_max^(1/rho) + i / (steps - 1) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho,
        sigma_steps = 0,
        x^ = x + sqrt(s^2 - sigma_i^2) noise, s = sigma_i (1 + min(churn / steps, sqrt(2) - 1)),
        d = (x^ - D(x^; s)) / s, y = x^ + (sigma_(i+1) - s) d,
        x = x^ + (sigma_(i+1) - s) (d + (y - D(y; sigma_(i+1))) / sigma_(i+1)) / 2, or y at the end.

    It starts from sigma_max times noise. What the state must obey, such as centred positions, is
    a projection that is applied after every one of these steps.

    Args:
        steps: number of noise levels above 0, at least 2.
        sigma_max, sigma_min: the largest and the smallest of them. The largest is that of the
            published networks for QM9; a start from it has the variance 1 alone, where noisy data
            of standard deviation 1 would have 2, so that 5 to 10 may be better.
        rho: how much closer small levels are to each other.
        churn: how much noise is added on the way; 0 for none.

    Raises:
        ValueError: levels that are not positive and descending, fewer than 2 steps, negative churn.

    Example:
        >>> HeunSampler(3, sigma_max=4.0, sigma_min=1.0, rho=1.0).levels().tolist()
        [4.0, 2.5, 1.0, 0.0]
    """

    steps: int = 40
    sigma_max: float = 1.0
    sigma_min: float = 0.002
    rho: float = 7.0
    churn: float = 10.0

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise ValueError(f"steps must be at least 2, got {self.steps}.")
        if not 0 < self.sigma_min < self.sigma_max < LARGEST:
            raise ValueError(
                f"sigma_min must be positive and below sigma_max, and this below {LARGEST:g}, got "
                f"{self.sigma_min} and {self.sigma_max}."
            )
        if not (self.rho > 0 and self.churn >= 0):
            raise ValueError(
                f"rho must be positive and churn at least 0, got {self.rho} and {self.churn}."
            )

    def levels(self) -> Tensor:
        """[steps + 1] noise levels in float64, the last of which is 0."""
        power = 1 / self.rho
        share = torch.linspace(0, 1, self.steps, dtype=torch.float64)
        large, small = self.sigma_max**power, self.sigma_min**power
        levels = (large + share * (small - large)) ** self.rho
        levels[0], levels[-1] = self.sigma_max, self.sigma_min
        return torch.cat([levels, levels.new_zeros(1)])

    def __call__(
        self,
        denoise: Callable[[Tensor, float], Tensor],
        noise: Tensor,
        project: Callable[[Tensor], Tensor] = lambda x: x,
    ) -> Tensor:
        """Sample.

        Args:
            denoise: D(x; sigma).
            noise: [steps + 1, ...] standard normal numbers: those of the start, and of each step.
            project: a linear projection that states and noise obey.

        Returns:
            [...], the state at noise level 0.
        """
        levels = self.levels().tolist()
        raise_by = min(self.churn / self.steps, sqrt(2) - 1)
        x = levels[0] * project(noise[0])
        for step, (level, following) in enumerate(pairwise(levels)):
            raised = level * (1 + raise_by)
            x = project(x + sqrt(raised**2 - level**2) * noise[step + 1])
            slope = (x - denoise(x, raised)) / raised
            y = project(x + (following - raised) * slope)
            if following:
                slope = (slope + (y - denoise(y, following)) / following) / 2
                y = project(x + (following - raised) * slope)
            x = y
        return x
