"""Convolutions on graphs equal the sum written edge by edge."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from e3nn import o3
from torch import Tensor

from geqlib.nn import GauntConvolution
from geqlib.sphere.coefficients import gaunt_coefficients
from geqlib.sphere.harmonics import spherical_harmonics
from geqlib.testing import assert_equivariant
from tests.contract import Case, Contract, Typed

SHAPES = {
    "natural": ("2x0e+2x1o+2x2e", "2x0e+2x1o+2x2e", 2),
    "scalars in": ("3x0e", "3x0e+3x1o+3x2e+3x3o", 3),
    "unequal": ("2x1o+2x3o", "2x4e+2x0e", 4),
    "degree 0": ("2x1o+2x0e", "2x1o", 0),
    "pseudo": ("2x1e+2x0e+2x1o+2x2o", "2x2e+2x1e+2x0o+2x2o", 2),
}


def by_edges(
    layer: GauntConvolution, x: Tensor, v: Tensor, weight: Tensor, edges: Tensor
) -> Tensor:
    """sum_j over all paths of G (x_j, w_l |v|^l Y_l(v / |v|))."""
    length = v.norm(dim=1, keepdim=True)
    harmonics = spherical_harmonics(layer.degree, v / length.clamp(min=1e-9))
    z = torch.zeros(len(x), layer.irreps_out.dim, dtype=x.dtype)
    for (mul, out), place in zip(layer.irreps_out, layer.irreps_out.slices(), strict=True):
        for (_, ir), block in zip(layer.irreps_in, layer.irreps_in.slices(), strict=True):
            for ell in range(layer.degree + 1):
                edge = o3.Irrep(ell, (-1) ** ell)
                if out not in ir * edge:
                    continue
                near = x[edges[0], block].unflatten(1, (mul, ir.dim))
                y = harmonics[:, ell**2 : (ell + 1) ** 2] * length**ell
                table = gaunt_coefficients(ir.l, ell, out.l)
                term = torch.einsum("eui,ej,eu,ijk->euk", near, y, weight[:, ell], table)
                z[:, place].index_add_(0, edges[1], term.flatten(1))
    return z


def graph(
    layer: GauntConvolution, nodes: int = 5, edges: int = 11, *, unit: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loops, repeated edges, and a last node without any."""
    g = torch.Generator().manual_seed(0)
    make: dict[str, Any] = {"generator": g, "dtype": torch.float64}
    x = torch.randn(nodes, layer.irreps_in.dim, **make)
    v = torch.nn.functional.normalize(torch.randn(edges, 3, **make), dim=1)
    if not unit:
        v = v * torch.rand(edges, 1, **make)
    weight = torch.randn(edges, layer.degree + 1, layer.irreps_in[0].mul, **make)
    return x, v, weight, torch.randint(max(nodes - 1, 1), (2, edges), generator=g)


@pytest.mark.parametrize("shape", SHAPES)
def test_convolution_is_the_sum_over_edges(shape: str) -> None:
    layer = GauntConvolution(*SHAPES[shape])
    inputs = graph(layer)
    expected = by_edges(layer, *inputs)
    torch.testing.assert_close(layer(*inputs), expected, atol=1e-12, rtol=1e-10)
    single = layer(*(t.float() if t.is_floating_point() else t for t in inputs))
    torch.testing.assert_close(single.double(), expected, atol=1e-5, rtol=1e-4)


def test_high_degree() -> None:
    irreps = "1x2e+1x5o+1x6e"
    layer = GauntConvolution(irreps, irreps, 6)
    inputs = graph(layer, 3, 4)
    torch.testing.assert_close(layer(*inputs), by_edges(layer, *inputs), atol=1e-11, rtol=1e-10)


def test_edges_have_no_order() -> None:
    layer = GauntConvolution(*SHAPES["natural"])
    x, v, weight, edges = graph(layer)
    order = torch.randperm(edges.size(1), generator=torch.Generator().manual_seed(1))
    again = layer(x, v[order], weight[order], edges[:, order])
    torch.testing.assert_close(again, layer(x, v, weight, edges), atol=1e-13, rtol=1e-12)


@pytest.mark.parametrize(("nodes", "edges"), [(3, 0), (0, 0), (1, 2)])
def test_small_graphs(nodes: int, edges: int) -> None:
    layer = GauntConvolution(*SHAPES["natural"])
    inputs = graph(layer, nodes, edges)
    torch.testing.assert_close(layer(*inputs), by_edges(layer, *inputs))


def test_isolated_nodes_get_zeros() -> None:
    layer = GauntConvolution(*SHAPES["natural"])
    assert not layer(*graph(layer))[-1].any()


