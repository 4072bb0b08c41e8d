"""Index plan of a batch: the nodes and pairs of nodes that its ego nets contain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from geqlib.graph.checks import as_index
from geqlib.graph.plan import Plan
from geqlib.graph.segments import masked
from geqlib.spen.ego_nets import (
    Direction,
    Neighbourhood,
    Oversize,
    check_ends,
    check_range,
    counted_ego_nets,
)
from geqlib.spen.entries import Entries, Pairs, lines_matrix, owners_matrix, sorted_ends
from geqlib.spen.incidence import (
    Incidence,
    block_diagonal,
    from_zero,
    incidence,
    involution,
    one_per_row,
    pointers,
    shifted,
    take,
)


@dataclass(frozen=True)
class EgoPlan(Plan):
    """Which nodes and pairs of nodes each ego net contains: built once per batch by `ego_plan`.

    A *member* is a node in an ego net; members are sorted by ego net, then by node. A *pair* is an
    ordered pair of nodes that some ego net contains both; pairs are sorted by source, then target.
    An ego net of m nodes restricts features of pairs to a matrix of m x m *entries*, (member,
    member), whose rows and columns are its 2 m *lines*.

    In symmetric plans a pair and its transpose are one, with source <= target. Where ego nets do
    not share nodes and pairs, each has copies of its own: then "node" means such a copy.

    Args:
        node, ego: [S] node and ego net of each member.
        source, target: [P] nodes of each pair.
        diagonal: [N] index of the pair (i, i).
        count: [P] number of ego nets that contain each pair.
        edges: [P x E] pairs by the edges from source to target; of symmetric pairs, either way.
        members: [S x N] members by their nodes.
        nets: [G x N] ego nets by the nodes that they contain.
        owners: [S x (N + G)] members by their nodes and ego nets.
        lines: [2S x P]; line 2s has the pairs (s, t) for all t of the ego net of s, line 2s + 1 the
            pairs (t, s). In symmetric plans [S x P].
        transpose: [P x P] pairs by the pairs (target, source); None in symmetric plans.
        centre: [G] member in the centre, or None where ego nets have none.
        pairs_of_centre: [2S x P] or None; row 2s has the pair (centre, s), row 2s + 1 the pair
            (s, centre). In symmetric plans [S x P].
        origin: [N] node of the graph that each node is a copy of; None if nodes are shared.
        hops: k of the ego nets; None for whole graphs.

    Example:
        >>> from geqlib.spen.plan import ego_plan
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
    owners: Incidence
    lines: Incidence
    transpose: Incidence | None = None
    centre: Tensor | None = None
    pairs_of_centre: Incidence | None = None
    origin: Tensor | None = None
    hops: int | None = None

    @property
    def symmetric(self) -> bool:
        """Whether a pair and its transpose are one."""
        return self.transpose is None

    @property
    def size(self) -> Tensor:
        """[G] number of nodes of each ego net."""
        return self.nets.counts()

    @property
    def lengths(self) -> tuple[int, int, int]:
        """Number of features of order 0, 1 and 2: ego nets, nodes, pairs."""
        return self.nets.ptr.size(0) - 1, self.diagonal.size(0), self.source.size(0)

    @property
    def num_entries(self) -> int:
        """Sum of m^2 over all ego nets."""
        return self.lines.index.size(0) // (1 if self.symmetric else 2)

    def entries(self) -> tuple[Tensor, Tensor, Tensor]:
        """Row member, column member and pair of each entry, each [Q]; symmetric: row <= column.

        Example:
            >>> ego_plan(torch.tensor([[0], [1]]), 2).entries()
            (tensor([0, 0, 1, 1, 2]), tensor([0, 1, 0, 1, 2]), tensor([0, 1, 2, 3, 3]))
        """
        entries = Entries(self.nets.ptr, self.ego, self.num_entries)
        row, column = entries.row, entries.column
        at = torch.arange(self.num_entries, device=row.device)
        pair = take(self.lines.index, at if self.symmetric else at + take(entries.begin, row))
        if not self.symmetric:
            return row, column, pair
        upper = row <= column
        return row[upper], column[upper], pair[upper]

    def disjoint(self) -> EgoPlan:
        """The same ego nets, each with nodes and pairs of its own, without edges.

        Its nodes are the members, its pairs the entries of this plan, in the order of `entries`.
        """
        members, entries = self.node.size(0), self.num_entries
        own = build_plan(
            self.nets.ptr,
            torch.arange(members, device=self.node.device),
            members,
            centre=self.centre,
            symmetric=self.symmetric,
            num_entries=entries,
            num_pairs=(entries + members) // 2 if self.symmetric else entries,
        )
        origin = self.node if self.origin is None else self.origin[self.node]
        return replace(own, origin=origin, hops=self.hops)


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
    """One ego net per node: the nodes at most `hops` steps away, itself included.

    Args:
        edge_index: [2, E] source and target; repeated edges and loops do no harm.
        num_nodes: nodes in the batch.
        symmetric: whether a pair and its transpose are one, which halves memory and time: for
            graphs without directions.
        shared: whether ego nets share their nodes and pairs; otherwise each has copies.
        hops, direction, max_size, oversize, seed: see `geqlib.spen.ego_nets.Neighbourhood`.

    Raises:
        ValueError: if edges leave the graph, options are out of range or ego nets are too large:
            nothing is cut off unless `oversize` asks for it.

    Example:
        >>> plan = ego_plan(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), 3)
        >>> plan.size.tolist(), plan.node.tolist(), len(plan.source)
        ([2, 3, 2], [0, 1, 0, 1, 2, 1, 2], 9)
    """
    edge_index = _edge_pairs(edge_index)
    neighbourhood = Neighbourhood(hops, direction, max_size, oversize, seed)
    nets, pairs = counted_ego_nets(edge_index, num_nodes, neighbourhood)
    options = {"symmetric": symmetric, "shared": shared, "num_entries": pairs}
    return _listed_plan(*nets, edge_index, num_nodes, hops=hops, **options)


