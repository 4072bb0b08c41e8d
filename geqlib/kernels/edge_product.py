"""One sum over edges: position-orientation convolutions and Gaunt convolutions on a grid.

Both are y[i,p,c] = sum over edges e: j -> i of k[e,p,c] x[j,p,c]. Their derivatives, of any order,
are partial derivatives of one form,

    T = sum over e, p, c of k[e,p,c] x[j,p,c] g[i,p,c],     k[e,p,c] = sum_m a[e,p,m] w[e,m,c],

which is linear in a, w, x and g. `_Partial` computes them, and is its own derivative. On a GPU it
runs as two kernels (`edge_product_triton`), else in plain torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from geqlib.graph.edges import EdgePlan
from geqlib.graph.functional import refuse_two_forward_modes
from geqlib.kernels.selection import fused

PIECE = 2**20  # bytes of a temporary tensor on a CPU: a small part of its cache
MOST_POINTS, MOST_FACTORS = 64, 32  # of the fused kernels, which keep them in registers


def edge_product(
    x: Tensor,
    kernel: Tensor,
    plan: EdgePlan,
    *,
    weight: Tensor | None = None,
    antipode: Tensor | None = None,
) -> Tensor:
    """Sum kernel values times the sources' features over the edges that arrive at each node.

    y[i,p,c] = sum over edges e: j -> i of k[e,p,c] x[j,p,c], where k is given by its values, or by
    two factors, k[e,p,c] = sum_m a[e,p,m] w[e,m,c]. Of a plan with paired edges the first
    `plan.paired` kernels also serve the reversed edges i -> j, with the value k[e,-p,c] at the
    point p, if -p is the point opposite to p.

    Neither messages nor the values of factored kernels are kept: derivatives, which exist to any
    order, compute them again. On a GPU each of them is one fused kernel, where the plan has its
    `order`; else, on a CPU it works in pieces of edges (`edge_pieces`), elsewhere on all at once.
    `torch.func` transforms, compilation and export work.

    Args:
        x: [N, P, C] features of nodes, at P points (such as orientations), in C channels.
        kernel: [R, P, C] values k; or [R, P, M] factors a, if `weight` is given.
        plan: `source`, `target` [R] and `paired`; R kernels. Every edge in one list, which can
            be sorted by target, is `plan.messages()`.
        weight: [R, M, C] factors w.
        antipode: [P] index of the opposite of each point, for paired edges; None if kernels do
            not distinguish opposite points.

    Returns:
        [N, P, C].

    Example:
        >>> from geqlib.graph import directed_plan
        >>> plan = directed_plan(torch.tensor([[0, 1], [1, 1]]), 2)
        >>> x, kernel = torch.tensor([[[1.0]], [[10.0]]]), torch.tensor([[[2.0]], [[3.0]]])
        >>> edge_product(x, kernel, plan).flatten().tolist()
        [0.0, 32.0]
    """
    if weight is not None:
        weight = weight.to(kernel.dtype)  # mixed under autocast
    antipode = antipode if plan.paired else None
    edges: Any = plan.source, plan.target, plan.paired, antipode
    order = plan.order
    if order is not None:
        _check_sizes(x, kernel, plan)
        edges = *edges, order.message, order.other, order.ptr
    # compiled code would lose the second derivatives of a custom function, silently
    compute = _Partial.forward if torch.compiler.is_compiling() else _Partial.apply
    (y,) = compute("g", kernel, weight, x, None, *edges)
    return y


def edge_pieces(count: int, floats: int, like: Tensor) -> Iterator[slice]:
    """Slices of `count` edges, each of whose temporary tensors holds at most `PIECE` bytes.

    Args:
        count: number of edges; for 0 there is one empty slice.
        floats: numbers of one edge in the largest temporary tensor.
        like: a tensor of the computation's type and device.
    """
    if like.device.type != "cpu" or torch.compiler.is_compiling():
        yield slice(0, count)
        return
    step = max(PIECE // max(floats * like.element_size(), 1), 1)
    for start in range(0, max(count, 1), step):
        yield slice(start, min(start + step, count))


class _Partial(torch.autograd.Function):
    """The partial derivatives of T by the arguments that `wanted` names: letters of "awxg".

    The value of the operator is the one by g. Derivatives by an argument do not depend on it, so
    that it may be None.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        wanted: str,
        a: Tensor,
        w: Tensor | None,
        x: Any,
        g: Any,
        source: Tensor,
        target: Tensor,
        paired: int,
        antipode: Tensor | None,
        *order: Tensor,
    ) -> tuple[Tensor, ...]:
        points = a.size(1)
        supported = (
            len(order) == 3
            and 0 < points <= MOST_POINTS
            and (w is None or 0 < w.size(1) <= MOST_FACTORS)
        )
        if fused("edge_product", a, w, x, g, supported=supported):
            from geqlib.kernels.edge_product_triton import partial_derivatives

            return partial_derivatives(wanted, a, w, x, g, source, target, paired, antipode, *order)
        total: dict[str, Any] = dict.fromkeys(wanted)
        shape = (g if x is None else x).shape
        # gathering from matrices is faster
        x, g = (None if v is None else _matrix(v) for v in (x, g))
        count = a.size(0)
        for piece in edge_pieces(count, shape[1] * shape[2], a):
            back = slice(piece.start, max(piece.start, min(piece.stop, paired)))
            there = source[piece], target[piece]
            again = target[back], source[back]
            if "g" in wanted or "x" in wanted:
                k = a[piece] if w is None else torch.bmm(a[piece], w[piece])
                turned = _turned(k[: back.stop - back.start], antipode)
                for values, (start, end) in ((k, there), (turned, again)):
                    if "g" in wanted:
                        total["g"] = _added(total["g"], end, values, x, start)
                    if "x" in wanted:
                        total["x"] = _added(total["x"], start, values, g, end)
            if "a" in wanted or "w" in wanted:
                slope, turned = (
                    (x.index_select(0, start) * g.index_select(0, end)).view(-1, *shape[1:])
                    for start, end in (there, again)
                )
                if len(turned):
                    slope[: len(turned)] += _turned(turned, antipode)  # dT / dk
                if "a" in wanted:
                    part = slope if w is None else torch.bmm(slope, w[piece].mT)
                    total["a"] = _placed(total["a"], piece, part, count)
                if "w" in wanted:
                    part = torch.bmm(a[piece].mT, slope)
                    total["w"] = _placed(total["w"], piece, part, count)
        for name in {"x", "g"} & total.keys():
            total[name] = total[name].view(shape)
        return tuple(total[name] for name in wanted)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.wanted, *tensors = inputs
        ctx.paired = tensors.pop(6)
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        needed = {
            name for name, need in zip("awxg", ctx.needs_input_grad[1:5], strict=True) if need
        }
        total: dict[str, Tensor] = {}
        for name, grad in zip(ctx.wanted, grads, strict=True):
            others = "".join(n for n in "awxg" if n in needed and n != name)
            for n, part in zip(others, _replaced(ctx, others, name, grad), strict=True):
                total[n] = total[n] + part if n in total else part
        rest = len(ctx.needs_input_grad) - 5
        return None, *(total.get(name) for name in "awxg"), *[None] * rest

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        refuse_two_forward_modes()
        total: dict[str, Tensor] = {}
        for name, tangent in zip("awxg", tangents[1:5], strict=True):
            others = ctx.wanted.replace(name, "") if tangent is not None else ""
            for n, part in zip(others, _replaced(ctx, others, name, tangent), strict=True):
                total[n] = total[n] + part if n in total else part
        return tuple(total.get(name) for name in ctx.wanted)


