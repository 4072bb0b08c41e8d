"""PONITA on the directed edges of a graph: every edge is a point with a direction of its own.

Source: Bekkers et al., "Fast, expressive SE(n) equivariant networks through weight-sharing in
position-orientation space" (ICLR 2024, arXiv 2310.02970), point clouds in position-orientation
space (their QM9 table). The edge s -> t becomes the element (p_t, o) with o = (p_s - p_t) /
|p_s - p_t|; kernels see all attributes of a pair of elements,

    y[e] = sum over elements e' near e of k(o.r, |r_perp|, o.o') x[e'],    r = p_t(e') - p_t(e),

and what an atom is given is the mean over the elements at it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from geqlib.graph.checks import as_index
from geqlib.graph.edges import EdgePlan, unchecked_plan
from geqlib.graph.plan import Plan
from geqlib.graph.pool import sum_pool
from geqlib.graph.segments import (
    masked,
    ragged_ranges,
    segment_index,
    segment_lengths,
    segment_ptr,
)
from geqlib.kernels.offsets import offsets
from geqlib.ponita.network import PONITA

SHORTEST = 1e-24  # squared length below which an edge has no direction


@dataclass(frozen=True)
class LiftedEdges(Plan):
    """Which elements are near which.

    Args:
        elements: pairs of two elements, which are edges of the graph, as edges of a graph of them.
        pair: [L] the edge between their points, E and more where there is none.

    Example:
        >>> plan = lifted_edges(torch.tensor([[0, 1], [1, 0]]), 2)
        >>> plan.elements.source.tolist(), plan.elements.target.tolist(), plan.pair.tolist()
        ([1, 0], [0, 1], [0, 1])
    """

    elements: EdgePlan
    pair: Tensor


torch.export.register_dataclass(LiftedEdges)


def lifted_edges(
    edge_index: Tensor, num_nodes: int, batch: Tensor | None = None, *, complete: bool = False
) -> LiftedEdges:
    """Pairs of elements at the same point, and at the two ends of each edge.

    Made by torch operations on the device of `edge_index`, with one host synchronisation for sizes.

    Args:
        edge_index: [2, E], source and target, without self-loops.
        num_nodes: N.
        batch: [N] graph of each node, in order; one graph by default.
        complete: whether all elements of a graph are near each other instead.
    """
    edge_index = as_index(edge_index)
    count = segment_lengths(edge_index[1], num_nodes)
    order, ptr = torch.argsort(edge_index[1], stable=True), segment_ptr(count)
    nodes = torch.arange(num_nodes, device=edge_index.device)
    if complete:
        first, second, total = _all_pairs(count, nodes, batch)
    else:
        first, second = (torch.cat([end, nodes]) for end in edge_index)  # ends of edges, nodes
        total = int((count[first] * count[second]).sum())
    each = count[first] * count[second]
    pair = segment_index(each, total)
    local = ragged_ranges(0, each, total)
    width = count[second[pair]]
    source = order[ptr[first[pair]] + local // width]
    target = order[ptr[second[pair]] + local % width]
    others = source != target  # an element meets itself in the layer
    if not complete:
        others = others | (pair < edge_index.size(1))  # but for its image in a crystal
    chosen = total - edge_index.size(1)  # every element met itself once
    source, target, pair = (masked(values, others, chosen) for values in (source, target, pair))
    return LiftedEdges(unchecked_plan(source, target, edge_index.size(1)), pair)


def _all_pairs(count: Tensor, nodes: Tensor, batch: Tensor | None) -> tuple[Tensor, Tensor, int]:
    """All ordered pairs of nodes of the same graph, and of elements how many."""
    graph = torch.zeros_like(nodes)
    if batch is not None:  # numbered without gaps, so that no number exceeds that of the nodes
        graph[1:] = (as_index(batch, "batch").diff() != 0).cumsum(0)
    size = segment_lengths(graph, nodes.size(0))
    elements = torch.zeros_like(size).scatter_add_(0, graph, count)
    pairs, total = torch.stack([size.square().sum(), elements.square().sum()]).tolist()
    others = size[graph]
    second = segment_index(others, pairs)
    return segment_ptr(size)[graph[second]] + ragged_ranges(0, others, pairs), second, total


class EdgePONITA(nn.Module):
    """Scalars and vectors on points, to scalars and vectors on points or graphs, through edges.

    Symmetry: relabelling, translations, rotations and reflections, exactly (rotations alone with
    `chiral`): the directions are those of the edges, no grid. A point without incoming edges has
    no element: its outputs are 0. An edge of length 0 has no direction, and sees distances alone.

    The graph itself is the input: outputs jump where a neighbour comes or goes, so that this is no
    network for energies whose forces are wanted.

    Time and memory grow with the number of pairs of elements, the sum over edges of the products
    of the numbers of neighbours of its two ends: for bonds, not for all pairs of atoms.

    Args:
        in_scalars, in_vectors: input channels of each kind, of points; vectors enter as v.o.
        out_scalars, out_vectors: output channels of each kind.
        level: "node", or "graph" for sums over the nodes of each graph.
        complete: whether each element sees all others of its graph, as published for QM9, and not
            only those at its point and at its neighbours.
        options: further ones of `PONITA`: channels, layers, basis, cutoff, readouts, ...

    Raises:
        ValueError: if an option is wrong, or one that edges do not have.

    Example:
        >>> net = EdgePONITA(1, 0, 1, 0, channels=16, layers=2, level="graph")
        >>> edge_index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> net(torch.randn(3, 3), edge_index, x=torch.ones(3, 1))[0].shape
        torch.Size([1, 1])
    """

    def __init__(
        self,
        in_scalars: int,
        in_vectors: int,
        out_scalars: int,
        out_vectors: int,
        *,
        level: Literal["node", "graph"] = "node",
        complete: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        if level not in ("node", "graph"):
            raise ValueError(f'level must be "node" or "graph", got {level!r}.')
        for name in ("orientations", "edge_dim"):
            if options.get(name):  # a configuration may name the default
                raise ValueError(f"EdgePONITA has no {name}: leave it out, or take PONITA.")
        if options.get("space", "R3xS2") not in ("R2xS1", "R3xS2"):
            raise ValueError(
                f"Edges have directions: space must be R2xS1 or R3xS2, got {options['space']!r}."
            )
        self.in_scalars, self.level, self.complete = in_scalars, level, complete
        self.network = PONITA(
            in_scalars, in_vectors, out_scalars, out_vectors, orientations=None, **options
        )

    def reset_parameters(self) -> None:
        self.network.reset_parameters()

    def plan(self, edge_index: Tensor, num_nodes: int, batch: Tensor | None = None) -> LiftedEdges:
        """Which edges see which: see `lifted_edges`."""
        return lifted_edges(edge_index, num_nodes, batch, complete=self.complete)

    def forward(
        self,
        pos: Tensor,
        edge_index: Tensor,
        x: Tensor | None = None,
        vec: Tensor | None = None,
        edge_shift: Tensor | None = None,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
        plan: LiftedEdges | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run the network.

        Args:
            pos: [N, d] positions.
            edge_index: [2, E], source and target, without self-loops.
            x: [N, in_scalars].
            vec: [N, in_vectors, d].
            edge_shift: [E, d] added to pos[source] - pos[target], for periodic images.
            batch: [N] graph of each node, and num_graphs: how many there are.
            plan: made before, by `plan(...)`: needed for compile and export.

        Returns:
            Scalars [N or graphs, out_scalars] and vectors [N or graphs, out_vectors, d].
        """
        if self.complete and edge_shift is not None:
            raise ValueError("complete=True has no periodic images: leave it out for crystals.")
        if plan is None:
            plan = self.plan(edge_index, pos.size(0), batch)
        source, target = as_index(edge_index)
        offset = offsets(pos, source, target)
        shift = None
        if edge_shift is not None:
            offset = offset + edge_shift
            own = edge_shift.new_zeros(pos.size(0), edge_shift.size(1))
            shift = torch.cat([edge_shift, own]).index_select(0, plan.pair)
        scalars, vectors = self.network(
            pos.index_select(0, target),
            torch.stack([plan.elements.source, plan.elements.target]),
            x=None if x is None else x.index_select(0, target),
            vec=None if vec is None else vec.index_select(0, target),
            edge_shift=shift,
            ori=directions(offset),
            plan=plan.elements,
        )
        s, v = (mean_at(out, target, pos.size(0)) for out in (scalars, vectors))
        if self.level == "node":
            return s, v
        return sum_pool(s, batch, num_graphs), sum_pool(v, batch, num_graphs)


def directions(offset: Tensor) -> Tensor:
    """Unit vectors; 0, with derivative 0, where the offset is."""
    square = (offset * offset).sum(-1, keepdim=True)
    inverse = square.clamp(min=SHORTEST).rsqrt()
    return offset * torch.where(square > SHORTEST, inverse, torch.zeros_like(inverse))


def mean_at(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Means [size, ...] of the values at each index; 0 where there are none."""
    total = values.new_zeros(size, *values.shape[1:]).index_add(0, index, values)
    count = values.new_zeros(size).index_add(0, index, values.new_ones(index.size(0)))
    return total / count.clamp(min=1).view(-1, *[1] * (values.dim() - 1))
