"""Convolutions on graphs in space: neighbours' features times functions around the edges.

Source: Luo, Chen, Krishnapriyan, "Enabling efficient equivariant operations in the Fourier basis
via Gaunt tensor products" (ICLR 2024, arXiv 2401.10216), section 3.2. With f_j = sum x_lm Y_lm,

    z_i,lm = sum_j integral of f_j(q) k_ij(q) Y_lm(q),    k_ij(q) = sum_l w_l(ij) S_l(v_ij) . Y_l(q)

On a grid of the sphere the integral is a weighted sum, and what remains is a sum over edges of
products (`geqlib.kernels.edge_product`).
"""

from __future__ import annotations

import warnings
from itertools import product
from typing import Any, Literal, get_args

import torch
from e3nn import o3
from torch import Tensor

from geqlib.gaunt.layout import connected, from_components, read_irreps, to_components
from geqlib.graph.checks import check_devices
from geqlib.graph.edges import EdgePlan, directed_plan
from geqlib.graph.functional import without_autocast
from geqlib.kernels.edge_product import edge_product
from geqlib.sphere.harmonics import SolidHarmonics, spherical_harmonics
from geqlib.sphere.quadrature import hemisphere
from geqlib.sphere.tables import Constants

Method = Literal["auto", "grid", "neighbors", "aligned"]


