"""The layer of SPEN: equivariant linear maps on ego nets, aggregated on the graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch_geometric.nn.aggr import Aggregation
from torch_geometric.nn.resolver import aggregation_resolver

from geqlib.spen.maps import Contraction, EquivariantMaps, Features
from geqlib.spen.plan import EgoPlan
from geqlib.spen.sizes import EgoPart, SizeEmbedding, split_by_size
from geqlib.spen.stacked import stackable

Factors = tuple[Tensor, Tensor | None]


def subgraph_layer(
    x: Features,
    plan: EgoPlan,
    maps: Callable[[Features, EgoPlan], Features],
    aggregate: Mapping[str, Any],
) -> dict[int, Tensor]:
    """Restrict features to every ego net, map each by K_g = sum_b W_b(m_g) op_b, aggregate.

    K_g commutes with all permutations of the m_g nodes of g, and the sets of all entries of all ego
    nets do not depend on an order of the nodes: so the layer commutes with permutations of them.
    """
    ego = torch.arange(plan.size.size(0), device=plan.node.device)
    on_graph = (ego, plan.node, plan.entries()[2])  # of each entry of each ego net, by order
    restricted = {k: f.index_select(0, on_graph[k]) for k, f in x.items()}
    mapped = maps(restricted, plan.disjoint())
    out = {}
    for k, y in mapped.items():
        index, order = on_graph[k].sort(stable=True)
        y = y.index_select(0, order)
        out[k] = aggregate[str(k)](y, index, dim_size=plan.lengths[k]) if k else y
    return out


class SubgraphConv(nn.Module):
    """All equivariant linear maps of orders 0, 1 and 2 on every ego net, aggregated on the graph.

    Symmetry: relabelling of the nodes, exactly. Source: Mitton and Murray-Smith, "Subgraph
    Permutation Equivariant Networks" (TMLR 2023, arXiv 2111.11840). Features of order 0 belong to
    ego nets, of order 1 to nodes, of order 2 to ordered pairs of nodes in a common ego net. They
    are restricted to each ego net g of m nodes and mapped by `EquivariantMaps`, with weights that
    depend on its size m; each pair (i, j) aggregates the results of all ego nets that contain it:

        y_ij = mean over g that contain i and j of (sum_b W_b(m_g) op_b(x restricted to g))_ij

    Args:
        in_channels: C, of every order.
        out_channels: D, of every order.
        orders: orders of the output, some of 0, 1, 2.
        in_orders: orders of the input; by default those of the output.
        weights: "size" has a set of weights for each of `sizes`, as in the paper. "shared" has one
            set; its biases, and factors of means over an ego net and of order 0, are functions of
            log m and 1/m, which are defined for sizes that do not occur in training.
        sizes: ascending; an ego net uses the nearest.
        centre: whether the centre of an ego net is distinguished from its other nodes.
        symmetric: whether features of order 2 are symmetric, with a plan that is symmetric too.
        put_back: aggregation of pairs and nodes over ego nets: "mean", "sum", or any aggregation of
            torch_geometric, by name or as a module (`MonoidAggregation` is one); each order has its
            own copy.
        bias: whether there are biases.

    Shapes:
        x: order -> [ego nets, C], [nodes, C] or [pairs, C]; output the same with D.

    Raises:
        ValueError: options out of range; features whose orders or shapes do not fit layer and plan.

    Example:
        >>> from geqlib.spen.plan import ego_plan
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

    @property
    def stackable(self) -> bool:
        """Whether it is one of `geqlib.spen.stacked.stacked_maps`."""
        biased = self.embedding is not None and self.embedding.widths[1] > 0
        return biased and self.put_back == "mean" and stackable(self.maps[0])

    def reset_parameters(self) -> None:
        for part in (*self.maps, self.embedding, *(self.aggr or {}).values()):
            if part is not None:
                part.reset_parameters()

    def forward(
        self,
        x: Features,
        plan: EgoPlan,
        parts: Sequence[EgoPart] | None = None,
        contraction: Contraction | None = None,
        factors: Factors | None = None,
    ) -> dict[int, Tensor]:
        """Convolve x.

        Args:
            x: features of every order.
            plan: of the ego nets.
            parts: split_by_size(plan, sizes), computed here by default.
            contraction: geqlib.spen.maps.contract(x, plan, ...), computed here by default.
            factors: self.embedding.of_plan(plan, ...) for weights="shared", computed here by
                default.
        """
        if not torch.compiler.is_compiling():
            self._check(x, plan)
        if self.aggr is not None:
            return subgraph_layer(x, plan, self._mean, self.aggr)
        # a mean over ego nets commutes with the maps, so nothing is copied for each of them
        out = self._mean(x, plan, parts, contraction, factors)
        if self.put_back == "sum":
            counts = {1: plan.members.T.counts()[:, None], 2: plan.count[:, None]}
            out = {k: y * counts[k].to(y.dtype) if k else y for k, y in out.items()}
        return out

    def _mean(
        self,
        x: Features,
        plan: EgoPlan,
        parts: Sequence[EgoPart] | None = None,
        contraction: Contraction | None = None,
        factors: Factors | None = None,
    ) -> dict[int, Tensor]:
        """The maps, averaged over all ego nets that contain a pair or node."""
        if self.embedding is not None:
            dtype = next(iter(x.values())).dtype
            factors = self.embedding.of_plan(plan, dtype) if factors is None else factors
            return self.maps[0](x, plan, *factors, contraction=contraction)
        parts = split_by_size(plan, self.sizes or ()) if parts is None else parts
        mapped = [
            maps({k: f.index_select(0, part.index[k]) for k, f in x.items()}, part.plan)
            for maps, part in zip(self.maps, parts, strict=True)
        ]
        out = {}
        for k in self.orders:
            y = torch.cat([features[k] for features in mapped])
            index = torch.cat([part.index[k] for part in parts])
            if k:  # of the ego nets that contain a node or pair
                shares = [part.node_share if k == 1 else part.pair_share for part in parts]
                y = y * torch.cat(shares).to(y.dtype)
            out[k] = y.new_zeros(plan.lengths[k], y.size(1)).index_add(0, index, y)
        return out

    def _check(self, x: Features, plan: EgoPlan) -> None:
        if plan.symmetric != self.maps[0].symmetric:
            raise ValueError(
                f"The plan has symmetric={plan.symmetric}, but the layer was built for "
                f"{self.maps[0].symmetric}: choose the same for both."
            )
        if set(x) != set(self.in_orders):
            raise ValueError(f"x has the orders {sorted(x)}, but the layer reads {self.in_orders}.")
        for order, features in x.items():
            expected = (plan.lengths[order], self.in_channels)
            if features.shape != expected:
                raise ValueError(
                    f"x of order {order} has shape {tuple(features.shape)}, but plan and layer "
                    f"need {expected}."
                )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.in_channels}, {self.out_channels}, "
            f"{self.in_orders} -> {self.orders}, weights={self.weights!r}, "
            f"centre={self.maps[0].centre}, symmetric={self.maps[0].symmetric}, "
            f"put_back={self.put_back!r})"
        )


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
    for name, choice in (("orders", orders), ("in_orders", in_orders)):
        if not choice or not set(choice) <= {0, 1, 2} or len(set(choice)) < len(choice):
            raise ValueError(f"{name} must be some of 0, 1 and 2, each once, got {tuple(choice)}.")
    if weights not in ("shared", "size"):
        raise ValueError(f'weights must be "shared" or "size", got {weights!r}.')
    if (weights == "size") != bool(sizes):
        raise ValueError('sizes must be given with weights="size", and only then.')
