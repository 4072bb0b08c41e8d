"""Ego nets: the nodes at most k hops away from each node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import isqrt
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from geqlib.graph.checks import as_index
from geqlib.graph.segments import masked
from geqlib.spen.incidence import from_zero, pointers, take

Direction = Literal["out", "in", "both"]
Oversize = Literal["raise", "shrink", "sample"]
MOST_WORK = 2**23  # steps along edges at once
MOST_PAIRS = 2**28  # ordered pairs of a plan: about 16 GiB of indices


@dataclass(frozen=True)
class Neighbourhood:
    """Which nodes belong to the ego net of a node.

    Args:
        hops: k; an ego net holds the nodes that at most k steps from its centre lead to.
        direction: of the steps: "out" from source to target (as in networkx), "in", or "both".
        max_size: nodes that an ego net may have; by default what fits into memory.
        oversize: for larger ego nets: "raise" an error; "shrink" to the largest number of hops that
            fits, which keeps the symmetry; "sample" nodes beside the centre at random.
        seed: of the sample.

    Raises:
        ValueError: options out of range.

    Example:
        >>> ptr, node = ego_nets(torch.tensor([[0, 1], [1, 2]]), 3, Neighbourhood(2))
        >>> ptr.diff().tolist()  # sizes of the ego nets
        [3, 2, 1]
    """

    hops: int = 1
    direction: Direction = "out"
    max_size: int | None = None
    oversize: Oversize = "raise"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.hops < 0:
            raise ValueError(f"hops must not be negative, got {self.hops}.")
        if self.max_size is not None and self.max_size < 1:
            raise ValueError(f"max_size must be at least 1, got {self.max_size}.")
        for name, kind in (("direction", Direction), ("oversize", Oversize)):
            value = getattr(self, name)
            if value not in get_args(kind):
                choices = ", ".join(get_args(kind))
                raise ValueError(f"{name} {value!r} is unknown: choose {choices}.")

    @property
    def limit(self) -> int:
        return isqrt(MOST_PAIRS) if self.max_size is None else self.max_size


Reach = Neighbourhood  # its name in the first edition


class Sets(NamedTuple):
    """Sets of nodes: set k is node[ptr[k]:ptr[k + 1]], ascending."""

    ptr: Tensor
    node: Tensor


def ego_nets(edge_index: Tensor, num_nodes: int, neighbourhood: Neighbourhood) -> Sets:
    """The nodes of each ego net, its centre included.

    Args:
        edge_index: [2, E] source and target; repeats and loops change nothing.
        num_nodes: number of nodes, each the centre of one ego net.
        neighbourhood: which nodes belong to an ego net.

    Returns:
        ptr [num_nodes + 1] and node: the ego net of i holds node[ptr[i]:ptr[i + 1]], ascending.

    Raises:
        ValueError: if edges leave the graph, an ego net is larger than it may be, or all of them
            are too large together.

    Example:
        >>> ptr, node = ego_nets(torch.tensor([[0, 1], [1, 2]]), 4, Neighbourhood())
        >>> [nodes.tolist() for nodes in node.tensor_split(ptr[1:-1])]
        [[0, 1], [1, 2], [2], [3]]
    """
    return counted_ego_nets(as_index(edge_index), num_nodes, neighbourhood)[0]


def counted_ego_nets(
    edge_index: Tensor, num_nodes: int, neighbourhood: Neighbourhood
) -> tuple[Sets, int]:
    """`ego_nets`, and how many ordered pairs of nodes they have: the sum of their squared sizes."""
    centre = torch.arange(num_nodes, device=edge_index.device)
    nets, pairs, largest = _closed(edge_index, num_nodes, neighbourhood.direction)
    fits, hops = largest <= neighbourhood.limit, neighbourhood.hops
    if hops == 1 and fits:
        blocks = [(nets, pairs)]
    elif hops > 1 and fits:
        blocks = _counted(_Search(nets, neighbourhood, fits=True).grow(centre, nets, 1))
    else:
        steps = _steps(edge_index, num_nodes, neighbourhood.direction)
        alone = Sets(torch.arange(num_nodes + 1, device=centre.device), centre)
        blocks = _counted(_Search(steps, neighbourhood).grow(centre, alone))
    sizes, nodes, total = [centre[:0]], [centre[:0]], 0
    for (ptr, node), pairs in blocks:
        sizes.append(ptr.diff())
        nodes.append(node)
        total += pairs
        if total > MOST_PAIRS:
            raise ValueError(_too_many(torch.cat(sizes)))
    return Sets(from_zero(torch.cat(sizes).cumsum(0)), torch.cat(nodes)), total


def _counted(blocks: Iterable[Sets]) -> Iterator[tuple[Sets, int]]:
    """With the sums of their squared sizes."""
    for nets in blocks:
        yield nets, int(nets.ptr.diff().square().sum())


def check_range(edge_index: Tensor, num_nodes: int) -> None:
    """Raise a ValueError if edges leave the graph. The host waits."""
    if edge_index.numel():
        low, high = torch.stack(edge_index.aminmax()).tolist()
        check_ends(low, high, num_nodes)


def check_ends(low: int, high: int, num_nodes: int) -> None:
    """Raise a ValueError if the smallest or the largest end of edges is outside of the graph."""
    if not 0 <= low <= high < num_nodes:
        raise ValueError(
            f"edge_index goes from {low} to {high}, but there are {num_nodes} nodes: count them "
            "from 0, and pass num_nodes."
        )


def _closed(edge_index: Tensor, num_nodes: int, direction: Direction) -> tuple[Sets, int, int]:
    """Each node with those that one step leads to, the sum of squared sizes, the largest size.

    The host waits once, for all of these and for the range of the edges.
    """
    if edge_index.numel() == 0 or num_nodes == 0:
        check_range(edge_index, num_nodes)
        number = torch.arange(num_nodes + 1, device=edge_index.device)
        return Sets(number, number[:-1]), num_nodes, min(num_nodes, 1)
    # what is out of range is an error below, and no index until then
    source, target = _directed(edge_index.clamp(0, num_nodes - 1), direction)
    own = torch.arange(num_nodes, device=edge_index.device) * (num_nodes + 1)
    key = torch.cat([own, source * num_nodes + target]).sort().values
    new, owner, size = _different(key, num_nodes, num_nodes)
    sums = (*edge_index.aminmax(), size.sum(), size.square().sum(), size.max())
    low, high, count, pairs, largest = torch.stack(sums).tolist()
    check_ends(low, high, num_nodes)
    node = masked(key - owner * num_nodes, new, count)
    return Sets(from_zero(size.cumsum(0)), node), pairs, largest


def _different(key: Tensor, count: int, nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where a new key begins among ascending ones, the set of each, how many each set has."""
    new = torch.cat([key.new_ones(min(key.size(0), 1), dtype=torch.bool), key[1:] != key[:-1]])
    owner = key.div(nodes, rounding_mode="floor")
    return new, owner, key.new_zeros(count).scatter_add_(0, owner, new.long())


