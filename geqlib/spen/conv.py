"""Permutation-equivariant convolution on ego nets."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch_geometric.nn.aggr import Aggregation
from torch_geometric.nn.resolver import aggregation_resolver

from geqlib.spen.contraction import Contraction, Features
from geqlib.spen.ego_nets import EgoPlan
from geqlib.spen.ego_parts import EgoPart, split_by_size
from geqlib.spen.maps import EquivariantMaps


class SubgraphConv(nn.Module):
    """All equivariant linear maps of orders 0, 1 and 2 on every ego net, put back on the graph.

    Symmetry: relabelling of the nodes, exactly. Source: Mitton and Murray-Smith, "Subgraph
    Permutation Equivariant Networks" (TMLR 2023, arXiv 2111.11840). Features of order 0 belong to
    ego nets, of order 1 to nodes, of order 2 to ordered pairs of nodes that some ego net holds. An
    ego net g of m nodes reads its nodes and pairs, maps them by `EquivariantMaps` with weights that
    depend on its size m, and each pair (i, j) collects what the ego nets that hold it have made:

        y_ij = mean over g that hold i and j of (sum_b W_b(m_g) op_b(x restricted to g))_ij

    Args:
        in_channels: C, of every order.
        out_channels: D, of every order.
        orders: orders of the output, some of 0, 1, 2.
        in_orders: orders of the input; by default those of the output.
        weights: "size" has a set of weights for each of `sizes`, as in the paper. "shared" has one
            set; its biases, and factors of what is known to a whole ego net (means over it, and
            order 0), are functions of log m and 1/m, so that sizes never seen are no problem.
        sizes: rising; an ego net uses the nearest.
        centre: whether the centre of an ego net is told from its other nodes.
        symmetric: whether features of order 2 are symmetric, with a plan that is, too.
        put_back: how a pair or node collects: "mean", "sum", or any aggregation of torch_geometric,
            by name or as a module (`MonoidAggregation` is one); each order has its own copy.
        bias: whether there are biases.

    Shapes:
        x: order -> [ego nets, C], [nodes, C] or [pairs, C]; output the same with D.

    Raises:
        ValueError: options out of range; features of another order, width or number of rows than
            layer and plan have.

    Example:
        >>> from geqlib.graph import ego_plan
        >>> plan = ego_plan(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), 3)
        >>> conv = SubgraphConv(4, 8)
        >>> y = conv({1: torch.randn(3, 4), 2: torch.randn(9, 4)}, plan)
        >>> {order: tuple(t.shape) for order, t in y.items()}
        {1: (3, 8), 2: (9, 8)}
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        orders: Sequence[int] = (1, 2),
        in_orders: Sequence[int] | None = None,
        weights: Literal["shared", "size"] = "shared",
        sizes: Sequence[int] | None = None,
        centre: bool = False,
        symmetric: bool = False,
        put_back: str | Aggregation = "mean",
        bias: bool = True,
    ) -> None:
        super().__init__()
        in_orders = orders if in_orders is None else in_orders
        _check(in_channels, out_channels, orders, in_orders, weights, sizes)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.orders, self.in_orders = tuple(orders), tuple(in_orders)
        self.weights, self.sizes = weights, None if sizes is None else tuple(sizes)
        self.put_back = put_back if isinstance(put_back, str) else type(put_back).__name__
        options = {"centre": centre, "symmetric": symmetric}
        shared = weights == "shared"  # then biases are those of the embedding
        ends = (in_channels, out_channels, in_orders, orders)
        self.maps: Any = nn.ModuleList(
            EquivariantMaps(*ends, bias=bias and not shared, **options) for _ in sizes or (0,)
        )
        self.embedding = SizeEmbedding(self.maps[0], bias=bias) if shared else None
        self.aggr: Any = None
        if put_back not in ("mean", "sum"):
            aggr = aggregation_resolver(put_back)
            self.aggr = nn.ModuleDict({str(k): deepcopy(aggr) for k in self.orders if k})

    def reset_parameters(self) -> None:
        for part in (*self.maps, self.embedding, *(self.aggr or {}).values()):
            if part is not None:
                part.reset_parameters()

    def forward(
        self,
        x: Features,
        plan: EgoPlan,
        parts: Sequence[EgoPart] | None = None,
        seen: Contraction | None = None,
    ) -> dict[int, Tensor]:
        """Convolve x.

        Args:
            x: features of every order.
            plan: of the ego nets.
            parts: split_by_size(plan, sizes), made here if it is not given.
            seen: contract(x, plan, in_channels, centre=...), made here if it is not given.
        """
        if not torch.compiler.is_compiling():
            self._check(x, plan)
        if self.sizes is not None and parts is None:
            parts = split_by_size(plan, self.sizes)
        if self.aggr is not None:
            return self._aggregate(x, plan, parts, seen)
        out = self._mean(x, plan, parts, seen)
        if self.put_back == "sum":
            counts = {1: plan.members.T.counts()[:, None], 2: plan.count[:, None]}
            out = {k: y * counts[k].to(y.dtype) if k else y for k, y in out.items()}
        return out

    def _mean(
        self, x: Features, plan: EgoPlan, parts: Any, seen: Contraction | None
    ) -> dict[int, Tensor]:
        if self.embedding is not None:
            return self.maps[0](x, plan, *self.embedding(plan, next(iter(x.values()))), seen=seen)
        found = [(p, f(_rows(x, p), p.plan)) for f, p in zip(self.maps, parts, strict=True)]
        out = {}
        for order in self.orders:
            rows = torch.cat([_numbers(p)[order] for p, _ in found])
            shares = {1: [p.node_share for p, _ in found], 2: [p.pair_share for p, _ in found]}
            y = torch.cat([y[order] for _, y in found])
            y = y if order == 0 else y * torch.cat(shares[order]).to(y.dtype)
            out[order] = y.new_zeros(_sizes(plan)[order], y.size(1)).index_add(0, rows, y)
        return out

    def _aggregate(
        self, x: Features, plan: EgoPlan, parts: Any, seen: Contraction | None
    ) -> dict[int, Tensor]:
        """By an aggregation that needs to see what each ego net has made."""
        if self.embedding is not None:
            given = self.embedding(plan, next(iter(x.values())))
            made = [self.maps[0].unfold(x, plan, *given, seen=seen)]
            egos = torch.arange(plan.size.size(0), device=plan.ego.device)
            index = {0: [egos], 1: [plan.node], 2: [plan.grid()[2]]}
        else:
            made = [f.unfold(_rows(x, p), p.plan) for f, p in zip(self.maps, parts, strict=True)]
            index = {
                0: [p.ego for p in parts],
                1: [p.node[p.plan.node] for p in parts],
                2: [p.pair[p.plan.grid()[2]] for p in parts],
            }
        out = {}
        for order in self.orders:
            y, rows = torch.cat([m[order] for m in made]), torch.cat(index[order])
            rows, turn = torch.sort(rows, stable=True)
            y = y.index_select(0, turn)
            if order:
                y = self.aggr[str(order)](y, rows, dim_size=_sizes(plan)[order])
            out[order] = y
        return out

    def _check(self, x: Features, plan: EgoPlan) -> None:
        if plan.symmetric != self.maps[0].symmetric:
            raise ValueError(
                f"The plan has symmetric={plan.symmetric}, but the layer was built for "
                f"{self.maps[0].symmetric}: make both alike."
            )
        if set(x) != set(self.in_orders):
            raise ValueError(f"x has the orders {sorted(x)}, but the layer reads {self.in_orders}.")
        for order, rows in x.items():
            expected = (_sizes(plan)[order], self.in_channels)
            if rows.shape != expected:
                raise ValueError(
                    f"x of order {order} has shape {tuple(rows.shape)}, but plan and layer "
                    f"need {expected}."
                )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.in_channels}, {self.out_channels}, "
            f"{self.in_orders} -> {self.orders}, weights={self.weights!r}, "
            f"centre={self.maps[0].centre}, symmetric={self.maps[0].symmetric}, "
            f"put_back={self.put_back!r})"
        )


