"""Which paths a Gaunt product has, by e3nn's coefficients, and what weights make of them."""

from __future__ import annotations

from functools import cache
from itertools import product
from math import pi, sqrt
from typing import Any

import numpy as np
import pytest
import torch
from e3nn import o3
from scipy.optimize import least_squares
from sympy import N
from sympy.physics.wigner import wigner_3j
from torch import Tensor

from geqlib.nn import GauntTensorProduct
from geqlib.sphere.coefficients import gaunt_coefficients

Path = tuple[int, int, int]


def natural(degree: int, channels: int = 1) -> str:
    return "+".join(f"{channels}x{n}{'eo'[n % 2]}" for n in range(degree + 1))


def gaunt_paths(degree: int) -> list[Path]:
    actual = product(range(degree + 1), repeat=3)
    return [(a, b, c) for a, b, c in actual if abs(a - b) <= c <= a + b and (a + b + c) % 2 == 0]


def odd_paths(degree: int) -> list[Path]:
    """Of Clebsch-Gordan products; degree 0 is in none of them."""
    actual = product(range(1, degree + 1), repeat=3)
    return [(a, b, c) for a, b, c in actual if abs(a - b) <= c <= a + b and (a + b + c) % 2]


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("method", ["grid", "separable", "fft"])
def test_every_path_to_degree_6_is_that_of_e3nn(method: Any) -> None:
    """e3nn's wigner_3j times the Gaunt factor, summed over all 106 paths; sums of some 50 products
    of coefficients below 1 with normal numbers round to 1e-14."""
    layer = GauntTensorProduct(natural(6), natural(6), natural(6), method=method)
    x, y = random(2, 3, 49)
    torch.testing.assert_close(layer(x, y), _by_e3nn(6), atol=1e-12, rtol=0)


@cache
def _by_e3nn(degree: int) -> Tensor:
    x, y = random(2, 3, (degree + 1) ** 2)
    actual = torch.zeros_like(x)
    for a, b, c in gaunt_paths(degree):
        size = sqrt((2 * a + 1) * (2 * b + 1) * (2 * c + 1) / (4 * pi))
        factor = size * abs(float(N(wigner_3j(a, b, c, 0, 0, 0))))
        block = factor * o3.wigner_3j(a, b, c, dtype=torch.float64)
        parts = x[:, a * a : (a + 1) ** 2], y[:, b * b : (b + 1) ** 2]
        actual[:, c * c : (c + 1) ** 2] += torch.einsum("ni,nj,ijk->nk", *parts, block)
    return actual


@pytest.mark.parametrize("path", odd_paths(6), ids=str)
def test_every_odd_path_is_a_bracket(path: Path) -> None:
    """Of one path a product is e3nn's but for its size, which is not zero."""
    a, b, c = path
    irreps = f"{a}{'eo'[a % 2]}", f"{b}{'eo'[b % 2]}", f"{c}{'oe'[c % 2]}"
    x, y = random(5, 2 * (a + b + 1)).split([2 * a + 1, 2 * b + 1], -1)
    expected = torch.einsum("ni,nj,ijk->nk", x, y, o3.wigner_3j(*path, dtype=torch.float64))
    for method in ("grid", "sparse") if max(path) <= 4 else ("grid",):
        z = GauntTensorProduct(*irreps, method=method, paths="bracket")(x, y)
        ratio = float((z * expected).sum() / expected.square().sum())
        assert abs(ratio) > 0.1
        torch.testing.assert_close(z, ratio * expected, atol=1e-12 * abs(ratio), rtol=0)


def test_brackets_of_a_degree_0_are_no_paths() -> None:
    with pytest.raises(ValueError, match="irreps_out has 1e, which no path"):
        GauntTensorProduct("0e", "1o", "1e", paths="all")


