"""Gaunt products: one function by four algorithms, held to independent oracles."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from geqlib.nn import GauntTensorProduct
from geqlib.sphere.coefficients import gaunt_coefficients
from geqlib.testing import assert_equivariant
from tests.contract import Case, Contract, Typed
from tests.gaunt import oracle_gaunt

METHODS = ("sparse", "grid", "separable", "fft")
BOTH = "2x0e+2x0o+2x1e+2x1o+2x2e+2x2o"
IRREPS = {
    "natural": ("2x0e+2x1o+2x2e", "2x0e+2x1o+2x2e", "2x0e+2x1o+2x2e", "gaunt"),
    "unequal": ("3x0e+3x1o", "3x2e+3x3o", "3x1o+3x4e", "gaunt"),
    "gaps": ("2x4e+2x1o", "2x3o", "2x2e+2x7o", "gaunt"),
    "low output": ("1x5o+1x4e", "1x5o", "1x0e+1x1o", "gaunt"),
    "pseudo": (BOTH, "2x1e+2x2e", "2x1o+2x2e+2x0o", "gaunt"),
    "bracket": ("2x1o+2x2e", "2x1o+2x2e", "2x1e+2x2o+2x3e", "bracket"),
    "all": (BOTH, BOTH, BOTH, "all"),
}


def natural(degree: int, channels: int = 1) -> str:
    return "+".join(f"{channels}x{n}{'eo'[n % 2]}" for n in range(degree + 1))


def inputs(layer: GauntTensorProduct, *lead: int, dtype: torch.dtype = torch.float64) -> Any:
    generator = torch.Generator().manual_seed(0)
    dims = layer.irreps_in1.dim, layer.irreps_in2.dim
    return [torch.randn(*lead, d, generator=generator, dtype=torch.float64).to(dtype) for d in dims]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("degrees", [(2, 2, 2), (1, 3, 2), (3, 1, 5), (4, 0, 4)])
def test_product_is_the_integral(method: Any, degrees: tuple[int, int, int]) -> None:
    layer = GauntTensorProduct(
        *[natural(d) for d in degrees[:2]],
        natural(min(degrees[2], sum(degrees[:2]))),
        method=method,
    )
    x, y = inputs(layer, 5)
    expected = oracle_gaunt.product((*degrees[:2], max(layer.irreps_out.ls)), x, y)
    torch.testing.assert_close(layer(x, y), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_degree_20(method: Any) -> None:
    """The sparse form, whose tables take seconds at this degree, on one path of it."""
    irreps = "20e" if method == "sparse" else natural(20)
    layer = GauntTensorProduct(
        natural(1), irreps, "1x20e" if method == "sparse" else natural(20), method=method
    )
    x, y = inputs(layer, 2)
    full = torch.zeros(2, 441, dtype=torch.float64)
    full[:, -y.size(1) :] = y
    expected = oracle_gaunt.product((1, 20, 20), x, full)[:, -layer.irreps_out.dim :]
    torch.testing.assert_close(layer(x, y), expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", IRREPS)
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_methods_agree(name: str, dtype: torch.dtype, atol: float) -> None:
    *irreps, paths = IRREPS[name]
    actual = []
    for method in METHODS:
        layer: Any = GauntTensorProduct(*irreps, method=method, paths=paths)  # type: ignore
        actual.append(layer(*inputs(layer, 3, 4, dtype=dtype)))
    scale = float(actual[0].abs().max().clamp(min=1))
    for got in actual[1:]:
        torch.testing.assert_close(got, actual[0], atol=atol * scale, rtol=0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", [(1, 1, 1), (1, 2, 2), (2, 3, 4), (3, 3, 1), (4, 4, 3)])
def test_bracket_is_every_odd_path(method: Any, path: tuple[int, int, int]) -> None:
    irreps = [f"{n}{'eo'[n % 2]}" for n in path[:2]] + [f"{path[2]}{'oe'[path[2] % 2]}"]
    layer = GauntTensorProduct(*irreps, method=method, paths="bracket")
    x, y = inputs(layer, 3)
    table = gaunt_coefficients(*path, kind="bracket")
    expected = torch.einsum("ni,nj,ijk->nk", x, y, table)
    torch.testing.assert_close(layer(x, y), expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", IRREPS)
def test_equivariance(name: str, method: Any) -> None:
    *irreps, paths = IRREPS[name]
    layer: Any = GauntTensorProduct(*irreps, method=method, paths=paths)  # type: ignore
    x, y = inputs(layer, 6)
    typed = {"x": (x, str(layer.irreps_in1)), "y": (y, str(layer.irreps_in2))}
    assert_equivariant(layer, typed, str(layer.irreps_out), "S_n x O(3)", atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("lead", [(), (1,), (0,), (2, 0), (2, 3)], ids=str)
def test_leading_dimensions_and_strides(method: Any, lead: tuple[int, ...]) -> None:
    layer = GauntTensorProduct(BOTH, BOTH, BOTH, method=method, paths="all")
    x, y = inputs(layer, *lead)
    got = layer(x, y)
    assert got.shape == (*lead, layer.irreps_out.dim)
    strided = x.movedim(-1, 0).contiguous().movedim(0, -1)
    torch.testing.assert_close(layer(strided, y), got, atol=1e-13, rtol=1e-13)


@pytest.mark.parametrize("method", METHODS)
def test_second_derivatives(method: Any) -> None:
    irreps = "1x0e+1x1o", "1x1o+1x1e", "1x1o+1x1e+1x2e"
    layer = GauntTensorProduct(*irreps, method=method, paths="all", weights=2).double()
    x, y = (v.requires_grad_() for v in inputs(layer, 2))
    assert torch.autograd.gradcheck(layer, (x, y), fast_mode=True)
    assert torch.autograd.gradgradcheck(layer, (x, y), fast_mode=True)


@pytest.mark.parametrize("method", METHODS)
def test_casts_do_not_round_constants(method: Any) -> None:
    layer = GauntTensorProduct(BOTH, BOTH, BOTH, method=method, paths="all")
    x, y = inputs(layer, 3)
    expected = layer(x, y)
    assert torch.equal(layer.half().float().double()(x, y), expected)


@pytest.mark.parametrize(
    "options", [{"weights": "degree"}, {"weights": 3}, {"weights": 2, "mix": True}]
)
def test_learnt_products_keep_unit_variance(options: dict[str, Any]) -> None:
    """Over draws of weights and inputs, which are independent, so that their spread says how far
    the mean of n draws may be from 1: four times s / sqrt(n), which 1 in 10 000 exceeds."""
    torch.manual_seed(0)
    irreps = natural(3, 32)
    layer = GauntTensorProduct(irreps, irreps, irreps, method="grid", **options)
    draws = []
    for _ in range(30):
        layer.reset_parameters()
        z = layer(*torch.randn(2, 30, layer.irreps_in1.dim)).detach()
        parts = z.split([i.dim for i in layer.irreps_out], -1)
        draws.append(torch.stack([part.square().mean() for part in parts]))
    means = torch.stack(draws)
    error = means.std(0) / len(draws) ** 0.5
    assert float(error.max()) < 0.1  # a wrong constant could not hide in it
    assert bool(((means.mean(0) - 1).abs() < 4 * error).all())


def test_half_precision_is_computed_in_single() -> None:
    layer = GauntTensorProduct(natural(2), natural(2), natural(2), method="grid")
    x, y = inputs(layer, 4, dtype=torch.bfloat16)
    expected = layer(x.float(), y.float())
    assert torch.equal(layer(x, y), expected.bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = layer(x, y.float())
    assert mixed.dtype == torch.float32 and torch.equal(mixed, expected)


@pytest.mark.parametrize("method", METHODS)
def test_gradients_inside_autocast_are_not_rounded(method: Any) -> None:
    layer = GauntTensorProduct(natural(2), natural(2), natural(2), method=method, weights="degree")
    pair = [v.requires_grad_() for v in inputs(layer, 4, dtype=torch.float32)]
    expected = torch.autograd.grad(layer(*pair).square().sum(), pair)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = torch.autograd.grad(layer(*pair).square().sum(), pair)
    for got, want in zip(actual, expected, strict=True):
        assert torch.equal(got, want)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "parity": ({"irreps_out": "4x1e"}, "irreps_out has 1e, which no path of paths='gaunt' reaches"),
    "degree": ({"irreps_out": "4x3o"}, "irreps_out has 3o, which no path"),
    "method": ({"method": "dense"}, "method 'dense' is unknown: choose one of auto, sparse"),
    "paths": ({"paths": "odd"}, "paths 'odd' is unknown"),
    "weights": ({"weights": 0}, "weights must be None, 'degree' or a rank from 1 on, got 0"),
    "mix": ({"mix": True}, "mix=True needs learnt weights"),
    "irreps": ({"irreps_in1": "4y0e"}, "irreps_in1='4y0e' cannot be read"),
    "none": ({"irreps_in1": ""}, "irreps_in1='' holds no irreps"),
    "twice": ({"irreps_in1": "4x0e+4x0e"}, "names an irrep twice"),
    "channels": ({"irreps_in1": "3x0e+4x1o"}, "multiplicities differ in 3x0e"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_options(name: str) -> None:
    change, message = BAD[name]
    options = {"irreps_in1": "4x0e+4x1o", "irreps_in2": "4x0e+4x1o", "irreps_out": "4x0e+4x1o"}
    with pytest.raises(ValueError, match=message):
        GauntTensorProduct(**(options | change))


def test_bad_inputs() -> None:
    layer = GauntTensorProduct("1x0e+1x1o", "1x0e+1x1o", "1x0e", weights="degree")
    x = torch.zeros(2, 4)
    for a, b, message in (
        (torch.zeros(2, 3), x, "x has shape .* last dimension must be 4"),
        (x, torch.zeros(3, 4), "same leading dimensions"),
        (x, x.double(), "types differ: x is torch.float32, y torch.float64"),
        (x.double(), x.double(), "the weights torch.float32"),
        (x, x.long(), "y has type torch.int64"),
    ):
        with pytest.raises(ValueError, match=message):
            layer(a, b)


class Pair(nn.Module):
    """Features of the contract's graphs as both inputs."""

    def __init__(self, out: str, **options: Any) -> None:
        super().__init__()
        irreps = "3x0e+3x1o", "3x0e+3x1o", out
        self.product = GauntTensorProduct(*irreps, paths="all", weights=2, **options)

    def reset_parameters(self) -> None:
        self.product.reset_parameters()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.product(x, y)


def features(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
    make = {"generator": generator, "dtype": torch.float64}
    x, y = (torch.randn(len(pos), 12, **make) for _ in range(2))
    return {"x": (x, "3x0e+3x1o"), "y": (y, "3x0e+3x1o")}


OUT = {"grid": "3x0e+3x1o+3x1e+3x2e", "sparse": "3x1o+3x1e", "separable": "3x1e", "fft": "3x1e"}


class TestContract(Contract):
    cases = tuple(
        Case(
            f"GauntTensorProduct {method}",
            lambda method=method, out=out: Pair(out, method=method, mix=method == "grid"),
            features,
            out,
            groups=("O(3)",),
            backend="eager",
        )
        for method, out in OUT.items()
    )
