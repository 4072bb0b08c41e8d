"""Bessel functions times an envelope, with their derivatives in closed form."""

from __future__ import annotations

from math import comb, pi, sqrt
from typing import Any

import torch
from torch import Tensor

from geqlib.graph.functional import asked, refuse_two_forward_modes, transformed
from geqlib.sphere.tables import Constants

PREPARED = 2  # order of derivatives whose tables wait on the device: what training forces takes
Polynomial = dict[int, float]  # coefficients by exponent


class CutBessel(Constants):
    """Bessel functions times an envelope, u(d) b_n(d), and the envelope u(d) itself.

    These are the functions of `geqlib.radial.BesselBasis` and `geqlib.radial.PolynomialCutoff`.
    With w_n = n pi / c and q(d) = (2 / c)^(1/2) u(d) / d, which is a sum of powers of d, the first
    are q(d) sin(w_n d), and by Leibniz' rule their k-th derivatives are

        sum_j binomial(k, j) q^(j)(d) w_n^(k-j) sin(w_n d + (k - j) pi / 2).

    If autograd differentiates the formulas of `geqlib.radial` operation by operation instead, it
    runs three times the number of operations for forces, and six times for training on forces.

    Args:
        count: number of functions b_n.
        cutoff: the distance c at which the envelope vanishes.
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
        if not (transformed() or (torch.is_grad_enabled() and distance.requires_grad)):
            return self.derivative(distance, 0)
        functions, envelope, _, _ = _Value.apply(distance, self)  # type: ignore[misc]
        return functions, envelope

    def with_slopes(self, distance: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The functions, the envelope, and the first derivatives of both."""
        factors, waves = self._parts(distance, 1)
        functions = factors[..., :1] * waves[..., -1, :]
        slopes = (factors[..., :2].unsqueeze(-1) * waves).sum(-2)
        return functions, factors[..., 2].clone(), slopes, factors[..., 3].clone()

    def derivative(self, distance: Tensor, order: int) -> tuple[Tensor, Tensor]:
        """The k-th derivatives of the functions and of the envelope, with k = `order`."""
        factors, waves = self._parts(distance, order)
        if order:
            functions = (factors[..., : order + 1].unsqueeze(-1) * waves).sum(-2)
        else:  # one term
            functions = factors[..., :1] * waves[..., 0, :]
        return functions, factors[..., -1].clone()  # forward mode wants no views

    def _parts(self, distance: Tensor, order: int) -> tuple[Tensor, Tensor]:
        """Factors of the k-th derivative of q(d) sin(w_n d), with k = `order`.

        Returns:
            [..., 2 (k + 1)] derivatives 0 to k of q, then of u; and [..., k + 1, n] what the
            derivatives of q are multiplied with in Leibniz' sum.
        """
        d = distance.unsqueeze(-1)
        exponents, powers, frequency, phase, weight = self._of_order(order, d)
        factors = (d.pow(exponents).unsqueeze(-1) * powers).sum(-2) * (d < self.cutoff)
        waves = torch.addcmul(phase, d.unsqueeze(-1), frequency).sin()
        return factors, waves * weight if order else waves

    def _of_order(self, order: int, like: Tensor) -> tuple[Tensor, ...]:
        if order <= PREPARED:
            return tuple(self.table(f"{name}{order}", like) for name in NAMES)
        return tuple(table.to(like) for table in self._tables(order).values())

    def _tables(self, order: int) -> dict[str, Tensor]:
        """The constants of the derivatives up to k = `order`, in the order of `NAMES`.

        Returns:
            "exponents" [e] of the powers of d, "powers" [e, 2 (k + 1)] their coefficients in each
            derivative of q and u, "frequency", "phase" and "weight" [k + 1, n] of each sine.
        """
        c, p = self.cutoff, self.p
        envelope: Polynomial = {
            0: 1.0,
            p: -(p + 1) * (p + 2) / 2 / c**p,
            p + 1: p * (p + 2) / c ** (p + 1),
            p + 2: -p * (p + 1) / 2 / c ** (p + 2),
        }
        quotient = {e - 1: sqrt(2 / c) * a for e, a in envelope.items()}
        columns = [_derivative(quotient, j) for j in range(order + 1)]
        columns += [_derivative(envelope, j) for j in range(order + 1)]
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


