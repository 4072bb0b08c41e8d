"""Messages on a grid: the addition theorem in the place of coefficients."""

from __future__ import annotations

from math import pi

import torch
from e3nn import o3
from torch import Tensor

from geqlib.kernels.edge_sum import edge_sum
from geqlib.sphere.harmonics import spherical_harmonics
from geqlib.sphere.quadrature import sphere_rule
from geqlib.sphere.tables import Constants


class GridMessages(Constants):
    """Values of x_j once a node, times k_ij(q) = sum_l w_l (2l + 1) / 4pi |v|^l P_l(q . v / |v|).

    Products are summed over neighbours on the grid, and one projection a node gives coefficients.
    Irreps of both types tau = p (-1)^l are two functions, which reflections tell apart.

    Args:
        irreps_in, irreps_out: multiplicities do not matter.
        degree: highest l of k.

    Shapes:
        rows [k_in, N, C], direction [E, 3], weight [E, degree + 1, C], edge_index [2, E] to rows
        [k_out, N, C].
    """

    def __init__(self, irreps_in: o3.Irreps, irreps_out: o3.Irreps, degree: int) -> None:
        points, weights = sphere_rule(max(irreps_in.ls) + degree + max(irreps_out.ls))
        there, back = _values(irreps_in, points), _values(irreps_out, points) * weights
        types = sorted({ir.p * (-1) ** ir.l for _, ir in irreps_in}, reverse=True)
        super().__init__(
            points=points.T.contiguous(),
            there=torch.cat([there * _is(irreps_in, tau) for tau in types], 1).T.contiguous(),
            back=torch.cat([back * _is(irreps_out, tau) for tau in types], 1),
        )
        self.degree, self.types = degree, len(types)

    def forward(
        self, rows: Tensor, direction: Tensor, weight: Tensor, edge_index: Tensor
    ) -> Tensor:
        there, back = self.table("there", rows), self.table("back", rows)
        nodes, channels = rows.shape[1:]
        values = (there @ rows.flatten(1)).unflatten(1, (nodes, channels)).transpose(0, 1)
        size = there.size(0) * (channels + self.degree + 1)
        sums = edge_sum(
            self._message,
            values.flatten(1),
            (direction, weight),
            *edge_index.unbind(0),
            size=size,
        )
        return (back @ sums.unflatten(1, (-1, channels))).transpose(0, 1)

    def _message(self, near: Tensor, direction: Tensor, weight: Tensor) -> Tensor:
        kernel = torch.bmm(self._legendre(direction), weight)
        values = near.view(kernel.size(0), self.types, *kernel.shape[1:])
        return (values * kernel.unsqueeze(1)).flatten(1)

    def _legendre(self, v: Tensor) -> Tensor:
        """(2l + 1) / 4pi |v|^l P_l(q . v / |v|), [E, points, degree + 1]."""
        cosine, square = v @ self.table("points", v), (v * v).sum(1, keepdim=True)
        found = [torch.ones_like(cosine), cosine]
        for ell in range(2, self.degree + 1):
            last, before = found[-1], found[-2]
            found.append(((2 * ell - 1) * cosine * last - (ell - 1) * square * before) / ell)
        scaled = [p * ((2 * ell + 1) / (4 * pi)) for ell, p in enumerate(found[: self.degree + 1])]
        return torch.stack(scaled, -1)

    def __repr__(self) -> str:
        points = self.get_buffer("points").size(1)
        return f"{type(self).__name__}(degree={self.degree}, points={points})"


def _values(irreps: o3.Irreps, points: Tensor) -> Tensor:
    """[k, points]."""
    places = [k for _, ir in irreps for k in range(ir.l**2, (ir.l + 1) ** 2)]
    return spherical_harmonics(max(irreps.ls), points)[:, places].T


def _is(irreps: o3.Irreps, tau: int) -> Tensor:
    """[k, 1], whether a component belongs to a function of type tau."""
    kinds = [float(ir.p * (-1) ** ir.l == tau) for _, ir in irreps for _ in range(ir.dim)]
    return torch.tensor(kinds, dtype=torch.float64).unsqueeze(1)
