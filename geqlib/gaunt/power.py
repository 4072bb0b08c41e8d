"""Many-body interactions as powers of functions on the sphere."""

from __future__ import annotations

from functools import lru_cache
from math import factorial, pi

import numpy as np
import torch
from e3nn import o3
from torch import Tensor, nn

from geqlib.gaunt.layout import UNIFORM, from_components, read_irreps, to_components
from geqlib.graph.checks import as_index, check_devices
from geqlib.graph.functional import without_autocast
from geqlib.kernels.sphere_power import Tables, weighted_powers
from geqlib.sphere.harmonics import legendre_polynomials, spherical_harmonics
from geqlib.sphere.quadrature import sphere_rule
from geqlib.sphere.tables import Constants


class GauntPower(nn.Module):
    """Sum of weighted powers of a function on the sphere: products of many equivariant features.

    Symmetry: O(3), exactly. Source: Luo, Chen, Krishnapriyan (ICLR 2024, arXiv 2401.10216), section
    3.3, in the place of MACE's symmetric contraction. With f = sum x_lm Y_lm, channel by channel,

        z_lm = sum over n <= order of w_nl integral of f^n Y_lm

    where the weights w belong to the channel, the irrep and, on request, the element of a node. A
    power n is n - 1 Gaunt products; all are taken point by point on one grid that integrates them
    exactly. If nodes are sums over neighbours, terms of n hold (n + 1)-body interactions.

    Args:
        irreps_in, irreps_out: e3nn irreps of equal multiplicities, each irrep once.
        order: the highest power, at least 1.
        elements: number of sets of weights; `element` says which one a node has.

    Shapes:
        x [N, irreps_in.dim], output [N, irreps_out.dim]; mul_ir. Weights [elements, order, irreps,
        C]. They start out such that inputs of unit variance give outputs of unit variance.

    Inside autocast, and for inputs in half precision, everything is computed in float32.

    Raises:
        ValueError: irreps that are unreadable, repeated, unreachable or of unequal multiplicities;
            an order below 1; inputs of a wrong shape, type or device; `element` missing or out
            of range.

    Example:
        >>> power = GauntPower("8x0e+8x1o+8x2e", "8x0e+8x1o", 3, elements=2)
        >>> power(torch.randn(5, 72), torch.tensor([0, 1, 1, 0, 0])).shape
        torch.Size([5, 32])
    """

    def __init__(
        self,
        irreps_in: str | o3.Irreps,
        irreps_out: str | o3.Irreps,
        order: int,
        *,
        elements: int = 1,
    ) -> None:
        super().__init__()
        self.irreps_in = read_irreps("irreps_in", irreps_in)
        self.irreps_out = read_irreps("irreps_out", irreps_out)
        self.order, self.elements = order, elements
        self._check_options()
        # plain numbers, because torch.compile cannot look into irreps
        self._in, self._out = (
            [(mul, ir.dim) for mul, ir in irreps] for irreps in (self.irreps_in, self.irreps_out)
        )
        self._dim = self.irreps_in.dim
        self.powers = SpherePowers(self.irreps_in, self.irreps_out, order)
        channels = self._in[0][0]
        self.weight = nn.Parameter(torch.empty(elements, order, len(self._out), channels))
        self.copies = Constants(
            of_component=self._copies(), one_hot=torch.eye(elements, dtype=torch.float64)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.weight, -UNIFORM, UNIFORM)

    def forward(self, x: Tensor, element: Tensor | None = None) -> Tensor:
        """z [N, irreps_out.dim].

        Args:
            x: [N, irreps_in.dim].
            element: [N] numbers from 0 to elements - 1; only if there is more than one.
        """
        self._check_inputs(x, element)
        choice = None if element is None else self._one_hot(element, x)
        wide = torch.promote_types(x.dtype, torch.float32)
        with without_autocast(x):
            z = self.on_components(to_components(x.to(wide), self._in), choice)
            return from_components(z, self._out).to(x.dtype)

    def on_components(self, x: Tensor, choice: Tensor | None = None) -> Tensor:
        """The same, components first: [k_in, N, C] and one-hot elements to [k_out, N, C]."""
        # a matrix product copies to the components of an irrep and scales in one operation
        copies = self.copies.table("of_component", x)
        weight = self.weight.to(x.dtype).flatten(1, 2)
        weights = torch.bmm(copies.expand(self.elements, *copies.shape), weight)
        chosen = None if choice is None else choice.to(x.dtype)
        return weighted_powers(x, weights, chosen, self.powers.tables(x))

    def _copies(self) -> Tensor:
        """[order k_out, order irreps]: the scale of each component, where its irrep stands."""
        irrep = torch.tensor([n for n, (_, dim) in enumerate(self._out) for _ in range(dim)])
        own = torch.nn.functional.one_hot(irrep, len(self._out)).double()
        blocks = self._scales().unsqueeze(1) * own  # [order, k_out, irreps]
        return torch.block_diag(*blocks)

    def _scales(self) -> Tensor:
        """[order, irreps]: a share of the variance for each power that reaches an irrep."""
        table = power_variances(str(self.irreps_in), str(self.irreps_out), self.order)
        variances = torch.tensor(table, dtype=torch.float64)
        reached = (variances > 0).sum(0)
        for n, (_, ir) in enumerate(self.irreps_out):
            if not reached[n]:
                raise ValueError(
                    f"irreps_out has {ir}, which no power up to order {self.order} of "
                    f"{self.irreps_in} reaches: leave it out, or raise the order."
                )
        return torch.where(variances > 0, 1 / (variances * reached).sqrt(), 0.0)

    def _check_options(self) -> None:
        for name, number in (("order", self.order), ("elements", self.elements)):
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise ValueError(f"{name} must be a number from 1 on, got {number!r}.")
        if len({mul for irreps in (self.irreps_in, self.irreps_out) for mul, _ in irreps}) > 1:
            raise ValueError(
                f"multiplicities differ in {self.irreps_in} -> {self.irreps_out}: powers are taken "
                "channel by channel; make them equal."
            )

    def _check_inputs(self, x: Tensor, element: Tensor | None) -> None:
        if x.dim() != 2 or x.size(1) != self._dim:
            raise ValueError(
                f"x has shape {tuple(x.shape)}, but must be [nodes, {self._dim}]: the last "
                "dimension is that of irreps_in."
            )
        if not x.is_floating_point():
            raise ValueError(f"x has type {x.dtype}: convert it to floating point.")
        if element is None and self.elements > 1:
            raise ValueError(f"element is missing: there are weights for {self.elements} of them.")
        if element is not None and element.shape != x.shape[:1]:
            raise ValueError(
                f"element has shape {tuple(element.shape)}, but must hold one number for each of "
                f"{x.size(0)} nodes."
            )
        check_devices(self.weight.device, x=x, element=element)

    def _one_hot(self, element: Tensor, like: Tensor) -> Tensor:
        """[N, elements]."""
        element, one_hot = as_index(element, "element"), self.copies.table("one_hot", like)
        if torch.compiler.is_compiling():
            return one_hot.index_select(0, element)
        try:
            return one_hot.index_select(0, element)
        except IndexError as error:  # on a CPU; it stops a GPU
            raise ValueError(
                f"element goes from {int(element.min())} to {int(element.max())}, but there are "
                f"weights for 0 to {self.elements - 1}: count elements from 0, or raise `elements`."
            ) from error

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.irreps_in}, {self.irreps_out}, order={self.order}, "
            f"elements={self.elements})"
        )


