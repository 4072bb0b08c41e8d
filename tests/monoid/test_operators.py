"""Operators are the formulas they state, and the exact ones are monoids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import grad, gradcheck, gradgradcheck

from geqlib.monoid.operators import (
    BinaryGRU,
    ComplexProduct,
    GatedSum,
    LogSumExp,
    Max,
    Operator,
    Selection,
    Sum,
    TopK,
    UserOperator,
)

C = 3
EXACT: dict[str, Callable[[], Operator]] = {
    "sum": lambda: Sum(C),
    "max": lambda: Max(C),
    "logsumexp": lambda: LogSumExp(C),
    "top 1": lambda: TopK(C, k=1),
    "top 2": lambda: TopK(C),
    "top 4": lambda: TopK(C, k=4),
    "product": lambda: ComplexProduct(C),
}
LEARNT: dict[str, Callable[[], Operator]] = {
    "gru": lambda: BinaryGRU(C),
    "select": lambda: Selection(C),
    "gated": lambda: GatedSum(C),
    "user": lambda: UserOperator(C, nn.Bilinear(C, C, C)),
}
DECODED: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda x: x.sum(0),
    "max": lambda x: x.amax(0),
    "logsumexp": lambda x: x.logsumexp(0),
    "top 1": lambda x: x.topk(1, 0).values.flatten(),
    "top 2": lambda x: x.topk(2, 0).values.flatten(),
    "top 4": lambda x: x.topk(4, 0).values.flatten(),
    "product": lambda x: torch.view_as_real(torch.polar(torch.ones_like(x), x).prod(0)).T.flatten(),
}


def build(make: Callable[[], Operator], dtype: torch.dtype = torch.float64) -> Operator:
    torch.manual_seed(0)
    operator = make().to(dtype)
    for parameter in operator.parameters():
        nn.init.normal_(parameter, std=0.7)
    return operator


def states(operator: Operator, count: int, rows: int = 5) -> list[Tensor]:
    """States of sets of one to `count` elements."""
    actual = []
    for elements in range(1, count + 1):
        state, *others = (operator.encode(torch.randn(rows, C).double()) for _ in range(elements))
        for other in others:
            state = operator(state, other)
        actual.append(state)
    return actual


@pytest.mark.parametrize("name", EXACT | LEARNT)
def test_commutative(name: str) -> None:
    operator = build((EXACT | LEARNT)[name])
    a, b = states(operator, 2)
    if name == "user":
        assert not torch.equal(operator(a, b), operator(b, a))  # as the user's module is
    else:
        assert torch.equal(operator(a, b), operator(b, a))


@pytest.mark.parametrize("name", EXACT)
def test_associative_with_an_exact_identity(name: str) -> None:
    operator = build(EXACT[name])
    a, b, c = states(operator, 3)
    left, right = operator(operator(a, b), c), operator(a, operator(b, c))
    torch.testing.assert_close(left, right, atol=1e-14, rtol=1e-14)
    neutral = operator.identity(a)
    assert neutral.shape == a.shape[1:] and neutral.isfinite().all()
    for state in (a, b, c, neutral.expand_as(a)):
        assert torch.equal(operator(state, neutral.expand_as(a)), state)
    assert operator.exact and not list(operator.parameters())


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("shift", [0.0, 1e4, -1e4])
def test_exact_operators_compute_what_they_say(name: str, shift: float) -> None:
    operator = build(EXACT[name])
    x = torch.randn(4, C).double() + shift
    state = operator.encode(x)
    for i in range(1, 4):
        state = torch.cat([operator(state[:1], state[i : i + 1]), state[1:]])
    out = operator.decode(state[:1])[0]
    torch.testing.assert_close(out, DECODED[name](x), atol=1e-11, rtol=1e-12)
    assert out.shape == (operator.out_channels,)


@pytest.mark.parametrize("name", ["max", "logsumexp", "top 2"])
def test_missing_entries_count_as_zero_without_a_gradient(name: str) -> None:
    operator = build(EXACT[name])
    x = torch.randn(2, C).double().requires_grad_()
    state = operator(
        operator.encode(x),
        operator.identity(operator.encode(x)).expand(2, *(operator.encode(x).shape[1:])),
    )
    out = operator.decode(state)
    assert torch.equal(out[:, :C], x) and not out[:, C:].any()
    (slope,) = grad(out.sum(), x)
    assert torch.equal(slope, torch.ones_like(x))
    neutral = operator.identity(state)[None]
    assert not operator.decode(operator(neutral, neutral)).any()


def test_equal_values_count_as_often_as_they_occur() -> None:
    operator = TopK(1)
    a, b, c = operator.encode(torch.tensor([[[2.0]], [[2.0]], [[1.0]]]))
    assert operator.decode(operator(operator(a, c), b)).tolist() == [[2.0, 2.0]]


def symmetric_gru(operator: BinaryGRU, a: Tensor, b: Tensor) -> Tensor:
    first, second = a.flatten(0, -2), b.flatten(0, -2)
    return ((operator.cell(first, second) + operator.cell(second, first)) / 2).view(a.shape)


def test_gru_is_the_mean_of_torchs_cell_in_both_orders() -> None:
    operator = build(lambda: BinaryGRU(C))
    a, b = (torch.randn(2, 4, C).double().requires_grad_() for _ in range(2))
    points = [a, b, *operator.cell.parameters()]
    results = operator(a, b), symmetric_gru(operator, a, b), operator.product()(a, b)
    slopes = [grad(out.sin().sum(), points, create_graph=True) for out in results]
    second = [grad(sum(x.square().sum() for x in s), points) for s in slopes]
    for out, slope, curve in zip(results, slopes, second, strict=True):
        torch.testing.assert_close(out, results[1], atol=1e-14, rtol=0)
        torch.testing.assert_close(slope, slopes[1], atol=1e-13, rtol=0)
        torch.testing.assert_close(curve, second[1], atol=1e-12, rtol=0)


def test_gru_by_torch_func_and_under_autocast() -> None:
    operator = build(lambda: BinaryGRU(C), torch.float32)
    a, b = torch.randn(2, 4, C)

    def loss(a: Tensor) -> Tensor:
        return operator(a, b).sin().sum()

    (slope,) = grad(loss(a.requires_grad_()), a)
    torch.testing.assert_close(torch.func.grad(loss)(a.detach()), slope)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = operator(a, b)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, operator(a, b), atol=0.05, rtol=0)


def test_gated_sum_is_its_formula() -> None:
    operator = build(lambda: GatedSum(C))
    assert isinstance(operator, GatedSum)
    a, b = torch.randn(2, 4, C).double()
    h = nn.functional.gelu(operator.hidden(torch.cat([a + b, (a - b).abs()], -1)))
    g, u = operator.out(h)[:, :C].sigmoid(), operator.out(h)[:, C:]
    torch.testing.assert_close(operator(a, b), g * (a + b) + (1 - g) * u)


def test_selection_is_its_formula() -> None:
    operator = build(lambda: Selection(C))
    assert isinstance(operator, Selection)
    a, b = torch.randn(2, 4, C).double()
    even, odd, choose, keep, move = (
        layer.weight
        for layer in (operator.even, operator.odd, operator.choose, operator.keep, operator.move)
    )
    both = (a + b) @ even.T + operator.even.bias
    first, second = (nn.functional.gelu(both + sign * (a - b) @ odd.T) for sign in (1, -1))
    win = (1 + ((first - second) @ choose.T).tanh()) / 2
    z = ((first + second) @ keep.T + operator.keep.bias).sigmoid()
    winner, loser = win * a + (1 - win) * b, win * b + (1 - win) * a
    expected = z * winner + (1 - z) * (loser @ move.T + operator.move.bias)
    torch.testing.assert_close(operator(a, b), expected, atol=1e-13, rtol=0)


def test_saturated_selections_copy() -> None:
    """Channel 0 holds a largest value, and channel 1 what lost there: weights made by hand."""
    operator = Selection(2).double()
    with torch.no_grad():
        for parameter in operator.parameters():
            parameter.zero_()
        # h+ - h- = GELU(x) - GELU(-x) = x = 20 (a_0 - b_0), and 20 times that saturates t
        operator.odd.weight[:, 0] = 20.0
        operator.choose.weight[0, 0] = 20.0
        operator.keep.bias.copy_(torch.tensor([800.0, -800.0]))
        operator.move.weight[1, 0] = 1.0
    a, b = torch.tensor([[3.0, 1.0]]).double(), torch.tensor([[2.0, 1.5]]).double()
    assert operator(a, b).tolist() == operator(b, a).tolist() == [[3.0, 2.0]]


@pytest.mark.parametrize("name", EXACT | LEARNT)
def test_derivatives(name: str) -> None:
    operator = build((EXACT | LEARNT)[name])
    a, b = (torch.randn(2, C).double().requires_grad_() for _ in range(2))

    def fn(a: Tensor, b: Tensor, *_: Tensor) -> Tensor:
        return operator.decode(operator(operator.encode(a), operator.encode(b)))

    points = (a, b, *(p for p in operator.parameters() if p is not operator.neutral))
    assert gradcheck(fn, points) and gradgradcheck(fn, points, fast_mode=True)


@pytest.mark.parametrize("name", LEARNT)
def test_learnt_identities_start_at_zero_and_are_reset(name: str) -> None:
    operator, fresh = build(LEARNT[name]), LEARNT[name]()
    assert not fresh.identity(torch.zeros(2, C)).any()
    torch.testing.assert_close(
        operator.identity(torch.zeros(7, 2, C)), operator.neutral.float().expand(2, C)
    )
    before = [p.detach().clone() for p in operator.parameters()]
    operator.reset_parameters()
    for old, new in zip(before, operator.parameters(), strict=True):
        assert not torch.equal(old, new)
    assert not operator.neutral.any() and not operator.exact


ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "channels": (lambda: Sum(0), "channels must be at least 1, got 0"),
    "k": (lambda: TopK(2, k=0), "k must be at least 1, got 0"),
}


@pytest.mark.parametrize("error", ERRORS)
def test_errors_say_what_and_how_to_fix_it(error: str) -> None:
    call, message = ERRORS[error]
    with pytest.raises(ValueError, match=message):
        call()


def test_repr() -> None:
    assert repr(TopK(4, k=3)) == "TopK(4, k=3)"
    assert repr(BinaryGRU(4)) == "BinaryGRU(4)"
    assert repr(UserOperator(4, nn.Bilinear(4, 4, 4))) == "UserOperator(4, Bilinear)"
