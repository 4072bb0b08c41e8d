"""The set model equals its formula, element by element, and learns."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, gelu
from torch_geometric.nn.aggr import LCMAggregation

from geqlib.models import SetNetwork
from geqlib.nn import MonoidAggregation
from tests.contract import Case, Contract, Typed

C = 6


def test_values_are_those_of_the_formula() -> None:
    torch.manual_seed(0)
    net = SetNetwork(C, "sum", out_bits=3).double()
    x, batch = torch.tensor([0, 255, 17, 17]), torch.tensor([0, 2, 0, 2])
    sums = torch.zeros(3, C).double()
    for number, row in zip(x.tolist(), batch.tolist(), strict=True):
        bits = [int(digit) for digit in reversed(f"{number:08b}")]
        code = torch.stack([net.bit[place, bit] for place, bit in enumerate(bits)]).sum(0)
        sums[row] += gelu(net.encode[0](code))
    expected = net.decode[2](gelu(net.decode[0](sums)))
    torch.testing.assert_close(net(x, batch, 3), expected, atol=1e-13, rtol=0)


def test_sets_without_batch_are_one_set() -> None:
    net = SetNetwork(C, MonoidAggregation(C, "gru")).eval()
    x = torch.tensor([1, 2, 3])
    torch.testing.assert_close(net(x), net(x, torch.zeros(3, dtype=torch.long), 1))
    assert net(torch.tensor([], dtype=torch.long)).shape == (1, 8)


@pytest.mark.parametrize("aggr", [MonoidAggregation(C, ["gru"]), LCMAggregation(C, C), "mean"])
def test_aggregations_of_both_libraries(aggr: Any) -> None:
    net = SetNetwork(C, aggr)
    out = net(torch.tensor([5, 6, 7]), torch.tensor([0, 0, 1]), 2)
    out.square().sum().backward()
    assert out.shape == (2, 8) and net.bit.grad is not None and net.bit.grad.any()


def test_it_learns_the_second_minimum() -> None:
    """Sets of two numbers below 16: the larger of the two."""
    from geqlib.data import SetData
    from geqlib.train.tasks.generated import right_answers

    torch.manual_seed(0)
    data = SetData(train=512, val=64, test=64, min_size=2, max_size=2, val_size=2, test_sizes=(2,))
    data.setup()
    part: Any = data.splits["train"].__getitems__(range(512))
    x, y = (
        part.x % 16,
        torch.stack(
            [(part.x % 16).view(-1, 2).max(1).values >> k & 1 for k in range(8)], 1
        ).float(),
    )
    net = SetNetwork(32, MonoidAggregation(32, ["topk"]))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(100):
        loss = binary_cross_entropy_with_logits(net(x, part.batch, 512), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert right_answers(net(x, part.batch, 512), y).float().mean() > 0.9


NET = SetNetwork(C, "sum")
ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "channels": (lambda: SetNetwork(0, "sum"), "must be positive, got 0 and 8"),
    "range": (lambda: NET(torch.tensor([3, 256])), "x goes from 3 to 256: its elements must be"),
    "negative": (lambda: NET(torch.tensor([-1])), "x goes from -1 to -1"),
    "floats": (lambda: NET(torch.zeros(3)), "dtype torch.float32: expected a vector of integers"),
    "shape": (lambda: NET(torch.zeros(3, 1).long()), r"x has shape \(3, 1\)"),
    "batch": (
        lambda: NET(torch.tensor([1]), torch.tensor([0])),
        "batch is given without num_graphs: pass the number of sets too",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_say_what_and_how_to_fix_it(name: str) -> None:
    call, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        call()


def inputs(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    x = torch.randint(256, (len(pos),), generator=generator)
    return {"x": (x, "index"), "batch": (torch.zeros(len(pos), dtype=torch.long), "batch")}


NUMBERS = {"degenerate_sets": "its inputs are integers, which have no derivative"}
DEPTH = "a graph for each depth of the tree: see test_monoid"
TREE = NUMBERS | {"compile": DEPTH, "export": DEPTH}
CASES: dict[str, tuple[Any, dict[str, str]]] = {
    "sum": (lambda: "sum", NUMBERS),
    "topk": (partial(MonoidAggregation, C, ["topk"]), TREE),
    "gru": (partial(MonoidAggregation, C, "gru", order="canonical"), TREE),
}


def build(aggr: Callable[[], Any]) -> nn.Module:
    return SetNetwork(C, aggr())


class TestContract(Contract):
    cases = tuple(
        Case(
            f"SetNetwork {name}",
            partial(build, aggr),
            inputs,
            "graph:scalar",
            extra=lambda module, tensors, graphs: {"num_graphs": graphs},
            exceptions=exceptions,
        )
        for name, (aggr, exceptions) in CASES.items()
    )
