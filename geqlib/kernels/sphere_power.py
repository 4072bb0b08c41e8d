"""Weighted powers of functions on the sphere: z = sum_n w_n C_n^T (A x)^n / n!.

A evaluates the functions that x are the coefficients of, at points; powers are taken there; and C_n
integrates them against the harmonics of the output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from geqlib.graph.functional import transformed, vectorised
from geqlib.kernels.powers import divided_powers
from geqlib.kernels.selection import fused

MOST_COEFFICIENTS = 32  # of the fused kernels, which keep them in registers: degrees up to 4
MOST_ORDERS = 8


class Tables(NamedTuple):
    """Constants in the type of x.

    Args:
        values: [P, K] from coefficients to values at points, A.
        projection: [order, M, P] from powers to coefficients, C_n^T.
        inverse: [order] 1, 1 / 2, ..., 1 / order.
    """

    values: Tensor
    projection: Tensor
    inverse: Tensor

    def powers(self, x: Tensor) -> Tensor:
        """[order, M, N, C] coefficients of the powers of x [K, N, C]."""
        values = divided_powers(self.values @ x.flatten(1), self.inverse)
        return torch.bmm(self.projection, values).unflatten(2, x.shape[1:])


def weighted_powers(x: Tensor, weight: Tensor, choice: Tensor | None, tables: Tables) -> Tensor:
    """z [M, N, C], which is differentiable in x and the weights.

    Args:
        x: [K, N, C].
        weight: [E, order * M, C] of each element.
        choice: [N, E] the element of each node, one-hot; None if there is one only.
        tables: A, C and 1 / n.
    """
    if torch.compiler.is_compiling() or transformed() or _forward_mode(x, weight):
        return plain_powers(x, weight, choice, tables)
    order, coefficients = tables.projection.shape[:2]
    supported = (
        x.dtype == weight.dtype in (torch.float32, torch.float64)
        and max(x.size(0), coefficients) <= MOST_COEFFICIENTS
        and order <= MOST_ORDERS
    )
    if fused("sphere_power", x, weight, choice, supported=supported):
        z: Any = _Powers.apply(x, weight, choice, tables)
        return z
    return plain_powers(x, weight, choice, tables)


def plain_powers(x: Tensor, weight: Tensor, choice: Tensor | None, tables: Tables) -> Tensor:
    """The same by operations that torch differentiates."""
    weights = weight.transpose(0, 1)  # [order M, E, C]
    if choice is not None:
        weights = torch.bmm(choice.expand(weights.size(0), *choice.shape), weights)
    return (tables.powers(x) * weights.unflatten(0, (len(tables.projection), -1))).sum(0)


class _Powers(torch.autograd.Function):
    """By kernels, to second derivatives; those beyond, and several at once, are the plain ones'."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, choice: Any, tables: Tables) -> Tensor:
        from geqlib.kernels.sphere_power_triton import powers

        element = None if choice is None else choice.argmax(1)
        ctx.tables = tables
        ctx.save_for_backward(x, weight, choice, element)
        return powers(x, weight, choice, element, tables)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, weight, choice, element = ctx.saved_tensors
        (g,), (need_x, need_weight, *_) = grads, ctx.needs_input_grad
        if vectorised(g) or (torch.is_grad_enabled() and need_weight):
            function = _with(plain_powers, choice, ctx.tables)
            return *_by_torch(function, (x, weight), g), None, None
        of_x = (g, x, weight, choice, element, ctx.tables)
        by_x = _Slopes.apply(*of_x) if need_x else None
        by_weight = None
        if need_weight:
            from geqlib.kernels.sphere_power_triton import weighted_orders

            by_weight = _of_elements(weighted_orders(x, g, weight, ctx.tables), choice)
        return by_x, by_weight, None, None


class _Slopes(torch.autograd.Function):
    """The derivative of the sum of z * g by x."""

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, x: Tensor, weight: Tensor, choice: Any, element: Any, tables: Tables
    ) -> Tensor:
        from geqlib.kernels.sphere_power_triton import slopes

        ctx.tables = tables
        ctx.save_for_backward(g, x, weight, choice, element)
        return slopes(g, x, weight, choice, element, tables)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        g, x, weight, choice, element = ctx.saved_tensors
        (u,), tables = grads, ctx.tables
        if torch.is_grad_enabled() or vectorised(u):
            function = _with(_plain_slopes, choice, tables)
            return *_by_torch(function, (g, x, weight), u), None, None, None
        from geqlib.kernels.sphere_power_triton import powers, slopes, weighted_orders

        need_g, need_x, need_weight, *_ = ctx.needs_input_grad
        rest = (weight, choice, element, tables, u)
        by_g = powers(x, *rest) if need_g else None
        by_x = slopes(g, x, *rest) if need_x else None
        by_weight = None
        if need_weight:
            by_weight = _of_elements(weighted_orders(x, g, weight, tables, u), choice)
        return by_g, by_x, by_weight, None, None, None


def _of_elements(each: Tensor, choice: Tensor | None) -> Tensor:
    """[E, order M, C] sums over the nodes of each element, of [order, M, N, C]."""
    each = each.flatten(0, 1)
    if choice is None:
        return each.sum(1).unsqueeze(0)
    return torch.bmm(choice.T.expand(len(each), *choice.T.shape), each).transpose(0, 1)


def _plain_slopes(g: Tensor, x: Tensor, weight: Tensor, choice: Any, tables: Tables) -> Tensor:
    z = plain_powers(x, weight, choice, tables)
    return torch.autograd.grad(z, x, g, create_graph=True)[0]


def _forward_mode(*tensors: Tensor) -> bool:
    return any(unpack_dual(t).tangent is not None for t in tensors)


def _with(function: Callable[..., Tensor], *rest: Any) -> Callable[..., Tensor]:
    return lambda *inputs: function(*inputs, *rest)


def _by_torch(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], grad: Tensor
) -> list[Tensor | None]:
    """Derivatives of the sum of function(*inputs) * grad by those inputs that need them."""
    graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # of other graph nodes than the inputs', which may depend on each other
        inputs = [t.view_as(t) for t in inputs]
        output = function(*inputs)
    needed = [t for t in inputs if t.requires_grad]
    if not output.requires_grad:
        return [None] * len(inputs)
    grads = torch.autograd.grad(output, needed, grad, create_graph=graph, allow_unused=True)
    results = iter(grads)
    return [next(results) if t.requires_grad else None for t in inputs]
