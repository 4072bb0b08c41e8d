"""The functions of one variable in DPA3: its activation, and the switch of a cutoff."""

from __future__ import annotations

from math import exp

import torch
from torch import Tensor, nn

from geqlib.kernels.silu import SiLU

SHARPNESS = 20.0  # of the published switch


class SiLUT(nn.Module):
    """SiLU that saturates: f(x) = silu(x) below t, and silu(t) + tanh(silu'(t) (x - t)) above.

    Value and slope are continuous at t. The second derivative jumps there by silu''(t), which is
    3.6e-4 at the published t = 10.

    Source: Zhang et al., "A graph neural network for the era of large atomistic models" (arXiv
    2506.01686).

    Args:
        threshold: t, positive.

    Shapes:
        Any to the same.

    Example:
        >>> SiLUT()(torch.tensor([0.0, 10.0, 1000.0])).round(decimals=2).tolist()
        [0.0, 10.0, 11.0]
    """

    def __init__(self, threshold: float = 10.0) -> None:
        super().__init__()
        if threshold <= 0:
            raise ValueError(f"threshold must be positive, got {threshold}.")
        self.threshold = threshold
        s = 1 / (1 + exp(-threshold))
        self.slope = s * (1 + threshold * (1 - s))
        self.silu = SiLU()

    def forward(self, x: Tensor) -> Tensor:
        low = x.clamp(max=self.threshold)
        return self.silu(low) + torch.tanh(self.slope * (x - low))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.threshold})"


class Switch(nn.Module):
    """Weight of a neighbour by its distance d: 1 up to the start, 0 from the cutoff on.

    w(d) = exp(-exp(20 (d - s) / s)) q(u), u = (c - d) / (c - s) between 0 and 1, with
    q(u) = 10 u^3 - 15 u^4 + 6 u^5.

    The published switch is the first factor alone. At the cutoff it is tiny (8e-7 for 5.3 and 6
    angstrom), but not 0, so that the energy jumps where a neighbour leaves. The second factor
    makes w, w' and w'' continuous everywhere; for 5.3 and 6 angstrom it changes w by 0.019 at most.

    Args:
        start: s, in the units of the positions; w(s) = 1/e.
        cutoff: c, more than s.

    Shapes:
        [...] distances to [...].

    Example:
        >>> Switch(3.5, 4.0)(torch.tensor([1.0, 3.5, 4.0, 5.0])).round(decimals=3).tolist()
        [1.0, 0.368, 0.0, 0.0]
    """

    def __init__(self, start: float, cutoff: float) -> None:
        super().__init__()
        if not 0 < start < cutoff:
            raise ValueError(
                f"A switch falls between its start and its cutoff, got {start} and {cutoff}: "
                "choose 0 < start < cutoff."
            )
        self.start, self.cutoff = start, cutoff

    def forward(self, distance: Tensor) -> Tensor:
        # beyond the cutoff the inner exponential would be infinite, and its derivative NaN
        d = distance.clamp(max=self.cutoff)
        published = torch.exp(-torch.exp(SHARPNESS * (d - self.start) / self.start))
        u = ((self.cutoff - d) / (self.cutoff - self.start)).clamp(max=1)
        return published * u**3 * (10 - u * (15 - 6 * u))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.start}, {self.cutoff})"
