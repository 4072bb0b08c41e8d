"""Indices of any integer type give what those of 64 bits give, and other types are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from geqlib.atoms.forces import energy_forces
from geqlib.data.packed import PackedGraphs
from geqlib.gaunt.slots import neighbor_slots
from geqlib.graph import (
    Plan,
    check_graph,
    directed_plan,
    neighbor_list,
    paired_plan,
    radius_graph,
    reverse_edges,
    sum_pool,
)
from geqlib.graph.neighbors import nearest
from geqlib.models import PONITA, MessagePassingNet, MonoidGNN, Potential
from geqlib.monoid.tree import tree_plan
from geqlib.nn import ZBL
from geqlib.spen.ego_nets import Neighbourhood, ego_nets
from geqlib.spen.plan import ego_plan, graph_plan, listed_plan

EDGES = torch.tensor([[0, 1, 1, 2, 3, 4], [1, 0, 2, 1, 4, 3]])
BATCH = torch.tensor([0, 0, 0, 1, 1])
POS = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0], [0, 2, 0]])
NETS = ego_nets(EDGES, 5, Neighbourhood())
# all ways to pass an index: (edges, graph numbers) -> result
USES: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "reverse_edges": lambda e, b: reverse_edges(e, 5),
    "reverse_edges with attributes": lambda e, b: reverse_edges(e, 5, torch.ones(6, 1)),
    "directed_plan": lambda e, b: directed_plan(e, 5),
    "paired_plan": lambda e, b: paired_plan(e, 5),
    "paired_plan with reverse": lambda e, b: paired_plan(e, 5, reverse_edges(EDGES, 5).to(e.dtype)),
    "neighbor_slots": lambda e, b: neighbor_slots(e, 5),
    "ego_nets": lambda e, b: ego_nets(e, 5, Neighbourhood(2)),
    "ego_plan": lambda e, b: ego_plan(e, 5, symmetric=True),
    "graph_plan": lambda e, b: graph_plan(e, 5, b, 2),
    "listed_plan": lambda e, b: listed_plan(*NETS, e, 5, hops=1, shared=False),
    "tree_plan": lambda e, b: tree_plan(b, 2),
    "sum_pool": lambda e, b: sum_pool(POS, b, 2),
    "nearest": lambda e, b: nearest(POS, b, 2, 2),
    "radius_graph": lambda e, b: radius_graph(POS, 1.5, b),
    "neighbor_list": lambda e, b: neighbor_list(POS, 1.5, batch=b),
}


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8, torch.uint16], ids=str)
@pytest.mark.parametrize("name", USES)
def test_integers_of_any_size(name: str, dtype: torch.dtype) -> None:
    if name == "tree_plan" and dtype != torch.int32:
        pytest.skip("its sentence asks for one of the two usual types")
    expected = USES[name](EDGES, BATCH)
    assert same(USES[name](EDGES.to(dtype), BATCH.to(dtype)), expected)


def same(a: Any, b: Any) -> bool:
    """Equal values and types, also of the fields of plans."""
    if isinstance(a, Plan):
        a, b = a.tensors(), b.tensors()
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, tuple):
        return all(map(same, a, b))
    return a.dtype == b.dtype and torch.equal(a, b)


EDGE_USES = sorted(name for name in USES if "plan" in name or "edges" in name or "nets" in name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool], ids=str)
@pytest.mark.parametrize("name", [name for name in EDGE_USES if name != "tree_plan"])
def test_other_types_are_refused(name: str, dtype: torch.dtype) -> None:
    """Not cut to integers, and no error from inside torch."""
    with pytest.raises(ValueError, match=rf"(edge_index|reverse) has dtype {dtype}: convert it"):
        USES[name](EDGES.to(dtype), BATCH)


def test_graphs_with_edges_of_32_bits_pass_the_check() -> None:
    check_graph(type("Graph", (), {"pos": POS, "edge_index": EDGES.int(), "batch": BATCH.int()}))
    with pytest.raises(ValueError, match="edge 1 is 1 -> 7, but there are only nodes 0 to 4"):
        wrong = torch.tensor([[0, 1], [1, 7]], dtype=torch.int32)
        check_graph(type("Graph", (), {"pos": POS, "edge_index": wrong}))


@pytest.mark.parametrize("dtype", ["int32", "int16", "uint8", "uint16", "uint32", "uint64"])
def test_data_sets(dtype: str) -> None:
    """Items and batches have 64 bits, whatever a file holds."""
    arrays = {"nodes": np.array([2, 3], dtype), "edges": np.array([2, 4], dtype)}
    edges = EDGES.numpy()[:, [0, 1, 0, 1, 2, 3]]
    graphs = PackedGraphs(
        arrays | {"edge_index": edges.astype(dtype), "x": np.arange(5, dtype=dtype)}, {"x": "node"}
    )
    batch: Any = graphs.__getitems__([1, 0])
    assert batch.edge_index.dtype == batch.x.dtype == batch.batch.dtype == torch.int64
    assert batch.edge_index.tolist() == [[0, 1, 1, 2, 3, 4], [1, 0, 2, 1, 4, 3]]
    assert batch.x.tolist() == [2, 3, 4, 0, 1]


def test_numbers_beyond_32_bits() -> None:
    """Keys of pairs of nodes do not fit into 32 bits where there are many nodes."""
    nodes = 100_000
    edges = torch.tensor([[0, nodes - 1], [nodes - 1, 0]], dtype=torch.int32)
    assert reverse_edges(edges, nodes).tolist() == [1, 0]


def test_energies_and_forces() -> None:
    """The potential, its check and its plan."""
    torch.manual_seed(0)
    potential = Potential(PONITA(4, 0, 1, 0, channels=4, layers=1, cutoff=1.5))
    z = torch.tensor([1, 8, 1, 1, 1])
    results = [
        energy_forces(potential, POS, z, e, batch=b, num_graphs=2)
        for e, b in ((EDGES, BATCH), (EDGES.int(), BATCH.int()))
    ]
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_networks_take_integers_of_any_size(dtype):
    """uint8 would be a mask, and torch refuses the others as indices."""
    x, edges = torch.randn(4, 3), torch.tensor([[1, 2, 3, 1], [0, 1, 2, 3]])
    batch = torch.tensor([0, 0, 1, 1])
    for net in (
        MessagePassingNet(3, 2).eval(),
        MonoidGNN(3, "max", out_node=1, out_graph=1, channels=4, layers=1).eval(),
    ):
        expected = net(x, edges, batch=batch, num_graphs=2)
        outputs = net(x, edges.to(dtype), batch=batch.to(dtype), num_graphs=2)
        torch.testing.assert_close(outputs, expected)
    expected = ZBL()(x, torch.tensor([6, 1, 8, 1]), edges)
    assert ZBL()(x, torch.tensor([6, 1, 8, 1]), edges.to(dtype)).equal(expected)
