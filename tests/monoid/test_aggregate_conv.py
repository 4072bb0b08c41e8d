"""The convolution equals its formula, node by node and tower by tower."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from geqlib.nn import AggregateConv, CategoryEmbedding, MonoidAggregation
from tests.contract import Case, Contract, Typed

C, E = 4, 3


def monoid(operator: Any, **options: Any) -> MonoidAggregation:
    return MonoidAggregation(C, operator=operator, **options)


AGGREGATIONS: dict[str, Callable[[], Any]] = {
    "max": lambda: "max",
    "mean": lambda: "mean",
    "gru": lambda: monoid("gru", shuffle=False),
    "gru and topk": lambda: monoid(["gru", "topk"], shuffle=False),
}


def slow(conv: AggregateConv, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None) -> Tensor:
    """Sets of messages one by one; the aggregation sees one tower at a time."""
    rows = []
    for node in range(len(x)):
        actual = []
        for tower in range(conv.towers):
            part = slice(tower * C, (tower + 1) * C)
            messages = []
            for edge in (edge_index[1] == node).nonzero().flatten().tolist():
                message = conv.target(x[node])[part] + conv.source(x[edge_index[0, edge]])[part]
                if edge_attr is not None and conv.edge is not None:
                    message = message + conv.edge(edge_attr[edge])[part]
                messages.append(message)
            stacked = torch.stack(messages) if messages else x.new_zeros(0, C)
            actual.append(conv.aggr(stacked, torch.zeros(len(messages)).long(), dim_size=1)[0])
        rows.append(conv.update(torch.cat([x[node], *actual])))
    return torch.stack(rows)


@pytest.mark.parametrize("aggr", AGGREGATIONS)
@pytest.mark.parametrize(("towers", "edges"), [(1, 0), (3, 0), (2, E)])
def test_values_are_those_of_the_formula(aggr: str, towers: int, edges: int) -> None:
    torch.manual_seed(0)
    conv = AggregateConv(C, AGGREGATIONS[aggr](), towers=towers, edge_channels=edges).double()
    edge_index = torch.tensor([[0, 1, 2, 4, 0, 1, 3], [1, 0, 1, 1, 4, 4, 1]])  # none leads to 2, 3
    x = torch.randn(5, C).double()
    edge_attr = torch.randn(7, E).double() if edges else None
    expected = slow(conv, x, edge_index, edge_attr)
    torch.testing.assert_close(conv(x, edge_index, edge_attr), expected, atol=1e-13, rtol=0)


def test_categories_add_one_vector_a_column() -> None:
    embed = CategoryEmbedding([3, 2], C)
    x = torch.tensor([[2, 1], [0, 0]])
    table = embed.vectors.weight
    torch.testing.assert_close(embed(x), torch.stack([table[2] + table[4], table[0] + table[3]]))
    one = CategoryEmbedding([3], C)
    assert torch.equal(one(torch.tensor([1, 2])), one.vectors.weight[1:])
    assert repr(embed) == "CategoryEmbedding([3, 2], 4)"


X, PAIR = torch.zeros(2, C), torch.tensor([[0, 1], [1, 0]])
ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "towers": (lambda: AggregateConv(C, "max", towers=0), "must be positive, got 4 and 0"),
    "edges missing": (
        lambda: AggregateConv(C, "max", edge_channels=E)(X, PAIR),
        "edge_attr is missing, but the layer has 3 edge channels",
    ),
    "edges given": (
        lambda: AggregateConv(C, "max")(X, PAIR, torch.zeros(2, E)),
        "edge_attr is given, but the layer has 0 edge channels",
    ),
    "edge shape": (
        lambda: AggregateConv(C, "max", edge_channels=E)(X, PAIR, torch.zeros(2, 1)),
        r"edge_attr has shape \(2, 1\): expected \(2, 3\)",
    ),
    "no values": (lambda: CategoryEmbedding([2, 0], C), r"at least one value, got sizes \[2, 0\]"),
    "columns": (
        lambda: CategoryEmbedding([2], C)(torch.zeros(1, 2).long()),
        r"shape \(1, 2\) and dtype torch.int64: expected integers \[rows, 1\]",
    ),
    "floats": (lambda: CategoryEmbedding([2], C)(torch.zeros(1, 1)), "dtype torch.float32"),
    "range": (
        lambda: CategoryEmbedding([2, 3], C)(torch.tensor([[0, 0], [1, 3]])),
        "Column 1 is 3 at row 1: its values go from 0 to 2",
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
        "x": (draw(len(pos), C), "scalar"),
        "edge_index": (edge_index, "edge_index"),
        "edge_attr": (draw(edge_index.size(1), E), "edge_scalar"),
    }


DEPTH = "a graph for each depth of the tree: see test_monoid"
CASES: dict[str, tuple[Any, dict[str, str]]] = {
    "mean": ("mean", {}),
    "topk": (partial(monoid, "topk"), {"compile": DEPTH, "export": DEPTH}),
    "gru": (partial(monoid, "gru", order="canonical"), {"compile": DEPTH, "export": DEPTH}),
}


def build(aggr: Any) -> nn.Module:
    built = aggr if isinstance(aggr, str) else aggr()
    return AggregateConv(C, built, towers=2, edge_channels=E)


class TestContract(Contract):
    cases = tuple(
        Case(f"AggregateConv {name}", partial(build, aggr), inputs, "scalar", exceptions=exceptions)
        for name, (aggr, exceptions) in CASES.items()
    )