def test_equivariance() -> None:
    layer = GauntConvolution(*SHAPES["pseudo"])
    x, v, weight, edges = graph(layer)

    def fn(x: Tensor, v: Tensor) -> Tensor:
        return layer(x, v, weight, edges)

    typed = {"x": (x, str(layer.irreps_in)), "v": (v, "edge:vector")}
    assert_equivariant(fn, typed, str(layer.irreps_out), "O(3)", atol=1e-12)


def test_derivatives() -> None:
    layer = GauntConvolution("1x0e+1x1o", "1x0e+1x1o+1x2e", 2)
    *inputs, edges = graph(layer, 3, 5)
    inputs = [t.requires_grad_() for t in inputs]

    def fn(*tensors: Tensor) -> Tensor:
        return layer(*tensors, edges)

    assert torch.autograd.gradcheck(fn, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(fn, inputs, fast_mode=True)


def test_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values and gradients are those of all edges at once, as compiled code has them."""
    layer = GauntConvolution(*SHAPES["pseudo"])
    *inputs, edges = graph(layer)
    actual = []
    for pieces in (1, 2**30):
        monkeypatch.setattr("geqlib.kernels.edge_product.PIECE", pieces)
        leaves = [t.clone().requires_grad_() for t in inputs]
        z = layer(*leaves, edges)
        actual.append([z, *torch.autograd.grad(z.square().sum(), leaves)])
    for some, all_ in zip(*actual, strict=True):
        torch.testing.assert_close(some, all_, atol=1e-12, rtol=1e-10)


def test_gradients_of_some_inputs() -> None:
    layer = GauntConvolution(*SHAPES["natural"], method="grid")
    x, v, weight, edges = graph(layer)
    both = layer(x, v.requires_grad_(), weight, edges)
    (slope,) = torch.autograd.grad(both.sum(), [v], create_graph=True)
    assert slope.requires_grad and slope.abs().max() > 0


def test_half_precision_is_computed_in_single() -> None:
    layer = GauntConvolution(*SHAPES["natural"], method="grid")
    x, v, weight, edges = graph(layer)
    half = [t.bfloat16() for t in (x, v, weight)]
    expected = layer(*(t.float() for t in half), edges)
    assert torch.equal(layer(*half, edges), expected.bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(*(t.float() for t in half), edges), expected)


@pytest.mark.parametrize("method", ["neighbors", "aligned"])
def test_former_methods_are_other_names(method: Any) -> None:
    with pytest.warns(FutureWarning, match="now another name for it"):
        former = GauntConvolution(*SHAPES["natural"], method=method)
    layer = GauntConvolution(*SHAPES["natural"], method="grid")
    inputs = graph(layer)
    assert former.method == layer.method == "grid"
    assert torch.equal(former(*inputs), layer(*inputs))


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "parity": ({"irreps_out": "4x1e"}, "irreps_out has 1e, which no path reaches"),
    "reach": ({"irreps_out": "4x4e"}, "irreps_out has 4e, which no path reaches"),
    "method": ({"method": "fft"}, "method 'fft' is unknown: choose one of auto, grid"),
    "degree": ({"degree": -1}, "degree must be a number from 0 on, got -1"),
    "channels": ({"irreps_in": "4x0e+3x1o"}, "multiplicities differ in 4x0e"),
    "irreps": ({"irreps_in": "4y0e"}, "irreps_in='4y0e' cannot be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_options(name: str) -> None:
    change, message = BAD[name]
    options = {"irreps_in": "4x0e+4x1o", "irreps_out": "4x0e+4x1o", "degree": 2}
    with pytest.raises(ValueError, match=message):
        GauntConvolution(**(options | change))


@pytest.mark.parametrize("place", range(4))
def test_bad_inputs(place: int) -> None:
    layer = GauntConvolution(*SHAPES["natural"])
    inputs = list(graph(layer))
    name = ("x", "direction", "weight", "edge_index")[place]
    inputs[place] = inputs[place][..., :1] if place < 3 else inputs[place][:1]
    with pytest.raises(ValueError, match=f"{name} has shape"):
        layer(*inputs)


def features(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    make: dict[str, Any] = {"generator": generator, "dtype": torch.float64}
    offset = pos[edge_index[0]] - pos[edge_index[1]]
    direction = offset / (offset.square().sum(1, keepdim=True) + 1e-4).sqrt()
    return {
        "x": (torch.randn(len(pos), 8, **make), "2x0e+2x1o"),
        "direction": (direction, "edge:vector"),
        "weight": (torch.randn(edge_index.size(1), 3, 2, **make), "edge:scalar"),
        "edge_index": (edge_index, "edge_index"),
    }


class TestContract(Contract):
    cases = (
        Case(
            "grid",
            lambda: GauntConvolution("2x0e+2x1o", "2x0e+2x1o+2x2e", 2),
            features,
            "2x0e+2x1o+2x2e",
            groups=("O(3)",),
            backend="eager",
        ),
    )