def _directed(edge_index: Tensor, direction: Direction) -> Tensor:
    """[2, ...] from where and to where steps lead."""
    if direction == "both":
        return torch.cat([edge_index, edge_index.flip(0)], 1)
    return edge_index.flip(0) if direction == "in" else edge_index


def _steps(edge_index: Tensor, num_nodes: int, direction: Direction) -> Sets:
    """The other nodes that one step leads to from each node."""
    source, target = _directed(edge_index, direction)
    key = torch.unique((source * num_nodes + target)[source != target])
    return _sets(key, num_nodes, num_nodes)


class _Search:
    """Breadth-first search from many centres at once.

    Args:
        steps: the nodes that one step leads to from each node.
        neighbourhood: what is searched.
        fits: whether it is known that none of them has more neighbours than fit.
    """

    def __init__(self, steps: Sets, neighbourhood: Neighbourhood, *, fits: bool = False) -> None:
        self.options = neighbourhood
        self.generator = torch.Generator().manual_seed(neighbourhood.seed)
        self.whole = steps
        # a node with more neighbours than fit makes any ego net with it too large
        nobody = torch.full_like(steps.ptr[1:], -1)
        self.steps = steps if fits else self._cut(steps, nobody)
        self.degree = self.steps.ptr.diff()

    def grow(self, centre: Tensor, nets: Sets, hop: int = 0) -> Iterator[Sets]:
        """The ego nets after all hops, in blocks that are small enough to hold."""
        for k in range(hop, self.options.hops):
            steps = int(take(self.degree, nets.node).sum())
            if len(centre) > 1 and steps > MOST_WORK:
                half = len(centre) // 2
                middle = int(nets.ptr[half])
                first = Sets(nets.ptr[: half + 1], nets.node[:middle])
                second = Sets(nets.ptr[half:] - middle, nets.node[middle:])
                yield from self.grow(centre[:half], first, k)
                yield from self.grow(centre[half:], second, k)
                return
            more, largest = self._one_hop(nets, steps)
            if largest > self.options.limit:
                large = more.ptr.diff() > self.options.limit
                more = self._smaller(centre, nets, more, large)
            if more.node.size(0) == nets.node.size(0):
                break
            nets = more
        yield nets

    def _one_hop(self, nets: Sets, steps: int) -> tuple[Sets, int]:
        """Every ego net with the nodes that one step from its nodes leads to; the largest size."""
        nodes, (ptr, target) = self.degree.size(0), self.steps
        net, degree = _owner(nets), take(self.degree, nets.node)
        edge = _ranges(take(ptr, nets.node), degree, steps)
        more = net.repeat_interleave(degree, output_size=steps) * nodes + take(target, edge)
        key = torch.cat([net * nodes + nets.node, more]).sort().values
        new, owner, size = _different(key, nets.ptr.size(0) - 1, max(nodes, 1))
        if not size.size(0):
            return nets, 0
        count, largest = torch.stack([size.sum(), size.max()]).tolist()
        return Sets(from_zero(size.cumsum(0)), masked(key - owner * nodes, new, count)), largest

    def _smaller(self, centre: Tensor, nets: Sets, more: Sets, large: Tensor) -> Sets:
        """What becomes of ego nets that are too large after a hop."""
        if self.options.oversize == "raise":
            node = centre[large.nonzero()[0, 0]]
            raise ValueError(self._too_large(node))
        if self.options.oversize == "sample":
            return self._cut(more, centre)
        before, after = large[_owner(nets)], ~large[_owner(more)]
        size = torch.where(large, nets.ptr.diff(), more.ptr.diff())
        owner = torch.cat([_owner(nets)[before], _owner(more)[after]])
        node = torch.cat([nets.node[before], more.node[after]])
        return Sets(from_zero(size.cumsum(0)), node[owner.argsort(stable=True)])

    def _cut(self, nets: Sets, centre: Tensor) -> Sets:
        """At most `limit` nodes of each set, drawn at random, the centre among them."""
        size, limit = nets.ptr.diff(), self.options.limit
        if not bool((size > limit).any()):
            return nets
        owner = _owner(nets)
        draw = torch.rand(owner.size(0), generator=self.generator, dtype=torch.float64)
        draw = (1 + draw.to(owner.device)).masked_fill(nets.node == centre[owner], 0)
        order = (2 * owner + draw).argsort()
        position = torch.arange(owner.size(0), device=owner.device) - nets.ptr[owner]
        chosen = order[position < limit].sort().values
        return Sets(from_zero(size.clamp(max=limit).cumsum(0)), nets.node[chosen])

    def _too_large(self, node: Tensor) -> str:
        self.steps, self.degree = self.whole, self.whole.ptr.diff()
        net = Sets(torch.tensor([0, 1], device=node.device), node[None])
        for _ in range(self.options.hops):
            net = self._one_hop(net, int(take(self.degree, net.node).sum()))[0]
        return (
            f"The ego net of node {int(node)} has {net.node.size(0)} nodes, and at most "
            f"{self.options.limit} fit: take fewer hops, or give max_size with oversize='shrink' "
            "or 'sample'."
        )


def _too_many(size: Tensor) -> str:
    return (
        f"The ego nets have more than {MOST_PAIRS:.1e} ordered pairs of nodes, so they do not fit; "
        f"that of node {int(size.argmax())} has {int(size.max())} nodes: take fewer hops, or give "
        "a smaller max_size with oversize='shrink' or 'sample'."
    )


def _sets(key: Tensor, count: int, nodes: int) -> Sets:
    """From ascending numbers set * nodes + node."""
    owner = key.div(max(nodes, 1), rounding_mode="floor")
    return Sets(pointers(owner, count), key - owner * nodes)


def _owner(sets: Sets) -> Tensor:
    """The set of each of the nodes."""
    number = torch.arange(sets.ptr.size(0) - 1, device=sets.ptr.device)
    return number.repeat_interleave(sets.ptr.diff(), output_size=sets.node.size(0))


def _ranges(start: Tensor, length: Tensor, total: int) -> Tensor:
    """start[0], start[0] + 1, ... (length[0] numbers), start[1], ..."""
    shift = start - (length.cumsum(0) - length)
    number = torch.arange(total, device=start.device)
    return number + shift.repeat_interleave(length, output_size=total)
