"""SPEN, a network of permutation-equivariant maps on ego nets; IGN, the same on whole graphs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm
from torch_geometric.nn.aggr import Aggregation, SumAggregation
from torch_geometric.nn.inits import reset
from torch_geometric.nn.norm import BatchNorm
from torch_geometric.nn.resolver import activation_resolver, aggregation_resolver

from geqlib.graph.functional import transformed
from geqlib.graph.pair_values import check_pairs, values_at
from geqlib.graph.pool import beside_pooled, graph_index, sum_pool
from geqlib.spen.conv import SubgraphConv
from geqlib.spen.maps import Contraction, contract
from geqlib.spen.plan import EgoPlan, ego_plan, graph_plan, join_plans
from geqlib.spen.sizes import EgoPart, factors_of_layers, split_by_size
from geqlib.spen.stacked import ego_gathers, stacked_maps

# of running statistics; sums over nodes multiply what these lag behind the weights
MOMENTUM = 0.3


class SPEN(nn.Module):
    """Graphs to vectors, through features of nodes and of pairs of nodes in ego nets.

    Symmetry: invariant under relabelling of the nodes, exactly.

    Source: Mitton and Murray-Smith, "Subgraph Permutation Equivariant Networks" (TMLR 2023, arXiv
    2111.11840). The input is a tensor of order 2: features of the nodes on its diagonal; features
    of the edges, a one and the normalised adjacency D^-1/2 A D^-1/2 off the diagonal. Each layer is

        x <- x + act(norm(SubgraphConv(x)))       for the features of every order

    The read-out concatenates, over all layers, sums over the nodes of the features of each node
    (order 1, its diagonal entry, means of its rows and columns of pairs and of order 0 in the ego
    nets that contain it), normalises them, and ends in a two-layer network. Beyond the paper:
    residuals, edge features, read-out of all layers, norms before activations, and the options of
    `SubgraphConv`.

    Args:
        in_channels: features per node; 0 for none.
        out_channels: outputs per graph, such as classes.
        channels: width of each order.
        layers: number of convolutions.
        hops: k of the ego nets; None for the whole graph (an IGN).
        orders: of the features, some of 0, 1, 2.
        edge_dim: features per edge.
        pair_dim: features of ordered pairs of nodes, such as the 28 orbit adjacencies; those of
            pairs that no ego net contains are left out.
        graph_dim: features per graph, `motifs`, which join what is read out.
        weights, sizes, centre, put_back: see `geqlib.nn.SubgraphConv`.
        symmetric: whether a pair of nodes and its transpose have one feature, which more than
            halves time and memory: for graphs whose edges have no direction.
        shared: whether ego nets share nodes and pairs, whose features are aggregated after every
            layer, as in the paper; otherwise each ego net is a graph of its own until the read-out,
            which distinguishes more graphs.
        norm: over all nodes, pairs or graphs of a batch ("batch"), over channels ("layer"), or
            "none".
        act: activation by its name in torch, or torch_geometric.
        residual: whether layers are added to their inputs.
        readout: from nodes to graphs: "sum", "mean", or any aggregation of torch_geometric.
        dropout: before the last layer and in the hidden layer of the read-out.

    Raises:
        ValueError: options out of range; features or a plan that do not fit the model.

    Example:
        >>> net = SPEN(3, 2, channels=8, layers=2)
        >>> edge_index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> net(torch.randn(3, 3), edge_index).shape
        torch.Size([1, 2])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        channels: int = 32,
        layers: int = 4,
        hops: int | None = 1,
        orders: Sequence[int] = (1, 2),
        edge_dim: int = 0,
        pair_dim: int = 0,
        graph_dim: int = 0,
        weights: Literal["shared", "size"] = "shared",
        sizes: Sequence[int] | None = None,
        centre: bool = False,
        put_back: str | Aggregation = "mean",
        symmetric: bool = False,
        shared: bool = True,
        norm: Literal["batch", "layer", "none"] = "batch",
        act: str = "relu",
        residual: bool = True,
        readout: str | Aggregation = "sum",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"layers must be at least 1, got {layers}.")
        if norm not in ("batch", "layer", "none"):
            raise ValueError(f'norm must be "batch", "layer" or "none", got {norm!r}.')
        if hops is None and not shared:
            raise ValueError("shared=False needs ego nets: give hops.")
        self.in_channels, self.edge_dim, self.hops = in_channels, edge_dim, hops
        self.pair_dim, self.graph_dim = pair_dim, graph_dim
        self.channels, self.centre = channels, centre
        self.symmetric, self.shared = symmetric, shared
        self.orders, self.sizes, self.residual = tuple(orders), sizes, residual
        self.embed_node = nn.Linear(in_channels + 1, channels, bias=False)
        self.embed_pair = nn.Linear(edge_dim + pair_dim + 2, channels)
        self.convs = nn.ModuleList(
            SubgraphConv(
                channels,
                channels,
                orders=orders,
                in_orders=orders if k else (2,),
                weights=weights,
                sizes=sizes,
                centre=centre,
                put_back=put_back,
                symmetric=symmetric,
            )
            for k in range(layers)
        )
        self.norms: Any = nn.ModuleList(
            nn.ModuleDict({str(order): _norm(norm, channels) for order in orders})
            for _ in range(layers)
        )
        self.act = activation_resolver(act)
        self.readout = aggregation_resolver(readout)
        sides = (1 if symmetric else 2) * (1 + centre)
        blocks = len(self.orders) + sides * (2 in self.orders)
        width = blocks * layers * channels + graph_dim
        self.norm = _norm(norm, width)
        self.hidden = nn.Linear(width, channels)
        self.out = nn.Linear(channels, out_channels)
        self.dropout = nn.Dropout(dropout)

    def reset_parameters(self) -> None:
        for part in self.children():
            reset(part)

    def plan(
        self,
        edge_index: Tensor,
        num_nodes: int,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
    ) -> EgoPlan:
        """The ego nets of a batch, as this model needs them."""
        if self.hops is None:
            return graph_plan(edge_index, num_nodes, batch, num_graphs, symmetric=self.symmetric)
        return ego_plan(
            edge_index, num_nodes, hops=self.hops, symmetric=self.symmetric, shared=self.shared
        )

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        edge_attr: Tensor | None = None,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
        plan: EgoPlan | Sequence[EgoPlan] | None = None,
        parts: Sequence[EgoPart] | None = None,
        pair_index: Tensor | None = None,
        pair_attr: Tensor | None = None,
        motifs: Tensor | None = None,
    ) -> Tensor:
        """Run the network.

        Args:
            x: [N, in_channels].
            edge_index: [2, E], source and target.
            edge_attr: [E, edge_dim].
            batch: [N] graph of each node, and num_graphs: how many there are.
            plan: from `plan(...)` or `geqlib.graph.ego_plan`, or a plan for each graph; computed
                here by default.
            parts: of the plan, by `geqlib.graph.split_by_size`, for weights="size".
            pair_index: [2, Q] ordered pairs of nodes, and pair_attr: [Q, pair_dim]; at other pairs
                these features are zero.
            motifs: [graphs, graph_dim].

        Returns:
            [graphs, out_channels].
        """
        if not torch.compiler.is_compiling():
            self._check(x, edge_index, edge_attr)
            check_pairs(pair_index, pair_attr, self.pair_dim, x.size(0))
        if plan is None:
            plan = self.plan(edge_index, len(x), batch, num_graphs)
        plan = plan if isinstance(plan, EgoPlan) else join_plans(plan)
        self._check_plan(plan)
        if self.sizes is not None and parts is None:
            parts = split_by_size(plan, self.sizes)
        of_pairs = _of_pairs(pair_index, pair_attr, plan, x.size(0))
        h = {2: self._embed(x, edge_index, edge_attr, plan, of_pairs)}
        factors: Any = [None] * len(self.convs)
        if self.sizes is None:
            embeddings: Any = [conv.embedding for conv in self.convs]
            factors = factors_of_layers(embeddings, plan, h[2].dtype)
        layers = zip(self.convs, self.norms, factors, strict=True)
        if self._stacks():
            of_nodes = self._stacked_layers(h[2], plan, layers)
        else:
            of_nodes = self._layers(h, plan, parts, layers)
        if batch is not None and plan.origin is not None:
            batch = batch.index_select(0, plan.origin)
        return self._head(of_nodes, batch, num_graphs, motifs)

    def _layers(
        self,
        h: dict[int, Tensor],
        plan: EgoPlan,
        parts: Sequence[EgoPart] | None,
        layers: Iterable[Any],
    ) -> list[Tensor]:
        """Features of nodes for the read-out, from each layer."""
        of_nodes, contraction = [], None
        for conv, norms, factor in layers:
            y = conv(h, plan, parts, contraction, factor)
            y = {k: self.act(norms[str(k)](f)) for k, f in y.items()}
            h = {k: f + h[k] if self.residual and k in h else f for k, f in y.items()}
            contraction = contract(h, plan, self.channels, centre=self.centre)
            of_nodes += _node_features(h, contraction, plan)
        return of_nodes

    def _stacks(self) -> bool:
        """Whether layers keep all features in one tensor: for a backward pass, if they can."""
        if torch.compiler.is_compiling() or transformed() or not torch.is_grad_enabled():
            return False
        convs: Any = self.convs
        return all(conv.stackable for conv in convs)

    def _stacked_layers(self, pairs: Tensor, plan: EgoPlan, layers: Iterable[Any]) -> list[Tensor]:
        """`_layers` with the features of pairs, then of nodes in one tensor."""
        sizes, gathers, of_nodes = plan.lengths[:0:-1], ego_gathers(plan, pairs.dtype), []
        h = torch.cat([pairs, pairs.new_zeros(sizes[1], self.channels)])
        for conv, norms, (gain, shift) in layers:
            y, before = stacked_maps(conv.maps[0], h, plan, gain, shift, gathers)
            of_nodes.append(before)
            parts = zip(("2", "1"), y.split(sizes), strict=True)
            y = self.act(torch.cat([norms[order](part) for order, part in parts]))
            h = h + y if self.residual else y
        pairs, nodes = h.split(sizes)
        features = {2: pairs, 1: nodes}
        contraction = contract(features, plan, self.channels, centre=False)
        return of_nodes[1:] + _node_features(features, contraction, plan)

    def _embed(
        self,
        x: Tensor,
        edge_index: Tensor,
        edge_attr: Tensor | None,
        plan: EgoPlan,
        of_pairs: Tensor | None = None,
    ) -> Tensor:
        """[P, channels] the input tensor of order 2."""
        one, (source, target) = x.new_ones(edge_index.size(1)), edge_index
        out, into = (x.new_zeros(x.size(0)).index_add(0, end, one) for end in (source, target))
        weight = (out.index_select(0, source) * into.index_select(0, target)).rsqrt()
        edge = torch.stack([one, weight], 1)
        edge = edge if edge_attr is None else torch.cat([edge, edge_attr.to(x.dtype)], 1)
        node = self.embed_node(torch.cat([x, x.new_ones(x.size(0), 1)], 1))
        node = node if plan.origin is None else node.index_select(0, plan.origin)
        pair = plan.edges @ edge
        pair = pair if of_pairs is None else torch.cat([pair, of_pairs.to(pair.dtype)], 1)
        h = self.embed_pair(pair)
        return h.index_add(0, plan.diagonal, node.to(h.dtype))

    def _head(
        self,
        of_nodes: Sequence[Tensor],
        batch: Tensor | None,
        num_graphs: int | None,
        motifs: Tensor | None = None,
    ) -> Tensor:
        """Features of nodes to the outputs of each graph."""
        pooled = self._pool(of_nodes, batch, num_graphs)
        pooled = self.dropout(self.norm(beside_pooled(pooled, motifs, self.graph_dim)))
        return self.out(self.dropout(self.act(self.hidden(pooled))))

    def _pool(
        self, of_nodes: Sequence[Tensor], batch: Tensor | None, num_graphs: int | None
    ) -> Tensor:
        x = torch.cat(list(of_nodes), 1)
        if isinstance(self.readout, SumAggregation):
            return sum_pool(x, batch, num_graphs)
        batch, num_graphs = graph_index(batch, num_graphs, x.size(0), x.device)
        return self.readout(x, batch, dim_size=num_graphs)

    def _check_plan(self, plan: EgoPlan) -> None:
        options = {
            "hops": plan.hops,
            "symmetric": plan.symmetric,
            "shared": plan.origin is None,
        }
        for name, value in options.items():
            if value != getattr(self, name):
                raise ValueError(
                    f"The plan has {name}={value}, but the model was built for "
                    f"{getattr(self, name)}: make it by model.plan(...), or change the data."
                )

    def _check(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None) -> None:
        if x.dim() != 2 or x.size(1) != self.in_channels:
            raise ValueError(
                f"x has shape {tuple(x.shape)}, expected [nodes, {self.in_channels}]: give every "
                "node that many features, or set in_channels of the model to those of x."
            )
        expected = (edge_index.size(1), self.edge_dim)
        shape = (edge_index.size(1), 0) if edge_attr is None else tuple(edge_attr.shape)
        if shape != expected:
            raise ValueError(
                f"edge_attr has shape {shape}, expected {expected}: give every edge edge_dim "
                f"features, or set edge_dim of the model, which is {self.edge_dim}, to {shape[-1]}."
            )


