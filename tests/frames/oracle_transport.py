"""Messages between local frames edge by edge, with a Wigner matrix of each relative rotation."""

from __future__ import annotations

import torch
from e3nn import o3
from torch import Tensor

from geqlib.sphere.harmonics import wigner


def representation(ir: o3.Irrep, matrix: Tensor) -> Tensor:
    """D of a matrix of O(3): that of the rotation R / det R, times the parity of a reflection."""
    sign = float(torch.linalg.det(matrix).sign())
    return wigner(ir.l, matrix * sign) * (ir.p if sign < 0 else 1)


def naive_messages(x: Tensor, axes: Tensor, edge_index: Tensor, irreps: str) -> Tensor:
    """D(R_i^T R_j) x_j of each edge j -> i, where the columns of R are the axes."""
    rows = []
    for j, i in edge_index.T.tolist():
        relative, parts, start = axes[i] @ axes[j].T, [], 0
        for mul, ir in o3.Irreps(irreps):
            matrix = representation(ir, relative)
            for _ in range(mul):
                parts.append(matrix @ x[j, start : start + ir.dim])
                start += ir.dim
        rows.append(torch.cat(parts))
    return torch.stack(rows) if rows else x.new_zeros(0, x.size(1))


def naive_frame(vectors: Tensor) -> Tensor:
    """Axes x, y, z in rows from two or three vectors: QR with signs."""
    y = vectors[0] / vectors[0].norm()
    z = vectors[1] - (vectors[1] @ y) * y
    z = z / z.norm()
    x = torch.linalg.cross(y, z)
    if len(vectors) == 3:
        x = x * torch.sign(vectors[2] @ x)
    return torch.stack([x, y, z])
