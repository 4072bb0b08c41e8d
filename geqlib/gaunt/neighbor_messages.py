"""Messages as functions on the sphere, summed over neighbours by matrix products."""

from __future__ import annotations

import torch
from e3nn import o3
from torch import Tensor

from geqlib.gaunt.layout import connected
from geqlib.sphere.coefficients import gaunt_coefficients
from geqlib.sphere.tables import Constants


class NeighborMessages(Constants):
    """Gaunt products of neighbours' features with harmonics of their edges: the sum comes first.

    z_i = sum_l G_l ( sum_j S_l(v_ij) (w_l(ij) x_j) ): no message holds all components of the
    result, and the coefficients G are applied once per node. The inner sum is a matrix product over
    the slots of each node.

    Args:
        irreps_in, irreps_out: multiplicities do not matter.
        degree: highest l of the harmonics.

    Shapes:
        rows [k_in, N, C], harmonics [N, K, (degree + 1)^2] (0 in empty slots), weight
        [N, K, degree + 1, C], neighbor [N, K] to rows [k_out, N, C].
    """

    def __init__(self, irreps_in: o3.Irreps, irreps_out: o3.Irreps, degree: int) -> None:
        degrees = torch.tensor([ell for ell in range(degree + 1) for _ in range(2 * ell + 1)])
        own = torch.nn.functional.one_hot(degrees, degree + 1).double().T.contiguous()
        super().__init__(coefficients=_coefficients(irreps_in, irreps_out, degree), own=own)
        self.degree = degree

    def forward(self, rows: Tensor, harmonics: Tensor, weight: Tensor, neighbor: Tensor) -> Tensor:
        nodes, slots, _ = harmonics.shape
        features = rows.transpose(0, 1).flatten(1)
        near = features.index_select(0, neighbor.flatten()).unflatten(0, (nodes, slots))
        return self.couple(self.sums(near, harmonics, weight))

    def sums(self, near: Tensor, harmonics: Tensor, weight: Tensor) -> Tensor:
        """sum_j S(v_ij) (w(ij) x_j): [N, k_edge k_in, C]."""
        channels = weight.size(-1)
        products = near.unflatten(2, (1, -1, channels)) * weight.unsqueeze(3)
        # one matrix product over neighbours and degrees: zeros where a harmonic has another one
        by_degree = harmonics.unsqueeze(2) * self.table("own", harmonics)
        sums = torch.bmm(by_degree.flatten(1, 2).mT, products.flatten(3).flatten(1, 2))
        return sums.flatten(1).unflatten(1, (-1, channels))

    def couple(self, sums: Tensor) -> Tensor:
        """Gaunt coefficients: rows [k_out, N, C]."""
        table = self.table("coefficients", sums)
        return torch.bmm(table.expand(sums.size(0), *table.shape), sums).transpose(0, 1)

    def __repr__(self) -> str:
        size = list(self.get_buffer("coefficients").shape)
        return f"{type(self).__name__}(degree={self.degree}, coefficients={size})"


def _coefficients(irreps_in: o3.Irreps, irreps_out: o3.Irreps, degree: int) -> Tensor:
    """[k_out, (degree + 1)^2 k_in] coefficients of all paths."""
    dims = [sum(ir.dim for _, ir in irreps) for irreps in (irreps_in, irreps_out)]
    table = torch.zeros(dims[1], (degree + 1) ** 2, dims[0], dtype=torch.float64)
    row = 0
    for _, out in irreps_out:
        column = 0
        for _, ir in irreps_in:
            for _, edge in o3.Irreps.spherical_harmonics(degree):
                if connected("gaunt", ir, edge, out):
                    block = gaunt_coefficients(edge.l, ir.l, out.l).movedim(2, 0)
                    orders = slice(edge.l**2, (edge.l + 1) ** 2)
                    table[row : row + out.dim, orders, column : column + ir.dim] = block
            column += ir.dim
        row += out.dim
    return table.flatten(1)
