"""The fused kernels of weighted powers equal their plain twin, and an explicit sum in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from geqlib.kernels import plain, watch
from geqlib.nn import GauntPower

NATURAL = "+".join(f"{{c}}x{ell}{'eo'[ell % 2]}" for ell in range(4))
PSEUDO = "{c}x0e+{c}x1o+{c}x1e"


def explicit(layer: GauntPower, x: Tensor, element: Tensor | None) -> Tensor:
    """z, node by node, channel by channel, order by order."""
    values, projection = (layer.powers.get_buffer(n).cpu() for n in ("values", "projection"))
    scale = layer.copies.get_buffer("of_component").cpu().unflatten(0, (layer.order, -1))
    weight = layer.weight.detach().double().cpu()
    blocks = [block.tolist() for block in _blocks(layer._in)]
    out = x.new_zeros(len(x), layer.irreps_out.dim, dtype=torch.float64)
    components = [k for block in _blocks(layer._out) for k in block.tolist()]
    for node in range(len(x)):
        own = weight[0 if element is None else int(element[node])]
        for channel in range(weight.size(-1)):
            f = x.new_zeros(len(values), dtype=torch.float64)
            for k, column in enumerate(c for block in blocks for c in block):
                f += values[:, k] * x[node, column[channel]].double()
            for n in range(layer.order):
                power = f ** (n + 1) / torch.arange(1, n + 2).double().prod()
                z = projection[n] @ power
                w = scale[n] @ own[:, :, channel].flatten()
                for k, column in enumerate(components):
                    out[node, column[channel]] += w[k] * z[k]
    return out


def _blocks(sizes: list[tuple[int, int]]) -> list[Tensor]:
    """[components, C] where the numbers of each irrep stand."""
    start, blocks = 0, []
    for mul, dim in sizes:
        blocks.append(start + torch.arange(mul * dim).view(mul, dim).T)
        start += mul * dim
    return blocks


def layer_of(irreps: str, channels: int, order: int, elements: int, device: str) -> GauntPower:
    torch.manual_seed(0)
    text = irreps.format(c=channels)
    return GauntPower(text, text, order, elements=elements).to(device)


def inputs(layer: GauntPower, nodes: int, device: str) -> tuple[Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(nodes, layer.irreps_in.dim, generator=generator).double()
    element = torch.randint(layer.elements, (nodes,), generator=generator).to(device)
    return x.to(device), element if layer.elements > 1 else None


def results(layer: GauntPower, x: Tensor, element: Tensor | None) -> list[Tensor]:
    """Values, and the first and second derivatives by inputs and weights."""
    x = x.clone().requires_grad_()
    z = layer(x, element)
    (slope,) = torch.autograd.grad(z.sin().sum(), x, create_graph=True)
    penalty = slope.square().sum() + z.square().sum()
    second = torch.autograd.grad(penalty, [x, layer.weight])
    return [z.detach(), slope.detach(), *second]


@pytest.mark.parametrize(
    ("irreps", "channels", "nodes", "order", "elements"),
    [
        (NATURAL, 3, 5, 3, 2),
        (NATURAL, 2, 1, 1, 1),
        (PSEUDO, 5, 7, 2, 3),
        ("{c}x0e", 1, 33, 4, 1),
        (NATURAL, 3, 0, 3, 2),
        ("{c}x0e+{c}x1o", 20, 30, 3, 4),
    ],
)
def test_it_is_the_plain_power(
    irreps: str, channels: int, nodes: int, order: int, elements: int, only_fused: str
) -> None:
    layer = layer_of(irreps, channels, order, elements, only_fused)
    x, element = inputs(layer, nodes, only_fused)
    with plain():
        expected = results(layer.double(), x, element)
    scale = [max(float(t.abs().max()), 1.0) if t.numel() else 1.0 for t in expected]
    for dtype, error in ((torch.float64, 1e-12), (torch.float32, 2e-5)):
        got = results(layer.to(dtype), x.to(dtype), element)
        for a, b, size in zip(got, expected, scale, strict=True):
            assert a.dtype == dtype
            torch.testing.assert_close(a.double() / size, b / size, atol=error, rtol=0)


def test_an_explicit_sum(only_fused: str) -> None:
    layer = layer_of(PSEUDO, 2, 3, 2, only_fused).double()
    x, element = inputs(layer, 3, only_fused)
    expected = explicit(layer, x.cpu(), element)
    torch.testing.assert_close(layer(x, element).cpu(), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("elements", [1, 2])
def test_derivatives(elements: int, only_fused: str) -> None:
    layer = layer_of("{c}x0e+{c}x1o", 1, 3, elements, only_fused).double()
    x, element = inputs(layer, 2, only_fused)
    weight = layer.weight.detach().requires_grad_()

    def function(x: Tensor, weight: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"weight": weight}, (x, element))

    assert gradcheck(function, (x.requires_grad_(), weight), fast_mode=True)
    assert gradgradcheck(function, (x, weight), fast_mode=True)


def test_third_derivatives_and_several_gradients_at_once(device: str) -> None:
    layer = layer_of("{c}x0e+{c}x1o", 1, 3, 2, device).double()
    x, element = inputs(layer, 2, device)

    def third(x: Tensor) -> list[Tensor]:
        x = x.clone().requires_grad_()
        y = layer(x, element).sin().sum()
        parts = []
        for _ in range(3):
            (slope,) = torch.autograd.grad(y, x, create_graph=True)
            parts.append(slope)
            y = slope.cos().sum()
        return [*parts, torch.autograd.grad(y, layer.weight)[0]]

    def hessian(x: Tensor) -> Tensor:
        energy = lambda x: layer(x, element).sin().sum()  # noqa: E731
        return torch.autograd.functional.hessian(energy, x, vectorize=True)  # type: ignore[return-value]

    with plain():
        expected = [*third(x), hessian(x)]
    for a, b in zip([*third(x), hessian(x)], expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_elements_out_of_range_are_not_read(device: str) -> None:
    """By the kernel itself; a choice of none gives nothing, as a product with zeros does."""
    from geqlib.kernels.sphere_power_triton import powers

    layer = layer_of("{c}x0e+{c}x1o", 2, 2, 2, device).double()
    x, weight = torch.randn(4, 3, 2).to(device).double(), torch.randn(2, 8, 2).to(device).double()
    choice = torch.ones(3, 2).to(device).double()
    tables = layer.powers.tables(x)
    z = powers(x, weight, choice, torch.tensor([0, 7, -1]).to(device), tables)
    assert bool(z[:, 0].any()) and not z[:, 1:].any()


def test_when_the_twin_is_taken(device: str) -> None:
    layer = layer_of("{c}x0e+{c}x1o", 2, 2, 1, device)
    x, _ = inputs(layer, 3, device)
    expected = layer(x)
    with watch() as choices, plain():
        torch.testing.assert_close(layer(x), expected)
    assert dict(choices) == {("sphere_power", "switched off"): 1}
    large = GauntPower("1x0e+1x6e+1x9o", "1x0e", 2).to(device)  # 33 coefficients
    with watch() as choices:
        large(torch.ones(1, 33, device=device))
        torch.compile(layer, backend="eager")(x)
        torch.func.jacfwd(layer)(x)
    assert ("sphere_power", "fused") not in choices
