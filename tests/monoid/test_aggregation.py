"""Monoid aggregation equals the per-set recursion, whatever the batch, and keeps the contract."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd import grad, gradcheck

from geqlib.monoid.operators import OPERATORS, TopK
from geqlib.monoid.tree import tree_plan
from geqlib.nn import MonoidAggregation, auxiliary_loss
from tests.contract import Case, Contract, Typed
from tests.monoid import oracle_monoid as oracle

C = 4
INDEX = torch.tensor([3, 0, 3, 1, 3, 0, 3, 5, 3, 3])  # sets 2 and 4 are empty
EXACT = ["topk", "logsumexp", "max", "sum", "product"]
Sizes = st.lists(st.integers(0, 12), min_size=1, max_size=5)


class Count(nn.Module):
    """A user's module that counts its calls and rows."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.rows = 0, 0

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        self.calls, self.rows = self.calls + 1, self.rows + len(a)
        return torch.tanh(a + b) + a * b


def layer(operator: Any = "gru", dtype: torch.dtype = torch.float64, **options: Any) -> Any:
    torch.manual_seed(0)
    built = MonoidAggregation(C, operator=operator, **options).to(dtype).eval()
    for parameter in built.parameters():
        nn.init.normal_(parameter, std=0.5)
    return built


def expected(built: MonoidAggregation, x: Tensor, index: Tensor, sets: int) -> Tensor:
    parts = [oracle.aggregate(f, x, index, sets) for f in built.operators]  # type: ignore
    out = torch.cat(parts, -1)
    return out if built.project is None else built.project(out)


def mixed(sizes: list[int]) -> Tensor:
    index = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes, dtype=torch.long))
    return index[torch.randperm(len(index), generator=torch.Generator().manual_seed(1))]


@pytest.mark.parametrize("operator", [*OPERATORS, ["gru", "topk"], nn.Bilinear(C, C, C)], ids=str)
def test_values_and_gradients_are_those_of_the_recursion(operator: Any) -> None:
    built, x = layer(operator), torch.randn(len(INDEX), C).double().requires_grad_()
    results = built(x, INDEX, dim_size=7), expected(built, x, INDEX, 7)
    torch.testing.assert_close(*results, atol=1e-12, rtol=0)
    points = [x, *built.parameters()]
    slopes = [grad(out.sin().sum(), points, materialize_grads=True) for out in results]
    torch.testing.assert_close(*slopes, atol=1e-12, rtol=0)


@settings(deadline=None, max_examples=15)
@given(Sizes)
def test_ragged_sets(sizes: list[int]) -> None:
    built, index = layer(["gru", "topk"], torch.float32), mixed(sizes)
    x = torch.randn(len(index), C)
    out = built(x, index, dim_size=len(sizes))
    torch.testing.assert_close(out, expected(built, x, index, len(sizes)), atol=1e-6, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_set_of_10000(dtype: torch.dtype) -> None:
    """Up to rounding: two ways of evaluating one tree, of ceil(log2 10000) = 14 levels.

    A product is two linear maps, of 2 C and of C terms, and at most 8 further operations: its
    rounding errors are at most (3 C + 8) u of its largest channel, with u half of torch's epsilon.
    This operator adds up, so that an error, relative to the largest channel, is passed on as it
    is; to the small channels as well, because every product mixes all of them. So each of the two
    results is exact to 14 (3 C + 8) u of the largest channel, and they differ by twice as much.
    """
    built, x = layer("gated", dtype), torch.randn(10_000, C, dtype=dtype)
    index = torch.zeros(len(x), dtype=torch.long)
    out = built(x, index)
    tolerance = 14 * (3 * C + 8) * torch.finfo(dtype).eps * float(out.detach().abs().max())
    torch.testing.assert_close(out, expected(built, x, index, 1), atol=tolerance, rtol=0)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 9, 200])
def test_products_and_steps(size: int) -> None:
    built = layer(Count())
    built(torch.randn(size + 3, C).double(), torch.tensor([0] * size + [2, 1, 2]))
    counted = built.operators[0].module
    assert counted.rows == size - 1 + 1
    assert counted.calls == max((size - 1).bit_length(), 1)  # ceil(log2 n)


