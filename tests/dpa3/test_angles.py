"""The plan of angles against all pairs of edges, one by one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from geqlib.dpa3.angles import AnglePlan, angle_plan
from geqlib.graph.padding import rounded_up
from tests.waits import waits


def by_loops(edge_index: Tensor, near: Tensor) -> list[tuple[int, int]]:
    """Pairs of different edges with one target."""
    target = edge_index[1].tolist()
    short = [b for b in range(len(target)) if near[b]]
    return sorted((b, c) for b in short for c in short if b != c and target[b] == target[c])


def pairs(plan: AnglePlan) -> list[tuple[int, int]]:
    edges = plan.edge[plan.first].tolist(), plan.edge[plan.second].tolist()
    weight = [1] * len(edges[0]) if plan.weight is None else plan.weight.tolist()
    return sorted((b, c) for b, c, w in zip(*edges, weight, strict=True) if w)


def edges_of(nodes: int, share: float, seed: int = 0) -> Tensor:
    """In random order, some of them twice as between images."""
    generator = torch.Generator().manual_seed(seed)
    edges = (~torch.eye(nodes, dtype=torch.bool)).nonzero().T
    edges = edges.repeat(1, 2)
    edges = edges[:, torch.rand(edges.size(1), generator=generator) < share]
    return edges[:, torch.randperm(edges.size(1), generator=generator)]


@pytest.mark.parametrize("nodes", [0, 1, 2, 7])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_angles_are_all_pairs_of_edges(nodes: int, share: float) -> None:
    edges = edges_of(nodes, share)
    near = torch.rand(edges.size(1), generator=torch.Generator().manual_seed(1)) < 0.6
    ordered = edges[:, torch.argsort(edges[1], stable=True)]
    for own in (edges, ordered, edges.int()):
        every = torch.ones_like(near)
        assert pairs(angle_plan(own, nodes)) == by_loops(own, every)
        plan = angle_plan(own, nodes, near)
        assert pairs(plan) == by_loops(own, near)
        assert sorted(plan.edge.tolist()) == near.nonzero()[:, 0].tolist()


def test_a_plan_waits_for_its_sizes_alone() -> None:
    edges = edges_of(5, 0.5)
    near = torch.rand(edges.size(1)) < 0.6
    assert len(waits(lambda: angle_plan(edges, 5, near))) == 1


def test_padding_has_few_sizes_and_no_weight() -> None:
    edges = edges_of(9, 0.8)
    plan = angle_plan(edges, 9)
    whole = plan.rounded()
    assert pairs(whole) == pairs(plan)
    assert plan.first.size(0) < whole.first.size(0) == rounded_up(plan.first.size(0))
    assert whole.rounded().tensors().keys() == whole.tensors().keys()
    for name, tensor in whole.rounded().tensors().items():
        assert tensor.equal(whole.tensors()[name])
    none = angle_plan(edges[:, :0], 9)
    assert none.rounded().edge.size(0) == 0


def test_plans_go_through_dictionaries_of_tensors() -> None:
    plan = angle_plan(edges_of(5, 0.5), 5)
    for own in (plan, plan.rounded()):
        again = AnglePlan.from_tensors(own.tensors())
        assert pairs(again) == pairs(own)


def test_targets_out_of_range() -> None:
    for target in (-1, 3):
        edges = torch.tensor([[0, 1], [1, target]])
        with pytest.raises(ValueError, match="targets outside of 0 to 2"):
            angle_plan(edges, 3)
        with pytest.raises(ValueError, match="targets outside of 0 to 2"):
            angle_plan(edges, 3, torch.tensor([True, False]))
    with pytest.raises(ValueError, match=r"has dtype torch\.float32"):
        angle_plan(torch.zeros(2, 1), 3)