def listed_plan(
    ptr: Tensor,
    node: Tensor,
    edge_index: Tensor,
    num_nodes: int,
    *,
    hops: int,
    symmetric: bool = False,
    shared: bool = True,
) -> EgoPlan:
    """`ego_plan` of ego nets that are listed; the centre of the i-th is node i.

    Args:
        ptr, node: the ego net of i contains node[ptr[i]:ptr[i + 1]], ascending (see
            `geqlib.spen.ego_nets.ego_nets`).
        hops: k of the ego nets.
        edge_index, num_nodes, symmetric, shared: see `ego_plan`.
    """
    edge_index = _edge_pairs(edge_index)
    check_range(edge_index, num_nodes)
    options = {"symmetric": symmetric, "shared": shared}
    return _listed_plan(ptr, node, edge_index, num_nodes, hops=hops, **options)


def _listed_plan(
    ptr: Tensor,
    node: Tensor,
    edge_index: Tensor,
    num_nodes: int,
    *,
    hops: int,
    symmetric: bool,
    shared: bool,
    num_entries: int | None = None,
) -> EgoPlan:
    """Of edges that are known to be inside."""
    number = torch.arange(num_nodes, device=node.device)
    ego = number.repeat_interleave(ptr.diff(), output_size=node.size(0))
    centre = torch.searchsorted(ego * num_nodes + node, number * (num_nodes + 1))
    options = {"centre": centre, "symmetric": symmetric, "num_entries": num_entries}
    plan = replace(build_plan(ptr, node, num_nodes, edge_index, **options), hops=hops)
    if shared:
        return plan
    return replace(plan.disjoint(), edges=plan.edges.rows(plan.entries()[2]))