class SpherePowers(Constants):
    """Coefficients of f, f^2, ..., f^order, for f given by its coefficients.

    The values of f at the points of a Lebedev rule that is exact for all that is asked, about a
    third of (D + 1)^2 points for D = order L + L_out: one matrix product there, the powers of the
    values, and one matrix product back.

    Irreps of both types tau = p (-1)^l are two functions a and b, which reflections distinguish; in
    powers of a + b and of a - b, sums and differences separate the types again.

    Args:
        irreps_in, irreps_out: multiplicities do not matter.
        order: the highest power.

    Shapes:
        [k_in, W], a row for each component of each irrep in their order, to [order, k_out, W].
    """

    def __init__(self, irreps_in: o3.Irreps, irreps_out: o3.Irreps, order: int) -> None:
        points, weights = sphere_rule(order * max(irreps_in.ls) + max(irreps_out.ls))
        values, projection = _values(irreps_in, points), _values(irreps_out, points) * weights
        types = {ir.p * (-1) ** ir.l for _, ir in irreps_in}
        if types != {1}:
            mirror = [_types(irreps).unsqueeze(1) for irreps in (irreps_in, irreps_out)]
            values = torch.cat([values, values * mirror[0]], 1)
            projection = torch.cat([projection, projection * mirror[1]], 1) / 2
        numbers = torch.arange(1, order + 1, dtype=torch.float64)
        super().__init__(
            values=values.T.contiguous(),
            # for powers that are divided by n!
            projection=(projection * numbers.cumprod(0).view(-1, 1, 1)).contiguous(),
            inverse=1 / numbers,
        )
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        return self.tables(x).powers(x)

    def tables(self, like: Tensor) -> Tables:
        """Its constants, in the type of `like`."""
        return Tables(*(self.table(name, like) for name in ("values", "projection", "inverse")))

    def __repr__(self) -> str:
        points = len(self.get_buffer("values"))
        return f"{type(self).__name__}(points={points}, order={self.order})"


