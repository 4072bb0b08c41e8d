"""Many-body interactions as powers of functions on the sphere."""

from __future__ import annotations

from math import sqrt

import torch
from e3nn import o3
from torch import Tensor, nn

from geqlib.gaunt.layout import read_irreps
from geqlib.gaunt.sphere_powers import SpherePowers, power_variances
from geqlib.gaunt.sphere_rows import from_rows, to_rows
from geqlib.sphere.tables import Constants

_SPREAD = sqrt(3)  # uniform numbers between -sqrt(3) and sqrt(3) have variance 1


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
        elements: number of sets of weights; a node's one is chosen by `element`.

    Shapes:
        x [N, irreps_in.dim], output [N, irreps_out.dim]; mul_ir. Weights [elements, order, irreps,
        C]. They start out such that inputs of unit variance give outputs of unit variance.

    Inside autocast, and for inputs in half precision, everything is computed in float32.

    Raises:
        ValueError: irreps that are unreadable, repeated, unreachable or of unequal multiplicities;
            an order below 1; inputs of a wrong shape; `element` missing or not needed.

    Example:
        >>> power = GauntPower("8x0e+8x1o+8x2e", "8x0e+8x1o", 3, elements=2)
        >>> power(torch.randn(5, 72), torch.tensor([0, 1, 1, 0, 0])).shape
        torch.Size([5, 32])
    """

    place: Tensor

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
        place = [n for n, (_, dim) in enumerate(self._out) for _ in range(dim)]
        self.register_buffer("place", torch.tensor(place), persistent=False)
        self.scales = Constants(scale=self._scales())
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.weight, -_SPREAD, _SPREAD)

    def forward(self, x: Tensor, element: Tensor | None = None) -> Tensor:
        """z [N, irreps_out.dim].

        Args:
            x: [N, irreps_in.dim].
            element: [N] numbers from 0 to elements - 1; only if there is more than one.
        """
        self._check_inputs(x, element)
        choice = None
        if element is not None:
            choice = torch.nn.functional.one_hot(element, self.elements)
        wide = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            rows = self.rows(to_rows(x.to(wide), self._in), choice)
            return from_rows(rows, self._out).to(x.dtype)

    def rows(self, rows: Tensor, choice: Tensor | None = None) -> Tensor:
        """The same on rows [k_in, N, C], with elements as a one-hot matrix [N, elements]."""
        nodes, channels = rows.shape[1:]
        weights = self.weight.index_select(2, self.place).to(rows.dtype)
        weights = (weights * self.scales.table("scale", rows)).permute(1, 2, 0, 3)
        if choice is not None:
            weights = choice.to(rows.dtype) @ weights
        total: Tensor | None = None
        powers = self.powers(rows.flatten(1))
        for power, weight in zip(powers, weights.unbind(0), strict=True):
            power = power.unflatten(1, (nodes, channels))
            total = power * weight if total is None else torch.addcmul(total, power, weight)
        return rows if total is None else total

    def _scales(self) -> Tensor:
        """[order, k_out, 1]: a share of the variance for each power that reaches an irrep."""
        found = power_variances(str(self.irreps_in), str(self.irreps_out), self.order)
        variances = torch.tensor(found, dtype=torch.float64)
        reached = (variances > 0).sum(0)
        for place, (_, ir) in enumerate(self.irreps_out):
            if not reached[place]:
                raise ValueError(
                    f"irreps_out has {ir}, which no power up to order {self.order} of "
                    f"{self.irreps_in} reaches: leave it out, or raise the order."
                )
        scales = torch.where(variances > 0, 1 / (variances * reached).sqrt(), 0.0)
        return scales.index_select(1, self.place).unsqueeze(-1)

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

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.irreps_in}, {self.irreps_out}, order={self.order}, "
            f"elements={self.elements})"
        )
