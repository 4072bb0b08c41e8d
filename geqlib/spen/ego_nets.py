"""Ego nets of a batch and the pairs of nodes in them, as index tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geqlib.spen.ego_index import ego_index, involution, relations
from geqlib.spen.incidence import Incidence, block_diagonal, shifted
from geqlib.spen.reach import Direction, Oversize, Reach, ego_nets


@dataclass(frozen=True)
class EgoPlan:
    """Which nodes and pairs each ego net holds: built once a batch by `ego_plan`.

    A *slot* is a node in an ego net; slots are sorted by ego net, then by node. A *pair* is an
    ordered pair of nodes that some ego net holds both; pairs are sorted by source, then target.
    An ego net of m nodes has m slots and m^2 *places*, (slot, slot), each of which shows a pair.

    Of symmetric plans a pair and its transpose are one, with source <= target. Where ego nets do
    not share nodes and pairs, each has copies of its own: then "node" means such a copy.

    Args:
        node, ego: [S] node and ego net of each slot.
        source, target: [P] nodes of each pair.
        diagonal: [N] number of the pair (i, i).
        count: [P] how many ego nets hold each pair.
        edges: [P x E] pairs by the edges from source to target; of symmetric pairs, either way.
        members: [S x N] slots by their nodes.
        nets: [G x N] ego nets by the nodes that they hold.
        sizes: [U] the different sizes of ego nets, ascending.
        alike: [G x U] ego nets by their sizes.
        parents: [S x (N + G)] slots by their nodes and ego nets.
        places: [2S x P]; row 2s has the pairs (s, t) for all t of the ego net of s, row 2s + 1 has
            the pairs (t, s). Of symmetric plans [S x P].
        transpose: [P x P] pairs by the pairs (target, source); None in symmetric plans.
        centre: [G] slot of the centre, or None where ego nets have none.
        spokes: [2S x P] or None; row 2s has the pair (centre, s), row 2s + 1 the pair (s, centre).
            Of symmetric plans [S x P].
        origin: [N] node of the graph that each node is a copy of; None if nodes are shared.
        hops: how far ego nets go; None for whole graphs.

    Example:
        >>> from geqlib.graph import ego_plan
        >>> plan = ego_plan(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), 3)  # a path
        >>> plan.size.tolist(), plan.node.tolist()
        ([2, 3, 2], [0, 1, 0, 1, 2, 1, 2])
    """

    node: Tensor
    ego: Tensor
    source: Tensor
    target: Tensor
    diagonal: Tensor
    count: Tensor
    edges: Incidence
    members: Incidence
    nets: Incidence
    sizes: Tensor
    alike: Incidence
    parents: Incidence
    places: Incidence
    transpose: Incidence | None = None
    centre: Tensor | None = None
    spokes: Incidence | None = None
    origin: Tensor | None = None
    hops: int | None = None

    @property
    def symmetric(self) -> bool:
        """Whether a pair and its transpose are one."""
        return self.transpose is None

    @property
    def size(self) -> Tensor:
        """[G] nodes of each ego net."""
        return self.nets.counts()

    @property
    def slots(self) -> Incidence:
        """[G x S] ego nets by their slots."""
        alone = self.members.ptr
        return Incidence(alone[:-1], self.nets.ptr, self.ego, alone)

    def grid(self) -> tuple[Tensor, Tensor, Tensor]:
        """Row slot, column slot and pair of each place, each [Q]; of symmetric ones row <= column.

        Example:
            >>> ego_plan(torch.tensor([[0], [1]]), 2).grid()
            (tensor([0, 0, 1, 1, 2]), tensor([0, 1, 0, 1, 2]), tensor([0, 1, 2, 3, 3]))
        """
        sides = 1 if self.symmetric else 2
        slot = torch.arange(self.node.size(0), device=self.node.device)
        total = self.places.index.size(0) // sides
        row = slot.repeat_interleave(self.size[self.ego], output_size=total)
        begin = self.places.ptr[::sides] // sides
        step = torch.arange(total, device=row.device) - begin[row]
        column = step + self.nets.ptr[self.ego[row]]
        pair = self.places.index[self.places.ptr[sides * row] + step]
        if not self.symmetric:
            return row, column, pair
        kept = row <= column
        return row[kept], column[kept], pair[kept]

    def to(self, *args: Any, **kwargs: Any) -> EgoPlan:
        """The same plan on another device."""
        moved = {
            f.name: value.to(*args, **kwargs)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor | Incidence)
        }
        return replace(self, **moved)


torch.export.register_dataclass(EgoPlan)


def ego_plan(
    edge_index: Tensor,
    num_nodes: int,
    *,
    hops: int = 1,
    symmetric: bool = False,
    shared: bool = True,
    direction: Direction = "out",
    max_size: int | None = None,
    oversize: Oversize = "raise",
    seed: int = 0,
) -> EgoPlan:
    """One ego net for each node: the nodes at most `hops` steps away, itself included.

    Args:
        edge_index: [2, E] source and target; repeats and loops do no harm.
        num_nodes: nodes in the batch.
        symmetric: whether a pair and its transpose are one, which halves memory and time: for
            graphs without directions.
        shared: whether ego nets share their nodes and pairs; otherwise each has copies.
        hops, direction, max_size, oversize, seed: see `geqlib.graph.Reach`.

    Raises:
        ValueError: if edges leave the graph, options are out of range or ego nets are too large:
            nothing is cut off unless `oversize` asks for it.

    Example:
        >>> plan = ego_plan(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), 3)
        >>> plan.size.tolist(), plan.node.tolist(), len(plan.source)
        ([2, 3, 2], [0, 1, 0, 1, 2, 1, 2], 9)
    """
    edges = _checked(edge_index, num_nodes)
    ptr, node = ego_nets(edges, num_nodes, Reach(hops, direction, max_size, oversize, seed))
    options = {"symmetric": symmetric, "shared": shared}
    return listed_plan(ptr, node, edge_index, num_nodes, hops=hops, **options)


def listed_plan(
    ptr: np.ndarray,
    node: np.ndarray,
    edge_index: Tensor,
    num_nodes: int,
    *,
    hops: int,
    symmetric: bool = False,
    shared: bool = True,
) -> EgoPlan:
    """`ego_plan` of ego nets that are known: node i is the centre of the i-th.

    Args:
        ptr, node: the ego net of i holds node[ptr[i]:ptr[i + 1]], ascending (see
            `geqlib.spen.reach.ego_nets`).
        hops: how far they go.
        edge_index, num_nodes, symmetric, shared: see `ego_plan`.
    """
    edges = _checked(edge_index, num_nodes)
    options = {"symmetric": symmetric, "shared": shared}
    index = ego_index(ptr, node, num_nodes, edges, np.arange(num_nodes), **options)
    return EgoPlan(**index, hops=hops).to(edge_index.device)


def graph_plan(
    edge_index: Tensor,
    num_nodes: int,
    batch: Tensor | None = None,
    num_graphs: int | None = None,
    *,
    symmetric: bool = False,
) -> EgoPlan:
    """One "ego net" for each graph, which holds all of its nodes: for global layers.

    Args:
        edge_index: [2, E] source and target.
        num_nodes: nodes in the batch.
        batch: [N] graph of each node, ascending; None if all belong to one graph.
        num_graphs: needed with `batch`, because empty graphs leave no trace in it.
        symmetric: see `ego_plan`.

    Example:
        >>> graph_plan(torch.tensor([[0], [1]]), 3, torch.tensor([0, 0, 1]), 2).size.tolist()
        [2, 1]
    """
    edges = _checked(edge_index, num_nodes)
    if batch is None:
        count = np.array([num_nodes])
    elif num_graphs is None:
        raise ValueError("batch is given without num_graphs: pass the number of graphs too.")
    elif bool((batch.diff() < 0).any()):
        raise ValueError("batch falls somewhere: sort the nodes by graph.")
    else:
        count = np.bincount(batch.cpu().numpy(), minlength=num_graphs)
    ptr = np.concatenate([[0], count.cumsum()])
    index = ego_index(ptr, np.arange(num_nodes), num_nodes, edges, symmetric=symmetric)
    return EgoPlan(**index).to(edge_index.device)


def join_plans(plans: Sequence[EgoPlan]) -> EgoPlan:
    """The plan of a batch from the plans of its graphs; equal to that made of the whole batch.

    Example:
        >>> one = ego_plan(torch.tensor([[0, 1], [1, 0]]), 2)
        >>> join_plans([one, one]).node.tolist()
        [0, 1, 0, 1, 2, 3, 2, 3]
    """
    if not plans:
        raise ValueError("There are no plans to join: give at least one.")
    kinds = {(p.hops, p.symmetric, p.origin is None) for p in plans}
    if len(kinds) > 1:
        raise ValueError("The plans have different options: make them all alike.")
    joined: dict[str, Any] = {"count": torch.cat([p.count for p in plans])}
    for counted, names in _NUMBERS.items():
        counts = [len(getattr(p, counted)) for p in plans]
        for name in names:
            parts = [getattr(p, name) for p in plans]
            if parts[0] is not None:
                joined[name] = shifted(parts, counts)
    for name in ("edges", "members", "places", "spokes"):
        parts = [getattr(p, name) for p in plans]
        if parts[0] is not None:
            joined[name] = block_diagonal(parts)
    if not plans[0].symmetric:
        order = [p.transpose.index for p in plans if p.transpose is not None]
        joined["transpose"] = involution(shifted(order, [len(p.source) for p in plans]))
    sizes = torch.cat([p.size for p in plans])
    ptr = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    slots = relations(joined["node"], joined["ego"], ptr, joined["members"])
    return EgoPlan(**joined, **slots, hops=plans[0].hops)


# what tensors hold the numbers of, by a tensor that has one entry for each of them
_NUMBERS = {
    "diagonal": ("node", "source", "target"),
    "size": ("ego", "origin"),
    "node": ("centre",),
    "source": ("diagonal",),
}


def _checked(edge_index: Tensor, num_nodes: int) -> np.ndarray:
    if edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise ValueError(f"edge_index has shape {tuple(edge_index.shape)}: expected [2, edges].")
    edges = edge_index.detach().cpu().numpy().astype(np.int64, copy=False)
    if edges.size and not 0 <= edges.min() <= edges.max() < num_nodes:
        raise ValueError(
            f"edge_index goes from {edges.min()} to {edges.max()}, but there are {num_nodes} "
            "nodes: count them from 0, and pass num_nodes."
        )
    return edges
