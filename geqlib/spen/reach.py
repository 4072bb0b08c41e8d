"""Which nodes are within k hops of which: ego nets as lists of nodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import isqrt
from typing import Literal, get_args

import numpy as np
from scipy.sparse import csr_array, vstack

Direction = Literal["out", "in", "both"]
Oversize = Literal["raise", "shrink", "sample"]
MOST_WORK = 2**23  # steps along edges at once
MOST_PAIRS = 2**28  # ordered pairs of a plan: about 16 GiB of indices


@dataclass(frozen=True)
class Reach:
    """How far ego nets go.

    Args:
        hops: k; a node is in the ego net of every node from which k steps lead to it.
        direction: of the steps: "out" from source to target (as in networkx), "in", or "both".
        max_size: nodes that an ego net may have; by default what fits into memory.
        oversize: for larger ego nets: "raise" an error; "shrink" to the largest number of hops that
            fits, which keeps the symmetry; "sample" nodes beside the centre at random.
        seed: of the sample.

    Example:
        >>> ptr, node = ego_nets(np.array([[0, 1], [1, 2]]), 3, Reach(2))
        >>> np.diff(ptr).tolist()  # how many nodes each ego net has
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


def ego_nets(edges: np.ndarray, nodes: int, reach: Reach) -> tuple[np.ndarray, np.ndarray]:
    """The nodes of each ego net, its centre included.

    Args:
        edges: [2, E] source and target; repeats and loops change nothing.
        nodes: number of nodes, each the centre of one ego net.
        reach: how far they go.

    Returns:
        ptr [nodes + 1] and node [S]: the ego net of i holds node[ptr[i]:ptr[i + 1]], ascending.

    Raises:
        ValueError: if an ego net is larger than it may be, or all of them are too large together.

    Example:
        >>> ptr, node = ego_nets(np.array([[0, 1], [1, 2]]), 4, Reach())
        >>> np.split(node, ptr[1:-1])
        [array([0, 1]), array([1, 2]), array([2]), array([3])]
    """
    rng, step = np.random.default_rng(reach.seed), _steps(edges, nodes, reach.direction)
    # a node with more neighbours than fit makes any net with it too large: the rest is not needed
    few = _cut(step, np.full(nodes, -1), reach.limit, rng)
    centre = np.arange(nodes)
    alone = csr_array((np.ones(nodes, np.int32), centre, np.arange(nodes + 1)), (nodes, nodes))
    pairs, blocks = 0.0, [alone[:0]]
    try:
        for block in _grow(alone, centre, few, reach, rng):
            blocks.append(block)
            pairs += float((np.diff(block.indptr).astype(float) ** 2).sum())
            if pairs > MOST_PAIRS:
                raise ValueError(_too_many(blocks))
    except _TooLargeError as error:
        raise ValueError(_too_large(error.node, step, reach)) from None
    whole = _stack(blocks)
    return whole.indptr.astype(np.int64), whole.indices.astype(np.int64)


class _TooLargeError(Exception):
    def __init__(self, node: int) -> None:
        self.node = node


def _steps(edges: np.ndarray, nodes: int, direction: Direction) -> csr_array:
    """One row a node, with ones at the other nodes that one step leads to."""
    source, target = edges[::-1] if direction == "in" else edges
    if direction == "both":
        source, target = np.concatenate([edges, edges[::-1]], axis=1)
    source, target = source[source != target], target[source != target]
    step = csr_array((np.ones(len(source), np.int32), (source, target)), shape=(nodes, nodes))
    step.data[:] = 1  # repeated edges were summed
    return step


def _grow(
    nets: csr_array, centre: np.ndarray, step: csr_array, reach: Reach, rng: np.random.Generator
) -> Iterator[csr_array]:
    """The ego nets after k further steps, in blocks of rows that are small enough to hold."""
    for hop in range(reach.hops):
        if len(centre) > 1 and (nets @ np.diff(step.indptr).astype(float)).sum() > MOST_WORK:
            half, rest = len(centre) // 2, replace(reach, hops=reach.hops - hop)
            yield from _grow(nets[:half], centre[:half], step, rest, rng)
            yield from _grow(nets[half:], centre[half:], step, rest, rng)
            return
        more = nets + nets @ step
        more.data[:] = 1
        large = np.diff(more.indptr) > reach.limit
        if large.any() and reach.oversize == "raise":
            raise _TooLargeError(int(centre[large.argmax()]))
        if large.any() and reach.oversize == "shrink":
            more = _choose(large, nets, more)
        more = _cut(more, centre, reach.limit, rng)
        if more.nnz == nets.nnz:
            break
        nets = more
    nets.sort_indices()
    yield nets


def _choose(flags: np.ndarray, a: csr_array, b: csr_array) -> csr_array:
    """Rows of a where the flag is set, of b elsewhere."""
    row = np.arange(len(flags))
    return _stack([a, b])[np.where(flags, row, row + len(flags))]


def _stack(blocks: Sequence[csr_array]) -> csr_array:
    return csr_array(vstack(blocks, format="csr"))


def _cut(nets: csr_array, centre: np.ndarray, limit: int, rng: np.random.Generator) -> csr_array:
    """At most `limit` entries of each row, drawn at random, the centre among them."""
    size = np.diff(nets.indptr)
    if not (size > limit).any():
        return nets
    row = np.repeat(np.arange(len(size)), size)
    key = np.where(nets.indices == centre[row], -1.0, rng.random(len(row)))
    order = np.lexsort((key, row))
    kept = order[np.arange(len(row)) - nets.indptr[row] < limit]
    ptr = np.concatenate([[0], np.minimum(size, limit).cumsum()])
    return csr_array((nets.data[kept], nets.indices[kept], ptr), shape=nets.shape)


def _too_large(node: int, step: csr_array, reach: Reach) -> str:
    net = csr_array(np.eye(1, len(step.indptr) - 1, node, dtype=np.int32))
    for _ in range(reach.hops):
        net = net + net @ step
        net.data[:] = 1
    return (
        f"The ego net of node {node} has {net.nnz} nodes, and at most {reach.limit} fit: take "
        "fewer hops, or give max_size with oversize='shrink' or 'sample'."
    )


def _too_many(blocks: list[csr_array]) -> str:
    size = np.concatenate([np.diff(block.indptr) for block in blocks])
    return (
        f"The ego nets have more than {MOST_PAIRS:.1e} ordered pairs of nodes, so they do not fit; "
        f"that of node {size.argmax()} has {size.max()} nodes: take fewer hops, or give a smaller "
        "max_size with oversize='shrink' or 'sample'."
    )
