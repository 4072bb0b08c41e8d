"""The fused sum over edges equals the sum message by message, to second derivatives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from geqlib.graph import EdgePlan, directed_plan, paired_plan
from geqlib.kernels import plain, watch
from geqlib.kernels.edge_product import edge_product
from tests.kernels.edge_samples import FORMS, GRAPHS, SIDES, Sample

SAMPLES = [
    *((graph, "factors", "antipodal", "none") for graph in GRAPHS),
    *(("both ways", form, side, "none") for form in FORMS for side in SIDES),
    *(("one way", form, "antipodal", own) for form in FORMS for own in ("shared", "each")),
    *((graph, "values", "antipodal", "shared") for graph in ("no nodes", "no edges")),
    ("repeats and loops", "values", "antipodal", "shared"),
]


def ordered(sample: Sample, device: str) -> Sample:
    sample.plan = sample.plan.to(device).ordered()
    sample.tensors = [t.to(device) for t in sample.tensors]
    if sample.antipode is not None:
        sample.antipode = sample.antipode.to(device)
    return sample


def derivatives(compute: Any, leaves: list[Tensor]) -> list[Tensor]:
    """Values, gradients and gradients of gradients."""
    y = compute(*leaves)
    first = torch.autograd.grad(
        (y.sin() * y).sum(), leaves, create_graph=True, materialize_grads=True
    )
    square = torch.stack([g.square().sum() for g in first]).sum()
    return [y, *first, *torch.autograd.grad(square, leaves, materialize_grads=True)]


@pytest.mark.parametrize(("graph", "form", "side", "own"), SAMPLES)
def test_it_is_the_sum_over_messages(
    graph: str, form: str, side: str, own: str, only_fused: str
) -> None:
    s = ordered(Sample(graph, form, side, own), only_fused)
    results = zip(derivatives(s, s.leaves()), derivatives(s.literal, s.leaves()), strict=True)
    for got, expected in results:
        torch.testing.assert_close(got, expected, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("form", FORMS)
def test_derivatives(form: str, only_fused: str) -> None:
    s = ordered(Sample("one edge", form, "directed"), only_fused)
    assert gradcheck(s, s.leaves(), fast_mode=True)
    assert gradgradcheck(s, s.leaves(), fast_mode=True)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("nodes", "edges", "points", "channels"),
    [
        (1, 1, 1, 1),
        (1, 3, 2, 5),
        (4, 9, 5, 3),
        (5, 9, 20, 37),
        (2, 2, 2, 200),
        pytest.param(60, 150, 12, 64, marks=pytest.mark.slow),
    ],
)
def test_shapes(
    nodes: int, edges: int, points: int, channels: int, form: str, only_fused: str
) -> None:
    """Sizes that are no powers of two, several blocks of channels, both types."""
    generator = torch.Generator().manual_seed(nodes)
    plan = paired_plan(torch.randint(nodes, (2, edges), generator=generator), nodes)
    count, antipode = len(plan.edge), torch.arange(points).flip(0)
    shapes = [(nodes, points, channels), (count, points, channels)]
    if form == "factors":
        shapes[1:] = [(count, points, 3), (count, 3, channels)]
    exact = [torch.randn(*s, generator=generator, dtype=torch.float64) for s in shapes]
    plans = (plan, plan.to(only_fused).ordered())
    for dtype, error in ((torch.float64, 1e-11), (torch.float32, 1e-4)):
        results = []
        for chosen, device in zip(plans, ("cpu", only_fused), strict=True):
            leaves = [
                t.to(dtype if chosen.order else torch.float64).to(device).requires_grad_()
                for t in exact
            ]

            def compute(x: Tensor, k: Tensor, w: Tensor | None = None, p: EdgePlan = chosen) -> Any:
                return edge_product(x, k, p, weight=w, antipode=antipode.to(x.device))

            with plain() if chosen.order is None else watch():
                y = compute(*leaves)
                results.append([y, *torch.autograd.grad(y.sin().sum(), leaves)])
        for expected, got in zip(*results, strict=True):
            assert got.dtype == dtype
            torch.testing.assert_close(got.cpu().double(), expected, atol=error, rtol=error)


def test_index_types_and_strides(only_fused: str) -> None:
    s = ordered(Sample("both ways", "factors", "antipodal"), only_fused)
    assert s.plan.order is not None
    expected = s(*s.tensors)
    strided = [t.mT.contiguous().mT for t in s.tensors]
    assert torch.equal(s(*strided), expected)
    grads = torch.autograd.grad(s(*(leaves := s.leaves())).sum(), leaves)  # of an expanded number
    torch.testing.assert_close(grads, torch.autograd.grad(s.literal(*leaves).sum(), leaves))
    plan = s.plan
    short = EdgePlan(plan.edge.int(), plan.source.int(), plan.target.int(), plan.paired, 3)
    s.plan = short.ordered()
    assert s.plan.order is not None and s.plan.order.other.dtype == torch.int32
    assert torch.equal(s(*s.tensors), expected)


def test_kernels_that_are_columns_of_wider_ones(only_fused: str) -> None:
    s = ordered(Sample("both ways", "values", "antipodal", "shared"), only_fused)
    x, kernel = s.tensors
    wide = torch.cat([kernel, 2 * kernel, kernel], 2)[..., 2:4]
    assert torch.equal(s(x, wide), 2 * s(x, kernel))
    assert torch.equal(s(x, kernel.transpose(0, 1).contiguous().transpose(0, 1)), s(x, kernel))


def test_mixed_types(only_fused: str) -> None:
    """The result has the wider type, as the twin's."""
    s = ordered(Sample("both ways", "values", "paired"), only_fused)
    x, kernel = s.tensors
    y = s(x, kernel.float())
    assert y.dtype == torch.float64
    torch.testing.assert_close(y, s(x, kernel), atol=1e-6, rtol=1e-6)


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="the interpreter of Triton 3.8 is wrong in bfloat16"
)
def test_bfloat16(only_fused: str) -> None:
    s = ordered(Sample("both ways", "factors", "antipodal"), only_fused)
    half = [t.bfloat16() for t in s.tensors]
    y = s(*half)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.double(), s(*(t.double() for t in half)), atol=2e-2, rtol=2e-2)


