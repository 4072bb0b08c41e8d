"""A tree with the symmetric GRU, written out and fused, equals the plain formula."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from benchmarks.operations import Operations
from geqlib.graph.segments import segment_index
from geqlib.kernels import plain, watch
from geqlib.kernels.symmetric_gru import Level, SymmetricGRU, plain_tree
from geqlib.monoid.operators import BinaryGRU
from geqlib.monoid.tree import tree_plan
from geqlib.nn import MonoidAggregation

# levels of trees: members in any order, pairs, waiting ones; the rest is finished
TREES: dict[str, list[tuple[Any, ...]]] = {
    "one pair": [(torch.tensor([1, 0]), 1, 0)],
    "pairs": [(torch.tensor([2, 0, 3, 1]), 2, 0)],
    "ragged": [(torch.tensor([4, 1, 0, 3, 5, 6, 2]), 2, 1)],
    "finished": [(torch.tensor([4, 1, 0, 3, 2]), 1, 0)],
    "levels": [
        (torch.tensor([4, 1, 0, 3, 5, 6, 7, 2]), 3, 1),
        (torch.tensor([3, 0, 2, 1]), 1, 1),
        (torch.tensor([0, 1]), 1, 0),
    ],
    "in order": [
        (torch.tensor([4, 1, 0, 3, 5, 6, 7, 2]), 4, 0),
        (torch.arange(4), 2, 0, True),
        (torch.arange(2), 1, 0, True),
    ],
}
SHAPES = ((3,), (1,), (2, 5))
FORMS = ("plain", "fused")
CASES = (
    ("plain", "ragged"),
    ("plain", "in order"),
    ("plain", "levels"),
    ("fused", "ragged"),
)  # what an interpreter can


@pytest.fixture
def where(request: pytest.FixtureRequest) -> Any:
    """Returns the device of a form; of "fused", an operator that takes its twin is an error."""

    def prepare(form: str) -> str:
        return "cpu" if form == "plain" else request.getfixturevalue("only_fused")

    return prepare


def arguments(tree: str, shape: tuple[int, ...], device: str = "cpu") -> list[Tensor]:
    """x, weight and bias."""
    torch.manual_seed(0)
    channels = shape[-1]
    gru = BinaryGRU(channels).double().product()
    assert isinstance(gru, SymmetricGRU)
    x = torch.randn(TREES[tree][0][0].numel(), *shape).double()
    return [t.detach().to(device).requires_grad_() for t in (x, gru.weight, gru.bias)]


def compute(tree: str, plainly: bool = False) -> Callable[..., list[Tensor]]:
    def fn(x: Tensor, weight: Tensor, bias: Tensor) -> list[Tensor]:
        levels = [Level(order.to(x.device), *rest) for order, *rest in TREES[tree]]
        if plainly:
            states, finished = plain_tree(x, weight, bias, levels)
        else:
            states, finished = SymmetricGRU(weight, bias).tree(x, levels)
        return [*states, *finished]

    return fn


def derivatives(fn: Any, leaves: list[Tensor]) -> list[Tensor]:
    """Values, gradients without and with a graph, and gradients of gradients."""
    outputs = fn(*leaves)
    loss = torch.stack([(y.sin() * (n + 1)).sum() for n, y in enumerate(outputs)]).sum()
    first = torch.autograd.grad(loss, leaves, retain_graph=True, materialize_grads=True)
    slopes = torch.autograd.grad(loss, leaves, create_graph=True, materialize_grads=True)
    square = torch.stack([s.square().sum() for s in slopes]).sum()
    second = torch.autograd.grad(square, leaves, materialize_grads=True)
    return [*outputs, *first, *slopes, *second]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("tree", TREES)
def test_it_is_the_formula(tree: str, shape: tuple[int, ...], form: str, where: Any) -> None:
    leaves = arguments(tree, shape, where(form))
    expected = derivatives(compute(tree, plainly=True), leaves)
    for got, exact in zip(derivatives(compute(tree), leaves), expected, strict=True):
        torch.testing.assert_close(got, exact, atol=1e-12, rtol=1e-12)
    single = [t.detach().float().requires_grad_() for t in leaves]
    for got, exact in zip(derivatives(compute(tree), single), expected, strict=True):
        torch.testing.assert_close(got, exact.float(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("form", "tree"), CASES)
def test_derivatives_are_those_of_finite_differences(form: str, tree: str, where: Any) -> None:
    leaves = arguments(tree, (2,), where(form))

    def outputs(*tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(y for y in compute(tree)(*tensors) if y.numel())

    assert gradcheck(outputs, leaves, fast_mode=True)
    assert gradgradcheck(outputs, leaves, fast_mode=True)


@pytest.mark.parametrize(("in_order", "most"), [(True, 15), (False, 17)])
def test_every_level_takes_the_same_few_operations(in_order: bool, most: int) -> None:
    """Plain ones; `benchmarks/operations.py` counts those of the kernels, which a GPU takes."""
    x, weight, bias = arguments("pairs", (3,))
    counts = []
    for depth in (1, 2, 3):
        pairs = [2 ** (depth - n - 1) for n in range(depth)]
        levels = [Level(torch.arange(2 * p), p, 0, in_order and n > 0) for n, p in enumerate(pairs)]
        elements = x[:1].detach().expand(2**depth, -1)
        with Operations() as operations:
            states, _ = SymmetricGRU(weight, bias).tree(elements.clone(), levels)
            torch.autograd.grad(states[-1].sum(), (weight, bias))
        counts.append(operations.total)
    assert counts[2] - counts[1] == counts[1] - counts[0]
    assert counts[1] - counts[0] <= most


def test_members_in_order_are_not_moved() -> None:
    """Also those of the first level, in any memory, and where members are several rows each."""
    for x in (torch.randn(4, 3), torch.randn(3, 4).T, torch.randn(4, 2, 3)):
        results = []
        for in_order in (True, False):
            leaves = [x.double().detach(), *arguments("pairs", (3,))[1:]]
            elements = leaves[0].requires_grad_()
            orders = [Level(torch.arange(n), n // 2, 0, in_order) for n in (4, 2)]
            states, _ = SymmetricGRU(leaves[1], leaves[2]).tree(elements, orders)
            slopes = torch.autograd.grad(torch.cat(states).sin().sum(), leaves)
            results.append([*states, *slopes])
        for got, exact in zip(*results, strict=True):
            torch.testing.assert_close(got, exact, atol=1e-12, rtol=1e-12)


def test_members_are_not_kept_beyond_a_step() -> None:
    """A tree that refers to its own results would live until the next collection of garbage."""
    x, weight, bias = arguments("in order", (3,))
    gc.disable()
    try:
        states, _ = SymmetricGRU(weight, bias).tree(x, [Level(*v) for v in TREES["in order"]])
        watched = [weakref.ref(y) for y in states]
        del states
        assert all(y() is None for y in watched)
    finally:
        gc.enable()


def test_forward_mode() -> None:
    leaves = arguments("ragged", (2,))
    assert gradcheck(compute("ragged"), leaves, check_forward_ad=True, fast_mode=True)
    assert gradgradcheck(compute("ragged"), leaves, check_fwd_over_rev=True, fast_mode=True)


@pytest.mark.parametrize(("form", "tree"), CASES)
def test_some_outputs_and_some_arguments(form: str, tree: str, where: Any) -> None:
    """Gradients of one output alone, and of weights that depend on the members."""
    leaves = arguments(tree, (3,), where(form))
    for n in range(2 * len(TREES[tree])):
        results = []
        for fn in (compute(tree), compute(tree, plainly=True)):
            if not fn(*leaves)[n].numel():
                continue
            x, weight, bias = leaves
            y = fn(x, weight * x.mean().cos(), bias)[n]
            (slope,) = torch.autograd.grad(y.sin().sum(), x, create_graph=True)
            square = slope.square().sum()
            second = torch.autograd.grad(square, (x, bias), materialize_grads=True)
            results.append([slope, *second])
            frozen = fn(x, weight.detach(), bias.detach())[n]
            results[-1] += torch.autograd.grad(frozen.sum(), x)
        for got, exact in zip(*results or ([], []), strict=True):
            torch.testing.assert_close(got, exact, atol=1e-12, rtol=1e-12)


def test_strides_and_index_types(only_fused: str) -> None:
    x, weight, bias = arguments("ragged", (3,), only_fused)
    ((order, pairs, waiting),) = TREES["ragged"]
    expected = compute("ragged")(x, weight, bias)
    strided = x.detach().mT.contiguous().mT
    gru = SymmetricGRU(weight, bias)
    (new,), (done,) = gru.tree(strided, [Level(order.to(only_fused).int(), pairs, waiting)])
    for a, b in zip((new, done), expected, strict=True):
        assert torch.equal(a, b)


def test_numbers_out_of_range_are_skipped(device: str) -> None:
    """Around the members lie NaNs, which no kernel may read."""
    x, weight, bias = arguments("ragged", (3,), device)
    ((order, pairs, waiting),) = TREES["ragged"]
    wrong = order.clone().to(device)
    wrong[0], wrong[-1] = 7, -1
    whole = torch.full((21, 3), torch.nan, dtype=torch.float64, device=device)
    whole[7:14] = x.detach()
    inner = whole[7:14].detach().requires_grad_()
    (new,), (done,) = SymmetricGRU(weight, bias).tree(inner, [Level(wrong, pairs, waiting)])
    (slope,) = torch.autograd.grad(new.sum() + done.sum(), inner)
    assert not any(bool(t.isnan().any()) for t in (new, done, slope))
    assert bool(whole[:7].isnan().all()) and bool(whole[14:].isnan().all())


@pytest.mark.parametrize("sizes", [[1], [3, 0, 1, 7], [600]], ids=str)
def test_whole_trees(sizes: list[int], only_fused: str) -> None:
    torch.manual_seed(0)
    aggregation = MonoidAggregation(5, operator="gru").double().to(only_fused).eval()
    index = segment_index(torch.tensor(sizes)).to(only_fused)
    plan = tree_plan(index, len(sizes))
    x = torch.randn(len(index), 5).double().to(only_fused).requires_grad_()
    points = [x, *aggregation.parameters()]
    results = []
    for off in (nullcontext, plain):
        with off():
            y = aggregation(x, plan=plan)
            loss = y.sin().sum()
            slopes = torch.autograd.grad(loss, points, materialize_grads=True, allow_unused=True)
            results.append([y, *slopes])
    for got, exact in zip(*results, strict=True):
        torch.testing.assert_close(got, exact, atol=1e-11, rtol=1e-11)
    if max(sizes) == 1:  # no products
        compute("one pair")(*arguments("one pair", (1,), only_fused))


def test_when_the_plain_formula_is_taken(device: str) -> None:
    leaves = arguments("ragged", (3,), device)
    fn = compute("ragged")
    expected = fn(*leaves)[0]
    with watch() as choices, plain():
        torch.testing.assert_close(fn(*leaves)[0], expected)
    assert dict(choices) == {("symmetric_gru", "switched off"): 1}
    x, weight, bias = (t.detach() for t in leaves)
    with watch() as choices:
        several = torch.func.vmap(lambda v: fn(v, weight, bias)[0])(x[None])
        torch.testing.assert_close(several[0], expected)
        torch.compiler.reset()
        compiled = torch.compile(fn, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(*leaves)[0], expected)
    assert not choices


def test_autocast() -> None:
    leaves = [t.detach().float().requires_grad_() for t in arguments("ragged", (3,))]
    expected = derivatives(compute("ragged"), leaves)
    for dtype in (torch.float32, torch.bfloat16):
        x, weight, bias = leaves
        with torch.autocast("cpu", dtype=torch.bfloat16):
            new, _ = compute("ragged")(x.to(dtype), weight, bias)
        assert new.dtype == dtype
        torch.testing.assert_close(new.float(), expected[0], atol=0.05, rtol=0)
        slopes = torch.autograd.grad(new.float().sin().sum(), leaves)
        assert all(s.dtype == torch.float32 for s in slopes)
