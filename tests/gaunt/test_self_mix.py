"""SelfMix is its formula, and keeps irreps and symmetries."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from geqlib.nn import GauntTensorProduct, SelfMix
from geqlib.testing import assert_equivariant
from tests.contract import Case, Contract, Typed

BOTH = "3x0e+2x1o+2x1e+1x2e"


def features(irreps: str, nodes: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    size = SelfMix(irreps, paths="all").irreps.dim
    return torch.randn(nodes, size, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("paths", ["gaunt", "bracket", "all"])
def test_block_is_its_formula(paths: Any) -> None:
    """x + W (W1 x * W2 x), by maps of blocks and the plain product."""
    layer, x = SelfMix(BOTH, paths=paths).double(), features(BOTH)
    product, width = layer.product, 3
    sides = []
    for maps in (product.before1, product.before2):
        blocks = [x[:, s].unflatten(1, (mul, -1)) for (mul, _), s in parts(layer.irreps)]
        mixed = [
            torch.einsum("ab,nbk->nak", w * scale, b)
            for w, scale, b in zip(maps.weights, maps.scales, blocks, strict=True)
        ]
        sides.append(torch.cat([b.flatten(1) for b in mixed], 1))
    names = ["+".join(f"{width}x{ir}" for _, ir in i) for i in (layer.irreps, product.irreps_out)]
    plain = GauntTensorProduct(names[0], names[0], names[1], paths=paths).double()
    expected, z = x.clone(), plain(*sides)
    where = {ir: s for (_, ir), s in parts(layer.irreps)}
    maps = zip(parts(plain.irreps_out), product.after.weights, product.after.scales, strict=True)
    for ((mul, ir), s), w, scale in maps:
        block = torch.einsum("ab,nbk->nak", w * scale, z[:, s].unflatten(1, (mul, -1)))
        expected[:, where[ir]] += layer.scale * block.flatten(1)
    torch.testing.assert_close(layer(x), expected, atol=1e-12, rtol=1e-12)


def parts(irreps: Any) -> Any:
    return list(zip(irreps, irreps.slices(), strict=True))


def test_irreps_without_a_path_pass_unchanged() -> None:
    layer, x = SelfMix("2x2e+2x0o+1x0e").double(), features("2x2e+2x0o+1x0e")
    assert [str(ir) for _, ir in layer.product.irreps_out] == ["2e", "0o", "0e"]
    lone = SelfMix("2x2e+2x0o").double()
    out = lone(x[:, :12])
    assert torch.equal(out[:, 10:], x[:, 10:12]) and not torch.equal(out[:, :10], x[:, :10])


def test_brackets_tell_hands_apart() -> None:
    """1e from two polar vectors, which mirrors leave as it is, is a cross product."""
    layer = SelfMix("4x1o+4x1e", paths="bracket").double()
    typed = {"x": (features("4x1o+4x1e"), "4x1o+4x1e")}
    assert_equivariant(layer, typed, "4x1o+4x1e", "O(3)", atol=1e-12)
    x = torch.cat([torch.randn(2, 12), torch.zeros(2, 12)], 1).double()
    assert layer(x)[:, 12:].abs().max() > 1e-3


def test_starts_near_the_identity() -> None:
    torch.manual_seed(0)
    layer = SelfMix("32x0e+32x1o+32x2e")
    x = torch.randn(200, 32 * 9)
    # unit variance times the square of `scale`, with 30 % for the draw of weights
    ratio = (layer(x) - x).square().mean().item() / layer.scale**2
    assert 0.7 < ratio < 1.3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"irreps": "4x1o"}, "multiply to none of themselves by paths='gaunt'"),
        ({"irreps": "4y0e"}, "irreps='4y0e' cannot be read"),
        ({"irreps": "4x0e", "paths": "odd"}, "paths 'odd' is unknown: choose one of gaunt"),
        ({"irreps": "4x0e", "method": "dense"}, "method 'dense' is unknown"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SelfMix(**options)


IRREPS = "2x0e+2x1o+1x2e+1x1e"


class TestContract(Contract):
    @staticmethod
    def inputs(pos: Tensor, edge_index: Tensor, generator: torch.Generator) -> Typed:
        x = torch.randn(len(pos), 16, generator=generator, dtype=torch.float64)
        return {"x": (x, IRREPS)}

    cases = (
        Case(
            "SelfMix",
            lambda: SelfMix(IRREPS, paths="all", scale=1.0),
            inputs.__func__,
            IRREPS,
            groups=("O(3)",),
            backend="eager",
        ),
    )
