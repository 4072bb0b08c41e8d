"""What depends on a plan alone is computed once for it, and never with tensors of another mode."""

from __future__ import annotations

import pytest
import torch

from geqlib.spen.incidence import incidence
from geqlib.spen.maps import EquivariantMaps, _split
from geqlib.spen.plan import ego_plan
from geqlib.spen.sizes import SizeEmbedding, factors_of_layers


def test_shares_are_computed_once_for_a_matrix_and_its_transpose() -> None:
    matrix = incidence(torch.tensor([2, 0, 2]), torch.tensor([0, 2, 2, 3]), 3)
    x = torch.randn(3, 2)
    for _ in range(2):
        matrix.mean(x)
        matrix.T.mean(x)
        matrix.mean(x.double())
    stored = matrix.__dict__
    assert [len(stored[name]) for name in ("weights", "weights_of_transpose")] == [2, 1]
    weights = stored["weights"][torch.float32, 1.0]
    matrix.mean(x)
    assert stored["weights"][torch.float32, 1.0] is weights


def test_a_plan_that_was_used_for_inference_can_be_trained_with() -> None:
    plan = ego_plan(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), 3)
    with torch.inference_mode():
        plan.nets.mean(torch.ones(3, 2))
    x = torch.ones(3, 2, dtype=torch.float64, requires_grad=True)
    plan.nets.mean(x).sum().backward()
    assert x.grad is not None and x.grad[:, 0].tolist() == pytest.approx([5 / 6, 4 / 3, 5 / 6])


def test_plans_without_their_shares_are_the_same() -> None:
    plan = ego_plan(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), 3)
    before = plan.tensors()
    plan.nets.mean(torch.ones(3, 2))
    assert plan.tensors().keys() == before.keys()
    assert not plan.to("cpu").nets.__dict__.get("weights")


def test_columns_are_split() -> None:
    x = torch.arange(6.0).view(2, 3).requires_grad_()
    for sizes in ([1, 2], [0, 3], [3, 0, 0], [1, 0, 2]):
        parts, expected = _split(x, sizes), x.split(sizes, 1)
        assert all(torch.equal(a, b) for a, b in zip(parts, expected, strict=True))
    whole, nothing = _split(x, [3, 0])
    assert whole is x and nothing.shape == (2, 0)


def test_factors_of_all_layers_are_those_of_each() -> None:
    torch.manual_seed(0)
    plan = ego_plan(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), 4)
    inputs = ((2,), (1, 2), (1, 2), (0, 1))
    embeddings = [
        SizeEmbedding(EquivariantMaps(3, 2, orders, (1, 2)), bias=n < 3)
        for n, orders in enumerate(inputs)
    ]
    for part in embeddings:
        torch.nn.init.normal_(part.leave.weight)
        torch.nn.init.normal_(part.leave.bias)
    together = factors_of_layers(embeddings, plan, torch.float32)
    for embedding, factors in zip(embeddings, together, strict=True):
        for got, expected in zip(factors, embedding.of_plan(plan, torch.float32), strict=True):
            torch.testing.assert_close(got, expected)