def factors(paths: list[Path], rank: int) -> tuple[Any, Any]:
    """Path weights sum over k of a_k b_k c_k, [paths], and their Jacobian, of [3, L + 1, rank]."""
    first, second, out = np.array(paths).T
    shape = (3, max(first) + 1, rank)

    def weights(flat: np.ndarray) -> np.ndarray:
        a, b, c = flat.reshape(shape)
        return (a[first] * b[second] * c[out]).sum(1)

    def jacobian(flat: np.ndarray) -> np.ndarray:
        a, b, c = flat.reshape(shape)
        actual, rows = np.zeros((len(paths), *shape)), np.arange(len(paths))
        actual[rows, 0, first] = b[second] * c[out]
        actual[rows, 1, second] = a[first] * c[out]
        actual[rows, 2, out] = a[first] * b[second]
        return actual.reshape(len(paths), -1)

    return weights, jacobian


@pytest.mark.parametrize(("degree", "rank"), [(2, 2), (3, 3)])
def test_rank_k_weights_have_the_freedom_of_path_weights(degree: int, rank: int) -> None:
    """With K = 2 for degree 2 and K = 3 for degree 3 any weights of the 11 and 23 paths, drawn at
    random, are met. With one less the products are a family of fewer dimensions than paths, so that
    almost none is met."""
    paths, generator = gaunt_paths(degree), np.random.default_rng(0)
    weights, jacobian = factors(paths, rank)
    few = factors(paths, rank - 1)[1](generator.normal(size=3 * (degree + 1) * (rank - 1)))
    assert np.linalg.matrix_rank(few) < len(paths)
    for _ in range(3):
        wanted = generator.normal(size=len(paths))
        actual = _solve(weights, jacobian, wanted, 3 * (degree + 1) * rank, generator)
        _assert_product_has(wanted, paths, actual.reshape(3, degree + 1, rank))


def _solve(weights: Any, jacobian: Any, wanted: Any, size: int, generator: Any) -> np.ndarray:
    for _ in range(20):
        start = generator.normal(size=size)
        actual = least_squares(lambda v: weights(v) - wanted, start, jacobian, ftol=1e-15)
        if np.abs(actual.fun).max() < 1e-6:
            return actual.x
    raise AssertionError(f"no factors give the path weights {wanted}")


def _assert_product_has(wanted: np.ndarray, paths: list[Path], actual: np.ndarray) -> None:
    degree, rank = actual.shape[1] - 1, actual.shape[2]
    irreps = natural(degree)
    layer = GauntTensorProduct(irreps, irreps, irreps, method="grid", weights=rank).double()
    scale = torch.tensor(layer.after.scales)[:, None, None]
    with torch.no_grad():
        for part, values in zip((layer.before1, layer.before2, layer.after), actual, strict=True):
            part.weight.copy_(torch.from_numpy(values)[..., None])
        layer.after.weight.div_(scale)
    x, y = random(2, 3, (degree + 1) ** 2)
    expected = torch.zeros_like(x)
    for (a, b, c), weight in zip(paths, wanted, strict=True):
        parts = x[:, a * a : (a + 1) ** 2], y[:, b * b : (b + 1) ** 2]
        block = weight * torch.einsum("ni,nj,ijk->nk", *parts, gaunt_coefficients(a, b, c))
        expected[:, c * c : (c + 1) ** 2] += block
    # 1e-6 of the solver, times sums of some 20 products
    torch.testing.assert_close(layer(x, y).detach(), expected, atol=1e-4, rtol=0)


def test_rank_1_cannot_choose_signs() -> None:
    """p(000) p(110) and p(011) p(101) are both a0 a1 b0 b1 times a square, so they share a sign."""
    paths = gaunt_paths(1)
    weights, _ = factors(paths, 1)
    signs = {path: n for n, path in enumerate(paths)}
    for draw in np.random.default_rng(0).normal(size=(100, 6)):
        p = weights(draw)
        even = p[signs[0, 0, 0]] * p[signs[1, 1, 0]]
        assert even * p[signs[0, 1, 1]] * p[signs[1, 0, 1]] > 0
