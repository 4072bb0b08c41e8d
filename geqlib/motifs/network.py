"""PPGN++: matrix products of pair features, with the polynomials that these do not reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import relu
from torch_geometric.nn.inits import reset

from geqlib.graph.checks import as_index
from geqlib.graph.pair_values import check_pairs
from geqlib.graph.pairs import PairPlan, pair_plan
from geqlib.graph.plan import Plan
from geqlib.graph.pool import beside_pooled
from geqlib.motifs.graphs import simple_graphs
from geqlib.motifs.polynomials import MOST_DEGREE, missing_polynomials, pair_polynomials


@dataclass(frozen=True)
class PPGNPlan(Plan):
    """What `PPGNpp` needs of a batch's structure.

    Args:
        pairs: all ordered pairs of nodes of each graph.
        polynomials: [P, K] normalised polynomials at them.
        degree: up to which they are.
    """

    pairs: PairPlan
    polynomials: Tensor
    degree: int


class PPGNBlock(nn.Module):
    """X <- relu(W [X, m1([X, X^T]) m2(X)]), where the product is that of matrices over the nodes.

    Symmetry: equivariant under permutations of the nodes, exactly.

    Args:
        in_channels, out_channels: features per pair.

    Example:
        >>> from geqlib.graph.pairs import pair_plan
        >>> PPGNBlock(3, 8)(torch.randn(9, 3), pair_plan(3)).shape
        torch.Size([9, 8])
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.left = _two_layers(2 * in_channels, out_channels)
        self.right = _two_layers(in_channels, out_channels)
        self.skip = nn.Linear(in_channels + out_channels, out_channels)

    def reset_parameters(self) -> None:
        for part in self.children():
            reset(part)

    def forward(self, x: Tensor, plan: PairPlan) -> Tensor:
        """[P, in_channels] to [P, out_channels]."""
        left = self.left(torch.cat([x, x.index_select(0, plan.transpose)], 1))
        product = plan.matmul(left, self.right(x))
        return relu(self.skip(torch.cat([x, product], 1)))

    def __repr__(self) -> str:
        return f"PPGNBlock({self.in_channels}, {self.out_channels})"


class PPGNpp(nn.Module):
    """PPGN++: a network on all pairs of nodes of a graph, as strong as folklore 2-WL or stronger.

    Features of pairs are the adjacency matrix, features of edges, features of nodes on the
    diagonal, and the equivariant polynomials up to `degree` that products of matrices do not reach
    (`geqlib.motifs.polynomials`): each pair's divided by their norm, then each one by its norm over
    the graph. Before every block the identity is appended; the read-out takes means over diagonal
    and other pairs. Time grows with the cube, memory with the square of the nodes of a graph;
    graphs are not padded, so that a compiled program is one for the sizes that occur in a batch.

    Symmetry: invariant under relabelling of the nodes, exactly. Source: Puny et al., "Equivariant
    Polynomials for Graph Neural Networks" (ICML 2023, arXiv 2302.11556); with degree below 5 it
    is the PPGN of Maron et al., "Provably Powerful Graph Networks" (NeurIPS 2019), with a transpose
    in m1.

    Args:
        in_channels: features per node; 0 for none.
        out_channels: outputs per graph, such as classes.
        channels: width.
        layers: number of blocks.
        edge_dim: features per edge.
        pair_dim: features of ordered pairs of nodes, such as the 28 orbit adjacencies.
        graph_dim: features per graph, `motifs`, such as counts of cliques, which join the read-out.
        degree: of the polynomials, up to 6; below 5 none is missing. They need simple undirected
            graphs.

    Raises:
        ValueError: options out of range; features or a plan that do not fit the model; directed
            graphs, loops or parallel edges with degree 5 or 6.

    Example:
        >>> net = PPGNpp(3, 2, channels=8, layers=2)
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
        edge_dim: int = 0,
        pair_dim: int = 0,
        graph_dim: int = 0,
        degree: int = 6,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"layers must be at least 1, got {layers}.")
        check_degree(degree)
        self.in_channels, self.edge_dim, self.degree = in_channels, edge_dim, degree
        self.pair_dim, self.graph_dim = pair_dim, graph_dim
        self.polynomials = sum(len(missing_polynomials(k)) for k in range(1, degree + 1))
        width = in_channels + edge_dim + 1 + pair_dim + self.polynomials
        self.blocks = nn.ModuleList(
            PPGNBlock((channels if k else width) + 1, channels) for k in range(layers)
        )
        self.hidden = nn.Linear(2 * channels + graph_dim, channels)
        self.out = nn.Linear(channels, out_channels)

    def reset_parameters(self) -> None:
        for part in self.children():
            reset(part)

    def plan(
        self,
        edge_index: Tensor,
        num_nodes: int,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
    ) -> PPGNPlan:
        """Pairs and polynomials of a batch."""
        return ppgn_plan(edge_index, num_nodes, batch, num_graphs, degree=self.degree)

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        edge_attr: Tensor | None = None,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
        plan: PPGNPlan | None = None,
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
            plan: from `plan(...)`; computed here by default.
            pair_index: [2, Q] ordered pairs of nodes of one graph, and pair_attr: [Q, pair_dim]; at
                other pairs these features are zero.
            motifs: [graphs, graph_dim].

        Returns:
            [graphs, out_channels].
        """
        self._check(x, edge_index, edge_attr, plan)
        check_pairs(pair_index, pair_attr, self.pair_dim, x.size(0))
        if plan is None:
            plan = self.plan(edge_index, len(x), batch, num_graphs)
        h = self._embed(x, as_index(edge_index), edge_attr, plan)
        if pair_index is not None and pair_attr is not None:
            ends, value = as_index(pair_index, "pair_index"), pair_attr.to(x.dtype)
            zero = x.new_zeros(h.size(0), self.pair_dim)
            h = torch.cat([h, zero.index_add(0, plan.pairs.pair(*ends), value)], 1)
        identity = (plan.pairs.row == plan.pairs.column).to(x.dtype)[:, None]
        for block in self.blocks:
            h = block(torch.cat([h, identity.to(h.dtype)], 1), plan.pairs)
        pooled = beside_pooled(plan.pairs.means(h), motifs, self.graph_dim)
        return self.out(relu(self.hidden(pooled)))

    def _embed(
        self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None, plan: PPGNPlan
    ) -> Tensor:
        """[P, width] adjacency, features of edges, of nodes on the diagonal, polynomials."""
        pairs = plan.pairs
        edge = x.new_ones(edge_index.size(1), 1)
        edge = edge if edge_attr is None else torch.cat([edge, edge_attr.to(x.dtype)], 1)
        of_edges = x.new_zeros(len(pairs.row), edge.size(1))
        of_edges = of_edges.index_add(0, pairs.pair(edge_index[0], edge_index[1]), edge)
        of_nodes = x.new_zeros(len(pairs.row), x.size(1)).index_add(0, pairs.diagonal, x)
        return torch.cat([of_edges, of_nodes, plan.polynomials.to(x.dtype)], 1)

    def _check(
        self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None, plan: PPGNPlan | None
    ) -> None:
        if x.dim() != 2 or x.size(1) != self.in_channels:
            raise ValueError(
                f"x has shape {tuple(x.shape)}, expected [nodes, {self.in_channels}]: give every "
                "node that many features."
            )
        expected = (edge_index.size(1), self.edge_dim)
        shape = (edge_index.size(1), 0) if edge_attr is None else tuple(edge_attr.shape)
        if shape != expected:
            raise ValueError(
                f"edge_attr has shape {shape}, expected {expected}: give every edge edge_dim "
                "features."
            )
        if plan is None:
            return
        if not isinstance(plan, PPGNPlan):
            raise ValueError(
                f"The plan is a {type(plan).__name__}, which belongs to another network: make it "
                "by model.plan(...), or give the data `degree` in place of `hops`."
            )
        if plan.degree != self.degree:
            raise ValueError(
                f"The plan has degree={plan.degree}, but the model was built for {self.degree}: "
                "make it by model.plan(...), or change the data."
            )