def graph_plan(
    edge_index: Tensor,
    num_nodes: int,
    batch: Tensor | None = None,
    num_graphs: int | None = None,
    *,
    symmetric: bool = False,
) -> EgoPlan:
    """One "ego net" per graph, which contains all of its nodes: for global layers.

    Args:
        edge_index: [2, E] source and target.
        num_nodes: nodes in the batch.
        batch: [N] graph of each node, ascending; None if all belong to one graph.
        num_graphs: needed with `batch`, which does not show empty graphs at the end.
        symmetric: see `ego_plan`.

    Raises:
        ValueError: if edges leave the graph, `batch` is not ascending or does not fit `num_graphs`.

    Example:
        >>> graph_plan(torch.tensor([[0], [1]]), 3, torch.tensor([0, 0, 1]), 2).size.tolist()
        [2, 1]
    """
    edge_index = _edge_pairs(edge_index)
    node = torch.arange(num_nodes, device=edge_index.device)
    batch = None if batch is None else as_index(batch, "batch")
    if batch is None:
        batch, num_graphs = torch.zeros_like(node), 1
    elif num_graphs is None:
        raise ValueError("batch is given without num_graphs: pass the number of graphs too.")
    ptr, entries, inside = _graph_sizes(edge_index, batch, num_graphs or 0)
    pairs = (entries + num_nodes) // 2 if symmetric else entries
    return build_plan(
        ptr,
        node,
        num_nodes,
        edge_index,
        symmetric=symmetric,
        num_entries=entries,
        num_pairs=pairs,
        num_inside=inside,
    )


def _graph_sizes(edge_index: Tensor, batch: Tensor, num_graphs: int) -> tuple[Tensor, int, int]:
    """Where the nodes of each graph begin, the sum of squared sizes, edges within a graph.

    The host waits once, for these and for what has to be checked.
    """
    nodes = batch.size(0)
    if nodes == 0:
        check_range(edge_index, nodes)
        return batch.new_zeros(num_graphs + 1), 0, 0
    # what is out of range is an error below, and no index until then
    number = batch.clamp(0, max(num_graphs - 1, 0))
    ptr = pointers(number, max(num_graphs, 1))
    ends = take(number, edge_index.clamp(0, nodes - 1).flatten()).view(2, -1)
    low, high = edge_index.aminmax() if edge_index.numel() else 2 * (batch.new_zeros(()),)
    falls, squares = (batch.diff() < 0).sum(), ptr.diff().square().sum()
    sums = (low, high, falls, batch[0], batch[-1], squares, (ends[0] == ends[1]).sum())
    low, high, falls, first, last, entries, inside = torch.stack(sums).tolist()
    check_ends(low, high, nodes)
    if falls:
        raise ValueError("batch is not ascending: sort the nodes by graph.")
    if not 0 <= first <= last < num_graphs:
        wrong = first if first < 0 else last
        raise ValueError(f"batch has graph {wrong}, but num_graphs is {num_graphs}.")
    return ptr, entries, inside


def join_plans(plans: Sequence[EgoPlan]) -> EgoPlan:
    """The plan of a batch from the plans of its graphs; equal to that made of the whole batch.

    Example:
        >>> one = ego_plan(torch.tensor([[0, 1], [1, 0]]), 2)
        >>> join_plans([one, one]).node.tolist()
        [0, 1, 0, 1, 2, 3, 2, 3]
    """
    if not plans:
        raise ValueError("There are no plans to join: give at least one.")
    if len({(p.hops, p.symmetric, p.origin is None) for p in plans}) > 1:
        raise ValueError("The plans have different options: make all of them with the same.")
    nodes = [p.diagonal.size(0) for p in plans]
    members = [p.node.size(0) for p in plans]
    centres = [p.centre for p in plans if p.centre is not None]
    origins = [p.origin for p in plans if p.origin is not None]
    whole = build_plan(
        from_zero(torch.cat([p.size for p in plans]).cumsum(0)),
        shifted([p.node for p in plans], nodes),
        sum(nodes),
        centre=shifted(centres, members) if centres else None,
        symmetric=plans[0].symmetric,
        num_entries=sum(p.num_entries for p in plans),
    )
    origin = shifted(origins, [p.size.size(0) for p in plans]) if origins else None
    edges = block_diagonal([p.edges for p in plans])
    return replace(whole, edges=edges, origin=origin, hops=plans[0].hops)


