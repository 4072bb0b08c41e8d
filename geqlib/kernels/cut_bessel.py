"""Bessel functions times an envelope, with their derivatives in closed form."""

from __future__ import annotations

from math import comb, pi, sqrt
from typing import Any

import torch
from torch import Tensor

from geqlib.graph.functional import refuse_two_forward_modes
from geqlib.sphere.tables import Constants

PREPARED = 2  # order of derivatives whose tables wait on the device: what training forces takes
Polynomial = dict[int, float]  # coefficients by exponent


class CutBessel(Constants):
    """u(d) b_n(d) and u(d): see `geqlib.radial.BesselBasis` and `PolynomialCutoff`.

    The same functions of one variable, whose k-th derivatives are, by Leibniz' rule with
    q = (2 / c)^(1/2) u(d) / d, which is a sum of powers, and w_n = n pi / c,

        sum_j binomial(k, j) q^(j)(d) w_n^(k-j) sin(w_n d + (k - j) pi / 2).

    Taken apart operation by operation they are three times as many operations for forces and six
    times for training them.

    Args:
        count: number of functions.
        cutoff: c.
        p: exponent of the envelope.

    Shapes:
        [...] positive distances to [..., count] and [...].
    """

    def __init__(self, count: int, cutoff: float, p: int) -> None:
        self.count, self.cutoff, self.p = count, cutoff, p
        tables = [self._tables(order) for order in range(PREPARED + 1)]
        super().__init__(
            **{f"{name}{k}": table for k, part in enumerate(tables) for name, table in part.items()}
        )

    def forward(self, distance: Tensor) -> tuple[Tensor, Tensor]:
        functions, envelope = _Derivative.apply(distance, 0, self)  # type: ignore[misc]
        return functions, envelope

    def derivative(self, distance: Tensor, order: int) -> tuple[Tensor, Tensor]:
        """The k-th derivatives of both."""
        d = distance.unsqueeze(-1)
        exponents, powers, frequency, phase, weight = self._of_order(order, d)
        factors = (d.pow(exponents).unsqueeze(-1) * powers).sum(-2) * (d < self.cutoff)
        waves = torch.addcmul(phase, d.unsqueeze(-1), frequency).sin()
        if order:
            functions = (factors[..., :-1].unsqueeze(-1) * (waves * weight)).sum(-2)
        else:  # one term, of weight 1
            functions = factors[..., :1] * waves[..., 0, :]
        return functions, factors[..., -1].clone()  # forward mode wants no views

    def _of_order(self, order: int, like: Tensor) -> tuple[Tensor, ...]:
        if order <= PREPARED:
            return tuple(self.table(f"{name}{order}", like) for name in NAMES)
        return tuple(table.to(like) for table in self._tables(order).values())

    def _tables(self, order: int) -> dict[str, Tensor]:
        """Exponents [e], powers [e, k + 2], frequency, phase and weight [k + 1, n]."""
        c, p = self.cutoff, self.p
        envelope: Polynomial = {
            0: 1.0,
            p: -(p + 1) * (p + 2) / 2 / c**p,
            p + 1: p * (p + 2) / c ** (p + 1),
            p + 2: -p * (p + 1) / 2 / c ** (p + 2),
        }
        quotient = {e - 1: sqrt(2 / c) * a for e, a in envelope.items()}
        columns = [_derivative(quotient, j) for j in range(order + 1)]
        columns.append(_derivative(envelope, order))
        exponents = sorted({e for column in columns for e in column})
        powers = [[column.get(e, 0.0) for column in columns] for e in exponents]
        frequency = torch.arange(1, self.count + 1, dtype=torch.float64) * pi / c
        rest = torch.arange(order, -1, -1, dtype=torch.float64).unsqueeze(1)  # k - j
        choices = torch.tensor([comb(order, j) for j in range(order + 1)], dtype=torch.float64)
        tables = (
            torch.tensor(exponents, dtype=torch.float64),
            torch.tensor(powers, dtype=torch.float64),
            frequency.expand(order + 1, -1),
            (rest * pi / 2).expand(-1, self.count),
            choices.unsqueeze(1) * frequency**rest,
        )
        return dict(zip(NAMES, (table.contiguous() for table in tables), strict=True))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.count}, cutoff={self.cutoff}, p={self.p})"


NAMES = ("exponents", "powers", "frequency", "phase", "weight")


def _derivative(polynomial: Polynomial, order: int) -> Polynomial:
    for _ in range(order):
        polynomial = {e - 1: e * a for e, a in polynomial.items() if e}
    return polynomial


class _Derivative(torch.autograd.Function):
    """Of an order, whose derivative is the one of the next order."""

    generate_vmap_rule = True

    @staticmethod
    def forward(distance: Tensor, order: int, functions: CutBessel) -> tuple[Tensor, Tensor]:
        return functions.derivative(distance, order)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        distance, ctx.order, ctx.functions = inputs
        ctx.save_for_backward(distance)
        ctx.save_for_forward(distance)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        by_functions, by_envelope = grads
        slopes, slope = _Derivative.apply(*ctx.saved_tensors, ctx.order + 1, ctx.functions)
        return torch.addcmul((by_functions * slopes).sum(-1), by_envelope, slope), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Any:
        refuse_two_forward_modes()
        slopes, slope = _Derivative.apply(*ctx.saved_tensors, ctx.order + 1, ctx.functions)
        return tangent.unsqueeze(-1) * slopes, tangent * slope