class SizeEmbedding(nn.Module):
    """Factors and biases for the ego nets of each size m: a small network on log m and 1/m.

    At first all factors are 1 and all biases 0.

    Args:
        maps: whose factors and biases they are.
        bias: whether there are biases.
        hidden: width.
    """

    def __init__(self, maps: EquivariantMaps, *, bias: bool = True, hidden: int = 16) -> None:
        super().__init__()
        self.widths = [maps.ego_width, sum(maps.split) if bias else 0]
        self.enter, self.leave = nn.Linear(2, hidden), nn.Linear(hidden, sum(self.widths))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.enter.reset_parameters()
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, plan: EgoPlan, like: Tensor) -> tuple[Tensor, Tensor | None]:
        """Factors [G, ego_width] and biases [G, sum(split)]."""
        gain, shift = self.of_sizes(plan.sizes, like)
        return plan.alike @ gain, None if shift is None else plan.alike @ shift

    def of_sizes(self, size: Tensor, like: Tensor) -> tuple[Tensor, Tensor | None]:
        """The same for ego nets of each of the given sizes."""
        size = size.clamp(min=1).to(like.dtype)  # empty graphs have none
        known = torch.stack([size.log(), 1 / size], 1)
        gain, shift = self.leave(torch.tanh(self.enter(known))).split(self.widths, 1)
        return 1 + gain, shift if self.widths[1] else None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.widths[0]}, {self.widths[1]})"


def _sizes(plan: EgoPlan) -> dict[int, int]:
    return {0: plan.nets.ptr.size(0) - 1, 1: plan.diagonal.size(0), 2: plan.source.size(0)}


def _numbers(part: EgoPart) -> dict[int, Tensor]:
    return {0: part.ego, 1: part.node, 2: part.pair}


def _rows(x: Features, part: EgoPart) -> dict[int, Tensor]:
    return {order: rows.index_select(0, _numbers(part)[order]) for order, rows in x.items()}


def _check(
    in_channels: int,
    out_channels: int,
    orders: Sequence[int],
    in_orders: Sequence[int],
    weights: str,
    sizes: Sequence[int] | None,
) -> None:
    if min(in_channels, out_channels) < 1:
        raise ValueError(f"channels must be positive, got {in_channels} and {out_channels}.")
    for name, given in (("orders", orders), ("in_orders", in_orders)):
        if not given or not set(given) <= {0, 1, 2} or len(set(given)) < len(given):
            raise ValueError(f"{name} must be some of 0, 1 and 2, each once, got {tuple(given)}.")
    if weights not in ("shared", "size"):
        raise ValueError(f'weights must be "shared" or "size", got {weights!r}.')
    if (weights == "size") != bool(sizes):
        raise ValueError('sizes must be given with weights="size", and only then.')
