"""Values and gains of subsets equal the formulas, subset by subset, and the contract is kept."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn
from torch.autograd import gradcheck
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch_geometric.nn.aggr import AttentionalAggregation

from geqlib.models import EquiVSet
from geqlib.nn import MonoidAggregation
from geqlib.subsets.function import SetFunction
from tests.contract import Case, Contract, Typed

C = 4
BACKGROUNDS = (None, "superset", "complement")
AGGREGATIONS: dict[str, Any] = {
    "sum": lambda: "sum",
    "attention": lambda: AttentionalAggregation(nn.Linear(C, 1)),
    "monoid": lambda: MonoidAggregation(C, "logsumexp"),
}
RAGGED = {
    name: "which elements a changed subset has is read from its values"
    for name in ("vmap", "functional_derivatives", "compile", "export")
}


def inputs(pos: Tensor, edge_index: Tensor, generator: Generator) -> Typed:
    noise = torch.rand(len(pos), 3, generator=generator, dtype=pos.dtype)
    return {
        "x": (pos, "scalar"),
        "batch": (torch.zeros(len(pos), dtype=torch.long), "batch"),
        "noise": (noise, "scalar"),
    }


def case(name: str, exceptions: Any = None, **options: Any) -> Case:
    def build() -> nn.Module:
        aggr = AGGREGATIONS[options.get("aggr", "sum")]()
        return EquiVSet(3, C, hidden=5, samples=3, **(options | {"aggr": aggr}))

    return Case(
        f"EquiVSet {name}",
        build,
        inputs,
        "scalar",
        extra=lambda module, tensors, graphs: {"num_graphs": graphs},
        exceptions=exceptions or {},
    )


class TestContract(Contract):
    cases = (
        case("alone"),
        case("before its superset", background="superset"),
        case("beside its complement", background="complement"),
        case("by attention", RAGGED, aggr="attention"),
    )


def function(background: Any = None, aggr: str = "sum") -> SetFunction:
    torch.manual_seed(0)
    return (
        SetFunction(2, C, hidden=6, background=background, aggr=AGGREGATIONS[aggr]())
        .double()
        .eval()
    )


def aggregate(f: SetFunction, h: Tensor, members: list[int]) -> Tensor:
    """Of one subset, element by element."""
    if f.sums:
        return sum((h[i] for i in members), torch.zeros(C).double())
    return f.aggr(h[members], torch.zeros(len(members)).long(), dim_size=1)[0]


def value(f: SetFunction, x: Tensor, members: set[int]) -> Tensor:
    """F(S; V) of one set."""
    h = f.embed(x)
    inside = aggregate(f, h, sorted(members))
    if f.background == "superset":
        return f.of_subset(torch.cat([inside, aggregate(f, h, list(range(len(x))))]))[0]
    result = f.of_subset(inside)[0]
    if f.of_rest is not None:
        rest = aggregate(f, h, [i for i in range(len(x)) if i not in members])
        result = result + f.of_rest(rest)[0]
    return result


SETS = (3, 1, 0, 2)
BATCH = torch.arange(4).repeat_interleave(torch.tensor(SETS))


def sample() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    subsets = torch.rand(len(BATCH), 4) < 0.5
    subsets[:, 0], subsets[:, 1] = False, True  # nothing, and everything
    return torch.randn(len(BATCH), 2).double(), subsets.double()


@pytest.mark.parametrize("aggr", AGGREGATIONS)
@pytest.mark.parametrize("background", BACKGROUNDS)
def test_values_and_gains_one_by_one(background: Any, aggr: str) -> None:
    f, (x, subsets) = function(background, aggr), sample()
    values, gains = f(x, subsets, BATCH, 4), f.gains(x, subsets, BATCH, 4)
    assert values.shape == (4, 4) and gains.shape == (len(BATCH), 4)
    for k, m in product(range(4), range(4)):
        where = BATCH.eq(k).nonzero()[:, 0]
        own = x[where]
        members = {i for i, j in enumerate(where.tolist()) if subsets[j, m]}
        torch.testing.assert_close(values[k, m], value(f, own, members), atol=1e-12, rtol=0)
        for i, j in enumerate(where.tolist()):
            expected = value(f, own, members | {i}) - value(f, own, members - {i})
            torch.testing.assert_close(gains[j, m], expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("aggr", AGGREGATIONS)
def test_gains_of_an_unsorted_batch(aggr: str) -> None:
    f, (x, subsets) = function("complement", aggr), sample()
    order = torch.tensor([5, 0, 3, 1, 2, 4])
    gains = f.gains(x[order], subsets[order], BATCH[order], 4)
    expected = f.gains(x, subsets, BATCH, 4)[order]
    torch.testing.assert_close(gains, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_derivatives_of_shares(background: Any) -> None:
    """By which the recognition network learns."""
    f, (x, _) = function(background), sample()
    shares = torch.rand(len(BATCH), 2).double().requires_grad_()

    def values(x: Tensor, shares: Tensor) -> Tensor:
        return f(x, shares, BATCH, 4)

    assert gradcheck(values, (x.requires_grad_(), shares))


def test_with_sums_superset_is_as_general_as_a_joint_complement() -> None:
    """f([a, a + b]) is g([a, b]) with W_a + W_b and W_b of its first layer."""
    f, (x, subsets) = function("superset"), sample()
    first: Any = f.of_subset[0]
    weight = first.weight.detach().clone()
    h = f.embed(x)
    pooled = [f._pooled(h, part, BATCH, 4) for part in (subsets, 1 - subsets)]
    joint = torch.cat([weight[:, :C] + weight[:, C:], weight[:, C:]], 1)
    inner = torch.cat(pooled, -1) @ joint.T + first.bias
    torch.testing.assert_close(f.of_subset[1:](inner)[..., 0], f(x, subsets, BATCH, 4))


class Largest(TorchDispatchMode):
    """The most numbers that a tensor has which an operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        self.numbers = max([self.numbers, *sizes])
        return out


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_memory_grows_as_the_elements(background: Any) -> None:
    """With sums, no tensor has more than N M max(2 C, hidden) numbers: none has n^2."""
    samples, hidden = 3, 7
    f = SetFunction(2, C, hidden=hidden, background=background)
    for n in (50, 400):
        batch = torch.arange(2).repeat_interleave(n)
        with Largest() as largest:
            f.gains(torch.randn(2 * n, 2), torch.ones(2 * n, samples), batch, 2).sum().backward()
        assert largest.numbers <= 2 * n * samples * max(2 * C, hidden)


