"""The graph network equals its recursion, graph by graph, and keeps the contract."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from geqlib.models import MonoidGNN
from geqlib.nn import MonoidAggregation
from tests.contract import Case, Contract, Typed, all_edges

C = 4


def gnn(aggr: Any = "max", **options: Any) -> MonoidGNN:
    torch.manual_seed(0)
    outputs = {"out_node": 2, "out_graph": 3, "channels": C}
    return MonoidGNN(2, aggr, **(outputs | options)).double()


def path(nodes: int) -> Tensor:
    ends = torch.arange(nodes - 1)
    return torch.cat([torch.stack([ends, ends + 1]), torch.stack([ends + 1, ends])], 1)


def recursion(net: Any, x: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
    """One graph: as many layers as it is due, the last of them repeated."""
    x = net.encode(x)
    due = max(len(x) // 2, len(net.convs)) if net.depth == "half" else len(net.convs)
    for k in range(due):
        layer = min(k, len(net.convs) - 1)
        y = net.convs[layer](x, edge_index)
        if hasattr(net.steps[layer], "cell"):
            x = net.steps[layer].cell(leaky_relu(y), x)
        else:
            x = x + net.steps[layer].norm(y).relu()
    return net.of_nodes(x), net.of_graphs(net.readout(x, torch.zeros(len(x)).long(), dim_size=1))


@pytest.mark.parametrize("update", ["gru", "residual"])
@pytest.mark.parametrize("depth", ["half", "fixed"])
def test_a_batch_is_the_recursion_of_each_graph(update: Any, depth: Any) -> None:
    net = gnn("sum", update=update, depth=depth, readout="mean").eval()
    sizes = (9, 1, 2, 6)
    graphs = [(torch.randn(n, 2).double(), path(n)) for n in sizes]
    starts = [0, 9, 10, 12]
    nodes, actual = net(
        torch.cat([x for x, _ in graphs]),
        torch.cat([edges + start for (_, edges), start in zip(graphs, starts, strict=True)], 1),
        batch=torch.arange(4).repeat_interleave(torch.tensor(sizes)),
        num_graphs=4,
    )
    expected = [recursion(net, *graph) for graph in graphs]
    torch.testing.assert_close(nodes, torch.cat([e[0] for e in expected]), atol=1e-13, rtol=0)
    torch.testing.assert_close(actual, torch.cat([e[1] for e in expected]), atol=1e-13, rtol=0)


def test_one_output_comes_alone() -> None:
    x, edges = torch.randn(3, 2).double(), path(3)
    assert gnn(out_graph=0)(x, edges).shape == (3, 2)
    assert gnn(out_node=0)(x, edges).shape == (1, 3)


def test_every_layer_has_an_aggregation_of_its_own() -> None:
    net = gnn(MonoidAggregation(C, "gru"), layers=2)
    first, second = (conv.aggr.operators[0].cell.weight_ih for conv in net.convs)  # type: ignore
    assert first is not second and not torch.equal(first, second)


def test_integers_name_atoms_and_bonds() -> None:
    torch.manual_seed(0)
    net = MonoidGNN([5, 2], "sum", out_graph=1, channels=C, edge_dim=[3], update="residual")
    x, edges = torch.tensor([[4, 1], [0, 0], [2, 1]]), path(3)
    bonds = torch.tensor([0, 1, 0, 1])
    out = net.eval()(x, edges, bonds)
    other = net(x, edges, torch.tensor([2, 1, 2, 1]))
    assert out.shape == (1, 1) and not torch.equal(out, other)


EDGES, X = path(3), torch.zeros(3, 2).double()
ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "outputs": (partial(gnn, out_node=0, out_graph=0), "one of out_node and out_graph must be"),
    "channels": (partial(gnn, channels=0), "must be positive, got 0, 2, 2 and 3"),
    "depth": (partial(gnn, depth="deep"), 'depth must be "fixed" or "half", got \'deep\''),
    "update": (partial(gnn, update="sum"), 'update must be "gru" or "residual", got \'sum\''),
    "batch": (
        lambda: gnn()(X, EDGES, batch=torch.zeros(3).long()),
        "batch is given without num_graphs",
    ),
    "no edges": (lambda: gnn(edge_dim=2)(X, EDGES), "edge_attr is missing, but the layer has 4"),
    "edges": (
        lambda: gnn()(X, EDGES, torch.zeros(4, 2).double()),
        "edge_attr is given, but the layer has 0",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_say_what_and_how_to_fix_it(name: str) -> None:
    call, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        call()


def inputs(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {
        "x": (draw(len(pos), 2), "scalar"),
        "edge_index": (edge_index, "edge_index"),
        "edge_attr": (draw(edge_index.size(1), 3), "edge_scalar"),
        "batch": (torch.zeros(len(pos), dtype=torch.long), "batch"),
    }


DEPTH = "a graph for each depth of the tree: see test_monoid"
CASES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "mean": ({"aggr": "mean", "readout": "mean", "layers": 1}, {}),
    "residual": ({"aggr": "sum", "update": "residual", "out_node": 0}, {}),
    "gru": (
        {
            "aggr": MonoidAggregation(C, "gru", order="canonical"),
            "readout": MonoidAggregation(C, ["topk"]),
            "towers": 2,
        },
        {"compile": DEPTH, "export": DEPTH},
    ),
}


class TestContract(Contract):
    cases = tuple(
        Case(
            f"MonoidGNN {name}",
            partial(gnn, edge_dim=3, **options),
            inputs,
            ["scalar", "graph:scalar"] if options.get("out_node", 2) else "graph:scalar",
            extra=lambda module, tensors, graphs: {"num_graphs": graphs},
            exceptions=exceptions,
        )
        for name, (options, exceptions) in CASES.items()
    )


def test_edges_of_every_pair() -> None:
    """A graph without symmetry breaking: all nodes get the same output."""
    nodes = gnn("mean", out_graph=0)(torch.ones(4, 2).double(), all_edges(4))
    torch.testing.assert_close(nodes, nodes[:1].expand(4, -1), atol=1e-14, rtol=0)


def test_copies_leave_the_given_aggregation_alone() -> None:
    arguments: nn.Module = MonoidAggregation(C, "gru")
    before = [p.detach().clone() for p in arguments.parameters()]
    gnn(arguments)
    assert all(torch.equal(p, q) for p, q in zip(arguments.parameters(), before, strict=True))
