"""Smooth neighbourhoods: the nearest k of an atom, ranked at both ends, without jumps.

How much a neighbour counts is exp(-phi(x)) with phi(x) = x^2 / (1 - x^2). Its envelope x is the
smooth maximum of three numbers: its distance over the cutoff, and its soft ranks over k among the
neighbours of either end (Qu and Krishnapriyan, NeurIPS 2024, arXiv 2410.24169, and the code
released with it). With t(d) = d / softness + phi(d / cutoff), an edge a has among the edges b of a
node the soft rank

    rank_a = sigmoid(t_a) + sum_b sigmoid(t_a - t_b)

where the first term is the node itself. Released code has t(d) = d / softness and sums over all
atoms of a structure. By the term phi an edge b leaves this sum smoothly at the cutoff, so that
edges within the cutoff are all that is needed.

Each edge that is no longer adds at least 1/2 to a rank, so that at most 2k - 2 neighbours have
x < 1: the width of the table of neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from geqlib.graph.checks import as_index
from geqlib.graph.padding import rounded_up
from geqlib.graph.plan import Plan
from geqlib.graph.segments import segment_lengths
from geqlib.kernels.polar import length_and_direction

FLOOR = 1e-3  # of 1 - x^2: exp(-1000) is 0 in float64
FAR = 1e4  # t of an empty entry: it comes after every edge, by a rank of 0 to rounding
OUT = 2.0  # envelope of an empty entry
SOFTENING = 1e-3  # in the units of the positions


@dataclass(frozen=True)
class NeighborhoodPlan(Plan):
    """Edges of a graph in two tables [N, W], by the node where they arrive and where they start.

    Args:
        neighbor: [N, W] the source of each edge that arrives, 0 in the padding.
        edge: [N, W] its number, 0 in the padding.
        filled: [N, W] whether there is an edge.
        leaving: [N, W] where the edges that start at a node stand in the first table, n W + w.
        left: [N, W] whether there is such an edge.
        departure: [N, W] where the edges of the first table stand in the second, n W + w.
        nearest: [K] 0, 1, ..., K - 1: how many neighbours of each node are used at most.
    """

    neighbor: Tensor
    edge: Tensor
    filled: Tensor
    leaving: Tensor
    left: Tensor
    departure: Tensor
    nearest: Tensor

    def rounded(self) -> NeighborhoodPlan:
        """With further columns of padding, so that few widths occur."""
        width, nearest = self.neighbor.size(1), len(self.nearest)
        wanted = rounded_up(width)

        def widened(table: Tensor) -> Tensor:
            return pad(table, (0, wanted - width))

        def moved(places: Tensor) -> Tensor:
            return widened(places // max(width, 1) * wanted + places % max(width, 1))

        count = nearest if nearest < width else wanted
        return replace(
            self,
            neighbor=widened(self.neighbor),
            edge=widened(self.edge),
            filled=widened(self.filled),
            leaving=moved(self.leaving),
            left=widened(self.left),
            departure=moved(self.departure),
            nearest=torch.arange(count, device=self.nearest.device),
        )


torch.export.register_dataclass(NeighborhoodPlan)


@dataclass(frozen=True)
class Neighborhoods:
    """The neighbours of each atom in M slots, of which slot 0 is the atom itself.

    Args:
        neighbor: [N, M] the atom in each slot.
        log_weight: [N, M] -phi(x): 0 for the atom itself, -inf in empty slots.
        distance: [N, M] 0 for the atom itself.
        direction: [N, M, 3] from the atom to its neighbour; 0 for the atom itself.
    """

    neighbor: Tensor
    log_weight: Tensor
    distance: Tensor
    direction: Tensor

    def gather(self, x: Tensor) -> Tensor:
        """Values of atoms [N, C] for all slots, [N, M, C]."""
        return x.index_select(0, self.neighbor.flatten()).unflatten(0, self.neighbor.shape)


def neighborhood_plan(edge_index: Tensor, num_nodes: int, k: int) -> NeighborhoodPlan:
    """The tables of a graph, made on the device of `edge_index`, with one host synchronisation.

    Args:
        edge_index: [2, E] source and target.
        num_nodes: N.
        k: of the soft ranks.

    Example:
        >>> plan = neighborhood_plan(torch.tensor([[0, 1, 2], [1, 0, 1]]), 3, k=30)
        >>> plan.neighbor.tolist(), plan.filled.int().tolist()
        ([[1, 0], [0, 2], [0, 0]], [[1, 0], [1, 1], [0, 0]])
    """
    source, target = as_index(edge_index)
    width = 0
    if edge_index.size(1):
        degrees = torch.cat([segment_lengths(end, num_nodes) for end in (source, target)])
        width = int(degrees.amax())
    arrival, start = (_places(end, num_nodes, width) for end in (target, source))

    def table(places: Tensor, values: Tensor) -> Tensor:
        empty = values.new_zeros(num_nodes * width)
        return empty.index_copy(0, places, values).view(num_nodes, width)

    number = torch.arange(edge_index.size(1), device=edge_index.device)
    there = torch.ones_like(number, dtype=torch.bool)
    return NeighborhoodPlan(
        neighbor=table(arrival, source),
        edge=table(arrival, number),
        filled=table(arrival, there),
        leaving=table(start, arrival),
        left=table(start, there),
        departure=table(arrival, start),
        nearest=number.new_ones(min(width, most_neighbors(k))).cumsum(0) - 1,
    )


def most_neighbors(k: int) -> int:
    """How many neighbours of an atom can have an envelope below 1.

    Example:
        >>> most_neighbors(30)
        58
    """
    return 2 * k - 2


def departure(x: Tensor) -> Tensor:
    """phi(x) = x^2 / (1 - x^2), monotone and finite beyond 1, too.

    Example:
        >>> departure(torch.tensor([0.0, 0.6]))
        tensor([0.0000, 0.5625])
    """
    square = x * x
    return square / (1 - square).clamp(min=FLOOR)


def soft_rank(t: Tensor) -> Tensor:
    """[N, W] how many edges of its node are shorter than each edge, plus one for the node itself.

    Args:
        t: [N, W] distances in units of the softness; FAR where there is no edge.

    Example:
        >>> soft_rank(torch.tensor([[20.0, 40.0, 40.0]])).tolist()
        [[1.5, 3.0, 3.0]]
    """
    return torch.sigmoid(t.unsqueeze(2) - t.unsqueeze(1)).sum(2) + torch.sigmoid(t)


@dataclass(frozen=True)
class Envelope:
    """The envelope of edges.

    Args:
        cutoff: distance at which neighbours vanish.
        k: rank at which they vanish, at least 2.
        softness: difference of distances over which ranks change, in the same units.
        temperature: of the smooth maximum.
    """

    cutoff: float
    k: int
    softness: float
    temperature: float

    def __call__(self, distance: Tensor, plan: NeighborhoodPlan) -> Tensor:
        """x [N, W] of the edges that arrive, by their distances [N, W]; OUT in the padding."""
        t = distance / self.softness + departure(distance / self.cutoff)
        among_arriving = soft_rank(torch.where(plan.filled, t, FAR))
        leaving = t.flatten().index_select(0, plan.leaving.flatten()).view_as(t)
        among_leaving = soft_rank(torch.where(plan.left, leaving, FAR)).flatten()
        among_leaving = among_leaving.index_select(0, plan.departure.flatten()).view_as(t)
        parts = torch.stack(
            [among_arriving / self.k, among_leaving / self.k, distance / self.cutoff]
        )
        x = torch.logsumexp(parts / self.temperature, 0) * self.temperature
        return torch.where(plan.filled, x, OUT)


def neighborhoods(
    pos: Tensor,
    plan: NeighborhoodPlan,
    envelope: Envelope,
    edge_shift: Tensor | None = None,
    *,
    trimmed: bool = False,
) -> Neighborhoods:
    """The atom itself, then its neighbours of nonzero weight by ascending envelope.

    Args:
        pos: [N, 3].
        plan: of the graph.
        envelope: its function.
        edge_shift: [E, 3] added to pos[source] - pos[target].
        trimmed: whether there are only the slots that the fullest neighbourhood needs, for which
            the host waits, in place of the most that k allows: the same results for less work.
    """
    near = pos.index_select(0, plan.neighbor.flatten()).unflatten(0, plan.neighbor.shape)
    offset = near - pos.unsqueeze(1)
    if edge_shift is not None:
        shift = edge_shift.index_select(0, plan.edge.flatten())
        offset = offset + shift.unflatten(0, plan.edge.shape)
    distance, direction = length_and_direction(offset.flatten(0, 1), SOFTENING)
    distance = distance.unflatten(0, plan.edge.shape)
    x = envelope(distance, plan)
    nearest = plan.nearest
    if trimmed and x.numel():
        nearest = nearest[: int((x.detach() < 1).sum(1).amax())]
    order = torch.argsort(x.detach(), 1).index_select(1, nearest)
    x, distance = x.gather(1, order), distance.gather(1, order)
    direction = direction.unflatten(0, plan.edge.shape)
    direction = direction.gather(1, order.unsqueeze(2).expand(-1, -1, 3))
    own = torch.arange(pos.size(0), device=pos.device).unsqueeze(1)
    return Neighborhoods(
        torch.cat([own, plan.neighbor.gather(1, order)], 1),
        pad(torch.where(x < 1, -departure(x), -torch.inf), (1, 0)),
        pad(distance, (1, 0)),
        pad(direction, (0, 0, 1, 0)),
    )


def _places(index: Tensor, num_nodes: int, width: int) -> Tensor:
    """[E] where each edge stands in a table [N, W] of the edges of each node, n W + w."""
    count = segment_lengths(index, num_nodes)
    order = torch.argsort(index, stable=True)
    node = index[order]
    before = torch.arange(len(index), device=index.device) - (count.cumsum(0) - count)[node]
    return torch.empty_like(index).index_copy(0, order, node * width + before)
