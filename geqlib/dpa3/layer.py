"""A layer of DPA3: updates of atoms, bonds and angles.

Source: Zhang et al., "A graph neural network for the era of large atomistic models" (arXiv
2506.01686). With features n_i of atoms, e_ij of bonds j -> i and a_ijk of angles between two bonds
at i, f = `SiLUT`, learnt vectors r (another one in each term), learnt matrices W, b, weights s_ij
of neighbours and s'_ij of bonds in angles (`Switch`):

    n_i   += r f(W n_i) + r f(W [sym(e, h)_i, sym(n, h)_i]) + r / M sum_j s_ij f(W [n_i, n_j, e_ij])
    e_ij  += r f(W [n_i, n_j, e_ij])
           + r f(W 1/sqrt(M') sum_k s'_ij s'_ik f(W [a_ijk, n_i, e_ik, e_ij]))
    a_ijk += r f(W [a_ijk, n_i, e_ik, e_ij])

    sym(x, h)_i = G^T G's first 4 columns,    G = 1/M sum_j s_ij h_ij x_ij^T,    h_ij = unit vectors
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn
from torch_geometric.nn.inits import reset

from geqlib.dpa3.functions import SiLUT

COLUMNS = 4  # of G^T G
GAIN = 1.68  # 1 / root mean square of f of standard normal numbers
RESIDUAL = float(torch.tensor(0.1))  # initial value of the vectors r, the same in any precision


@dataclass(frozen=True)
class LineGraph:
    """The geometry of a batch, which all layers share.

    Args:
        source, target: [E] atoms of the bonds.
        direction: [E, 3] unit vectors h.
        switch: [E, 1] weights s over M.
        edge: [S] the bonds that are in angles.
        first, second: [A] the two bonds of each angle, numbers in `edge`.
        angle_switch: [A, 1] products of two weights s' over sqrt(M').
    """

    source: Tensor
    target: Tensor
    direction: Tensor
    switch: Tensor
    edge: Tensor
    first: Tensor
    second: Tensor
    angle_switch: Tensor


class LineGraphLayer(nn.Module):
    """Updates of the features of atoms, bonds and angles: the formula at the head of this file.

    Symmetry: features are invariant under E(3), and permuted with the atoms.

    The last W of the second term of e has no bias, so that this term is 0 for bonds in no angle.

    Args:
        nodes, edges, angles: channels of each kind of features.
        compressed: channels of atoms and of bonds that take part in the two terms with angles, the
            first ones, and of the sum over k.
        update_angles: whether to update angles, too; not needed where no later layer uses them.
    """

    def __init__(
        self, nodes: int, edges: int, angles: int, compressed: int, *, update_angles: bool = True
    ) -> None:
        super().__init__()
        self.sizes, self.update_angles = (nodes, edges, angles, compressed), update_angles
        self.node = NodeUpdate(nodes, edges)
        self.pairs = PairProjection(nodes, edges, nodes + edges)
        out = compressed + angles if update_angles else compressed
        self.bends = AngleProjection(angles, compressed, out)
        self.mix = nn.Linear(compressed, edges, bias=False)
        self.act = SiLUT()
        widths = (edges, edges, angles) if update_angles else (edges, edges)
        self.scales = nn.ParameterList(nn.Parameter(torch.empty(n)) for n in widths)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for part in (self.node, self.pairs, self.bends):
            reset(part)
        by_fan_in([self.mix], self.mix.in_features)
        for scale in self.scales:
            nn.init.constant_(scale, RESIDUAL)

    def forward(
        self, n: Tensor, e: Tensor, a: Tensor, graph: LineGraph
    ) -> tuple[Tensor, Tensor, Tensor]:
        """From n [N, nodes], e [E, edges], a [A, angles] to the same."""
        nodes, edges, _, compressed = self.sizes
        pairs, direct = self.act(self.pairs(n, e, graph)).split([nodes, edges], 1)
        part = e[:, :compressed].index_select(0, graph.edge)
        bends = self.act(self.bends(n[:, :compressed], part, a, graph))
        messages = graph.angle_switch * bends[:, :compressed]
        total = sum_at(graph.first, messages, graph.edge.size(0))
        through_angles = self.scales[1] * self.act(self.mix(total))
        n = self.node(n, e, pairs, graph)
        e = (e + self.scales[0] * direct).index_add(0, graph.edge, through_angles)
        if self.update_angles:
            a = a + self.scales[2] * bends[:, compressed:]
        return n, e, a

    def __repr__(self) -> str:
        more = "" if self.update_angles else ", update_angles=False"
        return f"{type(self).__name__}({', '.join(map(str, self.sizes))}{more})"


class LastLayer(nn.Module):
    """The update of atoms alone: nothing uses bonds and angles after it.

    Symmetry: that of `LineGraphLayer`.

    Args:
        nodes, edges: channels.
    """

    def __init__(self, nodes: int, edges: int) -> None:
        super().__init__()
        self.sizes = nodes, edges
        self.node, self.pairs = NodeUpdate(nodes, edges), PairProjection(nodes, edges, nodes)
        self.act = SiLUT()

    def reset_parameters(self) -> None:
        for part in (self.node, self.pairs):
            reset(part)

    def forward(self, n: Tensor, e: Tensor, graph: LineGraph) -> Tensor:
        """From n [N, nodes] and e [E, edges] to [N, nodes]."""
        return self.node(n, e, self.act(self.pairs(n, e, graph)), graph)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(str, self.sizes))})"


class NodeUpdate(nn.Module):
    """The three terms of n, with the messages f(W [n_i, n_j, e_ij]) as an argument."""

    def __init__(self, nodes: int, edges: int) -> None:
        super().__init__()
        self.own = nn.Linear(nodes, nodes)
        self.symmetric = nn.Linear(COLUMNS * (edges + nodes), nodes)
        self.act = SiLUT()
        self.scales = nn.ParameterList(nn.Parameter(torch.empty(nodes)) for _ in range(3))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for layer in (self.own, self.symmetric):
            by_fan_in([layer], layer.in_features)
        for scale in self.scales:
            nn.init.constant_(scale, RESIDUAL)

    def forward(self, n: Tensor, e: Tensor, messages: Tensor, graph: LineGraph) -> Tensor:
        pairs = torch.cat([e, n.index_select(0, graph.source)], 1)
        density = direction_density(pairs, graph, n.size(0)).split([e.size(1), n.size(1)], 2)
        invariants = torch.cat([symmetrised(part) for part in density], 1)
        own, symmetric, near = self.scales
        return (
            n
            + own * self.act(self.own(n))
            + symmetric * self.act(self.symmetric(invariants))
            + near * sum_at(graph.target, graph.switch * messages, n.size(0))
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.own.in_features})"


def direction_density(x: Tensor, graph: LineGraph, num_nodes: int) -> Tensor:
    """G [N, 3, C], sums over bonds of their directions times values x [E, C] of bonds."""
    outer = (graph.switch * graph.direction).unsqueeze(2) * x.unsqueeze(1)
    return sum_at(graph.target, outer, num_nodes)


def symmetrised(g: Tensor) -> Tensor:
    """[N, 4 C] the first 4 columns of G^T G, row by row."""
    return (g.mT @ g[..., :COLUMNS]).flatten(1)


class PairProjection(nn.Module):
    """W [n_i, n_j, e_ij] + b for each bond, projected before it is broadcast.

    W n_i and W n_j are computed once for each atom, not once for each bond.
    """

    def __init__(self, nodes: int, edges: int, out: int) -> None:
        super().__init__()
        self.target = nn.Linear(nodes, out)
        self.source = nn.Linear(nodes, out, bias=False)
        self.edge = nn.Linear(edges, out, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        parts = [self.target, self.source, self.edge]
        by_fan_in(parts, sum(part.in_features for part in parts))

    def forward(self, n: Tensor, e: Tensor, graph: LineGraph) -> Tensor:
        here = self.target(n).index_select(0, graph.target)
        return self.edge(e) + here + self.source(n).index_select(0, graph.source)

    def __repr__(self) -> str:
        sizes = self.target.in_features, self.edge.in_features, self.edge.out_features
        return f"{type(self).__name__}{sizes}"


class AngleProjection(nn.Module):
    """W [a_ijk, n_i, e_ik, e_ij] + b for each angle, projected before it is broadcast."""

    def __init__(self, angles: int, compressed: int, out: int) -> None:
        super().__init__()
        self.angle = nn.Linear(angles, out)
        self.node, self.first, self.second = (
            nn.Linear(compressed, out, bias=False) for _ in range(3)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        parts = [self.angle, self.node, self.first, self.second]
        by_fan_in(parts, sum(part.in_features for part in parts))

    def forward(self, n: Tensor, e: Tensor, a: Tensor, graph: LineGraph) -> Tensor:
        """From n [N, compressed], e [S, compressed] of the bonds in angles, and a [A, angles]."""
        centre = graph.target.index_select(0, graph.edge)
        first = self.first(e) + self.node(n).index_select(0, centre)
        second = self.second(e).index_select(0, graph.second)
        return self.angle(a) + first.index_select(0, graph.first) + second

    def __repr__(self) -> str:
        sizes = self.angle.in_features, self.node.in_features, self.angle.out_features
        return f"{type(self).__name__}{sizes}"


def sum_at(index: Tensor, values: Tensor, size: int) -> Tensor:
    """Sums [size, ...] of the values at each index."""
    return values.new_zeros(size, *values.shape[1:]).index_add(0, index, values)


def by_fan_in(layers: list[nn.Linear], fan_in: int) -> None:
    """Draw weights of linear maps whose results are added, by the sum of their fan-ins."""
    for layer in layers:
        nn.init.normal_(layer.weight, std=GAIN / sqrt(fan_in))
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
