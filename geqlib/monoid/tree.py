"""Balanced reduction trees of ragged sets: their plan, and the reduction itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

Ints = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class TreeLevel:
    """How the rows of one level are arranged: left partners, right partners, waiting, finished.

    Args:
        order: [rows] the arrangement: indices of elements at the first level, later indices of the
            products of the level before, followed by its waiting rows.
        inverse: [rows] the inverse permutation.
        pairs: how many rows are left partners, and how many are right ones.
        twice: in the first `twice` pairs both partners are products of the level before; the right
            partners of the others had been waiting. Zero at the first level.
        odd: how many rows wait for the next level.
        done: how many sets are finished: their product is one of the last `done` rows.
    """

    order: Tensor
    inverse: Tensor
    pairs: int
    twice: int
    odd: int
    done: int


@dataclass(frozen=True)
class TreePlan:
    """The reduction trees of a batch of sets: built once a batch by `tree_plan`.

    Each level joins the rows 2k and 2k + 1 of every set, and an odd last one waits, so that n rows
    become ceil(n / 2), and n elements take n - 1 products in ceil(log2 n) levels. The tree of a set
    depends on its size and on the order of its elements alone.

    Args:
        levels: one for each step, and a last one of which all rows are done; none without elements.
        sets: [num_sets] the set of each finished product, level by level, and then of each empty
            set.
        roots: [num_sets] the inverse permutation.
        empty: how many sets are empty.
        num_elements: elements in the batch.
        num_sets: sets in the batch.

    Example:
        >>> plan = tree_plan(torch.tensor([0, 0, 0, 1]), 3)
        >>> plan.depth, plan.num_sets, plan.empty
        (2, 3, 1)
    """

    levels: tuple[TreeLevel, ...]
    sets: Tensor
    roots: Tensor
    empty: int
    num_elements: int
    num_sets: int

    @property
    def depth(self) -> int:
        """Steps that follow each other: ceil(log2) of the largest set's size."""
        return max(len(self.levels) - 1, 0)

    def to(self, *args: Any, **kwargs: Any) -> TreePlan:
        """The same plan on another device."""
        levels = tuple(
            replace(x, order=x.order.to(*args, **kwargs), inverse=x.inverse.to(*args, **kwargs))
            for x in self.levels
        )
        sets, roots = self.sets.to(*args, **kwargs), self.roots.to(*args, **kwargs)
        return replace(self, levels=levels, sets=sets, roots=roots)


torch.export.register_dataclass(TreeLevel)
torch.export.register_dataclass(TreePlan)


def tree_plan(
    index: Tensor | None = None,
    dim_size: int | None = None,
    *,
    ptr: Tensor | None = None,
    key: Tensor | torch.Generator | None = None,
) -> TreePlan:
    """The reduction trees of sets that are given by `index` or by `ptr`.

    Args:
        index: [N] the set of each element, in any order.
        dim_size: number of sets; by default just enough for `index`.
        ptr: [num_sets + 1] in place of index: set i holds the elements ptr[i] to ptr[i + 1] - 1.
        key: the order of the elements within their set: rising in key [N], such as a score; drawn
            at random from a generator; None for the order in which they stand. Elements with equal
            keys keep the order in which they stand.

    Raises:
        ValueError: index and ptr both given or both missing, of a wrong shape or type, or out of
            range; key of another length.

    Example:
        >>> plan = tree_plan(torch.tensor([2, 0, 2, 2]), 4)
        >>> [(level.pairs, level.odd, level.done) for level in plan.levels]
        [(1, 1, 1), (1, 0, 0), (0, 0, 1)]
        >>> plan.depth, plan.empty, plan.levels[0].order.tolist()
        (2, 2, [0, 2, 3, 1])
    """
    # on the CPU and by numpy: a plan is many operations on few numbers
    if ptr is not None and index is None:
        sizes = _sizes_from_ptr(ptr, dim_size).cpu().numpy()
        elements = _sorted_elements(np.arange(len(sizes)).repeat(sizes), key, presorted=True)
        return _plan(sizes, elements).to(ptr.device)
    if index is None or ptr is not None:
        raise ValueError("Sets need either index or ptr: give exactly one of them.")
    check_index(index, dim_size)
    members = index.cpu().numpy()
    sizes = np.bincount(members, minlength=dim_size or 0)
    return _plan(sizes, _sorted_elements(members, key)).to(index.device)


def reduce_tree(
    product: Callable[[Tensor, Tensor], Tensor], rows: Tensor, identity: Tensor, plan: TreePlan
) -> tuple[Tensor, list[tuple[Tensor, Tensor, Tensor]]]:
    """Reduce every set by products of two stacks of rows, [P, ...] and [P, ...] -> [P, ...].

    Args:
        product: called once a level; no elements, no call.
        rows: [N, ...] the elements.
        identity: [...] the result of an empty set.
        plan: of these elements.

    Returns:
        [num_sets, ...], and left partners, right partners and waiting rows of each level that has
        pairs.

    Example:
        >>> plan = tree_plan(torch.tensor([2, 0, 2, 2]), 4)
        >>> reduce_tree(torch.add, torch.arange(4.0), torch.zeros(()), plan)[0].tolist()
        [1.0, 0.0, 5.0, 0.0]
    """
    finished, joined = [] if plan.levels else [rows], []
    for level in plan.levels:
        rows = _permute(rows, level.order, level.inverse)
        parts = (level.pairs, level.pairs, level.odd, level.done)
        left, right, odd, done = rows.split(parts)
        finished.append(done)
        if level.pairs:
            joined.append((left, right, odd))
            made = _checked(product, left, right)
            rows = torch.cat([made, odd]) if level.odd else made
    empty = identity.expand(plan.empty, *identity.shape)
    return _permute(torch.cat([*finished, empty]), plan.roots, plan.sets), joined


