"""Functions of a distance: Bessel functions, Gaussians, cutoffs; and monomials of invariants."""

from __future__ import annotations

from itertools import combinations_with_replacement
from math import comb, log, pi, sqrt

import torch
from torch import Tensor, nn

from geqlib.kernels.cut_bessel import CutBessel
from geqlib.kernels.silu import SiLU
from geqlib.sphere.tables import Constants


class BesselBasis(Constants):
    """Bessel functions that vanish at the cutoff c: b_n(d) = sqrt(2 / c) sin(n pi d / c) / d.

    Source: Gasteiger, Gross, Guennemann, "Directional message passing" (ICLR 2020), eq. 7, for
    n = 1, ..., count. Orthonormal in a ball of radius c; the resolution is the same at all
    distances.

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


class GaussianBasis(Constants):
    """Gaussians with equispaced centres: g_n(d) = exp(-((d - u_n) / 2 delta)^2 / 2).

    Centres u_n go from 0 to the cutoff in steps of delta. They do not vanish at the cutoff.

    Args:
        count: number of functions, at least 2.
        cutoff: the last centre, in the units of the positions.

    Shapes:
        [...] distances to [..., count].

    Example:
        >>> GaussianBasis(3, 2.0)(torch.tensor([0.0])).round(decimals=2).tolist()
        [[1.0, 0.88, 0.61]]
    """

    centres: Tensor

    def __init__(self, count: int, cutoff: float) -> None:
        if count < 2 or cutoff <= 0:
            raise ValueError(
                f"count must be at least 2 and cutoff positive, got {count} and {cutoff}."
            )
        super().__init__(centres=torch.linspace(0, cutoff, count, dtype=torch.float64))
        self.count, self.cutoff = count, cutoff

    def forward(self, distance: Tensor) -> Tensor:
        step = distance.unsqueeze(-1) - self.table("centres", distance)
        return torch.exp(step.square() * (-0.125 * ((self.count - 1) / self.cutoff) ** 2))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.count}, cutoff={self.cutoff})"


class LogGaussianBasis(nn.Module):
    """Gaussians in the logarithm of a distance: equal relative resolution near and far.

    g_k(d) = exp(-(log(d + r_min) - u_k)^2 / (2 w^2)), centres u_k equispaced from log r_min to
    log r_max, width w = their spacing. Forces that diverge at contact change most at short
    distances, where a polynomial in d is nearly constant. At d = 0 the first function is 1, so that
    a node's message to itself is not zero.

    Args:
        count: number of functions, at least 2.
        r_min: distance below which resolution is absolute, not relative.
        r_max: the largest distance to resolve, both in the units of the positions.

    Shapes:
        [...] distances to [..., count].

    Example:
        >>> LogGaussianBasis(3, 0.1, 10.0)(torch.tensor([0.0])).round(decimals=2).tolist()
        [[1.0, 0.61, 0.14]]
    """

    centres: Tensor

    def __init__(self, count: int = 16, r_min: float = 0.1, r_max: float = 10.0) -> None:
        super().__init__()
        if count < 2 or not 0 < r_min < r_max:
            raise ValueError(
                f"count must be at least 2 and 0 < r_min < r_max, got {count}, {r_min}, {r_max}."
            )
        self.count, self.r_min, self.r_max = count, r_min, r_max
        centres = torch.linspace(log(r_min), log(r_max), count, dtype=torch.float64)
        self.register_buffer("centres", centres, persistent=False)

    @property
    def softening(self) -> float:
        """Added to distances in quadrature, so that directions are smooth at contact."""
        return self.r_min / 10

    def forward(self, distance: Tensor) -> Tensor:
        width = (log(self.r_max) - log(self.r_min)) / (self.count - 1)
        step = ((distance + self.r_min).log()[..., None] - self.centres.to(distance.dtype)) / width
        return torch.exp(-0.5 * step**2)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.count}, r_min={self.r_min}, r_max={self.r_max})"


class PolynomialCutoff(nn.Module):
    """Envelope that falls from 1 at distance 0 to 0 at `cutoff`, with p - 1 vanishing derivatives.

    Source: Gasteiger, Gross, Guennemann, "Directional message passing" (ICLR 2020), eq. 8:
    u(t) = 1 - (p+1)(p+2)/2 t^p + p(p+2) t^(p+1) - p(p+1)/2 t^(p+2),  t = distance / cutoff.

    Args:
        cutoff: distance beyond which the value is 0, in the units of the positions.
        p: exponent.

    Example:
        >>> PolynomialCutoff(2.0)(torch.tensor([0.0, 2.0, 3.0])).tolist()
        [1.0, 0.0, 0.0]
    """

    def __init__(self, cutoff: float, p: int = 6) -> None:
        super().__init__()
        if cutoff <= 0:
            raise ValueError(f"cutoff must be positive, got {cutoff}.")
        self.cutoff, self.p = cutoff, p

    def forward(self, distance: Tensor) -> Tensor:
        p = self.p
        t = (distance / self.cutoff).clamp(max=1.0)
        lead, middle, last = (p + 1) * (p + 2) / 2, p * (p + 2), p * (p + 1) / 2
        return 1 - t**p * (lead - t * (middle - last * t))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.cutoff}, p={self.p})"


def safe_sqrt(square: Tensor) -> Tensor:
    """Square root with derivative 0 where its argument is 0, to every order."""
    zero = square <= 0
    return square.masked_fill(zero, 1.0).sqrt().masked_fill(zero, 0.0)


class RadialNetwork(nn.Module):
    """Learnt functions of a distance that vanish smoothly at a cutoff.

    h(d) = u(d) (W2 silu(W1 [u(d) b(d)] + c1) + c2), with Bessel functions b and the polynomial
    envelope u. A linear map of h, which the layer that uses it has, gives the weights of messages.

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
        self.cut_basis = CutBessel(count, cutoff, p)
        self.sizes = hidden, out_features
        first, last = nn.Linear(count, hidden), nn.Linear(hidden, out_features)
        self.network = nn.Sequential(first, SiLU(), last)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        # with torch's default the functions would be nearly constant in the distance
        layers = [layer for layer in self.network if isinstance(layer, nn.Linear)]
        for layer, scale in zip(layers, (1.0, 1.4 / sqrt(self.sizes[0])), strict=True):
            nn.init.normal_(layer.weight, std=scale)
            nn.init.uniform_(layer.bias, -0.3, 0.3)

    def forward(self, distance: Tensor) -> Tensor:
        functions, envelope = self._cut(distance)
        return self.network(functions) * envelope.unsqueeze(-1)

    def _cut(self, distance: Tensor) -> tuple[Tensor, Tensor]:
        """u b and u."""
        # compiled code would lose the second derivatives of a custom function, silently
        if not torch.compiler.is_compiling():
            return self.cut_basis(distance)
        envelope = self.envelope(distance)
        return self.basis(distance) * envelope.unsqueeze(-1), envelope

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.basis}, sizes={list(self.sizes)})"


