"""The sum over edges equals the sum written message by message, with all its derivatives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from geqlib.graph import EdgePlan
from geqlib.kernels import edge_product as module
from geqlib.kernels.edge_product import edge_pieces, edge_product, message_rows
from tests.kernels.edge_samples import FORMS, GRAPHS, OWN, SIDES, Sample


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("own", OWN)
def test_it_is_the_sum_over_messages(graph: str, form: str, side: str, own: str) -> None:
    """Values, gradients and gradients of gradients."""
    s = Sample(graph, form, side, own)
    results = []
    for compute in (s, s.literal):
        leaves = s.leaves()
        y = compute(*leaves)
        loss = (y.sin() * y).sum()
        first = torch.autograd.grad(loss, leaves, create_graph=True, materialize_grads=True)
        square = torch.stack([g.square().sum() for g in first]).sum()
        second = torch.autograd.grad(square, leaves, materialize_grads=True)
        results.append([y, *first, *second])
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("form", FORMS)
def test_random_graphs(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ragged degrees, in pieces of different lengths."""
    generator = torch.Generator().manual_seed(1)
    for nodes, edges in ((1, 5), (7, 30), (40, 100)):
        ends = torch.randint(nodes, (2, edges), generator=generator)
        monkeypatch.setitem(GRAPHS, "random", (nodes, ends.tolist()))
        for piece in (1, 500, 2**30):
            monkeypatch.setattr(module, "PIECE", piece)
            s = Sample("random", form, "antipodal")
            torch.testing.assert_close(s(*s.tensors), s.literal(*s.tensors))
            single = s(*(t.float() for t in s.tensors))
            torch.testing.assert_close(single, s.literal(*s.tensors).float())


@pytest.mark.parametrize("piece", [1, 2**30])
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("form", FORMS)
def test_derivatives(form: str, side: str, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", piece)
    s = Sample("repeats and loops", form, side, "shared")
    assert gradcheck(s, s.leaves(), check_forward_ad=True, fast_mode=True)
    assert gradgradcheck(s, s.leaves(), check_fwd_over_rev=True, fast_mode=True)


@pytest.mark.parametrize("form", FORMS)
def test_derivatives_of_some_arguments(form: str) -> None:
    s = Sample("both ways", form, "antipodal")
    for n in range(len(s.tensors)):
        some, every = list(s.tensors), s.leaves()
        some[n] = some[n].clone().requires_grad_()
        (got,) = torch.autograd.grad(s(*some).square().sum(), some[n])
        torch.testing.assert_close(got, torch.autograd.grad(s(*every).square().sum(), every)[n])


@pytest.mark.parametrize("own", ["none", "shared"])
@pytest.mark.parametrize("form", FORMS)
def test_function_transforms(form: str, own: str) -> None:
    """vmap, and Hessians by every order of forward and reverse mode but twice forward."""
    s = Sample("repeats and loops", form, "antipodal", own)
    for n in range(len(s.tensors)):

        def energy(t: Tensor, n: int = n) -> Tensor:
            return s(*s.tensors[:n], t, *s.tensors[n + 1 :]).sin().sum()

        def value(t: Tensor, n: int = n) -> Tensor:
            return s(*s.tensors[:n], t, *s.tensors[n + 1 :])

        batch = torch.stack([s.tensors[n], 2 * s.tensors[n], s.tensors[n].cos()])
        for fn in (value, torch.func.grad(energy)):
            expected = torch.stack([fn(t) for t in batch])
            torch.testing.assert_close(torch.func.vmap(fn)(batch), expected)
        t = s.tensors[n]
        forward, reverse = torch.func.jacfwd, torch.func.jacrev
        expected = torch.autograd.functional.hessian(energy, t)
        for outer, inner in ((forward, reverse), (reverse, forward), (reverse, reverse)):
            torch.testing.assert_close(outer(inner(energy))(t), expected)
        with pytest.raises(ValueError, match="are wrong in torch"):  # where two arguments vary
            forward(forward(energy))(t)


@pytest.mark.parametrize("form", FORMS)
def test_compiled_code_has_second_derivatives(form: str) -> None:
    torch.compiler.reset()
    s = Sample("both ways", form, "antipodal", "shared")
    compiled = torch.compile(s.__call__, fullgraph=True, backend="eager")
    results = []
    for compute in (s, compiled):
        leaves = s.leaves()
        y = compute(*leaves)
        first = torch.autograd.grad(y.sin().sum(), leaves, create_graph=True)
        square = torch.stack([g.square().sum() for g in first]).sum()
        results.append([y, *first, *torch.autograd.grad(square, leaves)])
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("side", SIDES)
def test_export(side: str) -> None:
    s = Sample("both ways", "factors", side)

    class Layer(torch.nn.Module):
        def forward(self, x: Tensor, kernel: Tensor, weight: Tensor, plan: EdgePlan) -> Tensor:
            return edge_product(x, kernel, plan, weight=weight, antipode=s.antipode)

    program = torch.export.export(Layer(), (*s.tensors, s.plan)).module()
    torch.testing.assert_close(program(*s.tensors, s.plan), s(*s.tensors))


@pytest.mark.parametrize("side", SIDES)
def test_rows_that_calls_share(side: str) -> None:
    s = Sample("repeats and loops", "values", side, "shared")
    antipode = s.antipode if s.plan.paired else None
    rows = message_rows(s.plan.source, s.plan.target, antipode)
    shared = edge_product(*s.tensors, s.plan, antipode=s.antipode, rows=rows)
    assert torch.equal(shared, s(*s.tensors))


def test_strided_arguments() -> None:
    s = Sample("both ways", "factors", "antipodal")
    expected = s(*s.tensors)
    strided = [t.mT.contiguous().mT for t in s.tensors]
    torch.testing.assert_close(s(*strided), expected)
    y = s(*(leaves := s.leaves()))
    grads = torch.autograd.grad(y.sum(), leaves)  # of an expanded number
    torch.testing.assert_close(grads, torch.autograd.grad(s.literal(*leaves).sum(), leaves))


def test_half_precision() -> None:
    s = Sample("both ways", "factors", "antipodal")
    half = [t.bfloat16() for t in s.tensors]
    assert s(*half).dtype == torch.bfloat16
    x, kernel, weight = (t.float() for t in half)
    mixed = s(x, kernel, half[2])
    torch.testing.assert_close(mixed, s(x, kernel, weight))


def test_pieces_cover_every_edge() -> None:
    like = torch.zeros(1)
    for count, floats in ((0, 3), (1, 2**30), (1000, 2**12)):
        edges = slice(7, 7 + count)
        pieces = list(edge_pieces(edges, floats, like))
        covered = [e for piece in pieces for e in range(piece.start, piece.stop)]
        assert covered == list(range(7, 7 + count)) and len(pieces) >= 1
        longest = max(piece.stop - piece.start for piece in pieces)
        assert longest <= 1 or longest * floats * 4 <= module.PIECE
    many = slice(0, 10**6)
    assert list(edge_pieces(many, 2**12, torch.zeros(1, device="meta"))) == [many]


def test_repeated_calls_are_equal() -> None:
    s = Sample("repeats and loops", "values", "antipodal")
    results: list[Any] = [s(*s.tensors) for _ in range(2)]
    assert torch.equal(*results)
