"""Electrostatics of latent charges: what no network with a cutoff can see."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from geqlib.atoms.zbl import COULOMB
from geqlib.graph.pool import sum_pool

TAIL = 1e-8  # of exp(-width^2 k^2 / 2), where waves are left out
MOST_WAVES = 10**8


class GaussianCharges(nn.Module):
    """Coulomb energies of normal charge distributions around atoms: the same under E(3).

    Source: latent Ewald summation, Cheng (2024, arXiv 2408.15165). Every pair of atoms at distance
    r, in molecules and in crystals with all periodic images, has the energy

        k q_i q_j erf(r / (sqrt(2) s)) / r,    k = 14.3996 eV angstrom,

    which is that of point charges beyond a few s, and finite at 0; half of it goes to each atom. In
    crystals the sum is over waves, Ewald's, without their self-energy:

        E_i = k q_i / 2 [ sum_h 4 pi / (V h^2) exp(-s^2 h^2 / 2) Re(exp(i h r_i) S(h)*)
                          - sqrt(2 / pi) q_i / s ],    S(h) = sum_j q_j exp(i h r_j)

    over the wave vectors h of the cell. A cell whose charges do not add up to 0 has a uniform
    background. What happens nearer than a few s is left to the network.

    Args:
        width: s in angstrom.

    Raises:
        ValueError: if the width is not positive.

    Example:
        >>> pos = torch.tensor([[0.0, 0, 0], [20.0, 0, 0]], dtype=torch.float64)
        >>> GaussianCharges(1.0)(torch.tensor([1.0, -1.0]), pos).sum().round(decimals=4).item()
        -0.72
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        if not width > 0:
            raise ValueError(f"width must be positive, in angstrom, got {width}.")
        self.width = width

    def forward(
        self,
        charges: Tensor,
        pos: Tensor,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
        cell: Tensor | None = None,
    ) -> Tensor:
        """Energies of atoms [N] in eV. Reads sizes of cells: the host waits once.

        Args:
            charges: [N] in units of the elementary charge.
            pos: [N, 3] in angstrom.
            batch: [N] graph of each atom, and num_graphs: their number.
            cell: [G, 3, 3] cell vectors in rows; zeros for molecules.

        Raises:
            ValueError: if a cell has one or two vectors, or more waves than memory holds.
        """
        graph = torch.zeros_like(charges, dtype=torch.long) if batch is None else batch
        charges = charges.to(pos.dtype)
        if cell is None or cell.numel() == 0:
            return COULOMB / 2 * charges * self._open(charges, pos, graph, None)
        periodic, most = self._sizes(cell)
        open_ = self._open(charges, pos, graph, periodic)
        waves = self._periodic(charges, pos, graph, cell, periodic, most) if any(most) else 0.0
        return COULOMB / 2 * charges * (open_ + waves)

    def _sizes(self, cell: Tensor) -> tuple[Tensor, list[int]]:
        """Which graphs [G] have a cell, and the largest wave numbers along its three vectors."""
        lengths = cell.detach().norm(dim=2)
        periodic = (lengths > 0).all(1)
        most = (self._longest() * lengths / (2 * math.pi)).floor().amax(0)
        flat = ((lengths > 0).any(1) & ~periodic).any()
        *numbers, partial = torch.cat([most, flat[None].to(most)]).long().tolist()
        if partial:
            raise ValueError(
                "A cell has fewer than three vectors, for which the sum over charges is not "
                "defined here: give the structure a vector with vacuum, or none."
            )
        waves = math.prod(2 * number + 1 for number in numbers) / 2
        if waves > MOST_WAVES:
            raise ValueError(
                f"The largest cells need {waves:.1e} waves, and {MOST_WAVES:.0e} are allowed: give "
                "molecules in a large box no cell, or take a larger width of the charges."
            )
        return periodic, numbers

    def _longest(self) -> float:
        """The longest wave vector, in 1/angstrom."""
        return math.sqrt(-2 * math.log(TAIL)) / self.width

    def _open(self, charges: Tensor, pos: Tensor, graph: Tensor, periodic: Tensor | None) -> Tensor:
        """Potentials [N] of the other atoms of molecules, over k; 0 in crystals."""
        same = graph[:, None] == graph
        if periodic is not None:
            same = same & ~periodic[graph]
        same = same & ~torch.eye(len(pos), dtype=torch.bool, device=pos.device)
        offset = pos[:, None] - pos
        square = torch.where(same, (offset * offset).sum(-1), 1.0)
        # atoms in one place: the limit at 0, without a force
        near = square < (1e-6 * self.width) ** 2
        distance = torch.where(near, self.width**2, square).sqrt()
        value = torch.special.erf(distance / (math.sqrt(2) * self.width)) / distance
        value = torch.where(near, math.sqrt(2 / math.pi) / self.width, value)
        return torch.where(same, value, 0.0) @ charges

    def _periodic(
        self,
        charges: Tensor,
        pos: Tensor,
        graph: Tensor,
        cell: Tensor,
        periodic: Tensor,
        most: list[int],
    ) -> Tensor:
        """Potentials [N] of all images of all other atoms, over k; 0 in molecules."""
        unit = torch.eye(3, dtype=cell.dtype, device=cell.device)
        cell = torch.where(periodic[:, None, None], cell, unit)
        numbers = half_grid(most).to(device=pos.device, dtype=pos.dtype)
        # written out, as derivatives of torch's inverse need the default type
        first, second, third = cell.unbind(1)
        axes = torch.stack(
            [second.cross(third, dim=1), third.cross(first, dim=1), first.cross(second, dim=1)], 1
        )
        volume = (first * axes[:, 0]).sum(1)[:, None]
        waves = 2 * math.pi * numbers @ axes / volume[..., None]  # [G, K, 3]
        square = (waves * waves).sum(-1)
        inside = periodic[:, None] & (square <= self._longest() ** 2)
        # waves k and -k count together
        weight = 8 * math.pi / volume.abs() * torch.exp(-0.5 * self.width**2 * square) / square
        weight = torch.where(inside, weight, 0.0)
        phase = torch.einsum("nx,nkx->nk", pos, waves.index_select(0, graph))
        cosine, sine = phase.cos(), phase.sin()
        parts = torch.stack([cosine, sine], 1) * charges[:, None, None]
        sums = sum_pool(parts, graph, len(cell)) * weight[:, None]
        cosines, sines = sums.index_select(0, graph).unbind(1)
        potential = (cosine * cosines + sine * sines).sum(1)
        own = math.sqrt(2 / math.pi) / self.width * charges
        return potential - torch.where(periodic[graph], own, 0.0)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(width={self.width})"


def half_grid(most: list[int]) -> Tensor:
    """Integer vectors up to `most` along each axis, one of each pair n and -n, without 0.

    Example:
        >>> half_grid([1, 0, 0]).tolist()
        [[1, 0, 0]]
    """
    axes = [torch.arange(-m, m + 1) for m in most]
    grid = torch.cartesian_prod(*axes)
    return grid[len(grid) // 2 + 1 :]  # the other half is in the reverse order
