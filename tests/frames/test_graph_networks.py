"""FA-MLP and FA-GIN+ID keep the contract, and separate what message passing cannot."""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import Any

import networkx as nx
import pytest
import torch
from torch import Tensor

from geqlib.frames.graph_networks import FAGIN, FAMLP
from tests.contract import Case, Contract, Typed


def graph(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    """Kinds of nodes as features: many are equal."""
    n = len(pos)
    x = torch.randint(2, (n, 1), generator=generator).double()
    edges = torch.cat([edge_index, edge_index.flip(0)], 1).unique(dim=1)
    return {
        "x": (x, "scalar"),
        "edge_index": (edges, "edge_index"),
        "batch": (torch.zeros(n, dtype=torch.long), "batch"),
    }


@torch.no_grad()
def plan(net: Any, tensors: dict[str, Tensor], graphs: int) -> dict[str, Any]:
    return {"num_graphs": graphs, "plan": net.plan(**tensors, num_graphs=graphs)}


def case(build: Any, exceptions: Any = MappingProxyType({}), **options: Any) -> Case:
    inputs = {"max_nodes": 20} | options
    name = f"{build.__name__} {inputs.get('orders', 'canonical')}"
    return Case(
        name,
        partial(build, 1, 2, **inputs),
        graph,
        "graph:scalar",
        extra=plan,
        backend="eager",
        exceptions=exceptions,
    )


BLOCKS = "matrices are those of each size of graphs, whose number differs between batches"
KINKS = "equal features tie, and there derivatives differ from side to side"
SOFT = {"compile": BLOCKS, "export": BLOCKS, "derivatives": KINKS}


# the contract's graphs without edges are larger than `bound`; all orders of them are alike
@pytest.mark.filterwarnings("ignore:A graph has more than bound")
class TestContract(Contract):
    cases = (
        case(FAMLP, hidden=(8,)),
        case(FAGIN, channels=4, layers=2),
        case(FAMLP, hidden=(8,), orders="laplacian", bound=10**4),
        case(FAMLP, SOFT, hidden=(8,), orders="softsort"),
        case(FAMLP, SOFT, hidden=(8,), orders="sinkhorn"),
    )


def test_sampled_orders_are_announced() -> None:
    net, x = FAMLP(1, 2, max_nodes=5, orders="laplacian", bound=100), torch.ones(5, 1)
    ring = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 0]])
    with pytest.warns(UserWarning, match="more than bound=100 Laplacian orders"):
        net(x, torch.cat([ring, ring.flip(0)], 1))


@pytest.mark.parametrize("build", [FAMLP, FAGIN])
def test_separates_what_colour_refinement_does_not(build: Any) -> None:
    from geqlib.data.graphs.expressivity import plain

    torch.manual_seed(0)
    net = build(1, 4, max_nodes=16).double()
    pairs = (
        (nx.cycle_graph(6), nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3))),
        (nx.circulant_graph(16, [1, 2]), nx.circulant_graph(16, [1, 3])),
    )
    for pair in pairs:
        actual = []
        for g in pair:
            graph = plain(g)
            for one in (graph, graph.relabelled(_rng())):
                x = torch.ones(len(g), 1).double()
                actual.append(net(x, torch.from_numpy(one.edge_index)))
        assert torch.equal(actual[0], actual[1]) and torch.equal(actual[2], actual[3])
        assert (actual[0] - actual[2]).abs().max() > 1e-4


def _rng() -> Any:
    import numpy as np

    return np.random.default_rng(3)


def test_random_orders_separate_copies_of_one_graph() -> None:
    """Why a benchmark of separation needs relabelled copies as a control."""
    from geqlib.data.graphs.expressivity import plain

    torch.manual_seed(0)
    net = FAMLP(1, 4, max_nodes=6, orders="random").double()
    edges = torch.from_numpy(plain(nx.path_graph(6)).edge_index)
    one, two = (net(torch.ones(6, 1).double(), edges) for _ in range(2))
    assert (one - two).abs().max() > 1e-4


@pytest.mark.parametrize("build", [FAMLP, FAGIN])
def test_errors(build: Any) -> None:
    x, edges = torch.ones(3, 1), torch.zeros(2, 0, dtype=torch.long)
    with pytest.raises(ValueError, match="a graph has 3 nodes, but max_nodes is 2"):
        build(1, 2, max_nodes=2)(x, edges)
    with pytest.raises(ValueError, match="orders must be"):
        build(1, 2, max_nodes=2, orders="best")
    with pytest.raises(ValueError, match="undirected"):
        build(1, 2, max_nodes=3, orders="laplacian")(x, torch.tensor([[0], [1]]))
