"""Plans of kernels over edges: one kernel for each edge, or one for both of its directions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geqlib.graph.checks import as_index
from geqlib.graph.plan import Plan


@dataclass(frozen=True)
class EdgePlan(Plan):
    """On which edges kernels are evaluated, and which edges each kernel serves.

    A kernel that depends on an edge's offset r only through R_o^T r takes the same value on the
    reversed edge at the opposite orientation, so that one kernel can serve both directions.

    Args:
        edge: [R] the edge on which each kernel is evaluated.
        source, target: [R] its nodes.
        paired: the first `paired` kernels also serve the reversed edge, target -> source.
        num_nodes: nodes in the batch.

    Example:
        >>> from geqlib.graph import paired_plan
        >>> plan = paired_plan(torch.tensor([[0, 1], [1, 0]]), 2)
        >>> plan.paired  # one kernel, two edges
        1
        >>> [x.tolist() for x in plan.messages()]
        [[0, 0], [0, 1], [1, 0]]
    """

    edge: Tensor
    source: Tensor
    target: Tensor
    paired: int
    num_nodes: int

    def rounded(self) -> EdgePlan:
        """The same: its sizes are those of the edges, where these come in pairs."""
        return self

    def messages(self) -> tuple[Tensor, Tensor, Tensor]:
        """Kernel, source and target of every edge, [E] each.

        First each kernel's own edge, then the reversed edges of the first `paired` kernels. The
        order by target, for sums over contiguous segments, is a stable sort of the targets.
        """
        back = slice(0, self.paired)
        kernel = torch.arange(self.edge.size(0), device=self.edge.device)
        source = torch.cat([self.source, self.target[back]])
        target = torch.cat([self.target, self.source[back]])
        return torch.cat([kernel, kernel[back]]), source, target


torch.export.register_dataclass(EdgePlan)


def directed_plan(edge_index: Tensor, num_nodes: int) -> EdgePlan:
    """One kernel per edge: right for every graph, and for kernels without antipodal symmetry.

    Example:
        >>> directed_plan(torch.tensor([[0, 1], [1, 0]]), 2).edge.tolist()
        [0, 1]
    """
    edge_index = as_index(edge_index)
    edge = torch.arange(edge_index.size(1), device=edge_index.device)
    return EdgePlan(edge, edge_index[0], edge_index[1], 0, num_nodes)


def paired_plan(edge_index: Tensor, num_nodes: int, reverse: Tensor | None = None) -> EdgePlan:
    """One kernel for each pair of opposite edges, and one for each edge without an opposite.

    Made on the device of `edge_index`, with one host synchronisation, for the two sizes.

    Args:
        edge_index: [2, E] source and target.
        num_nodes: nodes in the batch.
        reverse: [E] index of each edge's reverse, or -1; by default `reverse_edges(edge_index)`.
            Give it where offsets are not differences of positions (periodic images), or where
            edge attributes differ by direction.

    Example:
        >>> plan = paired_plan(torch.tensor([[0, 1, 1], [1, 0, 2]]), 3)
        >>> plan.source.tolist(), plan.target.tolist(), plan.paired
        ([0, 1], [1, 2], 1)
    """
    edge_index = as_index(edge_index)
    order, sizes = pair_order(edge_index, num_nodes, reverse)
    paired, alone = sizes.tolist()
    edge = order[: paired + alone]
    source, target = edge_index.index_select(1, edge)
    return EdgePlan(edge, source, target, paired, num_nodes)


def pair_order(
    edge_index: Tensor, num_nodes: int, reverse: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Edges in the order of `paired_plan`, and how many are pairs and single, which it waits for.

    First come the first edges of pairs, then single ones, then those that a pair's first edge
    serves.

    Args:
        edge_index, num_nodes, reverse: see `paired_plan`.

    Returns:
        [E] and [2].
    """
    if reverse is None:
        reverse = reverse_edges(edge_index, num_nodes)
    reverse = as_index(reverse, "reverse")
    edge = torch.arange(edge_index.size(1), device=edge_index.device)
    first, single = edge < reverse, (reverse < 0) | (reverse == edge)
    order = torch.argsort(torch.where(first, 0, torch.where(single, 1, 2)), stable=True)
    return order, torch.stack([first.sum(), single.sum()])


def reverse_edges(edge_index: Tensor, num_nodes: int, edge_attr: Tensor | None = None) -> Tensor:
    """[E] index of each edge's reverse, -1 where the graph has none.

    Repeated edges are matched in their order; a loop is its own reverse. With `edge_attr` only
    edges with the same attributes count as each other's reverse. No host synchronisation.

    Example:
        >>> reverse_edges(torch.tensor([[0, 1, 1], [1, 0, 2]]), 3).tolist()
        [1, 0, -1]
    """
    source, target = as_index(edge_index)
    forward, backward = source * num_nodes + target, target * num_nodes + source
    if edge_attr is not None:
        kind = _ranks(edge_attr.flatten(1))
        pair = _ranks(torch.cat([forward, backward]).unsqueeze(1))
        forward, backward = (k + pair.size(0) * kind for k in pair.chunk(2))
    order_f, order_b = (torch.argsort(k, stable=True) for k in (forward, backward))
    keys, wanted = forward[order_f], backward[order_b]
    reverse = torch.full_like(source, -1)
    if len(keys) == 0:
        return reverse
    # the k-th copy of an edge is matched with the k-th copy of its reverse
    copy = torch.arange(len(keys), device=keys.device) - torch.searchsorted(wanted, wanted)
    position = torch.searchsorted(keys, wanted) + copy
    nearest = position.clamp(max=len(keys) - 1)
    match = (position < len(keys)) & (keys[nearest] == wanted)
    reverse[order_b] = torch.where(match, order_f[nearest], -1)
    return reverse


def _ranks(keys: Tensor) -> Tensor:
    """[n] a number for each row of keys [n, k], the same for equal rows: below n, from 0 on."""
    order = torch.arange(keys.size(0), device=keys.device)
    for column in reversed(keys.unbind(1)):
        order = order[torch.argsort(column[order], stable=True)]
    ordered = keys[order]
    new = torch.zeros_like(order)
    new[1:] = (ordered[1:] != ordered[:-1]).any(1)
    return torch.empty_like(order).scatter_(0, order, new.cumsum(0))
