"""Balanced reduction trees of ragged sets: what is joined with what, level by level.

Of every set the members 2k and 2k + 1 are joined, and an odd last one waits for the next level, so
that n members become ceil(n / 2). `geqlib.monoid.aggregation.reduce_tree` carries a plan out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from geqlib.graph.plan import Plan
from geqlib.graph.segments import masked, segment_index, segment_lengths

Sizes = tuple[int, int, int]  # of a level: pairs, waiting members, finished sets


@dataclass(frozen=True)
class TreeLevel(Plan):
    """How the members of one level are arranged: pairs of partners, waiting members, finished ones.

    Args:
        order: [members] the arrangement: indices of elements at the first level, later indices of
            the products of the level before, which are followed by its waiting members. Partners
            stand beside each other: left, right, left, right, ...
        pairs: number of left partners, and of right ones.
        waiting: number of members that wait for the next level.
        finished: number of sets with one member, which stands among the last `finished`.
        in_order: whether all members are partners as they stand, so that nothing is moved.
    """

    order: Tensor
    pairs: int
    waiting: int
    finished: int
    in_order: bool = False


@dataclass(frozen=True)
class TreePlan(Plan):
    """The reduction trees of a batch of sets: made once a batch by `tree_plan`.

    n elements take n - 1 products in ceil(log2 n) levels. The tree of a set depends on its size and
    on the order of its elements alone.

    Args:
        levels: one for each step, and a last one of which all members are finished; none without
            elements.
        roots: [num_sets] where the result of each set stands among the finished members of all
            levels, followed by those of empty sets.
        empty: number of empty sets.
        num_elements: elements in the batch.
        num_sets: sets in the batch.

    Example:
        >>> plan = tree_plan(torch.tensor([0, 0, 0, 1]), 3)
        >>> plan.depth, plan.num_sets, plan.empty
        (2, 3, 1)
    """

    levels: tuple[TreeLevel, ...]
    roots: Tensor
    empty: int
    num_elements: int
    num_sets: int

    @property
    def depth(self) -> int:
        """Steps that follow each other: ceil(log2) of the largest set's size."""
        return max(len(self.levels) - 1, 0)


torch.export.register_dataclass(TreeLevel)
torch.export.register_dataclass(TreePlan)


def tree_plan(
    index: Tensor | None = None,
    dim_size: int | None = None,
    *,
    ptr: Tensor | None = None,
    key: Tensor | torch.Generator | None = None,
) -> TreePlan:
    """The reduction trees of sets that are described by `index` or by `ptr`, on their device.

    The host waits for the sizes of the levels; without dim_size also for the largest index, and
    with ptr for the number of elements.

    Args:
        index: [N] the set of each element, in any order.
        dim_size: number of sets; by default just enough for `index`.
        ptr: [num_sets + 1] in place of index: set i holds the elements ptr[i] to ptr[i + 1] - 1.
        key: the order of the elements within their set: rising in key [N], such as a score; drawn
            at random from a generator; None for the order in which they stand. Elements with equal
            keys keep the order in which they stand.

    Raises:
        ValueError: index and ptr both passed or both missing, of a wrong shape or type, or out of
            range; key of another length.

    Example:
        >>> plan = tree_plan(torch.tensor([2, 0, 2, 2]), 4)
        >>> [(level.pairs, level.waiting, level.finished) for level in plan.levels]
        [(1, 1, 1), (1, 0, 0), (0, 0, 1)]
        >>> plan.depth, plan.empty, plan.levels[0].order.tolist()
        (2, 2, [0, 2, 3, 1])
    """
    if ptr is not None and index is None:
        lengths, total = _lengths_from_ptr(ptr, dim_size)
        elements = torch.arange(total, device=ptr.device)
        if key is not None:
            elements = _by_key(segment_index(lengths, total), key)
        return _plan(*_levels(lengths, total), elements)
    if index is None or ptr is not None:
        raise ValueError("Sets need either index or ptr: give exactly one of them.")
    _check_type(index)
    num_sets = dim_size
    if num_sets is None:
        num_sets = max(int(index.max()) + 1, 0) if len(index) else 0
    # elements out of range are counted before and behind the sets: the first level lacks them
    lengths = segment_lengths(index.long().clamp(-1, num_sets) + 1, num_sets + 2)[1:-1]
    members, sizes = _levels(lengths, len(index))
    if sum((2 * pairs + waiting + done for pairs, waiting, done in sizes[:1])) != len(index):
        raise ValueError(
            f"index goes from {int(index.min())} to {int(index.max())}, but sets are numbered from "
            f"0 to {'dim_size - 1' if dim_size is None else dim_size - 1}: correct index or "
            "dim_size."
        )
    elements = index.argsort(stable=True) if key is None else _by_key(index, key)
    return _plan(members, sizes, elements)


def _check_type(index: Tensor) -> None:
    if index.dim() != 1 or index.dtype not in (torch.long, torch.int):
        raise ValueError(
            f"index has shape {tuple(index.shape)} and dtype {index.dtype}: expected a vector of "
            "integers, the set of each element."
        )