def build_plan(
    ptr: Tensor,
    node: Tensor,
    num_nodes: int,
    edge_index: Tensor | None = None,
    *,
    centre: Tensor | None = None,
    symmetric: bool = False,
    num_entries: int | None = None,
    num_pairs: int | None = None,
    num_inside: int | None = None,
) -> EgoPlan:
    """The plan of listed ego nets, on their device.

    The host waits for the number of entries, and once for that of pairs and of edges inside.

    Args:
        ptr, node: ego net g contains node[ptr[g]:ptr[g + 1]], ascending.
        num_nodes: nodes in the batch, each in at least one ego net.
        edge_index: [2, E]; None for a plan without edges.
        centre: [G] member in the centre of each ego net, if they have one.
        symmetric: whether a pair and its transpose are one.
        num_entries, num_pairs, num_inside: Q, P and the number of edges between nodes of a common
            ego net, where they are known.
    """
    size, member = ptr.diff(), torch.arange(node.size(0), device=node.device)
    number = torch.arange(size.size(0), device=node.device)
    ego = number.repeat_interleave(size, output_size=node.size(0))
    entries = Entries(ptr, ego, int(size.square().sum()) if num_entries is None else num_entries)
    row, column = entries.row, entries.column
    first, second = sorted_ends(take(node, row), take(node, column), symmetric)
    pairs = Pairs(first * num_nodes + second)
    at, inside = pairs.of_edges(edge_index, num_nodes, symmetric)
    num_inside = 0 if edge_index is None else num_inside
    counts: Any = num_pairs, num_inside
    if None in counts:
        counts = torch.stack([pairs.count(), inside.sum()]).tolist()
    pair, order, start, key = pairs.numbered(counts[0])
    source = key.div(max(num_nodes, 1), rounding_mode="floor")
    target = key - source * num_nodes
    mirror = pair if symmetric else take(pair, entries.at(column, row))
    centre_pairs = None
    if centre is not None:
        hub = take(centre, ego)
        here, back = (take(pair, entries.at(*ends)) for ends in ((hub, member), (member, hub)))
        both = here if symmetric else torch.stack([here, back], 1).flatten()
        centre_pairs = one_per_row(both, source.size(0))
    members = one_per_row(node, num_nodes)
    own = take(pair, entries.at(member, member))
    return EgoPlan(
        node=node,
        ego=ego,
        source=source,
        target=target,
        diagonal=node.new_zeros(num_nodes).scatter_(0, node, own),
        # an ego net shows a symmetric pair twice, above and below the diagonal
        count=start.diff() // (1 + (source != target).long()) if symmetric else start.diff(),
        edges=incidence(
            masked(at, inside, counts[1]), from_zero(inside.cumsum(0)), source.size(0)
        ).T,
        members=members,
        nets=Incidence(node, ptr, take(ego, members.back), members.start),
        owners=owners_matrix(node, ego, ptr, members),
        lines=lines_matrix(entries, pair, mirror, order, start, symmetric),
        transpose=None if symmetric else involution(take(mirror, take(order, start[:-1]))),
        centre=centre,
        pairs_of_centre=centre_pairs,
    )


def _edge_pairs(edge_index: Tensor) -> Tensor:
    edge_index = as_index(edge_index)
    if edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise ValueError(f"edge_index has shape {tuple(edge_index.shape)}: expected [2, edges].")
    return edge_index
