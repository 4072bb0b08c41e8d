"""Plans of kernels over edges: one kernel for each edge, or one for both of its directions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from geqlib.graph.checks import as_edges, as_index, values_readable
from geqlib.graph.functional import is_true
from geqlib.graph.plan import Plan


@dataclass(frozen=True)
class EdgeOrder(Plan):
    """The messages of an `EdgePlan` sorted by one of their ends, for sums that write once per node.

    Row 0 is sorted by the node where messages arrive, row 1 by the node where they start.

    Args:
        message: [2, E] numbers of messages as `EdgePlan.messages` lists them.
        other: [2, E] the node at the other end.
        ptr: [2, num_nodes + 1] where the messages of each node begin and end.
    """

    message: Tensor
    other: Tensor
    ptr: Tensor


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
        order: messages sorted by node, which fused kernels need; None on a CPU, which has none.

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
    order: EdgeOrder | None = None

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """The same plan on another device, with the order that kernels need there."""
        moved = super().to(*args, **kwargs)
        return moved.ordered() if moved.order is None and _has_kernels(moved.edge) else moved

    def ordered(self) -> Self:
        """The same plan with the order of its messages, for which the host does not wait.

        Raises:
            ValueError: on a CPU, for nodes out of range; on a GPU they stop the device, as in
                torch's own indexing. Kernels read nothing outside their arrays in either case.

        Example:
            >>> plan = directed_plan(torch.tensor([[0, 1, 2], [2, 2, 0]]), 3).ordered()
            >>> plan.order.ptr[0].tolist(), plan.order.other[0].tolist()
            ([0, 1, 1, 3], [2, 0, 1])
        """
        _check_range(self)
        return self._ordered()

    def _ordered(self) -> Self:
        _, source, target = self.messages()
        ends, starts = torch.stack([target, source]), torch.stack([source, target])
        ends, message = ends.sort(dim=1, stable=True)
        node = torch.arange(self.num_nodes + 1, device=ends.device).to(ends.dtype)
        ptr = torch.searchsorted(ends, node.expand(2, -1).contiguous())
        return replace(self, order=EdgeOrder(message, starts.gather(1, message), ptr))

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


torch.export.register_dataclass(EdgeOrder)
torch.export.register_dataclass(EdgePlan)


def directed_plan(edge_index: Tensor, num_nodes: int) -> EdgePlan:
    """One kernel per edge: right for every graph, and for kernels without antipodal symmetry.

    Made on the device of `edge_index`, with one host synchronisation, for the check of its range;
    with none inside of `values_unread` and while a CUDA graph is recorded, where numbers out of
    range stop the device.

    Args:
        edge_index: [2, E] source and target.
        num_nodes: nodes in the batch.

    Raises:
        ValueError: for an edge_index that is not [2, E] integers, and for nodes out of range.

    Example:
        >>> directed_plan(torch.tensor([[0, 1], [1, 0]]), 2).edge.tolist()
        [0, 1]
    """
    ends = as_edges(edge_index)
    if not _readable(ends):
        plan = EdgePlan(_numbers(ends), ends[0], ends[1], 0, num_nodes)
        return plan.ordered() if _has_kernels(ends) else plan
    if is_true(out_of_range(ends, num_nodes)):
        raise ValueError(range_error(num_nodes))
    return unchecked_plan(ends[0], ends[1], num_nodes)


def unchecked_plan(source: Tensor, target: Tensor, num_nodes: int) -> EdgePlan:
    """`directed_plan` of edges that follow from checked ones, for which the host does not wait."""
    plan = EdgePlan(_numbers(source), source, target, 0, num_nodes)
    return plan._ordered() if _has_kernels(source) else plan


def paired_plan(edge_index: Tensor, num_nodes: int, reverse: Tensor | None = None) -> EdgePlan:
    """One kernel for each pair of opposite edges, and one for each edge without an opposite.

    Made on the device of `edge_index`, with one host synchronisation, for the two sizes.

    Args:
        edge_index: [2, E] source and target.
        num_nodes: nodes in the batch.
        reverse: [E] index of each edge's reverse, or -1; by default `reverse_edges(edge_index)`.
            Give it where offsets are not differences of positions (periodic images), or where
            edge attributes differ by direction.

    Raises:
        ValueError: for an edge_index that is not [2, E] integers, a reverse that is not [E]
            integers, nodes out of range, and on the device "meta", where there are no sizes.

    Example:
        >>> plan = paired_plan(torch.tensor([[0, 1, 1], [1, 0, 2]]), 3)
        >>> plan.source.tolist(), plan.target.tolist(), plan.paired
        ([0, 1], [1, 2], 1)
    """
    edge_index = as_edges(edge_index)
    order, sizes = pair_order(edge_index, num_nodes, reverse)
    if sizes.is_meta:
        raise ValueError(
            'paired_plan reads how many edges come in pairs, which the device "meta" does not '
            'know: make the plan on a CPU and move it, with .to("meta").'
        )
    outside = out_of_range(edge_index, num_nodes)
    paired, alone, wrong = torch.cat([sizes, outside.view(1).long()]).tolist()
    if wrong:
        raise ValueError(range_error(num_nodes))
    edge = order[: paired + alone]
    source, target = edge_index.index_select(1, edge)
    plan = EdgePlan(edge, source, target, paired, num_nodes)
    return plan._ordered() if _has_kernels(edge) else plan


def out_of_range(edge_index: Tensor, num_nodes: int) -> Tensor:
    """Whether nodes are numbered below 0, or above the last one: for plans to read with sizes."""
    return ((edge_index < 0) | (edge_index >= num_nodes)).any()


def range_error(num_nodes: int) -> str:
    """What a plan says of such edges."""
    return (
        f"edge_index names nodes outside of 0 to {num_nodes - 1}: correct it, or the number of "
        "nodes."
    )


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
    if reverse.shape != edge_index.shape[1:]:
        raise ValueError(
            f"reverse has shape {tuple(reverse.shape)}, but there are {edge_index.size(1)} edges: "
            "give the index of each edge's reverse, or -1."
        )
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


def _numbers(edges: Tensor) -> Tensor:
    return torch.arange(edges.size(-1), device=edges.device)


def _has_kernels(index: Tensor) -> bool:
    return index.is_cuda and not torch.compiler.is_compiling()


def _readable(index: Tensor) -> bool:
    recorded = index.is_cuda and torch.cuda.is_current_stream_capturing()
    return values_readable() and not index.is_meta and not recorded


def _check_range(plan: EdgePlan) -> None:
    outside = out_of_range(torch.stack([plan.source, plan.target]), plan.num_nodes)
    if outside.is_cuda:
        stop: Any = torch._assert_async  # type: ignore[attr-defined]
        stop(~outside, range_error(plan.num_nodes))
    elif not outside.is_meta and bool(outside):
        raise ValueError(range_error(plan.num_nodes))
