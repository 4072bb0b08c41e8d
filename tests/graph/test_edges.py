"""Edge plans serve every edge once, in every multigraph."""

from __future__ import annotations

from collections import Counter
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geqlib.graph import EdgePlan, directed_plan, paired_plan, reverse_edges, sum_pool
from geqlib.graph.checks import values_unread
from tests.waits import waits

NODES = 4
node = st.integers(0, NODES - 1)
# (source, target, attribute): loops, repeats and every mixture of directions turn up
edge_lists = st.lists(st.tuples(node, node, st.integers(0, 1)), max_size=12)
multigraphs = settings(max_examples=100, deadline=None, derandomize=True)


def tensors(edges: list[tuple[int, int, int]]) -> tuple[Tensor, Tensor]:
    table = torch.tensor(edges, dtype=torch.long).view(-1, 3)
    return table[:, :2].T.contiguous(), table[:, 2:].double()


@multigraphs
@given(edge_lists, st.booleans())
def test_reverse_edges_is_an_involution(edges: list[tuple[int, int, int]], typed: bool) -> None:
    edge_index, attributes = tensors(edges)
    reverse = reverse_edges(edge_index, NODES, attributes if typed else None).tolist()
    for e, back in enumerate(reverse):
        source, target, kind = edges[e]
        if back >= 0:
            assert reverse[back] == e
            assert edges[back][:2] == (target, source)
            assert not typed or edges[back][2] == kind
        if source == target:
            assert back == e


@multigraphs
@given(edge_lists, st.booleans())
def test_reverse_edges_finds_every_reverse(edges: list[tuple[int, int, int]], typed: bool) -> None:
    """Of m edges one way and n the other, min(m, n) are matched."""
    edge_index, attributes = tensors(edges)
    reverse = reverse_edges(edge_index, NODES, attributes if typed else None).tolist()
    keys = [(s, t, kind if typed else 0) for s, t, kind in edges]
    count = Counter(keys)
    matched = Counter(key for key, back in zip(keys, reverse, strict=True) if back >= 0)
    for s, t, kind in count:
        assert matched[s, t, kind] == min(count[s, t, kind], count[t, s, kind])


@multigraphs
@given(edge_lists, st.booleans())
def test_paired_plan_serves_every_edge_once(edges: list[tuple[int, int, int]], typed: bool) -> None:
    edge_index, attributes = tensors(edges)
    reverse = reverse_edges(edge_index, NODES, attributes) if typed else None
    plan = paired_plan(edge_index, NODES, reverse)
    reverse = reverse_edges(edge_index, NODES) if reverse is None else reverse
    served = torch.cat([plan.edge, reverse[plan.edge[: plan.paired]]])
    assert torch.equal(served.sort().values, torch.arange(len(edges)))
    assert torch.equal(torch.stack([plan.source, plan.target]), edge_index[:, plan.edge])
    back = torch.stack([plan.target, plan.source])[:, : plan.paired]
    assert torch.equal(back, edge_index[:, served[len(plan.edge) :]])
    assert plan.num_nodes == NODES


@multigraphs
@given(edge_lists)
def test_paired_plan_shares_all_it_can(edges: list[tuple[int, int, int]]) -> None:
    edge_index, _ = tensors(edges)
    count = Counter((s, t) for s, t, _ in edges)
    pairs = sum(min(n, count[t, s]) for (s, t), n in count.items() if s < t)
    assert paired_plan(edge_index, NODES).paired == pairs


@multigraphs
@given(edge_lists)
def test_directed_plan_is_the_graph(edges: list[tuple[int, int, int]]) -> None:
    edge_index, _ = tensors(edges)
    plan = directed_plan(edge_index, NODES)
    assert torch.equal(plan.edge, torch.arange(len(edges)))
    assert torch.equal(torch.stack([plan.source, plan.target]), edge_index)
    assert plan.paired == 0


def test_repeated_edges_are_matched_in_their_order() -> None:
    edge_index = torch.tensor([[0, 1, 0, 1, 0, 2], [1, 0, 1, 0, 1, 2]])
    assert reverse_edges(edge_index, 3).tolist() == [1, 0, 3, 2, -1, 5]


