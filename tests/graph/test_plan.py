"""Plans move, and go through dictionaries of tensors, whatever they are made of."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from geqlib.graph import Plan, accepted, directed_plan


@dataclass(frozen=True)
class Inner(Plan):
    index: Tensor
    size: int


@dataclass(frozen=True)
class Outer(Plan):
    levels: tuple[Inner, ...]
    inner: Inner
    pieces: tuple[Tensor, ...]
    exact: bool
    maybe: Inner | None = None
    other: Tensor | None = None


def inner(size: int) -> Inner:
    return Inner(torch.arange(size), size)


def outer(levels: int, maybe: Inner | None = None) -> Outer:
    pieces = (torch.ones(2), torch.zeros(1))
    return Outer(tuple(map(inner, range(levels))), inner(3), pieces, True, maybe)


@pytest.mark.parametrize("plan", [outer(0), outer(2), outer(11, inner(4))])
def test_tensors_hold_all_of_a_plan(plan: Outer) -> None:
    again = Outer.from_tensors(plan.tensors())
    assert again.tensors().keys() == plan.tensors().keys()
    assert all(torch.equal(again.tensors()[key], value) for key, value in plan.tensors().items())
    assert [level.size for level in again.levels] == [level.size for level in plan.levels]
    assert again.exact is True and (again.maybe is None) == (plan.maybe is None)
    assert again.other is None


def test_plans_move_with_what_they_hold() -> None:
    moved = outer(2, inner(1)).to("meta")
    tensors = [moved.levels[1].index, moved.inner.index, moved.pieces[0]]
    assert all(t.is_meta for t in tensors) and moved.levels[1].size == 1
    assert moved.maybe is not None and moved.maybe.index.is_meta


def test_tensors_of_another_plan_are_refused() -> None:
    tensors = directed_plan(torch.tensor([[0], [1]]), 2).tensors()
    with pytest.raises(ValueError, match="Inner has no edge, num_nodes, paired, source, target"):
        Inner.from_tensors(tensors)
    with pytest.raises(ValueError, match="lack 'size': make the plan again"):
        Inner.from_tensors({"index": torch.arange(2)})


def test_functions_get_the_tensors_that_they_name() -> None:
    class Batch:
        pos, num_graphs, z = 1, 2, None

    def forward(pos: int, z: int, num_graphs: int = 1, missing: int = 0) -> None: ...

    assert accepted(forward, Batch()) == {"pos": 1, "num_graphs": 2}
    assert accepted(forward, {"pos": 1, "x": 2}) == {"pos": 1}