class PolynomialFeatures(nn.Module):
    """All monomials of degree 1 to `degree` in K invariants, each once.

    The published code concatenates raw tensor powers, in which a_1 a_2 and a_2 a_1 both
    occur; with the linear map that follows, the functions are the same.

    Args:
        in_features: K.
        degree: highest total degree, at least 1.

    Shapes:
        [..., K] to [..., binomial(K + degree, degree) - 1].

    Example:
        >>> PolynomialFeatures(2, 3).out_features
        9
        >>> PolynomialFeatures(2, 2)(torch.tensor([2.0, 3.0])).tolist()
        [2.0, 3.0, 4.0, 6.0, 9.0]
    """

    factor: Tensor

    def __init__(self, in_features: int, degree: int) -> None:
        super().__init__()
        if degree < 1:
            raise ValueError(f"degree must be at least 1, got {degree}.")
        self.in_features, self.degree = in_features, degree
        self.out_features = comb(in_features + degree, degree) - 1
        self.terms = [
            term
            for d in range(1, degree + 1)
            for term in combinations_with_replacement(range(in_features), d)
        ]
        # of each term its factors, then ones
        padded = [[k + 1 for k in term] + [0] * (degree - len(term)) for term in self.terms]
        self.register_buffer("factor", torch.tensor(padded).T.flatten(), persistent=False)

    def forward(self, a: Tensor) -> Tensor:
        ones_first = torch.nn.functional.pad(a, (1, 0), value=1.0)
        factors = ones_first.index_select(-1, self.factor).split(self.out_features, -1)
        product = factors[0]
        for factor in factors[1:]:
            product = product * factor
        return product

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.in_features}, degree={self.degree})"