@lru_cache(maxsize=64)
def power_variances(irreps_in: str, irreps_out: str, order: int) -> list[list[float]]:
    """Mean square of a component of each output irrep, for f, ..., f^order, [order][irreps].

    For inputs that are normal with unit variances, by Wick's theorem: f is a Gaussian process with
    the covariance K(t) = sum_l (2l + 1) / 4pi P_l(t) between points at distance arccos t, and

        <f(q)^n f(q')^n> = sum_j (n! / (2^h h!))^2 / j! K(1)^(2h) K(t)^j,    h = (n - j) / 2.

    0 where the power does not reach the irrep.
    """
    first, out = read_irreps("irreps_in", irreps_in), read_irreps("irreps_out", irreps_out)
    top = order * max(first.ls) + max(out.ls)
    nodes, weights = (torch.from_numpy(x) for x in np.polynomial.legendre.leggauss(top + 1))
    polynomials = legendre_polynomials(max(*first.ls, *out.ls), nodes)
    natural, pseudo = (
        sum((2 * ir.l + 1) / (4 * pi) * polynomials[ir.l] for _, ir in first if _type(ir) == tau)
        + torch.zeros_like(nodes)
        for tau in (1, -1)
    )
    total = sum(ir.dim for _, ir in first) / (4 * pi)
    variances = []
    for n in range(1, order + 1):
        same, other = (_wick(n, total, natural + sign * pseudo) for sign in (1, -1))
        means = [(same + _type(ir) * other) / 2 for _, ir in out]
        parts = [2 * pi * weights * polynomials[ir.l] for _, ir in out]
        variances.append([float(part @ mean) for part, mean in zip(parts, means, strict=True)])
    return [
        [v if v > 1e-10 * total**n else 0.0 for v in power] for n, power in enumerate(variances, 1)
    ]


def _wick(n: int, variance: float, covariance: Tensor) -> Tensor:
    total = torch.zeros_like(covariance)
    for j in range(n % 2, n + 1, 2):
        h = (n - j) // 2
        pairings = factorial(n) / (2**h * factorial(h))
        total = total + pairings**2 / factorial(j) * variance ** (2 * h) * covariance**j
    return total


def _values(irreps: o3.Irreps, points: Tensor) -> Tensor:
    """[k, points]."""
    index = [n for _, ir in irreps for n in range(ir.l**2, (ir.l + 1) ** 2)]
    return spherical_harmonics(max(irreps.ls), points)[:, index].T


def _type(ir: o3.Irrep) -> int:
    return ir.p * (-1) ** ir.l


def _types(irreps: o3.Irreps) -> Tensor:
    return torch.tensor([float(_type(ir)) for _, ir in irreps for _ in range(ir.dim)]).double()
