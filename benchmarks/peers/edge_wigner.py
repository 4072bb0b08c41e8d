"""Messages between local frames with a Wigner matrix of each edge, as one writes them first."""

from __future__ import annotations

import torch
from e3nn import o3
from torch import Tensor, nn

from geqlib.sphere.wigner import WignerMatrices


class EdgeWigner(nn.Module):
    """D(R_i^T R_j) x_j of each edge j -> i, with matrices made for every edge.

    Args:
        irreps: of the features.
        e3nn: make the matrices by e3nn's `D_from_matrix`, from angles; else by the recurrence of
            geqlib.
    """

    def __init__(self, irreps: o3.Irreps, *, e3nn: bool) -> None:
        super().__init__()
        self.irreps, self.e3nn = irreps, e3nn
        self.wigner = WignerMatrices(irreps.lmax)

    def forward(self, x: Tensor, axes: Tensor, edge_index: Tensor) -> Tensor:
        """[E, irreps.dim] from x [N, irreps.dim] and right-handed axes [N, 3, 3] in rows."""
        source, target = edge_index
        relative = axes.index_select(0, target) @ axes.index_select(0, source).mT
        powers = [] if self.e3nn else self.wigner(relative)
        near, parts, start = x.index_select(0, source), [], 0
        for mul, ir in self.irreps:
            matrix = ir.D_from_matrix(relative) if self.e3nn else powers[ir.l]
            block = near[:, start : start + mul * ir.dim].unflatten(1, (mul, ir.dim))
            parts.append((block @ matrix.mT).flatten(1))
            start += mul * ir.dim
        return torch.cat(parts, 1)
