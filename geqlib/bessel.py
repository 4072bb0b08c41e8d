"""Bessel functions of a distance."""

from __future__ import annotations

from math import pi, sqrt

import torch
from torch import Tensor, nn

from geqlib.radial import PolynomialCutoff
from geqlib.sphere.tables import Constants


class BesselBasis(Constants):
    """Waves that vanish at the cutoff: b_n(d) = sqrt(2 / c) sin(n pi d / c) / d, n = 1, ..., count.

    Source: Gasteiger, Gross, Guennemann, "Directional message passing" (ICLR 2020), eq. 7. They are
    orthonormal in a ball of radius c; resolution is the same at all distances.

    Args:
        count: number of functions, at least 1.
        cutoff: c, in the units of the positions.

    Shapes:
        [...] positive distances to [..., count].

    Example:
        >>> BesselBasis(2, 5.0)(torch.tensor([1.25]))
        tensor([[0.3578, 0.5060]])
    """

    frequency: Tensor

    def __init__(self, count: int, cutoff: float) -> None:
        if count < 1 or cutoff <= 0:
            raise ValueError(f"count and cutoff must be positive, got {count} and {cutoff}.")
        super().__init__(frequency=torch.arange(1, count + 1, dtype=torch.float64) * pi / cutoff)
        self.count, self.cutoff = count, cutoff

    def forward(self, distance: Tensor) -> Tensor:
        d = distance.unsqueeze(-1)
        return torch.sin(d * self.table("frequency", d)) * (sqrt(2 / self.cutoff) / d)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.count}, cutoff={self.cutoff})"


class RadialNetwork(nn.Module):
    """Learnt functions of a distance that vanish smoothly at a cutoff.

    h(d) = W2 silu(W1 [u(d) b(d)] + c1) + c2, times u(d), with Bessel functions b and the polynomial
    envelope u. The last layer is left to those who use h: a linear map of it is the weight of a
    message.

    Args:
        out_features: H.
        cutoff: distance beyond which h is 0, in the units of the positions.
        count: number of Bessel functions.
        hidden: width of the network.
        p: exponent of the envelope (`PolynomialCutoff`).

    Shapes:
        [...] positive distances to [..., H].

    Example:
        >>> RadialNetwork(4, 5.0)(torch.tensor([1.0, 6.0]))[1].abs().tolist()
        [0.0, 0.0, 0.0, 0.0]
    """

    def __init__(
        self, out_features: int, cutoff: float, *, count: int = 8, hidden: int = 64, p: int = 5
    ) -> None:
        super().__init__()
        self.basis, self.envelope = BesselBasis(count, cutoff), PolynomialCutoff(cutoff, p)
        self.sizes = hidden, out_features
        first, last = nn.Linear(count, hidden), nn.Linear(hidden, out_features)
        self.network = nn.Sequential(first, nn.SiLU(), last)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        # torch's own would leave the functions nearly constant in the distance
        layers = [layer for layer in self.network if isinstance(layer, nn.Linear)]
        for layer, scale in zip(layers, (1.0, 1.4 / sqrt(self.sizes[0])), strict=True):
            nn.init.normal_(layer.weight, std=scale)
            nn.init.uniform_(layer.bias, -0.3, 0.3)

    def forward(self, distance: Tensor) -> Tensor:
        envelope = self.envelope(distance).unsqueeze(-1)
        return self.network(self.basis(distance) * envelope) * envelope

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.basis}, sizes={list(self.sizes)})"
