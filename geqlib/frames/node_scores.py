"""Scores of the nodes of a graph, by which soft orders sort them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.nn.inits import reset
from torch_geometric.nn.models import GIN

from geqlib.graph.pairs import PairPlan, pair_plan
from geqlib.graph.pool import graph_index


class WalkScores(nn.Module):
    """A score for each node, by GIN on features and closed walks.

    Symmetry: relabelling of nodes. Nodes that a symmetry of the graph exchanges have equal scores,
    and so have graphs of equal walks and neighbourhoods.

    Source: probabilities of return of random walks, as in Dwivedi et al., "Graph neural networks
    with learnable structural and positional representations" (ICLR 2022, arXiv 2110.07875), in GIN
    of Xu et al. (ICLR 2019). With the walk W = D^-1 A,

        k = GIN([x_i, (W^1)_ii, ..., (W^steps)_ii]).

    Args:
        in_channels: features per node.
        steps: length of the longest walk.
        channels: width of GIN.
        layers: its convolutions.

    Shapes:
        x [N, in_channels], edge_index [2, E], output [N, 1].

    Raises:
        ValueError: no step.

    Example:
        >>> path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> scores = WalkScores(1)(torch.ones(3, 1), path)
        >>> torch.equal(scores[0], scores[2]), torch.equal(scores[0], scores[1])
        (True, False)
    """

    def __init__(
        self, in_channels: int, *, steps: int = 8, channels: int = 32, layers: int = 2
    ) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}.")
        self.steps = steps
        self.network = GIN(in_channels + steps, channels, layers, 1, act="silu")

    def reset_parameters(self) -> None:
        reset(self.network)

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
        pairs: PairPlan | None = None,
    ) -> Tensor:
        batch, num_graphs = graph_index(batch, num_graphs, x.size(0), x.device)
        if pairs is None:
            pairs = pair_plan(x.size(0), batch, num_graphs)
        walks = return_probabilities(edge_index, self.steps, pairs)
        return self.network(torch.cat([x, walks.to(x.dtype)], 1), edge_index)


def return_probabilities(edge_index: Tensor, steps: int, pairs: PairPlan) -> Tensor:
    """[N, steps] probability that a random walk of 1, 2, ..., `steps` steps ends where it began.

    In float64, so that equal ones of isomorphic graphs differ by its rounding alone. Nodes without
    edges have 0.

    Example:
        >>> path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> return_probabilities(path, 2, pair_plan(3))[:, 1].tolist()
        [0.5, 1.0, 0.5]
    """
    source, target = edge_index
    ones = torch.ones(edge_index.size(1), dtype=torch.float64, device=edge_index.device)
    degree = ones.new_zeros(len(pairs.first)).index_add(0, source, ones)
    step = ones.new_zeros(len(pairs.row)).index_add(0, pairs.pair(source, target), ones)
    step = (step / degree.clamp(min=1)[pairs.row])[:, None]
    walk, probabilities = step, []
    for _ in range(steps):
        probabilities.append(walk[pairs.diagonal])
        walk = pairs.matmul(walk, step)
    return torch.cat(probabilities, 1)