def wrong(value: Any) -> Any:
    """What the types do not allow."""
    return value


ERRORS = {
    "channels": (partial(SetFunction, 2, 0), "must be positive"),
    "background": (
        lambda: SetFunction(2, background=wrong("set")),
        '"superset", "complement", "none" or None',
    ),
    "features": (lambda: function()(torch.ones(2, 3), torch.ones(2, 1)), "in_channels"),
    "embedding": (
        lambda: SetFunction(2, 4, embed=nn.Linear(2, 5))(torch.ones(2, 2), torch.ones(2, 1)),
        r"embed returns \(2, 5\) for 2 elements, expected \[2, 4\]: let its last width",
    ),
    "subsets": (lambda: function()(torch.ones(2, 2), torch.ones(3, 1)), "subsets has shape"),
    "shares": (
        lambda: function().gains(torch.ones(2, 2).double(), torch.full((2, 1), 0.4).double()),
        "other than 0 and 1, but gains are those of whole elements",
    ),
    "sets": (
        lambda: function().gains(torch.ones(1, 2), torch.ones(1, 1), torch.tensor([0])),
        "without num_graphs",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    call, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_none_by_name_is_no_background() -> None:
    by_name, without = (SetFunction(2, C, hidden=6, background=b) for b in ("none", None))
    assert by_name.background is None and by_name.of_rest is None
    assert by_name.of_subset[0].weight.shape == without.of_subset[0].weight.shape