class GauntConvolution(Constants):
    """Sums over neighbours j of Gaunt products of x_j with a function around the edge's direction.

    Symmetry: O(3), exactly, if the weights are invariant. Source: Luo, Chen, Krishnapriyan (ICLR
    2024, arXiv 2401.10216), section 3.2. With f_j = sum x_lm Y_lm, channel by channel,

        z_i = sum_j integral of f_j(q) k_ij(q) Y(q),   k_ij(q) = sum_l w_l(ij) S_l(v_ij) . Y_l(q)

    and S_l the solid harmonics |v|^l Y_l(v / |v|). Direction vectors v = r / sqrt(r^2 + s^2) are
    therefore smooth where points coincide; unit vectors give the plain harmonics.

    Computed on a grid of points q that is exact for the integral: values of f_j once per node, a
    product and a sum over edges at each point, O(L^3) per edge, and one projection per node. By the
    addition theorem S_l(v) . Y_l(q) = (2l + 1) / 4pi |v|^l P_l(q . v / |v|).

    Args:
        irreps_in, irreps_out: e3nn irreps of equal multiplicities, each irrep once.
        degree: highest l of k.
        method: "grid". "auto" is the same, and so are the former methods "neighbors" and
            "aligned", with a warning.

    Shapes:
        x [N, irreps_in.dim], direction [E, 3], weight [E, degree + 1, C], output
        [N, irreps_out.dim]; mul_ir.

    Inside autocast, and for inputs in half precision, everything is computed in float32.

    Raises:
        ValueError: irreps that are unreadable, repeated, not connected by any path or of unequal
            multiplicities; an unknown method; inputs of wrong shapes, types or devices; nodes out
            of range; a plan of another batch.

    Example:
        >>> conv = GauntConvolution("8x0e+8x1o", "8x0e+8x1o+8x2e", 2)
        >>> x, edge_index = torch.randn(3, 32), torch.tensor([[0, 1, 2], [1, 2, 0]])
        >>> direction = torch.nn.functional.normalize(torch.randn(3, 3), dim=1)
        >>> conv(x, direction, torch.randn(3, 3, 8), edge_index).shape
        torch.Size([3, 72])
    """

    def __init__(
        self,
        irreps_in: str | o3.Irreps,
        irreps_out: str | o3.Irreps,
        degree: int,
        *,
        method: Method = "auto",
    ) -> None:
        first, out = read_irreps("irreps_in", irreps_in), read_irreps("irreps_out", irreps_out)
        _check_options(first, out, degree, method)
        super().__init__(**_tables(first, out, degree))
        self.irreps_in, self.irreps_out, self.degree = first, out, degree
        self.method = "grid"
        self.harmonics = SolidHarmonics(degree)
        # plain numbers, because torch.compile cannot look into irreps
        self._in, self._out = ([(mul, ir.dim) for mul, ir in irreps] for irreps in (first, out))
        self._dim, self._channels = first.dim, self._in[0][0]

    def reset_parameters(self) -> None:
        """There are none: weights are arguments."""

    def forward(
        self,
        x: Tensor,
        direction: Tensor,
        weight: Tensor,
        edge_index: Tensor,
        slots: Any = None,
        *,
        plan: EdgePlan | None = None,
    ) -> Tensor:
        """z [N, irreps_out.dim].

        Args:
            x: [N, irreps_in.dim].
            direction: [E, 3] from the target to the source, of length up to 1.
            weight: [E, degree + 1, C].
            edge_index: [2, E], source and target.
            slots: not needed any more.
            plan: `directed_plan(edge_index, N)`, which several layers can share.
        """
        self._check_inputs(x, direction, weight, edge_index, plan)
        wide = torch.promote_types(x.dtype, torch.float32)
        with without_autocast(x):
            coefficients = to_components(x.to(wide), self._in).transpose(0, 1)
            plan = directed_plan(edge_index, x.size(0)) if plan is None else plan
            z = self._convolve(coefficients, direction.to(wide), weight.to(wide), plan)
            return from_components(z.transpose(0, 1), self._out).to(x.dtype)

    def _convolve(self, x: Tensor, v: Tensor, weight: Tensor, plan: EdgePlan) -> Tensor:
        """Coefficients [N, k_out, C] from [N, k_in, C].

        A hemisphere of points suffices: the values at opposite points are further channels, for
        which the weights of odd degrees change their sign.
        """
        signs, angular = self.table("signs", x), self.table("angular", x)
        points, copies = angular.size(1), signs.size(1)
        f = (self.table("values", x) @ x).unflatten(1, (points, copies)).flatten(2)
        a = (self.harmonics(v) @ angular.flatten(1)).unflatten(1, angular.shape[1:])
        w = (weight.unsqueeze(2) * signs.unsqueeze(2)).flatten(2)  # [E, degree + 1, copies C]
        y = edge_product(f, a, plan, weight=w)
        return self.table("integral", x) @ y.unflatten(2, (copies, -1)).flatten(1, 2)

    def _check_inputs(
        self,
        x: Tensor,
        direction: Tensor,
        weight: Tensor,
        edge_index: Tensor,
        plan: EdgePlan | None,
    ) -> None:
        edges = edge_index.size(-1)
        for name, tensor, expected in (
            ("x", x, (x.size(0), self._dim)),
            ("direction", direction, (edges, 3)),
            ("weight", weight, (edges, self.degree + 1, self._channels)),
            ("edge_index", edge_index, (2, edges)),
        ):
            if tensor.shape != expected:
                raise ValueError(
                    f"{name} has shape {tuple(tensor.shape)}, expected {tuple(expected)}: see the "
                    "shapes of GauntConvolution."
                )
        for name, tensor in (("x", x), ("direction", direction), ("weight", weight)):
            if not tensor.is_floating_point():
                raise ValueError(f"{name} has type {tensor.dtype}: convert it to floating point.")
        layer = self.get_buffer("values").device
        check_devices(layer, x=x, direction=direction, weight=weight, edge_index=edge_index)
        if plan is None or torch.compiler.is_compiling():  # which would fix these numbers
            return
        check_devices(layer, plan=plan.source)
        if plan.num_nodes != x.size(0) or plan.source.size(0) != edge_index.size(1):
            raise ValueError(
                f"plan is one of {plan.num_nodes} nodes and {plan.source.size(0)} kernels, but "
                f"there are {x.size(0)} nodes and {edge_index.size(1)} edges: take "
                "directed_plan(edge_index, num_nodes) of this batch."
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.irreps_in}, {self.irreps_out}, degree={self.degree})"