class IGN(SPEN):
    """SPEN whose one ego net is the whole graph: memory grows with the square of its nodes.

    Symmetry: invariant under relabelling of the nodes, exactly. Source: Maron et al., "Invariant
    and Equivariant Graph Networks" (ICLR 2019, arXiv 1812.09902).

    Args:
        in_channels, out_channels, options: see `SPEN`, all but `hops`.

    Example:
        >>> net = IGN(3, 2, channels=8, layers=2)
        >>> net(torch.randn(3, 3), torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])).shape
        torch.Size([1, 2])
    """

    def __init__(self, in_channels: int, out_channels: int, **options: Any) -> None:
        super().__init__(in_channels, out_channels, hops=None, **options)


def _node_features(h: dict[int, Tensor], contraction: Contraction, plan: EgoPlan) -> list[Tensor]:
    """[N, ...] rows and columns, diagonal, order 1 and order 0 of each node in its ego nets."""
    features = [part for part in (contraction.mean, contraction.node) if part is not None]
    return [*features, plan.nets.T.mean(h[0])] if 0 in h else features


def _of_pairs(
    pair_index: Tensor | None, pair_attr: Tensor | None, plan: EgoPlan, num_nodes: int
) -> Tensor | None:
    """[P, pair_dim] features of the pairs of the plan; of symmetric ones, the sum of both ways."""
    if pair_index is None or pair_attr is None:
        return None
    row, column = plan.source, plan.target
    if plan.origin is not None:
        row, column = (plan.origin.index_select(0, end) for end in (row, column))
    value = values_at(pair_index, pair_attr, row, column, num_nodes)
    if not plan.symmetric:
        return value
    back = values_at(pair_index, pair_attr, column, row, num_nodes)
    return value + back * (row != column)[:, None].to(back.dtype)


class _BatchNorm(BatchNorm):
    """Without a count of the batches, which a fixed momentum does not need."""

    def forward(self, x: Tensor) -> Tensor:
        norm = self.module
        if isinstance(norm, nn.SyncBatchNorm):  # over several devices
            return super().forward(x)
        state = norm.running_mean, norm.running_var, norm.weight, norm.bias
        # a single element is normalised by the running statistics
        training = self.training and x.size(0) > 1
        return batch_norm(x, *state, training, MOMENTUM, norm.eps)


def _norm(name: str, channels: int) -> nn.Module:
    if name == "batch":
        return _BatchNorm(channels, momentum=MOMENTUM, allow_single_element=True)
    return nn.LayerNorm(channels) if name == "layer" else nn.Identity()
