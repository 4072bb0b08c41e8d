"""Plans index members, pairs and entries as they say, and survive batching."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from geqlib.data import EgoNets
from geqlib.graph import (
    EgoPart,
    EgoPlan,
    Incidence,
    ego_plan,
    graph_plan,
    join_plans,
    split_by_size,
)
from tests.waits import waits

PATH = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])


def random_graphs(seed: int) -> list[tuple[Tensor, int]]:
    """Some graphs, with loops and repeated edges, some of them empty."""
    rng = np.random.default_rng(seed)
    graphs = []
    for _ in range(int(rng.integers(1, 5))):
        nodes = int(rng.integers(0, 7))
        edges = int(rng.integers(0, 2 * nodes + 1)) if nodes else 0
        graphs.append((torch.from_numpy(rng.integers(0, max(nodes, 1), (2, edges))), nodes))
    return graphs


def joined(graphs: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    """edge_index and batch."""
    nodes = torch.tensor([n for _, n in graphs])
    starts = nodes.cumsum(0) - nodes
    edges = torch.cat([e + s for (e, _), s in zip(graphs, starts, strict=True)], 1)
    return edges, torch.arange(len(graphs)).repeat_interleave(nodes)


def assert_same(one: EgoPlan, other: EgoPlan) -> None:
    values, expected = one.tensors(), other.tensors()
    assert values.keys() == expected.keys()
    for name, value in values.items():
        assert torch.equal(value, expected[name]) and value.dtype == expected[name].dtype, name


def dense(matrix: Incidence) -> Tensor:
    """The matrix, after its two orders of storage have been compared."""
    forward = matrix @ torch.eye(len(matrix.start) - 1)
    assert torch.equal(forward, (matrix.T @ torch.eye(len(matrix.ptr) - 1)).T)
    return forward


def shown(plan: EgoPlan, pair: tuple[int, int]) -> tuple[int, int]:
    return (min(pair), max(pair)) if plan.symmetric else pair


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_what_the_tensors_mean(seed: int, symmetric: bool) -> None:
    edge_index, batch = joined(random_graphs(seed))
    nodes, hops = len(batch), seed % 4
    plan = ego_plan(edge_index, nodes, hops=hops, symmetric=symmetric)
    assert plan.symmetric is symmetric and plan.origin is None
    pairs = list(zip(plan.source.tolist(), plan.target.tolist(), strict=True))
    members = list(zip(plan.ego.tolist(), plan.node.tolist(), strict=True))
    assert members == sorted(members)
    nets = [[i for h, i in members if h == g] for g in range(nodes)]
    held = [shown(plan, (i, j)) for net in nets for i in net for j in net]
    assert pairs == sorted(set(held))
    row, column, pair = plan.entries()
    for s, t, p in zip(row.tolist(), column.tolist(), pair.tolist(), strict=True):
        assert members[s][0] == members[t][0] and (s <= t or not symmetric)
        assert pairs[p] == shown(plan, (members[s][1], members[t][1]))
    entries = (plan.size**2 + plan.size) // 2 if symmetric else plan.size**2
    different = set(zip(row.tolist(), column.tolist(), strict=True))
    assert len(row) == int(entries.sum()) == len(different)
    assert [pairs[p] for p in plan.diagonal] == [(i, i) for i in range(nodes)]
    both = [sum(i in net and j in net for net in nets) for i, j in pairs]
    assert plan.count.tolist() == both
    if not symmetric:
        turned = dense(plan.transpose).argmax(1) if pairs else []
        assert [pairs[p] for p in turned] == [(j, i) for i, j in pairs]


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_matrices(seed: int, symmetric: bool) -> None:
    edge_index, batch = joined(random_graphs(seed))
    nodes = len(batch)
    plan = ego_plan(edge_index, nodes, hops=seed % 3, symmetric=symmetric)
    S, P, E = len(plan.node), len(plan.target), edge_index.size(1)
    one = torch.eye(max(S, P, nodes, 1))
    assert torch.equal(dense(plan.members), one[plan.node, :nodes])
    nets = torch.zeros(nodes, nodes).index_put((plan.ego, plan.node), torch.ones(S))
    assert torch.equal(dense(plan.nets), nets)
    both = torch.cat([one[plan.node, :nodes], one[plan.ego, :nodes]], 1)
    assert torch.equal(dense(plan.owners), both)
    sides = 1 if symmetric else 2
    lines, centre_pairs = torch.zeros(sides * S, P), torch.zeros(sides * S, P)
    pairs = zip(plan.source.tolist(), plan.target.tolist(), strict=True)
    number = {pair: k for k, pair in enumerate(pairs)}
    for s, t in (plan.ego[:, None] == plan.ego).nonzero().tolist():
        i, j = int(plan.node[s]), int(plan.node[t])
        for side, pair in enumerate(((i, j), (j, i))[:sides]):
            lines[sides * s + side, number[shown(plan, pair)]] = 1
            if i == plan.ego[s] and s == plan.centre[plan.ego[s]]:
                centre_pairs[sides * t + side, number[shown(plan, pair)]] = 1
    assert torch.equal(dense(plan.lines), lines)
    assert torch.equal(dense(plan.pairs_of_centre), centre_pairs)
    assert plan.node[plan.centre].tolist() == list(range(nodes))
    edges = torch.zeros(P, E)
    for e, pair in enumerate(edge_index.T.tolist()):
        if shown(plan, tuple(pair)) in number:  # with no hops, only loops are
            edges[number[shown(plan, tuple(pair))], e] = 1
    assert torch.equal(dense(plan.edges), edges)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_nodes_and_pairs_of_their_own(seed: int, symmetric: bool) -> None:
    """Ego nets that share nothing are separate graphs of copies."""
    edge_index, batch = joined(random_graphs(seed))
    nodes = len(batch)
    own = ego_plan(edge_index, nodes, symmetric=symmetric, shared=False)
    common = ego_plan(edge_index, nodes, symmetric=symmetric)
    assert torch.equal(own.origin, common.node) and torch.equal(own.ego, common.ego)
    assert own.node.tolist() == list(range(len(common.node)))
    whole = graph_plan(edge_index[:, :0], len(own.node), own.ego, nodes, symmetric=symmetric)
    names = ("source", "target", "diagonal", "count", "lines", "transpose", "members")
    values, expected = own.tensors(), whole.tensors()
    for key in values:
        if key.partition(".")[0] in names:
            assert torch.equal(values[key], expected[key]), key
    apart = common.disjoint()
    for key, value in apart.tensors().items():
        assert key.startswith("edges") or torch.equal(value, values[key]), key
    assert apart.edges.start.tolist() == [0] and torch.equal(own.disjoint().origin, own.origin)
    shared = torch.stack([own.origin[own.source], own.origin[own.target]], 1).tolist()
    pairs = zip(common.source.tolist(), common.target.tolist(), strict=True)
    number = {pair: k for k, pair in enumerate(pairs)}
    rows = [number[shown(common, (i, j))] for i, j in shared]
    assert torch.equal(dense(own.edges), dense(common.edges)[rows])
    assert torch.equal(own.centre, common.centre)


@pytest.mark.parametrize("seed", range(20))
def test_joined_plans_are_that_of_the_batch(seed: int) -> None:
    graphs = random_graphs(seed)
    edge_index, batch = joined(graphs)
    options = {"symmetric": seed % 2 == 0, "shared": seed % 3 == 0, "hops": seed % 4}
    assert_same(
        join_plans([ego_plan(e, n, **options) for e, n in graphs]),
        ego_plan(edge_index, len(batch), **options),
    )
    symmetric = seed % 2 == 0
    assert_same(
        join_plans([graph_plan(e, n, symmetric=symmetric) for e, n in graphs]),
        graph_plan(edge_index, len(batch), batch, len(graphs), symmetric=symmetric),
    )


def test_whole_graphs() -> None:
    plan = graph_plan(PATH, 4, torch.tensor([0, 0, 0, 2]), 4)
    assert plan.size.tolist() == [3, 0, 1, 0] and len(plan.target) == 10
    assert plan.centre is None and plan.pairs_of_centre is None and plan.hops is None


def test_far_ego_nets_are_connected_components() -> None:
    plan = ego_plan(PATH, 4, hops=99)
    assert plan.size.tolist() == [3, 3, 3, 1]


@pytest.mark.parametrize("seed", range(8))
def test_parts_by_size(seed: int) -> None:
    edge_index, batch = joined(random_graphs(seed))
    plan = ego_plan(edge_index, len(batch), symmetric=seed % 2 == 0)
    parts = split_by_size(plan, (1, 3, 4))
    remaining = torch.tensor([1, 3, 4])
    for k, part in enumerate(parts):
        nearest = (plan.size[:, None] - remaining).abs().argmin(1)
        assert torch.equal(part.ego, (nearest == k).nonzero()[:, 0])
        own = part.plan
        assert torch.equal(part.node[own.node], plan.node[nearest[plan.ego] == k])
        for name in ("source", "target"):
            there = getattr(plan, name)[part.pair]
            assert torch.equal(part.node[getattr(own, name)], there)
        assert torch.equal(part.node[own.node[own.centre]], plan.node[plan.centre][part.ego])
    for name, rows in (("node", len(batch)), ("pair", len(plan.target))):
        numbers = torch.cat([getattr(part, name) for part in parts])
        shares = torch.cat([getattr(part, f"{name}_share")[:, 0] for part in parts])
        total = torch.zeros(rows).double().index_add(0, numbers, shares)
        torch.testing.assert_close(total, torch.ones_like(total))


def test_the_transform_survives_batching() -> None:
    graphs = [Data(edge_index=PATH, num_nodes=4), Data(edge_index=PATH[:, :2], num_nodes=2)]
    batch: Any = Batch.from_data_list([EgoNets(hops=2)(graph) for graph in graphs])
    assert_same(join_plans(batch.plan), ego_plan(batch.edge_index, 6, hops=2))
    assert repr(EgoNets(hops=2, max_size=9)) == (
        "EgoNets(hops=2, direction='out', max_size=9, oversize='raise', seed=0, symmetric=False, "
        "shared=True)"
    )


@pytest.mark.parametrize("options", [{}, {"symmetric": True}, {"direction": "both"}], ids=str)
def test_plans_wait_for_their_sizes_alone(options: dict[str, Any]) -> None:
    """Members and entries, then pairs: each is needed to reserve memory for what follows."""
    assert len(waits(lambda: ego_plan(PATH, 4, **options))) == 2
    # two for every further hop, one for the entries
    assert len(waits(lambda: ego_plan(PATH, 4, hops=2, **options))) == 5
    plan = ego_plan(PATH, 4, **options)
    assert waits(plan.disjoint) == []


@pytest.mark.parametrize("symmetric", [False, True])
def test_plans_of_whole_graphs_wait_once(symmetric: bool) -> None:
    batch = torch.tensor([0, 0, 0, 2])
    assert len(waits(lambda: graph_plan(PATH, 4, batch, 4, symmetric=symmetric))) == 1


def test_moves() -> None:
    plan = ego_plan(PATH, 3).to("meta")
    kinds = {x.device.type for name, x in plan.tensors().items() if name != "hops"}
    assert kinds == {"meta"} and plan.hops == 1


@pytest.mark.parametrize("options", [{}, {"symmetric": True, "shared": False, "hops": 2}], ids=str)
def test_plans_are_files_of_tensors(options: dict[str, Any]) -> None:
    for plan in (ego_plan(PATH, 3, **options), graph_plan(PATH, 3)):
        assert_same(EgoPlan.from_tensors(plan.tensors()), plan)
    (part,) = split_by_size(ego_plan(PATH, 3, **options), (2,))
    assert_same(EgoPart.from_tensors(part.to("cpu").tensors()).plan, part.plan)


def test_large_sparse_graphs_take_linear_memory() -> None:
    ring = torch.arange(20_000)
    plan = ego_plan(torch.stack([ring, (ring + 1) % 20_000]), 20_000)
    numbers = sum(x.numel() for x in plan.tensors().values())
    assert numbers < 120 * 20_000  # 2 members, 3 pairs and 4 entries per node


ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "range": (lambda: ego_plan(PATH, 2), "goes from 0 to 2, but there are 2 nodes: count them"),
    "negative": (lambda: ego_plan(PATH - 1, 3), "edge_index goes from -1 to 1"),
    "shape": (lambda: ego_plan(PATH.T, 3), "edge_index has shape (4, 2): expected [2, edges]"),
    "batch": (lambda: graph_plan(PATH, 3, PATH[0, :3]), "batch is given without num_graphs"),
    "graphs": (
        lambda: graph_plan(PATH, 3, PATH[0, :3], 1),
        "batch has graph 1, but num_graphs is 1",
    ),
    "far edges without nodes": (lambda: ego_plan(PATH, 0), "there are 0 nodes: count them"),
    "graph below 0": (
        lambda: graph_plan(PATH, 3, PATH[0, :3] - 1, 2),
        "batch has graph -1, but num_graphs is 2",
    ),
    "order": (
        lambda: graph_plan(PATH, 3, torch.tensor([1, 0, 0]), 2),
        "batch is not ascending: sort",
    ),
    "none": (lambda: join_plans([]), "no plans to join: give at least one"),
    "mixed": (
        lambda: join_plans([ego_plan(PATH, 3), ego_plan(PATH, 3, hops=2)]),
        "plans have different options: make all of them with",
    ),
    "sizes": (
        lambda: split_by_size(ego_plan(PATH, 3), (2, 2)),
        "positive and ascending, got (2, 2)",
    ),
    "no sizes": (lambda: split_by_size(ego_plan(PATH, 3), ()), "positive and ascending, got ()"),
}


@pytest.mark.parametrize("error", ERRORS)
def test_errors_say_what_is_wrong_and_how_to_fix_it(error: str) -> None:
    call, message = ERRORS[error]
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