def _checked(product: Callable[[Tensor, Tensor], Tensor], left: Tensor, right: Tensor) -> Tensor:
    result = product(left, right)
    if result.shape != left.shape:
        raise ValueError(
            f"The operator made {tuple(result.shape)} of two tensors {tuple(left.shape)}: its "
            "output must have the shape of each input."
        )
    return result.to(left.dtype)


def _permute(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
    return _Permute.apply(x, order, inverse)


class _Permute(torch.autograd.Function):
    """x[order]: its derivative gathers too, where that of an index scatters, which is slower."""

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def forward(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        return x.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        order, inverse = ctx.saved_tensors
        return _Permute.apply(grads[0], inverse, order), None, None


def check_index(index: Any, dim_size: int | None) -> None:
    """Raise a ValueError unless index is a vector of set numbers from 0 to dim_size - 1."""
    if index.dim() != 1 or index.dtype not in (torch.long, torch.int):
        raise ValueError(
            f"index has shape {tuple(index.shape)} and dtype {index.dtype}: expected a vector of "
            "integers, the set of each element."
        )
    if index.numel() == 0:
        return
    low, high = (int(x) for x in torch.aminmax(index))
    if low < 0 or (dim_size is not None and high >= dim_size):
        raise ValueError(
            f"index goes from {low} to {high}, but sets are numbered from 0 to "
            f"{'dim_size - 1' if dim_size is None else dim_size - 1}: mend index or dim_size."
        )


def _sizes_from_ptr(ptr: Tensor, dim_size: int | None) -> Tensor:
    if ptr.dim() != 1 or ptr.dtype not in (torch.long, torch.int) or len(ptr) == 0:
        raise ValueError(
            f"ptr has shape {tuple(ptr.shape)} and dtype {ptr.dtype}: expected [sets + 1] integers."
        )
    sizes = ptr.diff()
    if int(ptr[0]) != 0 or bool((sizes < 0).any()):
        raise ValueError("ptr must start at 0 and never fall: it says where each set begins.")
    if dim_size is not None and dim_size != len(sizes):
        raise ValueError(f"ptr is made for {len(sizes)} sets, but dim_size is {dim_size}.")
    return sizes


def _sorted_elements(
    index: Ints, key: Tensor | torch.Generator | None, *, presorted: bool = False
) -> Ints:
    """[N] elements set by set, in each set by their key."""
    if key is None:
        return np.arange(len(index)) if presorted else index.argsort(kind="stable")
    if isinstance(key, torch.Generator):
        key = torch.randperm(len(index), generator=key, device=key.device)
    if key.shape != index.shape:
        raise ValueError(
            f"key has shape {tuple(key.shape)}, but there are {len(index)} elements: give each one "
            "number."
        )
    return np.lexsort((key.detach().cpu().numpy(), index))


def _plan(sizes: Ints, elements: Ints) -> TreePlan:
    """Trees of sets with these sizes; `elements` lists the rows set by set."""
    levels, finished = [], []
    sets, place, products = sizes.nonzero()[0], elements, None
    count = sizes[sets]
    while len(sets):
        level, place = _level(count, place, products)
        levels.append(level)
        finished.append(sets[count == 1])
        live = count > 1
        sets, count, products = sets[live], (count[live] + 1) // 2, level.pairs
    empty = (sizes == 0).nonzero()[0]
    order = np.concatenate([*finished, empty])
    return TreePlan(
        tuple(levels), *_permutation(order), len(empty), len(elements), num_sets=len(sizes)
    )


def _level(count: Ints, place: Ints, products: int | None) -> tuple[TreeLevel, Ints]:
    """One level, and where the next one finds its rows.

    Args:
        count: [sets] rows of each set that is not finished.
        place: [rows] where each row is stored, set by set.
        products: how many products the level before made; they are stored first.
    """
    size = count.repeat(count)
    rank = np.arange(len(place)) - (count.cumsum() - count).repeat(count)
    last, even = rank == size - 1, rank % 2 == 0
    left, odd, done = (x.nonzero()[0] for x in (even & ~last, even & last & (rank > 0), size == 1))
    twice = 0
    if products is not None:
        waited = place[left + 1] >= products
        left = np.concatenate([left[~waited], left[waited]])
        twice = len(left) - int(waited.sum())
    order = place[np.concatenate([left, left + 1, odd, done])]
    level = TreeLevel(*_permutation(order), len(left), twice, len(odd), len(done))
    # rows of the next level, set by set, start where those of a set started, halved
    target = np.full(len(place), -1)
    kept = np.concatenate([left, odd])
    target[kept] = np.arange(len(kept))
    return level, target[target >= 0]


def _permutation(order: Ints) -> tuple[Tensor, Tensor]:
    """As tensors: the order and its inverse."""
    inverse = np.empty_like(order)
    inverse[order] = np.arange(len(order))
    return torch.from_numpy(order), torch.from_numpy(inverse)
