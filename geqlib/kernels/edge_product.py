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
from geqlib.graph.functional import refuse_two_forward_modes, transformed, vectorised
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
    rows: Tensor | None = None,
) -> Tensor:
    """Sum kernel values times the sources' features over the edges that arrive at each node.

    y[i,p,c] = sum over edges e: j -> i of k[e,p,c] x[j,p,c], where k is given by its values, or by
    two factors, k[e,p,c] = sum_m a[e,p,m] w[e,m,c]. Of a plan with paired edges the first
    `plan.paired` kernels also serve the reversed edges i -> j, with the value k[e,-p,c] at the
    point p, if -p is the point opposite to p. Kernels behind those of the R edges are those of
    nodes to themselves: one that all nodes share, or one for each node.

    Neither messages nor the values of factored kernels are kept: derivatives, which exist to any
    order, compute them again. On a GPU each of them is one fused kernel, where the plan has its
    `order`; else, on a CPU it works in pieces of edges (`edge_pieces`), elsewhere on all at once.
    `torch.func` transforms, compilation and export work.

    Args:
        x: [N, P, C] features of nodes, at P points (such as orientations), in C channels.
        kernel: [R + K, P, C] values k; or [R + K, P, M] factors a, if `weight` is given; K is 0, 1
            or N.
        plan: `source`, `target` [R] and `paired`. Every edge in one list, which can be sorted by
            target, is `plan.messages()`.
        weight: [R + K, M, C] factors w.
        antipode: [P] index of the opposite of each point, for paired edges; None if kernels do
            not distinguish opposite points.
        rows: `message_rows` of the plan and the opposites, which several calls can share.

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
    edges: Any = plan.source, plan.target, plan.paired, antipode, rows
    order = plan.order
    if order is not None:
        _check_sizes(x, kernel, plan)
        edges = *edges, order.message, order.other, order.ptr
    # compiled code would lose the second derivatives of a custom function, silently
    compute = _Partial.forward if torch.compiler.is_compiling() else _Partial.apply
    (y,) = compute("g", kernel, weight, x, None, *edges)
    return y


def message_rows(
    source: Tensor, target: Tensor, antipode: Tensor | None, points: Tensor | None = None
) -> Tensor:
    """Where the messages of each kernel start and end, as rows of features [N P, C], points apart.

    The value k[e,p,c] belongs to the message from x[j,p] to y[i,p], and on the reversed edge to the
    one from x[i,-p] to y[j,-p]. Without opposites the rows are those of [N, P C].

    Args:
        source, target: [R] nodes.
        antipode: [P] index of the opposite of each point.
        points: [2, 1, P] `both_points(antipode)`, where it waits.

    Returns:
        [2 (start, end), 2 (edge, reversed edge), R, P or 1].
    """
    nodes = torch.stack([source, target, target, source]).view(2, 2, -1, 1)
    if antipode is None:
        return nodes
    points = both_points(antipode) if points is None else points
    return torch.add(points, nodes, alpha=antipode.size(0))


def both_points(antipode: Tensor) -> Tensor:
    """[2, 1, P] each point, and its opposite."""
    number = torch.arange(antipode.size(0), device=antipode.device)
    return torch.stack([number, antipode]).unsqueeze(1)


def edge_pieces(edges: slice, floats: int, like: Tensor) -> Iterator[slice]:
    """Pieces of a slice of edges, each of whose temporary tensors holds at most `PIECE` bytes.

    Args:
        edges: from where to where; for none there is one empty piece.
        floats: numbers of one edge in the largest temporary tensor.
        like: a tensor of the computation's type and device.
    """
    if like.device.type != "cpu" or torch.compiler.is_compiling():
        yield edges
        return
    step = max(PIECE // max(floats * like.element_size(), 1), 1)
    for start in range(edges.start, max(edges.stop, edges.start + 1), step):
        yield slice(start, min(start + step, edges.stop))


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
        rows: Tensor | None,
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
        if rows is None:
            rows = message_rows(source, target, antipode)
        return _plain(wanted, a, w, x, g, rows, paired)

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
    own = kernel.size(0) - count  # of nodes to themselves
    if x.size(0) != plan.num_nodes or own not in (0, 1, x.size(0)) or plan.paired > count:
        raise ValueError(
            f"x has {x.size(0)} nodes and kernel {kernel.size(0)} rows, but the plan is one of "
            f"{plan.num_nodes} nodes, {count} kernels, {plan.paired} of them paired: make the plan "
            "of this batch."
        )


def _plain(
    wanted: str, a: Tensor, w: Tensor | None, x: Any, g: Any, rows: Tensor, paired: int
) -> tuple[Tensor, ...]:
    """The partial derivatives in plain torch."""
    count, shape = rows.size(2), next(v.shape for v in (x, g) if v is not None)
    to_nodes, to_kernels = ([n for n in names if n in wanted] for names in ("gx", "aw"))
    sums: dict[str, Any] = {}
    slopes: dict[str, list[Tensor]] = {name: [] for name in to_kernels}
    by_a = a.new_empty(a.shape) if _in_one_tensor(wanted, a, w, x, g) else None
    own = slice(count, a.size(0))  # kernels of nodes to themselves
    if own.stop > count and to_nodes:
        k = _values(a, w, own)
        sums = {name: _matrix((x if name == "g" else g) * k, rows) for name in to_nodes}
    # gathering from matrices is faster
    of_x = _matrix(x, rows) if "g" in wanted or to_kernels else None
    of_g = _matrix(g, rows) if "x" in wanted or to_kernels else None
    for kernels, sides in _groups(count, paired):
        for piece in edge_pieces(kernels, sides * shape[1] * shape[2], a):
            start, end = (ends[:sides, piece].reshape(-1) for ends in rows)
            messages = sides, piece.stop - piece.start, *shape[1:]
            near = _gathered(of_x, start, messages)
            far = _gathered(of_g, end, messages)
            if to_nodes:
                k = _values(a, w, piece)
                for name, at, v in (("g", end, near), ("x", start, far)):
                    if name in wanted:
                        sums[name] = _added(sums.get(name), at, k * v, rows, shape)
            if to_kernels:
                by_value = _over_sides(near, far, None if by_a is None else by_a[piece])
                for name in to_kernels:
                    slopes[name].append(_by_factor(name, a, w, piece, by_value))
    if own.stop > count and to_kernels:
        out = None if by_a is None else by_a[own]
        if own.stop - count == shape[0]:
            by_value = torch.mul(x, g, out=out)
        else:
            by_value = torch.sum(x * g, 0, keepdim=True, out=out)
        for name in to_kernels:
            slopes[name].append(_by_factor(name, a, w, own, by_value))
    total = {name: v.view(shape) for name, v in sums.items()}
    if by_a is None:
        total |= {name: torch.cat(v) if len(v) > 1 else v[0] for name, v in slopes.items()}
    else:
        total["a"] = by_a
    return tuple(total[name] for name in wanted)


def _groups(count: int, paired: int) -> Iterator[tuple[slice, int]]:
    """Kernels that serve two edges, and those that serve one."""
    if paired:
        yield slice(0, paired), 2
    if not paired or paired < count:
        yield slice(paired, count), 1


def _values(a: Tensor, w: Tensor | None, kernels: slice) -> Tensor:
    """k[e,p,c]."""
    return a[kernels] if w is None else torch.bmm(a[kernels], w[kernels])


def _by_factor(name: str, a: Tensor, w: Tensor | None, kernels: slice, by_value: Tensor) -> Tensor:
    """dT/da or dT/dw, from dT/dk."""
    if w is None:
        return by_value
    if name == "a":
        return torch.bmm(by_value, w[kernels].mT)
    return torch.bmm(a[kernels].mT, by_value)


def _gathered(v: Tensor | None, at: Tensor, messages: tuple[int, ...]) -> Any:
    """Features [sides, edges, P, C] at these rows."""
    return None if v is None else v.index_select(0, at).view(messages)


def _over_sides(near: Tensor, far: Tensor, out: Tensor | None) -> Tensor:
    """dT/dk of messages [sides, edges, P, C]."""
    slope = torch.mul(near[0], far[0], out=out)
    if near.size(0) == 1:
        return slope
    return torch.addcmul(slope, near[1], far[1], out=out)


def _in_one_tensor(wanted: str, a: Tensor, w: Tensor | None, x: Any, g: Any) -> bool:
    """Whether the derivatives by kernel values are written piece by piece into one tensor."""
    if "a" not in wanted or w is not None:
        return False
    if torch.compiler.is_compiling() or transformed() or vectorised(a, x, g):
        return False
    return a.dtype == x.dtype == g.dtype


def _added(total: Tensor | None, at: Tensor, messages: Tensor, rows: Tensor, shape: Any) -> Tensor:
    """total[at] += messages, total being a matrix of the features' shape."""
    if total is None:
        total = _matrix(messages.new_zeros(shape), rows)
    return total.index_add_(0, at, messages.reshape(at.size(0), total.size(1)))


def _matrix(x: Tensor, rows: Tensor) -> Tensor:
    """[N, P, C] as [N P, C] or [N, P C]; `flatten` is refused by `hessian(vectorize=True)`."""
    apart = rows.size(3)
    return x.reshape(x.size(0) * apart, x.size(1) * x.size(2) // apart)
