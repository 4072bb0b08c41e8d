"""`torch.func` outside the contract: what is refused, parameters, and batches."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, vmap
from torch_geometric.nn import SAGEConv

from geqlib.frames.eigen3 import symmetric_eigen
from geqlib.graph import directed_plan
from geqlib.kernels.edge_product import edge_product
from geqlib.kernels.transpose import transposed
from geqlib.models import FAGNN, PONITA, SPEN, GauntNet
from geqlib.nn import FrameAveraging, GauntTensorProduct, MonoidAggregation
from geqlib.spen.incidence import incidence

EDGES = (~torch.eye(4, dtype=torch.bool)).nonzero().T
POS = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def _networks() -> dict[str, Any]:
    torch.manual_seed(0)
    ponita = PONITA(1, 0, 1, 0, channels=4, layers=1, cutoff=5.0).double()
    gaunt = GauntNet(["H", "O"], channels=4, degree=1, order=2, cutoff=5.0).double()
    monoid = SAGEConv(3, 1, aggr=MonoidAggregation(3, operator="logsumexp")).double()
    spen = SPEN(3, 1, channels=4, layers=1).double().eval()
    ones, z = torch.ones(4, 1, dtype=torch.float64), torch.tensor([8, 1, 1, 8])
    batch = torch.zeros(4, dtype=torch.long)
    return {
        "PONITA": lambda pos: ponita(pos, EDGES, x=ones)[0].sum(),
        "GauntNet": lambda pos: gaunt(pos, z, EDGES).sum(),
        "MonoidAggregation": lambda pos: monoid(pos, EDGES).square().sum(),
        "SPEN": lambda pos: spen(pos, EDGES, batch=batch, num_graphs=1).sum(),
    }


@pytest.mark.parametrize("name", _networks())
def test_hessians_that_make_their_own_plans(name: str) -> None:
    """As a user writes them: no plan, a module in a closure."""
    fn = _networks()[name]
    loop = torch.autograd.functional.hessian(fn, POS)
    for actual in (
        torch.autograd.functional.hessian(fn, POS, vectorize=True),
        hessian(fn)(POS),
        jacrev(jacrev(fn))(POS),
    ):
        torch.testing.assert_close(actual, loop, atol=1e-11, rtol=1e-10)


class Plain(nn.Module):
    def forward(self, pos: Tensor) -> Tensor:
        return torch.sin(pos @ pos.new_tensor([[1.0], [2.0], [3.0]])).sum(0)


@pytest.mark.parametrize("mode", ["full", "weighted", "minimal", "learned"])
def test_frames_are_refused_by_vmap_alone(mode: Any) -> None:
    net = FrameAveraging(
        Plain(), "SE(3)", inputs={"pos": "point"}, outputs="graph:scalar", mode=mode
    ).double()
    fn = lambda pos: net(pos=pos).sum()  # noqa: E731
    loop = torch.autograd.functional.hessian(fn, POS)
    torch.testing.assert_close(hessian(fn)(POS), loop, atol=1e-11, rtol=1e-10)
    with pytest.raises(ValueError, match="FrameAveraging depends on the values of its inputs"):
        vmap(fn)(torch.stack([POS, POS + 1]))
    with pytest.raises(ValueError, match=r"jacrev, jacfwd and hessian work"):
        vmap(grad(fn))(torch.stack([POS, POS + 1]))


def test_fagnn_is_refused_by_vmap_alone() -> None:
    torch.manual_seed(0)
    net = FAGNN(0, 0, 1, 0, layers=1).double()
    fn = lambda pos: net(pos, EDGES)[0].sum()  # noqa: E731
    loop = torch.autograd.functional.hessian(fn, POS)
    torch.testing.assert_close(hessian(fn)(POS), loop, atol=1e-11, rtol=1e-10)
    with pytest.raises(ValueError, match="depends on the values of its inputs"):
        vmap(fn)(torch.stack([POS, POS + 1]))


def test_gradients_of_each_sample_by_parameters() -> None:
    """The other common use of torch.func: one gradient of the weights for each structure."""
    torch.manual_seed(0)
    net = PONITA(1, 0, 1, 0, channels=4, layers=1, cutoff=5.0).double()
    weights = {name: p.detach() for name, p in net.named_parameters()}
    ones = torch.ones(4, 1, dtype=torch.float64)

    def loss(weights: dict[str, Tensor], pos: Tensor) -> Tensor:
        return functional_call(net, weights, (pos, EDGES), {"x": ones})[0].square().sum()

    several = torch.stack([POS, 1.1 * POS, POS.roll(1, 0) + 0.1])
    actual = vmap(grad(loss), in_dims=(None, 0))(weights, several)
    for k, pos in enumerate(several):
        for name, value in grad(loss)(weights, pos).items():
            torch.testing.assert_close(actual[name][k], value, atol=1e-12, rtol=1e-10)


def test_nan_is_still_seen_outside_of_vmap() -> None:
    layer = MonoidAggregation(3, operator="logsumexp").double()
    index = torch.zeros(4, dtype=torch.long)
    wrong = POS.clone()
    wrong[1, 1] = torch.nan
    for fn in (layer, lambda x, index: grad(lambda v: layer(v, index).sum())(x)):
        with pytest.raises(ValueError, match="x is NaN or infinite"):
            fn(wrong, index)


def _sparse(x: Tensor) -> Tensor:
    matrix = incidence(torch.tensor([2, 0, 2, 1]), torch.tensor([0, 2, 2, 4]), 4)
    mean, rows = matrix.mean_and_select(x.square(), torch.tensor([3, 3, 0]))
    return torch.cat([matrix @ x.sin(), matrix.mean(x, 2.0), mean, rows])


def _edges(x: Tensor) -> Tensor:
    plan = directed_plan(EDGES, 4)
    kernel = x[plan.source].sin().unsqueeze(1)
    return edge_product(x.unsqueeze(1), kernel, plan)


OPERATORS = {
    "edge_product": _edges,
    "incidence": _sparse,
    "transposed": lambda x: transposed(x).square(),
    "symmetric_eigen, 3": lambda x: symmetric_eigen((x.T @ x)[None])[1].square(),
    "symmetric_eigen, 4": lambda x: symmetric_eigen((x @ x.T + torch.diag(x[:, 0].exp()))[None])[0],
}


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("dims", [0, 1, 2])
def test_operators_along_any_axis(name: str, dims: int) -> None:
    """Vectorised along the first, a middle and the last axis, in and out."""
    fn = OPERATORS[name]
    several = torch.stack([POS, POS + 0.1, POS.cos()])
    alone = torch.stack([fn(x) for x in several])
    moved = several.movedim(0, dims)
    actual = vmap(fn, in_dims=dims)(moved)
    torch.testing.assert_close(actual, alone, atol=1e-12, rtol=1e-10)
    slopes = torch.stack([jacrev(fn)(x) for x in several])
    for jacobian in (jacrev, jacfwd):
        got = vmap(jacobian(fn), in_dims=dims)(moved)
        torch.testing.assert_close(got, slopes, atol=1e-10, rtol=1e-8)


def test_vectorised_hessians_do_not_warn_of_slow_operators() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hessian(_networks()["PONITA"])(POS)


@pytest.mark.parametrize("name", ["edge_product", "symmetric_eigen, 3"])
def test_two_forward_modes_are_refused(name: str) -> None:
    """torch computes them wrong, in every custom function."""
    fn = OPERATORS[name]
    with pytest.raises(ValueError, match=r"use torch\.func\.hessian"):
        jacfwd(jacfwd(fn))(POS)
    jacobians = jacrev(jacfwd(fn))(POS), jacfwd(jacrev(fn))(POS)
    torch.testing.assert_close(*jacobians, atol=1e-10, rtol=1e-8)


def test_gaunt_products_refuse_two_forward_modes() -> None:
    product = GauntTensorProduct("1x1o", "1x1o", "1x0e+1x2e", method="grid")
    with pytest.raises(ValueError, match=r"use torch\.func\.hessian"):
        jacfwd(jacfwd(lambda x: product(x, x)))(POS)


@pytest.mark.parametrize("detach", [False, True])
def test_detached_frames_are_detached_in_forward_mode(detach: bool) -> None:
    torch.manual_seed(0)
    net = FAGNN(0, 0, 1, 0, layers=1, detach=detach).double()
    fn = lambda pos: net(pos, EDGES)[0].sum()  # noqa: E731
    torch.testing.assert_close(jacfwd(fn)(POS), jacrev(fn)(POS), atol=1e-12, rtol=1e-10)
