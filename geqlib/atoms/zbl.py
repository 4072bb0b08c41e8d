"""Repulsion of nuclei at distances for which there is no data."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geqlib.elements import covalent_radii
from geqlib.graph.checks import as_index, check_numbers
from geqlib.kernels.offsets import offsets
from geqlib.radial import PolynomialCutoff
from geqlib.sphere.tables import Constants

COULOMB = 14.399645  # e^2 / (4 pi eps_0), eV angstrom
LENGTH = 0.8854 * 0.529177  # of screening, angstrom
SCREENING = ((0.18175, 3.19980), (0.50986, 0.94229), (0.28022, 0.40290), (0.02817, 0.20162))
SOFTENING = 1e-3  # angstrom


class ZBL(nn.Module):
    """Screened repulsion of nuclei: energies of atoms that stay the same under E(3).

    Source: Ziegler, Biersack, Littmark, "The stopping and range of ions in matter" (1985). The
    energy of a pair at distance r is

        k Z_i Z_j / r * phi(r / a) * u(r / (R_i + R_j)),    a = 0.8854 a_0 / (Z_i^0.23 + Z_j^0.23),

    phi(x) = sum_k c_k exp(-b_k x) with the published constants. The envelope u (a polynomial that
    falls to zero at 1, as in MACE) ends it where the covalent radii R touch, so that it acts only
    where atoms come closer than in a molecule. Half of it goes to each atom. Distances are
    softened, r^2 -> r^2 + (0.001 angstrom)^2: coincident atoms have a finite energy and no force.

    Args:
        p: exponent of the envelope.

    Shapes:
        Energies [N] in eV.

    Example:
        >>> pos = torch.tensor([[0.0, 0, 0], [0.5, 0, 0]], dtype=torch.float64)
        >>> edge_index = torch.tensor([[0, 1], [1, 0]])
        >>> ZBL()(pos, torch.tensor([6, 1]), edge_index).round(decimals=2).tolist()
        [11.79, 11.79]
    """

    def __init__(self, p: int = 6) -> None:
        super().__init__()
        self.p = p
        self.envelope = PolynomialCutoff(1.0, p)
        self.tables = Constants(
            radius=torch.from_numpy(covalent_radii).double(),
            weight=torch.tensor([weight for weight, _ in SCREENING], dtype=torch.float64),
            decay=torch.tensor([decay for _, decay in SCREENING], dtype=torch.float64),
        )

    def reset_parameters(self) -> None:
        """There are none."""

    def forward(
        self, pos: Tensor, z: Tensor, edge_index: Tensor, edge_shift: Tensor | None = None
    ) -> Tensor:
        """Energies of atoms.

        Args:
            pos: [N, 3] in angstrom.
            z: [N] atomic numbers, 1 to 118.
            edge_index: [2, E], every pair in both directions.
            edge_shift: [E, 3] added to pos[source] - pos[target].
        """
        check_numbers(z)
        source, target = as_index(edge_index)
        offset = offsets(pos, source, target)
        if edge_shift is not None:
            offset = offset + edge_shift
        distance = ((offset * offset).sum(-1) + SOFTENING**2).sqrt()
        pair = self._pair(distance, z.index_select(0, source), z.index_select(0, target))
        return pos.new_zeros(pos.size(0)).index_add(0, target, pair / 2)

    def _pair(self, distance: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """[E] energies of pairs."""
        a, b = first.to(distance.dtype), second.to(distance.dtype)
        radius = self.tables.table("radius", distance)
        weight, decay = (self.tables.table(name, distance) for name in ("weight", "decay"))
        reduced = distance * (a**0.23 + b**0.23) / LENGTH
        screening = (weight * torch.exp(-decay * reduced[:, None])).sum(-1)
        share = distance / (radius.index_select(0, first) + radius.index_select(0, second))
        return COULOMB * a * b / distance * screening * self.envelope(share)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p})"
