"""Trees are those of the definition: neighbours joined, an odd last row waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import ceil, log2
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geqlib.monoid.aggregation import reduce_tree
from geqlib.monoid.tree import TreePlan, tree_plan
from tests.monoid.oracle_monoid import tree

Sizes = st.lists(st.integers(0, 20), max_size=8)


def trees(plan: TreePlan) -> list[Any]:
    """The tree of every set, written as nested pairs of element numbers; None if it is empty."""
    rows: list[Any] = list(range(plan.num_elements))
    finished: list[Any] = []
    for level in plan.levels:
        rows = [rows[i] for i in level.order.tolist()]
        p, waiting = level.pairs, len(rows) - level.finished
        finished += rows[waiting:]
        rows = [*zip(rows[: 2 * p : 2], rows[1 : 2 * p : 2], strict=True), *rows[2 * p : waiting]]
    finished += [None] * plan.empty
    return [finished[i] for i in plan.roots.tolist()]


def expected(elements: list[Tensor]) -> Any:
    def numbers(node: Any) -> Any:
        return tuple(map(numbers, node)) if isinstance(node, tuple) else int(node)

    return numbers(tree(elements)) if elements else None


def shuffled(sizes: list[int]) -> Tensor:
    index = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes, dtype=torch.long))
    return index[torch.randperm(len(index), generator=torch.Generator().manual_seed(0))]


@settings(deadline=None, max_examples=25)
@given(Sizes)
def test_every_set_has_the_tree_of_its_size_and_order(sizes: list[int]) -> None:
    index = shuffled(sizes)
    plan = tree_plan(index, len(sizes))
    elements = [list((index == i).nonzero()[:, 0]) for i in range(len(sizes))]
    assert trees(plan) == [expected(e) for e in elements]
    largest = max(sizes, default=0)
    assert plan.depth == (ceil(log2(largest)) if largest else 0)
    assert sum(level.pairs for level in plan.levels) == sum(max(n - 1, 0) for n in sizes)
    assert sum(len(level.order) for level in plan.levels) <= 4 * len(index)


@settings(deadline=None, max_examples=15)
@given(Sizes)
def test_permutations_and_counts(sizes: list[int]) -> None:
    plan = tree_plan(shuffled(sizes), len(sizes))
    for order in (*(level.order for level in plan.levels), plan.roots):
        assert torch.equal(order.sort().values, torch.arange(len(order)))
    for level in plan.levels:
        assert len(level.order) == 2 * level.pairs + level.waiting + level.finished


@settings(deadline=None, max_examples=15)
@given(Sizes)
def test_ptr_is_the_sorted_index(sizes: list[int]) -> None:
    ptr = torch.tensor([0, *sizes]).cumsum(0)
    index = torch.arange(len(sizes)).repeat_interleave(ptr.diff())
    assert trees(tree_plan(ptr=ptr)) == trees(tree_plan(index, len(sizes)))


def test_order_by_key() -> None:
    index, key = torch.tensor([0, 1, 0, 0, 1]), torch.tensor([5.0, 1.0, 2.0, 2.0, 0.0])
    assert trees(tree_plan(index, key=key)) == [((2, 3), 0), (4, 1)]
    assert trees(tree_plan(ptr=torch.tensor([0, 2, 5]), key=key)) == [(1, 0), ((4, 2), 3)]


def test_random_order_stays_within_sets_and_follows_its_generator() -> None:
    index = shuffled([0, 1, 5, 3])

    def drawn(seed: int) -> list[Any]:
        return trees(tree_plan(index, 4, key=torch.Generator().manual_seed(seed)))

    assert drawn(0) == drawn(0)
    assert len({str(drawn(seed)) for seed in range(5)}) > 1
    for seed in range(5):
        leaves = [sorted(map(int, _digits(str(node)))) for node in drawn(seed)]
        assert leaves == [(index == i).nonzero()[:, 0].tolist() for i in range(4)]


def _digits(text: str) -> list[str]:
    return "".join(c if c.isdigit() else " " for c in text).split()


def test_every_order_is_equally_likely() -> None:
    generator = torch.Generator().manual_seed(0)
    index = torch.zeros(3, dtype=torch.long)
    seen = [str(trees(tree_plan(index, key=generator))) for _ in range(120)]
    counts = [seen.count(order) for order in set(seen)]
    assert len(counts) == 6
    assert max(abs(n - 20) for n in counts) < 20  # five standard deviations


@pytest.mark.parametrize("sizes", [[], [0], [0, 0], [1], [1, 0, 1]], ids=str)
def test_degenerate_sets(sizes: list[int]) -> None:
    plan = tree_plan(shuffled(sizes), len(sizes))
    x = torch.randn(sum(sizes), 2, 3)
    out, joined = reduce_tree(torch.add, x, torch.full((2, 3), 7.0), plan)
    assert out.shape == (len(sizes), 2, 3) and joined == [] and plan.depth == 0
    assert torch.equal(
        out[torch.tensor(sizes, dtype=torch.long) == 0].unique(),
        out.new_full((min(sizes.count(0), 1),), 7.0),
    )


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([8, 8], [False, True, True, False]),
        ([8, 4], [False, True, False, False]),  # one is finished
        ([6, 6], [False, False, False, False]),  # the second level has waiting members
        ([5, 8], [False, False, False, False]),
        ([2], [False, False]),
    ],
    ids=str,
)
def test_members_in_order(sizes: list[int], expected: list[bool]) -> None:
    plan = tree_plan(shuffled(sizes), len(sizes))
    assert [level.in_order for level in plan.levels] == expected
    for level in plan.levels:
        if level.in_order:
            assert level.order.tolist() == list(range(2 * level.pairs))
            assert not level.waiting and not level.finished


def test_moves() -> None:
    plan = tree_plan(torch.tensor([0, 0, 2]), 3)
    moved = plan.to("meta")
    assert {x.order.device.type for x in moved.levels} == {"meta"} == {moved.roots.device.type}
    assert replace(moved, levels=(), roots=plan.roots) == replace(plan, levels=())


@pytest.mark.parametrize("sizes", [[], [0], [3, 0, 1, 7]], ids=str)
def test_goes_through_files_as_tensors(sizes: list[int]) -> None:
    plan = tree_plan(shuffled(sizes), len(sizes))
    again = TreePlan.from_tensors(plan.tensors())
    assert trees(again) == trees(plan) and again.depth == plan.depth


INDEX = torch.tensor([0, 2, 1])
ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "both": (lambda: tree_plan(INDEX, ptr=INDEX), "either index or ptr: give exactly one"),
    "none": (lambda: tree_plan(), "either index or ptr: give exactly one"),
    "too large": (lambda: tree_plan(INDEX, 2), "goes from 0 to 2, but sets .* from 0 to 1"),
    "negative": (lambda: tree_plan(INDEX - 1), "goes from -1 to 1, .* from 0 to dim_size - 1"),
    "float": (lambda: tree_plan(INDEX.float()), r"shape \(3,\) and dtype torch.float32"),
    "matrix": (lambda: tree_plan(INDEX[None]), r"shape \(1, 3\) and dtype torch.int64"),
    "ptr shape": (lambda: tree_plan(ptr=INDEX[:0]), r"ptr has shape \(0,\).*\[sets \+ 1\]"),
    "ptr start": (lambda: tree_plan(ptr=INDEX + 1), "ptr must start at 0 and never fall"),
    "ptr falls": (lambda: tree_plan(ptr=INDEX), "ptr must start at 0 and never fall"),
    "ptr sets": (lambda: tree_plan(dim_size=4, ptr=torch.arange(3)), "describes 2 sets, .* is 4"),
    "key": (lambda: tree_plan(INDEX, key=INDEX[:2]), r"key has shape \(2,\), .* 3 elements"),
    "operator": (
        lambda: reduce_tree(
            lambda a, b: a[:, :1], torch.ones(3, 2), torch.ones(2), tree_plan(0 * INDEX)
        ),
        r"made \(1, 1\) of two tensors \(1, 2\)",
    ),
}


@pytest.mark.parametrize("error", ERRORS)
def test_errors_say_what_and_how_to_fix_it(error: str) -> None:
    call, message = ERRORS[error]
    with pytest.raises(ValueError, match=message):
        call()