def _tables(irreps_in: o3.Irreps, irreps_out: o3.Irreps, degree: int) -> dict[str, Tensor]:
    """Matrices from coefficients to values on the grid, and back.

    A function has a type tau = p (-1)^l: 1 if reflections only move it, -1 if they also change its
    sign. Functions of both types are summed apart. At each of P points there are therefore
    copies = 2 types values: each type at the point, then each type at the opposite point.

        values [P copies, k_in], angular [(degree + 1)^2, P, degree + 1], signs
        [degree + 1, copies], integral [k_out, P copies]
    """
    polar, azimuth, measure = hemisphere(max(irreps_in.ls) + degree + max(irreps_out.ls))
    ring = polar.sin()
    points = torch.stack([ring * azimuth.sin(), polar.cos(), ring * azimuth.cos()], -1)
    types = sorted({ir.p * (-1) ** ir.l for _, ir in irreps_in}, reverse=True)

    def values(irreps: o3.Irreps) -> Tensor:
        """[P, copies, k]."""
        index = [k for _, ir in irreps for k in range(ir.l**2, (ir.l + 1) ** 2)]
        sign = torch.tensor([(-1.0) ** ir.l for _, ir in irreps for _ in range(ir.dim)])
        tau = torch.tensor([ir.p * (-1) ** ir.l for _, ir in irreps for _ in range(ir.dim)])
        apart = (tau == torch.tensor(types).unsqueeze(1)).double()  # [types, k]
        harmonics = spherical_harmonics(max(irreps.ls), points)[:, index]
        return harmonics.unsqueeze(1) * torch.cat([apart, apart * sign])

    degrees = torch.tensor([ell for ell in range(degree + 1) for _ in range(2 * ell + 1)])
    block = (degrees.unsqueeze(1) == torch.arange(degree + 1)).double()
    harmonics = spherical_harmonics(degree, points)
    sign = (-1.0) ** torch.arange(degree + 1).double().unsqueeze(1)
    first, back = values(irreps_in), values(irreps_out) * measure.view(-1, 1, 1) / 2
    return {
        "values": first.flatten(0, 1),
        "angular": harmonics.T.unsqueeze(2) * block.unsqueeze(1),
        "signs": torch.cat([sign**0, sign], 1).repeat_interleave(len(types), 1),
        "integral": back.flatten(0, 1).T.contiguous(),
    }


def _check_options(irreps_in: o3.Irreps, irreps_out: o3.Irreps, degree: int, method: str) -> None:
    if method not in get_args(Method):
        choices = ", ".join(get_args(Method))
        raise ValueError(f"method {method!r} is unknown: choose one of {choices}.")
    if method in ("neighbors", "aligned"):
        warnings.warn(
            f'GauntConvolution: method={method!r} computes what "grid" does, faster there: it is '
            'now another name for it. Write method="grid", or leave it out.',
            FutureWarning,
            stacklevel=3,
        )
    if isinstance(degree, bool) or not isinstance(degree, int) or degree < 0:
        raise ValueError(f"degree must be a number from 0 on, got {degree!r}.")
    if len({mul for irreps in (irreps_in, irreps_out) for mul, _ in irreps}) > 1:
        raise ValueError(
            f"multiplicities differ in {irreps_in} -> {irreps_out}: messages are made channel by "
            "channel; make them equal."
        )
    edge = o3.Irreps.spherical_harmonics(degree)
    for _, out in irreps_out:
        if not any(connected("gaunt", a.ir, b.ir, out) for a, b in product(irreps_in, edge)):
            raise ValueError(
                f"irreps_out has {out}, which no path reaches from {irreps_in} with harmonics up "
                f"to degree {degree}: leave it out, or raise the degree."
            )
