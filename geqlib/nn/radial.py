"""Functions of invariants: monomials up to a degree, and smooth cutoffs."""

from __future__ import annotations

from itertools import combinations_with_replacement
from math import comb

import torch
from torch import Tensor, nn


class PolynomialFeatures(nn.Module):
    """All monomials of degree 1 to `degree` in K invariants, each once.

    The published code concatenates raw tensor powers, in which a_1 a_2 and a_2 a_1 stand side by
    side; the linear map that follows makes the two forms one function class.

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

    def __init__(self, in_features: int, degree: int) -> None:
        super().__init__()
        if degree < 1:
            raise ValueError(f"degree must be at least 1, got {degree}.")
        self.in_features, self.degree = in_features, degree
        self.out_features = comb(in_features + degree, degree) - 1

    def forward(self, a: Tensor) -> Tensor:
        factors = a.unbind(-1)
        known: dict[tuple[int, ...], Tensor] = {(k,): f for k, f in enumerate(factors)}
        for degree in range(2, self.degree + 1):
            for term in combinations_with_replacement(range(self.in_features), degree):
                known[term] = known[term[:-1]] * factors[term[-1]]
        return torch.stack(list(known.values()), -1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.in_features}, degree={self.degree})"


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