def test_attributes_with_several_columns_decide() -> None:
    edge_index = torch.tensor([[0, 1, 0, 1], [1, 0, 1, 0]])
    attributes = torch.tensor([[1.0, 2.0], [1.0, 3.0], [1.0, 3.0], [5.0, 2.0]])
    assert reverse_edges(edge_index, 2, attributes).tolist() == [-1, 2, 1, -1]
    assert reverse_edges(edge_index, 2).tolist() == [1, 0, 3, 2]


def test_a_given_reverse_is_obeyed() -> None:
    edge_index = torch.tensor([[0, 1, 0, 1], [1, 0, 1, 0]])
    plan = paired_plan(edge_index, 2, torch.tensor([3, -1, -1, 0]))
    assert (plan.edge.tolist(), plan.paired) == ([0, 1, 2], 1)


def test_plans_move_and_do_not_change() -> None:
    plan = paired_plan(torch.tensor([[0, 1], [1, 0]]), 2)
    moved = plan.to("meta")
    assert isinstance(moved, EdgePlan) and moved.edge.device.type == "meta"
    assert (moved.paired, moved.num_nodes) == (plan.paired, plan.num_nodes) == (1, 2)
    with pytest.raises(FrozenInstanceError):
        plan.paired = 0  # pyright: ignore[reportAttributeAccessIssue]


def test_sum_pool_keeps_empty_graphs() -> None:
    x = torch.arange(6.0).view(3, 2)
    assert sum_pool(x, torch.tensor([0, 0, 2]), 4).tolist() == [[2, 4], [0, 0], [4, 5], [0, 0]]
    assert sum_pool(x, None, None).tolist() == [[6, 9]]
    assert sum_pool(x[:0], torch.tensor([], dtype=torch.long), 2).tolist() == [[0, 0], [0, 0]]
    with pytest.raises(ValueError, match="batch is given without num_graphs: pass the number"):
        sum_pool(x, torch.tensor([0, 0, 2]), None)


@pytest.mark.parametrize("make", [directed_plan, paired_plan])
@pytest.mark.parametrize(
    ("edge_index", "message"),
    [
        ([[0, 1], [-1, 0]], "outside of 0 to 2: correct it"),
        ([[3, 1], [1, 0]], "outside of 0 to 2: correct it"),
        ([[0.0, 1.0], [1.0, 0.0]], "edge_index has dtype torch.float32"),
        ([0, 1], r"edge_index has shape \(2,\): expected \[2, edges\]"),
        ([[0], [1], [2]], r"edge_index has shape \(3, 1\)"),
    ],
)
def test_plans_refuse_edges_that_kernels_could_not_read(
    make: Any, edge_index: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(torch.tensor(edge_index), 3)


@pytest.mark.parametrize("make", [directed_plan, paired_plan])
def test_the_host_waits_once_for_a_plan(make: Any) -> None:
    assert len(waits(lambda: make(torch.tensor([[0, 1, 2], [1, 0, 0]]), 3))) == 1


def test_nothing_is_read_where_values_are_not() -> None:
    edge_index = torch.tensor([[0, 5], [1, 0]])
    with values_unread():
        assert waits(lambda: directed_plan(edge_index, 2)) == []
    plans = torch.func.vmap(lambda e: directed_plan(e, 2).source)(edge_index.unsqueeze(0))
    assert plans.tolist() == [[0, 5]]


def test_plans_without_values() -> None:
    edge_index = torch.tensor([[0, 1], [1, 0]], device="meta")
    assert directed_plan(edge_index, 2).target.shape == (2,)
    with pytest.raises(ValueError, match='which the device "meta" does not know: make the plan'):
        paired_plan(edge_index, 2)


def test_a_reverse_of_another_graph_is_refused() -> None:
    with pytest.raises(ValueError, match=r"reverse has shape \(1,\), but there are 2 edges"):
        paired_plan(torch.tensor([[0, 1], [1, 0]]), 2, torch.tensor([-1]))
