"""PPGN++ against dense matrices, graph by graph, and the contract of all models."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import networkx as nx
import pytest
import torch
from torch import Tensor

from geqlib.graph.pairs import pair_plan
from geqlib.models import PPGNpp
from geqlib.motifs.network import PPGNPlan
from geqlib.motifs.polynomials import missing_polynomials
from tests.contract import Case, Contract, Typed
from tests.motifs.brute_force import edges_of, homomorphisms

GRAPHS = [
    nx.path_graph(4), nx.empty_graph(0), nx.complete_graph(5), nx.empty_graph(1),
    nx.cycle_graph(4), nx.gnp_random_graph(6, 0.7, seed=1),
]  # fmt: skip


def dense(net: PPGNpp, x: Tensor, graph: nx.Graph, edge_attr: Tensor | None) -> Tensor:
    """The network on one graph, as matrices [channels, n, n]."""
    n = len(graph)
    A = torch.zeros(1 + net.edge_dim, n, n, dtype=x.dtype)
    for k, (i, j) in enumerate(edges_of(graph).T.tolist()):
        A[0, i, j] = 1
        if edge_attr is not None:
            A[1:, i, j] = edge_attr[k]
    P = torch.zeros(net.polynomials, n, n, dtype=x.dtype)
    patterns = [p for degree in range(1, net.degree + 1) for p in missing_polynomials(degree)]
    for k, pattern in enumerate(patterns):
        counts = homomorphisms(pattern, graph)
        for i in range(n):
            for j in range(n):
                if len(pattern.roots) == 2:
                    P[k, i, j] = counts.get((i, j), 0)
                elif len(pattern.roots) == 1:
                    P[k, i, j] = counts.get((i,), 0) if i == j else 0
                else:
                    P[k, i, j] = counts.get((), 0)
    norm = P.square().sum(0).sqrt()
    P = torch.where(norm > 0, P / norm, 0)
    norm = P.square().sum((1, 2), keepdim=True).sqrt()
    P = torch.where(norm > 0, P / norm, 0)
    X = torch.cat([A, torch.diag_embed(x.T), P])
    for block in net.blocks:
        X = torch.cat([X, torch.eye(n, dtype=x.dtype)[None]])

        def along(module: Any, z: Tensor) -> Tensor:
            return module(z.permute(1, 2, 0)).permute(2, 0, 1)

        left = along(block.left, torch.cat([X, X.mT]))
        product = left @ along(block.right, X)
        X = along(block.skip, torch.cat([X, product])).relu()
    diagonal = X.diagonal(dim1=1, dim2=2).sum(1)
    beside = X.sum((1, 2)) - diagonal
    means = torch.cat([diagonal / max(n, 1), beside / max(n * (n - 1), 1)])
    return net.out(net.hidden(means).relu())


@pytest.mark.parametrize("edge_dim", [0, 2])
@pytest.mark.parametrize("degree", [4, 5, 6])
def test_equals_dense_matrices(degree: int, edge_dim: int) -> None:
    torch.manual_seed(0)
    net = PPGNpp(2, 3, channels=4, layers=2, edge_dim=edge_dim, degree=degree).double()
    sizes = torch.tensor([len(graph) for graph in GRAPHS])
    batch = torch.arange(len(GRAPHS)).repeat_interleave(sizes)
    x = torch.randn(len(batch), 2).double()
    start = (sizes.cumsum(0) - sizes).tolist()
    edges = [edges_of(graph) for graph in GRAPHS]
    index = torch.cat([e + s for e, s in zip(edges, start, strict=True)], 1)
    attr = torch.randn(index.size(1), edge_dim).double() if edge_dim else None
    attrs = [None] * len(GRAPHS) if attr is None else attr.split([e.size(1) for e in edges])
    out = net(x, index, attr, batch, len(GRAPHS))
    alone = [
        dense(net, part, graph, a)
        for part, graph, a in zip(x.split(sizes.tolist()), GRAPHS, attrs, strict=True)
    ]
    torch.testing.assert_close(out, torch.stack(alone), atol=1e-12, rtol=1e-12)


def test_pairs_of_nodes_in_any_order() -> None:
    """Nodes of a graph need not follow each other."""
    batch = torch.tensor([1, 0, 1, 3, 0, 1])
    plan = pair_plan(6, batch, 4)
    pairs = sorted(zip(plan.row.tolist(), plan.column.tolist(), strict=True))
    assert pairs == [(i, j) for i in range(6) for j in range(6) if batch[i] == batch[j]]
    assert torch.equal(batch[plan.row], plan.graph)
    assert torch.equal(plan.row[plan.transpose], plan.column)
    assert torch.equal(plan.pair(plan.row, plan.column), torch.arange(len(plan.row)))
    assert plan.row[plan.diagonal].tolist() == plan.column[plan.diagonal].tolist() == [*range(6)]
    assert plan.graphs == (1, 1, 1) and plan.nodes == (1, 2, 3)


def test_plans_go_through_tensors() -> None:
    plan = PPGNpp(0, 1, degree=5).plan(edges_of(nx.complete_graph(3)), 3)
    again = PPGNPlan.from_tensors(plan.tensors())
    assert again.degree == 5 and again.pairs.nodes == (3,)
    assert torch.equal(again.polynomials, plan.polynomials)


def test_the_degree_decides_what_is_distinguished() -> None:
    """The 4 x 4 rook's graph and Shrikhande's: the same for 2-WL, not with the fifth degree."""
    rook = nx.convert_node_labels_to_integers(nx.line_graph(nx.complete_bipartite_graph(4, 4)))
    steps = [(0, 1), (1, 0), (1, 1), (0, 3), (3, 0), (3, 3)]
    shrikhande = nx.Graph(
        (4 * a + b, 4 * ((a + s) % 4) + (b + t) % 4)
        for a in range(4)
        for b in range(4)
        for s, t in steps
    )
    for degree, apart in ((4, False), (5, True), (6, True)):
        torch.manual_seed(0)
        net = PPGNpp(0, 1, channels=8, layers=2, degree=degree).double()
        x = torch.zeros(16, 0).double()
        one, two = (net(x, edges_of(g)) for g in (rook, shrikhande))
        assert bool((one - two).abs().max() > 1e-9) == apart


X = torch.zeros(3, 2)
RING = edges_of(nx.cycle_graph(3))
ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "layers": (lambda: PPGNpp(2, 3, layers=0), "layers must be at least 1, got 0"),
    "degree": (lambda: PPGNpp(2, 3, degree=7), "degree must be 1 to 6, got 7"),
    "x": (lambda: PPGNpp(3, 3)(X, RING), r"x has shape \(3, 2\), expected \[nodes, 3\]"),
    "edges": (lambda: PPGNpp(2, 3, edge_dim=4)(X, RING), r"edge_attr has shape \(6, 0\)"),
    "graphs": (lambda: PPGNpp(2, 3)(X, RING, batch=torch.zeros(3).long()), "without num_graphs"),
    "directed": (lambda: PPGNpp(2, 3)(X, RING[:, :1]), "has no edge back"),
    "plan": (
        lambda: PPGNpp(2, 3)(X, RING, plan=PPGNpp(2, 3, degree=4).plan(RING, 3)),
        "plan has degree=4, but the model was built for 6",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    call, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_without_polynomials_graphs_may_be_directed() -> None:
    net = PPGNpp(2, 3, degree=4)
    assert net(X, RING[:, :1]).shape == (1, 3)


def graph(pos: Tensor, edges: Tensor, generator: torch.Generator) -> Typed:
    """Edges in both directions and no loops, whatever was drawn."""
    source, target = edges
    joined = torch.zeros(len(pos), len(pos), dtype=torch.bool)
    joined[source, target], joined[target, source] = True, True
    edges = joined.fill_diagonal_(False).nonzero().T
    x = torch.randn(len(pos), 2, generator=generator, dtype=pos.dtype)
    attr = torch.randn(edges.size(1), 1, generator=generator, dtype=pos.dtype)
    return {
        "x": (x, "scalar"),
        "edge_index": (edges, "edge_index"),
        "edge_attr": (attr, "edge_scalar"),
        "batch": (torch.zeros(len(pos), dtype=torch.long), "batch"),
    }


def plan(module: PPGNpp, tensors: dict[str, Tensor], graphs: int) -> dict[str, Any]:
    batch, nodes = tensors["batch"], len(tensors["x"])
    return {
        "num_graphs": graphs,
        "plan": module.plan(tensors["edge_index"], nodes, batch, graphs),
    }


BLOCKS = "a product of matrices for each size of graphs that occurs: another program for others"


def with_pairs(pos: Tensor, edges: Tensor, generator: torch.Generator) -> Typed:
    """Features of some pairs of nodes, which need not be edges, and of the graph."""
    pairs = (torch.rand(len(pos), len(pos), generator=generator) < 0.5).nonzero().T
    options: dict[str, Any] = {"generator": generator, "dtype": pos.dtype}
    return graph(pos, edges, generator) | {
        "pair_index": (pairs, "pair_index"),
        "pair_attr": (torch.randn(pairs.size(1), 2, **options), "pair:scalar"),
        "motifs": (torch.randn(1, 2, **options), "graph:scalar"),
    }


def test_features_of_pairs_that_are_edges() -> None:
    """They are features of edges, by another way."""
    torch.manual_seed(0)
    one = PPGNpp(0, 3, channels=4, layers=2, edge_dim=2, degree=4).double()
    two = PPGNpp(0, 3, channels=4, layers=2, pair_dim=2, degree=4).double()
    two.load_state_dict(one.state_dict())
    value = torch.randn(6, 2).double()
    x = torch.zeros(3, 0).double()
    out = two(x, RING, pair_index=RING, pair_attr=value)
    torch.testing.assert_close(out, one(x, RING, value), atol=1e-12, rtol=1e-12)


NETWORKS: dict[str, tuple[dict[str, Any], Any]] = {
    "PPGNpp, degree 4": ({"layers": 2, "degree": 4}, graph),
    "PPGNpp, degree 6": ({"layers": 2, "degree": 6}, graph),
    "PPGNpp with pairs": ({"layers": 1, "pair_dim": 2, "graph_dim": 2}, with_pairs),
}


class TestContract(Contract):
    cases = tuple(
        Case(
            name,
            partial(PPGNpp, 2, 3, channels=4, edge_dim=1, **options),
            inputs,
            "graph:scalar",
            extra=plan,
            backend="eager",
            exceptions={"compile": BLOCKS, "export": BLOCKS},
        )
        for name, (options, inputs) in NETWORKS.items()
    )