def test_numbers_out_of_range_are_refused_or_skipped(device: str) -> None:
    edges = torch.tensor([[0, 1, 3], [1, 2, 0]], device=device)
    if device == "cpu":
        with pytest.raises(ValueError, match="names nodes outside of 0 to 2"):
            directed_plan(edges, 3).ordered()
    with pytest.raises(ValueError, match="names nodes outside of 0 to 2"):
        paired_plan(edges, 3)
    # an order from elsewhere: around the features lie NaNs, which no kernel may read
    s = ordered(Sample("one way", "values", "directed"), device)
    x, kernel = (around(t) for t in s.tensors)
    order = s.plan.order
    assert order is not None
    other, message = order.other.clone(), order.message.clone()
    other[0, 0], message[1, -1] = 4, 4
    s.plan = replace(s.plan, order=replace(order, other=other, message=message))
    y = s(x.requires_grad_(), kernel)
    assert not y.isnan().any() and not torch.autograd.grad(y.sum(), x)[0].isnan().any()


def around(x: Tensor) -> Tensor:
    """The same numbers between NaNs."""
    whole = torch.full((3 * x.size(0), *x.shape[1:]), torch.nan, dtype=x.dtype, device=x.device)
    whole[x.size(0) : 2 * x.size(0)] = x
    return whole[x.size(0) : 2 * x.size(0)].detach()


def test_a_plan_of_another_batch_is_refused(device: str) -> None:
    s = ordered(Sample("one way", "values", "directed"), device)
    x, kernel = s.tensors
    with pytest.raises(ValueError, match="make the plan of this batch"):
        s(x[:-1], kernel)
    with pytest.raises(ValueError, match="make the plan of this batch"):
        s(x, kernel[:-1])
    with pytest.raises(ValueError, match="make the plan of this batch"):
        s(x, torch.cat([kernel, kernel[:2]]))  # of two nodes of four to themselves


def test_when_the_twin_is_taken(device: str) -> None:
    s = ordered(Sample("both ways", "factors", "antipodal"), device)
    expected = s(*s.tensors)
    x, *rest = s.tensors
    with watch() as choices, plain():
        torch.testing.assert_close(s(*s.tensors), expected)
    assert dict(choices) == {("edge_product", "switched off"): 1}
    with watch() as choices:
        torch.testing.assert_close(torch.func.vmap(lambda v: s(v, *rest))(x[None])[0], expected)
    assert dict(choices) == {("edge_product", "torch.func"): 1}
    torch.compiler.reset()
    with watch() as choices:
        compiled = torch.compile(s.__call__, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(*s.tensors), expected)
    assert not choices
    s.plan = replace(s.plan, order=None)
    with watch() as choices:
        torch.testing.assert_close(s(*s.tensors), expected)
    assert dict(choices) == {("edge_product", "shape"): 1}


@pytest.mark.parametrize("form", FORMS)
def test_transforms_of_functions(form: str, device: str) -> None:
    s = ordered(Sample("one edge", form, "directed"), device)
    x, *rest = s.tensors

    def energy(v: Tensor) -> Tensor:
        return s(v, *rest).sin().sum()

    expected = torch.autograd.functional.hessian(energy, x)
    torch.testing.assert_close(torch.func.hessian(energy)(x), expected)
    torch.testing.assert_close(torch.func.jacrev(torch.func.jacrev(energy))(x), expected)


def test_the_order_of_a_plan() -> None:
    plan = paired_plan(torch.tensor(GRAPHS["repeats and loops"][1]), 4).ordered()
    _, source, target = plan.messages()
    assert plan.order is not None
    for row, (end, start) in enumerate(((target, source), (source, target))):
        message, ptr = plan.order.message[row], plan.order.ptr[row]
        assert torch.equal(message, end.argsort(stable=True))
        assert torch.equal(plan.order.other[row], start[message])
        assert torch.equal(ptr.diff(), end.bincount(minlength=4))
    again = EdgePlan.from_tensors(plan.tensors())
    assert again.order is not None and torch.equal(again.order.ptr, plan.order.ptr)
