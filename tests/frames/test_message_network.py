"""FA-GNN keeps the contract, and equals the published algorithm, one copy a frame."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.peers.fa_gnn_direct import PlainGNN, averaged
from geqlib.models import FAGNN
from geqlib.nn import LogGaussianBasis
from geqlib.testing import degenerate_sets, equivariance_error
from tests.contract import Case, Contract, Typed, all_edges, random_graphs, values

SMALL: dict[str, Any] = {"channels": 6, "layers": 2, "hidden_vectors": 3, "edge_dim": 1}


def graph(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    n = len(pos)
    charge = torch.randn(n, 1, generator=generator).double()
    vec = 0.8 * (pos - pos.roll(1, 0))[:, None]
    return {
        "pos": (pos, "point"),
        "vec": (vec if n > 1 else 0 * vec, "vector"),
        "x": (charge, "scalar"),
        "edge_index": (edge_index, "edge_index"),
        "edge_attr": ((charge[edge_index[0]] * charge[edge_index[1]]), "edge_scalar"),
        "batch": (torch.zeros(n, dtype=torch.long), "batch"),
    }


def size(net: FAGNN, tensors: dict[str, Tensor], graphs: int) -> dict[str, Any]:
    return {"num_graphs": graphs}


COUNT = "the number of frames depends on the points, and again on the features of every layer"


def case(group: str, **more: Any) -> Case:
    build = partial(FAGNN, 1, 1, 2, 2, group=group, hidden_scalars=2, **SMALL)
    arguments = {"extra": size, "exceptions": {"compile": COUNT, "export": COUNT, "vmap": COUNT}}
    return Case(
        f"FAGNN {group}", build, graph, ("scalar", "vector"), (group,), **(arguments | more)
    )


class TestContract(Contract):
    cases = (case("E(3)"), case("SE(3)"))


@pytest.mark.parametrize("group", ["E(3)", "SE(3)"])
def test_a_node_without_direction_has_derivatives_as_any_other(group: str) -> None:
    """Its latent vectors are 0: as rounding, they had derivatives of 1e31 in float64."""
    inner = case(group)
    module, slopes = inner.make(), []
    for vector in (0.0, 1.0):
        tensors = values(random_graphs(inner, (1,))[0])
        tensors["vec"] = torch.full_like(tensors["vec"], vector).requires_grad_()
        loss = inner.loss(inner.call(module, 1, **tensors))
        (slope,) = torch.autograd.grad(loss, tensors["vec"], create_graph=True)
        (second,) = torch.autograd.grad(slope.square().sum(), tensors["vec"])
        slopes.append((float(slope.detach().abs().max()), float(second.abs().max())))
    assert slopes[0][0] < 10 * slopes[1][0] and slopes[0][1] < 1


def batch_of(count: int, nodes: int, seed: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    pairs = all_edges(nodes)
    edge_index = torch.cat([pairs + k * nodes for k in range(count)], 1)
    rows = count * nodes
    return {
        "pos": torch.randn(rows, 3, generator=generator).double() + 4.0,
        "edge_index": edge_index,
        "vec": torch.randn(rows, 1, 3, generator=generator).double(),
        "edge_attr": torch.randn(edge_index.size(1), 1, generator=generator).double(),
        "batch": torch.arange(count).repeat_interleave(nodes),
    }


@pytest.mark.parametrize("group", ["E(3)", "SE(3)"])
@pytest.mark.parametrize("scalars", [0, 2])
def test_equals_the_published_algorithm(group: Any, scalars: int) -> None:
    torch.manual_seed(0)
    net = FAGNN(scalars, 1, scalars, 1, hidden_scalars=scalars, group=group, **SMALL).double()
    arguments = batch_of(6, 5)
    x = torch.randn(30, scalars).double() if scalars else None
    expected = averaged(PlainGNN(net), **arguments, x=x, graphs=6)
    actual = net(**arguments, x=x, num_graphs=6)
    for got, exact in zip(actual, expected, strict=True):
        torch.testing.assert_close(got, exact, atol=1e-12, rtol=0)
    assert actual[1].norm() > 1e-2


def test_one_layer_equals_the_wrapper() -> None:
    """A single layer is `FrameAveraging` of the plain network; degenerate samples have all signs
    of the wrapper's axes, so sets without symmetry are compared."""
    from geqlib.nn import FrameAveraging

    torch.manual_seed(0)
    net = FAGNN(0, 1, 0, 1, channels=8, layers=1, hidden_vectors=3).double()
    plain = PlainGNN(net)

    class Vectors(torch.nn.Module):
        def forward(self, pos: Tensor, vec: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
            return plain(pos, edge_index, vec, None)[:, None]

    types = {"pos": "point", "vec": "vector", "edge_index": "edge_index"}
    wrapped = FrameAveraging(Vectors(), "E(3)", inputs=types, outputs="vector")
    arguments = batch_of(4, 5)
    del arguments["edge_attr"]
    torch.testing.assert_close(
        net(**arguments, num_graphs=4)[1], wrapped(**arguments), atol=1e-12, rtol=0
    )


def test_mirror_images() -> None:
    arguments = batch_of(1, 5)
    mirrored = arguments | {"pos": -arguments["pos"], "vec": -arguments["vec"]}
    for group, apart in (("SE(3)", True), ("E(3)", False)):
        torch.manual_seed(0)
        net = FAGNN(0, 1, 1, 0, group=group, **SMALL).double()  # type: ignore[arg-type]
        difference = (net(**arguments)[0] - net(**mirrored)[0]).abs().max()
        assert bool(difference > 1e-4) is apart


def test_mixed_batches() -> None:
    """Symmetric and generic graphs in one batch: the symmetric ones have several sets of axes."""
    torch.manual_seed(0)
    net = FAGNN(0, 0, 1, 1, channels=8, layers=2, hidden_vectors=3).double()
    sets = [degenerate_sets()[k] for k in ("cube", "planar", "tetrahedron", "collinear", "single")]
    pairs = [all_edges(len(pos)) for pos in sets]
    ends = torch.tensor([0, *(len(pos) for pos in sets)]).cumsum(0)
    both = net(
        torch.cat(sets),
        torch.cat([p + k for p, k in zip(pairs, ends, strict=False)], 1),
        batch=torch.repeat_interleave(torch.tensor([len(pos) for pos in sets])),
        num_graphs=len(sets),
    )
    for k in range(2):
        alone = [net(pos, p)[k] for pos, p in zip(sets, pairs, strict=True)]
        torch.testing.assert_close(both[k], torch.cat(alone), atol=1e-12, rtol=0)


def test_held_frames_have_the_same_values_and_other_derivatives() -> None:
    grads = []
    for detach in (False, True):
        torch.manual_seed(0)
        net = FAGNN(0, 1, 0, 1, detach=detach, **SMALL).double()
        arguments = batch_of(2, 4)
        pos = arguments.pop("pos").requires_grad_()
        out = net(pos, **arguments, num_graphs=2)[1]
        grads.append((out.detach(), torch.autograd.grad(out.square().sum(), pos)[0]))
    assert torch.equal(grads[0][0], grads[1][0])
    assert (grads[0][1] - grads[1][1]).abs().max() > 1e-6


def test_options_and_the_plane() -> None:
    torch.manual_seed(0)
    radial = LogGaussianBasis(4)
    net = FAGNN(0, 1, 1, 1, channels=8, layers=2, radial=radial, group="E(2)").double()
    arguments = batch_of(1, 5)
    pos, vec = arguments["pos"][:, :2].contiguous(), arguments["vec"][..., :2].contiguous()
    inputs = {
        "pos": (pos, "point"),
        "vec": (vec, "vector"),
        "edge_index": (arguments["edge_index"], "edge_index"),
    }
    assert equivariance_error(net, inputs, ("scalar", "vector"), "E(2)") < 1e-12


def test_errors() -> None:
    arguments = batch_of(1, 3)
    net = FAGNN(0, 1, 0, 1, **SMALL).double()
    with pytest.raises(ValueError, match="vec is missing: the model was built for 1"):
        net(**(arguments | {"vec": None}))
    with pytest.raises(ValueError, match=r"edge_attr has shape \[6, 2\], expected \[6, 1\]"):
        net(**(arguments | {"edge_attr": torch.zeros(6, 2)}))
    with pytest.raises(ValueError, match="sample 0 has NaN or infinite points"):
        net(**(arguments | {"pos": arguments["pos"] * torch.nan}))
    with pytest.raises(ValueError, match="group must be"):
        FAGNN(0, 0, 0, 1, group="S_n")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must be positive, got 60, 0 and 20"):
        FAGNN(0, 0, 0, 1, layers=0)