def _lengths_from_ptr(ptr: Tensor, dim_size: int | None) -> tuple[Tensor, int]:
    """[sets] and their sum."""
    if ptr.dim() != 1 or ptr.dtype not in (torch.long, torch.int) or len(ptr) == 0:
        raise ValueError(
            f"ptr has shape {tuple(ptr.shape)} and dtype {ptr.dtype}: expected [sets + 1] integers."
        )
    lengths = ptr.long().diff()
    first, last, falls = torch.stack([ptr[0].long(), ptr[-1].long(), (lengths < 0).sum()]).tolist()
    if first != 0 or falls:
        raise ValueError("ptr must start at 0 and never fall: it says where each set begins.")
    if dim_size is not None and dim_size != len(lengths):
        raise ValueError(f"ptr describes {len(lengths)} sets, but dim_size is {dim_size}.")
    return lengths, last


def _by_key(index: Tensor, key: Tensor | torch.Generator) -> Tensor:
    """[N] elements set by set, in each set by their key."""
    if isinstance(key, torch.Generator):
        key = torch.randperm(len(index), generator=key, device=key.device)
    if key.shape != index.shape:
        raise ValueError(
            f"key has shape {tuple(key.shape)}, but there are {len(index)} elements: give each one "
            "number."
        )
    order = key.detach().to(index.device).argsort(stable=True)
    return order[index[order].argsort(stable=True)]


def _levels(lengths: Tensor, num_elements: int) -> tuple[Tensor, list[Sizes]]:
    """[levels, sets] members of every set at every level, and the sizes of the levels."""
    level = torch.arange(num_elements.bit_length() + 1, device=lengths.device)[:, None]
    members = (lengths + (1 << level) - 1) >> level  # ceil(n / 2^level)
    members = members * (lengths > (1 << level >> 1))  # a set ends where one is left
    single = (members == 1).long()
    counts = torch.stack([members // 2, members % 2 - single, single]).sum(2).T
    sizes = [(pairs, waiting, done) for pairs, waiting, done in counts.tolist() if pairs + done]
    return members[: len(sizes)], sizes


def _plan(members: Tensor, sizes: list[Sizes], elements: Tensor) -> TreePlan:
    """From the members of every set at every level, and the elements set by set."""
    num_sets = members.size(1)
    if not sizes:
        return TreePlan((), torch.arange(num_sets, device=members.device), num_sets, 0, num_sets)
    single = members == 1
    waiting = (members % 2 == 1) & ~single
    # [levels, sets] where the first and the last member of a set are stored: at first among the
    # elements, later among the products, and behind all of these if it had been waiting
    first = torch.cat([_before(members[:1]), _before(members[:-1] // 2)])
    last = first + members - 1
    behind = (members // 2).sum(1, keepdim=True) + _before(waiting)
    last[1:] = torch.where(waiting[:-1], behind[:-1], last[1:])

    columns = [list(column) for column in zip(*sizes, strict=True)]
    pairs, waits, done = map(sum, columns)
    parts = [
        _partners(first.flatten(), last.flatten(), members.flatten(), pairs),
        masked(last.flatten(), waiting.flatten(), waits),
        masked(last.flatten(), single.flatten(), done),
    ]
    columns[0] = [2 * number for number in columns[0]]
    by_level = zip(*map(torch.split, parts, columns), strict=True)
    orders = [torch.cat(level) for level in by_level]
    orders[0] = elements[orders[0]]
    levels = tuple(
        TreeLevel(order, *size, in_order)
        for order, size, in_order in zip(orders, sizes, _in_order(sizes), strict=True)
    )

    number = single.flatten().cumsum(0).view_as(single) - 1
    empty = members[0] == 0
    roots = torch.where(empty, done - 1 + empty.cumsum(0), (number * single).sum(0))
    return TreePlan(levels, roots, num_sets - done, len(elements), num_sets)


def _in_order(sizes: list[Sizes]) -> list[bool]:
    """Of each level, whether members stand set by set, as products do, and all have partners."""
    alone = [waiting + finished for _, waiting, finished in sizes]
    waited = [waiting for _, waiting, _ in sizes]
    return [False, *(not (a or w) for a, w in zip(alone[1:], waited, strict=False))]


def _partners(first: Tensor, last: Tensor, members: Tensor, total: int) -> Tensor:
    """[2 total] where left and right partners are stored, level by level and set by set."""
    pairs = members // 2
    ends = pairs.cumsum(0)
    start = (first - 2 * (ends - pairs)).repeat_interleave(pairs, output_size=total)
    left = start + torch.arange(0, 2 * total, 2, device=start.device)
    # a right partner stands beside the left one, but the last member of a set may have waited
    final = torch.where((members > 0) & (members % 2 == 0), ends - 1, total)
    right = pad(left + 1, (0, 1)).scatter_(0, final, last)[:total]
    return torch.stack([left, right], 1).flatten()


def _before(count: Tensor) -> Tensor:
    """[levels, sets] the sum of the counts of the sets before, level by level."""
    return count.cumsum(1) - count.long()
