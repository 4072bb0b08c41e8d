"""Gaunt products as pointwise products of functions on the sphere."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from geqlib.nn.gaunt_signals import Term


class PointwiseProduct(nn.Module):
    """Coefficients to values, a product at each point, and back to coefficients.

        gaunt: f g        bracket: df/dt (dg/dp / sin t) - (df/dp / sin t) dg/dt

    Args:
        first, second: for each input signal a module [..., k] -> list of fields: the values if
            there are Gaunt paths, then both derivatives if there are brackets.
        out: for each output signal a module from a field to [..., k].
        terms: of each output signal.
    """

    def __init__(
        self,
        first: Sequence[nn.Module],
        second: Sequence[nn.Module],
        out: Sequence[nn.Module],
        terms: Sequence[Sequence[Term]],
    ) -> None:
        super().__init__()
        self.first, self.second = nn.ModuleList(first), nn.ModuleList(second)
        self.out, self.terms = nn.ModuleList(out), terms

    def forward(self, x: list[Tensor], y: list[Tensor]) -> list[Tensor]:
        f = [values(v) for values, v in zip(self.first, x, strict=True)]
        g = [values(v) for values, v in zip(self.second, y, strict=True)]
        lead = x[0].shape[:-1]
        results = []
        for back, terms in zip(self.out, self.terms, strict=True):
            total: Tensor | None = None
            for term in terms:
                total = _accumulate(total, term, f[term.first], g[term.second])
            results.append(back(total, lead))
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.first[0]}, signals={len(self.out)})"


def _accumulate(total: Tensor | None, term: Term, f: list[Tensor], g: list[Tensor]) -> Tensor:
    if term.kind == "gaunt":
        return f[0] * g[0] if total is None else torch.addcmul(total, f[0], g[0])
    total = f[-2] * g[-1] if total is None else torch.addcmul(total, f[-2], g[-1])
    return torch.addcmul(total, f[-1], g[-2], value=-1)