@pytest.mark.parametrize("operator", [*OPERATORS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_set_does_not_see_its_batch_mates(operator: str, dtype: torch.dtype) -> None:
    built = layer(operator, dtype)
    built.project = None  # a matrix product
    x, alone = torch.randn(13, C, dtype=dtype), torch.zeros(13, dtype=torch.long)
    mates = torch.randn(90, C, dtype=dtype)
    index = torch.cat([torch.arange(90) % 7, alone + 7])
    got, own = built(torch.cat([mates, x]), index)[7], built(x, alone)[0]
    if operator in EXACT:
        assert torch.equal(got, own)
    else:
        tolerance = 1e-6 if dtype == torch.float32 else 1e-14
        torch.testing.assert_close(got, own, atol=tolerance, rtol=0)


@pytest.mark.parametrize("operator", EXACT)
def test_exact_operators_do_not_see_the_order(operator: str) -> None:
    built, x = layer(operator, torch.float32), torch.randn(500, C)
    built.project = None
    scale = x.abs().sum(0).min()  # the sum of magnitudes
    for seed in range(3):
        turned = x[torch.randperm(500, generator=torch.Generator().manual_seed(seed))]
        assert (built(turned) - built(x)).abs().max() <= 1e-6 * scale


def test_canonical_order_is_invariant() -> None:
    built, x = layer(order="canonical"), torch.randn(len(INDEX), C).double()
    turn = torch.randperm(len(INDEX))
    torch.testing.assert_close(built(x[turn], INDEX[turn]), built(x, INDEX), atol=1e-14, rtol=0)
    assert (layer()(x.flip(0), INDEX.flip(0)) - layer()(x, INDEX)).abs().max() > 1e-3


def test_orders_at_evaluation() -> None:
    x = torch.randn(len(INDEX), C).double()
    average, random = layer(order="average", samples=3), layer(order="random")
    assert torch.equal(average(x, INDEX), average(x, INDEX))
    plans = [tree_plan(INDEX, key=torch.Generator().manual_seed(seed)) for seed in range(3)]
    by_hand = sum(average(x, plan=plan) for plan in plans) / 3
    torch.testing.assert_close(average(x, INDEX), by_hand, atol=1e-14, rtol=0)
    assert len({float(random(x, INDEX).detach().sum()) for _ in range(8)}) > 1


def test_training_shuffles_and_follows_the_seed() -> None:
    x, built, plain = torch.randn(9, C).double(), layer().train(), layer(shuffle=False).train()
    assert len({float(built(x).detach().sum()) for _ in range(8)}) > 1
    assert torch.equal(plain(x), layer()(x))
    torch.manual_seed(3)
    first = built(x)
    torch.manual_seed(3)
    assert torch.equal(built(x), first)


def test_other_dimensions_ptr_and_plan() -> None:
    built, x = layer(["gru", "topk"]), torch.randn(2, len(INDEX), 3, C).double()
    out = built(x, INDEX, dim_size=7, dim=1)
    assert out.shape == (2, 7, 3, C)
    torch.testing.assert_close(out[1, :, 2], built(x[1, :, 2], INDEX, dim_size=7))
    order = INDEX.argsort(stable=True)
    ptr = torch.searchsorted(INDEX[order].contiguous(), torch.arange(8))
    torch.testing.assert_close(built(x[:, order], ptr=ptr, dim=1), out)
    torch.testing.assert_close(built(x, plan=tree_plan(INDEX, 7), dim=-3), out)


@pytest.mark.parametrize("operator", [*OPERATORS])
def test_empty_sets_are_the_identity_and_finite(operator: str) -> None:
    built = layer(operator)
    x = torch.zeros(0, C).double().requires_grad_()
    out = built(x, torch.zeros(0, dtype=torch.long), dim_size=2)
    assert out.shape == (2, C) and out.isfinite().all() and torch.equal(out[0], out[1])
    assert built(x, dim_size=0).shape == (0, C)
    large = torch.full((300, C), 3e4).double()
    assert built(large).isfinite().all()


def test_associativity_loss_is_that_of_the_trees_triples() -> None:
    built = layer(assoc=0.5, shuffle=False).train()
    index = mixed([0, 1, 2, 3, 4, 5, 6, 7, 9])
    x = torch.randn(len(index), C).double()
    built(x, index)
    loss = oracle.associativity_loss(built.operators[0], x, index, 9)
    torch.testing.assert_close(auxiliary_loss(built), 0.5 * loss, atol=1e-12, rtol=0)


def test_identity_loss() -> None:
    built, x = layer(identity=2.0).train(), torch.randn(5, C).double()
    f = built.operators[0]
    built(x)
    built(x)
    once = (f(x, f.neutral.expand_as(x)) - x).square().sum(-1).mean()
    total = auxiliary_loss(nn.Sequential(built))
    torch.testing.assert_close(total, 4 * once)
    assert grad(total, f.neutral)[0].any() and auxiliary_loss(built) == 0.0


def test_losses_are_kept_in_training_only_and_train_associativity() -> None:
    built, x = layer(assoc=1.0), torch.randn(8, C).double()
    built(x)
    assert auxiliary_loss(built) == 0.0
    built.train()(x)
    assert auxiliary_loss(built.eval()) == 0.0  # what nobody took is dropped
    optimizer, losses = torch.optim.Adam(built.train().parameters(), lr=0.02), []
    for _ in range(30):
        optimizer.zero_grad()
        built(x)
        loss: Any = auxiliary_loss(built)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    built(x[:1])
    assert auxiliary_loss(built) == 0.0  # no triples


def test_gradcheck_through_plan_and_losses() -> None:
    built = layer(["gru", "topk"], assoc=1.0, identity=1.0, shuffle=False).train()
    x, plan = torch.randn(6, C).double().requires_grad_(), tree_plan(torch.tensor([0] * 5 + [2]), 3)

    def fn(x: Tensor, *_: Tensor) -> tuple[Tensor, Any]:
        return built(x, plan=plan), auxiliary_loss(built)

    assert gradcheck(fn, (x, *built.parameters()), fast_mode=True)


# raised by dynamo itself wherever it meets an autograd.Function
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiles_with_a_plan() -> None:
    built, plan = layer(["gru", "topk"]), tree_plan(INDEX, 7)
    x = torch.randn(len(INDEX), C).double().requires_grad_()
    compiled: Any = torch.compile(built, fullgraph=True, backend="aot_eager")
    results = built(x, plan=plan), compiled(x, plan=plan)
    torch.testing.assert_close(*results, atol=1e-12, rtol=0)
    torch.testing.assert_close(*(grad(out.sin().sum(), x) for out in results), atol=1e-12, rtol=0)


def call(x: Tensor, *args: Any, **options: Any) -> Callable[[], Any]:
    return lambda: layer(options.pop("operator", "gru"), torch.float32)(x, *args, **options)


X = torch.zeros(3, C)
ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "range": (call(X, torch.tensor([0, 1, 9]), dim_size=4), "from 0 to 9, .* from 0 to 3"),
    "negative": (call(X, torch.tensor([0, 1, -1])), "index goes from -1 to 1"),
    "both": (call(X, INDEX[:3], torch.tensor([0, 3])), "give exactly one of them"),
    "NaN": (call(X / 0), "x is NaN or infinite somewhere"),
    "integers": (call(X.long()), r"x has dtype torch.int64: convert it with \.float"),
    "half": (call(X.half()), r"x has type torch.float16 and the weights torch.float32: convert x"),
    "double": (call(X.double(), operator="gated"), "x has type torch.float64 and the weights"),
    "half, projected": (call(X.half(), operator="topk"), "x has type torch.float16 and the weigh"),
    "shape": (call(X, operator=nn.Bilinear(C, C, 2)), r"made \(1, 2\) of two tensors \(1, 4\)"),
    "length": (call(X, INDEX), "x has 3 elements, but 10 are in sets"),
    "channels": (call(X[:, :2]), "x has 2 channels, but the layer has 4"),
    "dim": (call(X, dim=-1), "dim is -1, but the last dimension holds the channels"),
    "name": (partial(layer, "min"), "operator 'min' is unknown: choose gru, select, gated, topk"),
    "type": (partial(layer, 3), r"a name or a module f\(a, b\), got 3"),
    "width": (partial(layer, TopK(2)), r"TopK\(2, k=2\) has 2 channels, but the layer has 4"),
    "order": (partial(layer, order="up"), "order 'up' is unknown: choose stable, random"),
    "regroup": (partial(layer, regroup=True), 'take operator="select" or "topk", or assoc above 0'),
    "weights": (partial(layer, assoc=-1.0), "samples must be at least 1 and loss weights"),
}


@pytest.mark.parametrize("error", ERRORS)
def test_errors_say_what_and_how_to_fix_it(error: str) -> None:
    make, message = ERRORS[error]
    with pytest.raises(ValueError, match=message):
        make()


def test_types_without_weights_are_as_they_are() -> None:
    """Also those of users' modules, which may have weights in any type."""
    for operator in ("sum", "max", UserSum()):
        out = call(torch.ones(3, C).half(), operator=operator)()
        assert out.dtype == torch.float16 and out.tolist()[0][0] in (1, 3)


class UserSum(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


class Readout(nn.Module):
    """The aggregation with the arguments that the contract gives."""

    def __init__(self, operator: Any, **options: Any) -> None:
        super().__init__()
        self.agg = MonoidAggregation(C, operator=operator, **options)

    def reset_parameters(self) -> None:
        self.agg.reset_parameters()

    def forward(self, x: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        return self.agg(x, batch, dim_size=num_graphs)


def inputs(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    x = torch.randn(len(pos), C, generator=generator, dtype=torch.float64)
    return {"x": (x, "scalar"), "batch": (torch.zeros(len(pos), dtype=torch.long), "batch")}


DEPTH = "a graph for each depth of the tree, from a plan: see test_compiles_with_a_plan"
CASES: dict[str, dict[str, Any]] = {
    "sum": {},
    "topk": {},
    "logsumexp": {},
    "product": {},
    "gru": {"order": "canonical"},
    "gated": {"order": "canonical"},
}


class TestContract(Contract):
    cases = tuple(
        Case(
            f"MonoidAggregation {name}",
            partial(Readout, name, **options),
            inputs,
            "graph:scalar",
            extra=lambda module, tensors, graphs: {"num_graphs": graphs},
            exceptions={"compile": DEPTH, "export": DEPTH},
        )
        for name, options in CASES.items()
    )
