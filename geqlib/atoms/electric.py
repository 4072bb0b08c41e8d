"""Dipoles, Born effective charges and polarisabilities of potentials with latent charges."""

from __future__ import annotations

import math
from functools import cache

import torch
from e3nn import o3
from torch import Tensor

from geqlib.graph.pool import sum_pool

SYMMETRIC = "0e+2e"  # the irreps of a symmetric matrix


def dipoles(
    charges: Tensor,
    pos: Tensor,
    z: Tensor,
    batch: Tensor | None = None,
    num_graphs: int | None = None,
    cell: Tensor | None = None,
) -> Tensor:
    """Dipole moments of molecules: vectors.

    mu = sum_i q_i (r_i - c), with c = sum_i z_i r_i / sum_i z_i the centre of the nuclear charges.
    That of a neutral molecule does not depend on c.

    Args:
        charges: [N] in units of the elementary charge.
        pos: [N, 3] in angstrom.
        z: [N] atomic numbers.
        batch: [N] graph of each atom, and num_graphs: their number.
        cell: [G, 3, 3]; structures with one have no dipole, and zeros.

    Returns:
        [G, 3] in e angstrom.

    Example:
        >>> pos = torch.tensor([[0.0, 0, 0], [0, 0, 2.0]])
        >>> dipoles(torch.tensor([-0.5, 0.5]), pos, torch.tensor([9, 1]))
        tensor([[0., 0., 1.]])
    """
    weights = z.to(pos.dtype)[:, None]
    sums = sum_pool(torch.cat([weights * pos, weights], 1), batch, num_graphs)
    centres = sums[:, :3] / sums[:, 3:].clamp(min=1)
    graph = torch.zeros_like(z) if batch is None else batch
    offset = pos - centres.index_select(0, graph)
    moments = sum_pool(charges.to(pos.dtype)[:, None] * offset, batch, num_graphs)
    if cell is None or cell.numel() == 0:
        return moments
    return torch.where(periodic(cell)[:, None], 0.0, moments)


def born_charges(
    charges: Tensor,
    pos: Tensor,
    batch: Tensor | None = None,
    cell: Tensor | None = None,
    *,
    num_graphs: int | None = None,
    create_graph: bool = False,
) -> Tensor:
    """Born effective charges: derivatives of the polarisation by the positions.

    Source: Zhong et al. (2025, arXiv 2504.05169), for any cell. With q_j the charges that depend on
    all positions,

        Z_i,ab = q_i delta_ab + sum_j s_a(r_j - r_i) dq_j / dr_ib,

    where s(d) = d in molecules; in crystals, whose positions are defined up to vectors of the cell,
    s(d) = B^-1 sin(B d) with the reciprocal vectors in the rows of B, which is d for atoms that are
    near each other compared with the cell: charges should not depend on farther ones, so that
    small cells have to be repeated. The sum over a molecule is its total charge times the unit
    matrix, that over a crystal in the same limit.

    Args:
        charges: [N], a function of `pos`, of which each graph has a constant sum.
        pos: [N, 3] in angstrom, with gradients.
        batch: [N] graph of each atom, and num_graphs: their number, needed with it.
        cell: [G, 3, 3] cell vectors in rows; zeros for molecules.
        create_graph: whether the results can be differentiated again.

    Returns:
        [N, 3, 3] in units of the elementary charge: a of the polarisation, b of the position.
    """

    def derivative(weights: Tensor) -> Tensor:
        total = (charges * weights).sum()
        (slope,) = torch.autograd.grad(
            total, pos, create_graph=create_graph, retain_graph=True, materialize_grads=True
        )
        return slope

    unit = torch.eye(3, dtype=pos.dtype, device=pos.device)
    own = charges.to(pos.dtype)[:, None, None] * unit
    fixed = pos.detach()
    graph = torch.zeros(len(pos), dtype=torch.long, device=pos.device) if batch is None else batch
    # of each structure alone, as others may be far away
    sums = sum_pool(torch.cat([fixed, torch.ones_like(fixed[:, :1])], 1), batch, num_graphs)
    offset = fixed - (sums[:, :3] / sums[:, 3:].clamp(min=1)).index_select(0, graph)
    open_ = torch.stack([derivative(offset[:, a]) for a in range(3)], 1)
    repeats = None if cell is None or cell.numel() == 0 else periodic(cell)
    if repeats is None or cell is None or not bool(repeats.any()):
        return own + open_
    vectors = torch.where(repeats[:, None, None], cell, unit).index_select(0, graph)
    waves = 2 * math.pi * torch.linalg.inv(vectors.double()).mT.to(pos.dtype)
    phase = (waves @ fixed[:, :, None])[..., 0]
    cosine, sine = phase.cos(), phase.sin()
    parts = [
        cosine[:, m, None] * derivative(sine[:, m]) - sine[:, m, None] * derivative(cosine[:, m])
        for m in range(3)
    ]
    closed = vectors.mT @ torch.stack(parts, 1) / (2 * math.pi)
    return own + torch.where(repeats.index_select(0, graph)[:, None, None], closed, open_)


def symmetric_matrices(irreps: Tensor) -> Tensor:
    """Symmetric matrices [n, 3, 3] of their irreps 0e + 2e [n, 6], with the same norm."""
    return torch.einsum("nk,kij->nij", irreps, _basis().to(irreps))


@cache
def _basis() -> Tensor:
    """[6, 3, 3] orthonormal; e3nn's vectors of degree 1 are x, y, z."""
    parts = [
        o3.wigner_3j(1, 1, degree, dtype=torch.float64).movedim(2, 0) * math.sqrt(2 * degree + 1)
        for degree in (0, 2)
    ]
    return torch.cat(parts)


def periodic(cell: Tensor) -> Tensor:
    """[G] whether each graph has a cell."""
    return (cell.detach() != 0).flatten(1).any(1)
