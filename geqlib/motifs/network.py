"""PPGN++: matrix products of pair features, with the polynomials that these do not reach."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import relu
from torch_geometric.nn.inits import reset

from geqlib.graph.checks import as_index
from geqlib.graph.pairs import PairPlan, pair_plan
from geqlib.graph.plan import Plan
from geqlib.motifs.homomorphisms import simple_graphs
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
        degree: int = 6,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"layers must be at least 1, got {layers}.")
        if not 1 <= degree <= MOST_DEGREE:
            raise ValueError(f"degree must be 1 to {MOST_DEGREE}, got {degree}.")
        self.in_channels, self.edge_dim, self.degree = in_channels, edge_dim, degree
        self.polynomials = sum(len(missing_polynomials(k)) for k in range(1, degree + 1))
        width = in_channels + edge_dim + 1 + self.polynomials
        self.blocks = nn.ModuleList(
            PPGNBlock((channels if k else width) + 1, channels) for k in range(layers)
        )
        self.hidden = nn.Linear(2 * channels, channels)
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
        if batch is None:
            batch, num_graphs = edge_index.new_zeros(num_nodes), 1
        pairs = pair_plan(num_nodes, batch, num_graphs, device=edge_index.device)
        values = edge_index.new_zeros(len(pairs.row), 0, dtype=torch.float64)
        if self.polynomials:
            graphs = simple_graphs(edge_index, num_nodes, batch, num_graphs)
            values = pair_polynomials(graphs, self.degree, pairs.row, pairs.column)
        return PPGNPlan(pairs, _normalised(values, pairs), self.degree)

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        edge_attr: Tensor | None = None,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
        plan: PPGNPlan | None = None,
    ) -> Tensor:
        """Run the network.

        Args:
            x: [N, in_channels].
            edge_index: [2, E], source and target.
            edge_attr: [E, edge_dim].
            batch: [N] graph of each node, and num_graphs: how many there are.
            plan: from `plan(...)`; computed here by default.

        Returns:
            [graphs, out_channels].
        """
        self._check(x, edge_index, edge_attr, plan)
        if plan is None:
            plan = self.plan(edge_index, len(x), batch, num_graphs)
        h = self._embed(x, as_index(edge_index), edge_attr, plan)
        identity = (plan.pairs.row == plan.pairs.column).to(x.dtype)[:, None]
        for block in self.blocks:
            h = block(torch.cat([h, identity.to(h.dtype)], 1), plan.pairs)
        return self.out(relu(self.hidden(plan.pairs.means(h))))

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
        if plan is not None and plan.degree != self.degree:
            raise ValueError(
                f"The plan has degree={plan.degree}, but the model was built for {self.degree}: "
                "make it by model.plan(...)."
            )


def _two_layers(in_channels: int, channels: int) -> nn.Sequential:
    layers = (nn.Linear(in_channels, channels), nn.ReLU(), nn.Linear(channels, channels), nn.ReLU())
    return nn.Sequential(*layers)


def _normalised(values: Tensor, pairs: PairPlan) -> Tensor:
    """Each pair's polynomials over their norm, then each polynomial over its norm in the graph."""
    values = values / values.norm(dim=1, keepdim=True).clamp(min=1)
    zero = values.new_zeros(pairs.num_graphs, values.size(1))
    square = zero.index_add(0, pairs.graph, values.square())
    return values / torch.where(square > 0, square, 1).sqrt()[pairs.graph]