class _Value(torch.autograd.Function):
    """The functions and the envelope, differentiable through `_Slope`.

    It also returns their first derivatives, which its backward pass needs, and through which no
    gradient flows.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(distance: Tensor, functions: CutBessel) -> tuple[Tensor, ...]:
        return functions.with_slopes(distance)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        distance, ctx.functions = inputs
        slopes = output[2:]
        ctx.mark_non_differentiable(*slopes)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(distance, *slopes)
        ctx.save_for_forward(distance, *slopes)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        distance, slopes, slope = ctx.saved_tensors
        by_functions, by_envelope = (
            torch.zeros_like(like) if grad is None else grad
            for grad, like in zip(grads[:2], (slopes, slope), strict=True)
        )
        arguments = by_functions, by_envelope, distance, slopes, slope, 1, ctx.functions
        return _Slope.apply(*arguments), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Any:
        refuse_two_forward_modes()
        return *_Scaled.apply(tangent, *ctx.saved_tensors, 1, ctx.functions), None, None


class _Slope(torch.autograd.Function):
    """sum_n g_n f_n^(k)(d) + h u^(k)(d): k-th derivatives times weights g and h, summed.

    The values of the derivatives are arguments. The gradient with respect to the distance contains
    the derivatives of order k + 1; those with respect to g and h are `_Scaled`.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        g: Tensor,
        h: Tensor,
        distance: Tensor,
        slopes: Tensor,
        slope: Tensor,
        order: int,
        functions: CutBessel,
    ) -> Tensor:
        return torch.addcmul((g * slopes).sum(-1), h, slope)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        *tensors, ctx.order, ctx.functions = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        g, h, distance, slopes, slope = ctx.saved_tensors
        needed, by_weights, by_distance = asked(ctx, range(5)), (None, None), None
        if needed[0] or needed[1]:
            arguments = grads[0], distance, slopes, slope, ctx.order, ctx.functions
            by_weights = _Scaled.apply(*arguments)
        if needed[2]:
            by_distance = grads[0] * _next_slope(g, h, distance, ctx)
        return *by_weights, by_distance, *[None] * 4

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        refuse_two_forward_modes()
        g, h, distance, slopes, slope = ctx.saved_tensors
        dg, dh, d = tangents[:3]
        dg, dh = (torch.zeros_like(x) if t is None else t for t, x in ((dg, g), (dh, h)))
        result = _Slope.apply(dg, dh, distance, slopes, slope, ctx.order, ctx.functions)
        return result if d is None else result + d * _next_slope(g, h, distance, ctx)


class _Scaled(torch.autograd.Function):
    """x f_n^(k)(d) and x u^(k)(d): k-th derivatives times a number x for each distance.

    The values of the derivatives are arguments.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, distance: Tensor, slopes: Tensor, slope: Tensor, order: int, functions: CutBessel
    ) -> tuple[Tensor, Tensor]:
        return x.unsqueeze(-1) * slopes, x * slope

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        *tensors, ctx.order, ctx.functions = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (x, distance, slopes, slope), (g, h) = ctx.saved_tensors, grads
        needed, by_x, by_distance = asked(ctx, range(4)), None, None
        if needed[0]:
            by_x = _Slope.apply(g, h, distance, slopes, slope, ctx.order, ctx.functions)
        if needed[1]:
            by_distance = x * _next_slope(g, h, distance, ctx)
        return by_x, by_distance, *[None] * 4

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        refuse_two_forward_modes()
        (x, distance, slopes, slope), (dx, d) = ctx.saved_tensors, tangents[:2]
        dx = torch.zeros_like(x) if dx is None else dx
        results = _Scaled.apply(dx, distance, slopes, slope, ctx.order, ctx.functions)
        if d is None:
            return results
        order, values = _next_order(distance, ctx)
        further = _Scaled.apply(x * d, distance, *values, order, ctx.functions)
        return tuple(a + b for a, b in zip(results, further, strict=True))


def _next_slope(g: Tensor, h: Tensor, distance: Tensor, ctx: Any) -> Tensor:
    order, values = _next_order(distance, ctx)
    y: Any = _Slope.apply(g, h, distance, *values, order, ctx.functions)
    return y


def _next_order(distance: Tensor, ctx: Any) -> tuple[int, tuple[Tensor, Tensor]]:
    return ctx.order + 1, ctx.functions.derivative(distance.detach(), ctx.order + 1)