def check_degree(degree: int) -> None:
    """Refuse polynomials of a degree for which none are enumerated, by a ValueError."""
    if not 1 <= degree <= MOST_DEGREE:
        raise ValueError(f"degree must be 1 to {MOST_DEGREE}, got {degree}.")


def ppgn_plan(
    edge_index: Tensor,
    num_nodes: int,
    batch: Tensor | None = None,
    num_graphs: int | None = None,
    *,
    degree: int,
) -> PPGNPlan:
    """Pairs and polynomials of a batch.

    Args:
        edge_index: [2, E], from degree 5 on of simple undirected graphs.
        num_nodes: N.
        batch: [N] graph of each node, and num_graphs: how many there are.
        degree: of the polynomials, 1 to 6.

    Raises:
        ValueError: from degree 5 on, graphs that are directed or have loops or parallel edges,
            a cost that is too large, counts that are not below 2^53.

    Example:
        >>> ppgn_plan(torch.tensor([[0, 1], [1, 0]]), 2, degree=6).polynomials.shape
        torch.Size([4, 12])
    """
    if batch is None:
        batch, num_graphs = edge_index.new_zeros(num_nodes), 1
    pairs = pair_plan(num_nodes, batch, num_graphs, device=edge_index.device)
    values = edge_index.new_zeros(len(pairs.row), 0, dtype=torch.float64)
    if any(missing_polynomials(k) for k in range(1, degree + 1)):
        graphs = simple_graphs(edge_index, num_nodes, batch, num_graphs)
        values = pair_polynomials(graphs, degree, pairs.row, pairs.column)
    return PPGNPlan(pairs, _normalised(values, pairs), degree)


def listed_plan(
    polynomials: Sequence[Tensor],
    degree: int,
    num_nodes: int,
    batch: Tensor,
    num_graphs: int,
) -> PPGNPlan:
    """The plan of a batch from the polynomials of each of its graphs, which were computed before.

    Args:
        polynomials: of each graph [n * n, K], as of its own plan.
        degree: up to which they are.
        num_nodes, batch, num_graphs: of the batch.
    """
    pairs = pair_plan(num_nodes, batch, num_graphs)
    sizes = torch.tensor([len(values) for values in polynomials])
    values = [polynomials[k] for k in sizes.argsort(stable=True).tolist()]
    return PPGNPlan(pairs, torch.cat(values), degree)


def _two_layers(in_channels: int, channels: int) -> nn.Sequential:
    layers = (nn.Linear(in_channels, channels), nn.ReLU(), nn.Linear(channels, channels), nn.ReLU())
    return nn.Sequential(*layers)


def _normalised(values: Tensor, pairs: PairPlan) -> Tensor:
    """Each pair's polynomials over their norm, then each polynomial over its norm in the graph."""
    values = values / values.norm(dim=1, keepdim=True).clamp(min=1)
    zero = values.new_zeros(pairs.num_graphs, values.size(1))
    square = zero.index_add(0, pairs.graph, values.square())
    return values / torch.where(square > 0, square, 1).sqrt()[pairs.graph]
