"""Slots hold every edge once, in every multigraph."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geqlib.gaunt.slots import neighbor_slots
from tests.waits import waits

NODES = 4
node = st.integers(0, NODES - 1)
edge_lists = st.lists(st.tuples(node, node), max_size=12)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(edge_lists, st.booleans())
def test_every_edge_has_one_slot(edges: list[tuple[int, int]], paired: bool) -> None:
    edge_index = torch.tensor(edges, dtype=torch.long).view(-1, 2).T.contiguous()
    slots = neighbor_slots(edge_index, NODES, paired=paired)
    actual: Counter[tuple[int, int]] = Counter()
    for target in range(NODES):
        for row, source, sign in zip(
            slots.row[target].tolist(),
            slots.neighbor[target].tolist(),
            slots.sign[target].tolist(),
            strict=True,
        ):
            if sign == 0:
                assert row == source == 0
                continue
            ends = (int(slots.source[row]), int(slots.target[row]))
            assert ends == ((source, target) if sign > 0 else (target, source))
            assert edges[int(slots.edge[row])] == ends
            actual[source, target] += 1
    assert actual == Counter(edges)
    assert torch.equal(slots.filled, slots.sign.flatten().nonzero()[:, 0])
    assert slots.owners().tolist() == sorted(target for _, target in edges)
    assert torch.equal(slots.each(slots.neighbor), slots.neighbor[slots.sign != 0])
    most = max(Counter(target for _, target in edges).values(), default=0)
    assert slots.row.shape == (NODES, most)


def test_opposite_edges_share_a_row() -> None:
    edge_index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 0]])
    assert len(neighbor_slots(edge_index, 3).edge) == 3
    assert len(neighbor_slots(edge_index, 3, paired=False).edge) == 4
    alone = neighbor_slots(edge_index, 3, reverse=torch.tensor([-1, -1, -1, -1]))
    assert len(alone.edge) == 4


def test_spread() -> None:
    slots = neighbor_slots(torch.tensor([[0, 1, 2], [1, 0, 1]]), 3)
    values = torch.tensor([[1.0], [5.0]])[: len(slots.edge)]
    assert (slots.spread(values)[..., 0] * slots.sign).tolist() == [[-1, 0], [1, 5], [0, 0]]


@pytest.mark.parametrize("nodes", [0, 3])
def test_no_edges(nodes: int) -> None:
    slots = neighbor_slots(torch.zeros(2, 0, dtype=torch.long), nodes)
    assert slots.row.shape == (nodes, 0)
    assert slots.spread(torch.zeros(0, 2)).shape == (nodes, 0, 2)
    assert slots.to("cpu").row.shape == (nodes, 0)


@pytest.mark.parametrize("paired", [False, True])
def test_slots_wait_for_their_sizes_alone(paired: bool) -> None:
    edge_index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 0]])
    assert waits(lambda: neighbor_slots(edge_index, 3, paired=paired)) == ["tolist"]


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("edges", [[[0, 3], [1, 0]], [[0, 1], [1, -1]], [[0, 1], [1, 9]]], ids=str)
def test_nodes_out_of_range_are_refused(edges: list[list[int]], paired: bool) -> None:
    with pytest.raises(ValueError, match="edge_index names nodes outside of 0 to 2"):
        neighbor_slots(torch.tensor(edges), 3, paired=paired)