def _replaced(ctx: Any, wanted: str, name: str, value: Tensor | None) -> tuple[Tensor, ...]:
    """Partial derivatives of T with `value` in the place of the argument `name`."""
    if not wanted:
        return ()
    a, w, x, g, source, target, *rest = ctx.saved_tensors
    arguments = [a, w, x, g]
    arguments["awxg".index(name)] = value
    return _Partial.apply(wanted, *arguments, source, target, ctx.paired, *rest)


def _check_sizes(x: Tensor, kernel: Tensor, plan: EdgePlan) -> None:
    """Of what kernels take on trust."""
    count = plan.source.size(0)
    if x.size(0) != plan.num_nodes or kernel.size(0) != count or plan.paired > count:
        raise ValueError(
            f"x has {x.size(0)} nodes and kernel {kernel.size(0)} rows, but the plan is one of "
            f"{plan.num_nodes} nodes, {count} kernels, {plan.paired} of them paired: make the plan "
            "of this batch."
        )


def _added(total: Tensor | None, end: Tensor, kernel: Tensor, x: Tensor, start: Tensor) -> Tensor:
    """total[end] += kernel x[start]."""
    message = _matrix(kernel) * x.index_select(0, start)
    if total is None:
        total = message.new_zeros(x.shape)
    return total.index_add_(0, end, message)


def _placed(total: Tensor | None, piece: slice, part: Tensor, count: int) -> Tensor:
    """total[piece] = part."""
    if part.size(0) == count:
        return part
    if total is None:
        total = part.new_empty(count, *part.shape[1:])
    total[piece] = part
    return total


def _matrix(x: Tensor) -> Tensor:
    """[n, p, c] as [n, p c]; `flatten` is refused by `hessian(vectorize=True)`."""
    return x.reshape(x.size(0), x.size(1) * x.size(2))


def _turned(x: Tensor, antipode: Tensor | None) -> Tensor:
    return x if antipode is None else x.index_select(1, antipode)
