"""Small networks and systems of atoms for tests of potentials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from geqlib.graph import neighbor_list
from geqlib.models import PONITA, Potential
from geqlib.nn import PolynomialCutoff

CUTOFF = 3.0


class Pairs(nn.Module):
    """e_i = sum_j u(r_ij) f(x_i, x_j, r_ij): all that a potential may ask of a network."""

    in_scalars = 3

    def __init__(self, level: str = "node") -> None:
        super().__init__()
        self.level = level
        self.cutoff = PolynomialCutoff(CUTOFF)
        self.net = nn.Sequential(nn.Linear(7, 8), nn.SiLU(), nn.Linear(8, 1))

    def forward(
        self,
        pos: Tensor,
        edge_index: Tensor,
        x: Tensor,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
        edge_shift: Tensor | None = None,
    ) -> Tensor:
        source, target = edge_index
        offset = pos[source] - pos[target]
        offset = offset if edge_shift is None else offset + edge_shift
        r = ((offset**2).sum(-1, keepdim=True) + 1e-6).sqrt()
        message = self.cutoff(r) * self.net(torch.cat([x[target], x[source], r], 1))
        atoms = message.new_zeros(len(pos), 1).index_add(0, target, message)
        if self.level == "node":
            return atoms
        batch = torch.zeros_like(source[:0].new_zeros(len(pos))) if batch is None else batch
        return atoms.new_zeros(num_graphs or 1, 1).index_add(0, batch, atoms)


def pairs(dtype: torch.dtype = torch.float64, **options: Any) -> Potential:
    torch.manual_seed(0)
    return Potential(Pairs(**options)).to(dtype)


def ponita(dtype: torch.dtype = torch.float64, *, zbl: bool = False, **options: Any) -> Potential:
    """A small PONITA, exact for icosahedral rotations."""
    torch.manual_seed(0)
    small = {"channels": 8, "layers": 2, "basis": 6, "widen": 2, "cutoff": CUTOFF}
    return Potential(PONITA(4, 0, 1, 0, **(small | options)), zbl=zbl).to(dtype)


def fields(
    pos: Tensor, z: Tensor, cell: Tensor | None = None, batch: Tensor | None = None
) -> dict[str, Any]:
    """What a potential takes, with neighbours."""
    near = neighbor_list(pos, CUTOFF, cell=cell, batch=batch)
    actual = {"pos": pos, "z": z, "edge_index": near.edge_index, "reverse": near.reverse}
    if batch is not None:
        actual |= {
            "batch": batch,
            "num_graphs": int(batch.max()) + 1 if cell is None else len(cell),
        }
    return actual if cell is None else actual | {"cell": cell, "cell_shift": near.cell_shift}


def system(nodes: int, *, periodic: bool, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Random atoms, no two closer than 0.7 times the cell that holds them: pos, z, cell."""
    generator = torch.Generator().manual_seed(100 * nodes + seed)
    cell = 2.2 * torch.eye(3, dtype=torch.float64)
    cell = cell + 0.3 * torch.randn(3, 3, generator=generator, dtype=torch.float64)
    corners = torch.cartesian_prod(*[torch.arange(2.0, dtype=torch.float64)] * 3)[:nodes]
    jitter = 0.3 * torch.rand(nodes, 3, generator=generator, dtype=torch.float64)
    z = torch.tensor([1, 6, 8])[torch.randint(3, (nodes,), generator=generator)]
    if periodic:
        return (corners / 2 + jitter / 2) @ cell, z, cell
    return (corners + jitter) @ cell / 1.5, z, torch.zeros(3, 3, dtype=torch.float64)


def batch(sizes: Sequence[int], periodic: Sequence[bool], seed: int = 0) -> dict[str, Any]:
    """Crystals and molecules in one batch."""
    parts = [system(n, periodic=p, seed=seed) for n, p in zip(sizes, periodic, strict=True)]
    number = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    pos, z = (torch.cat([part[k] for part in parts]) for k in (0, 1))
    return fields(pos, z, torch.stack([part[2] for part in parts]), number)


def cast(tensors: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    return {
        key: value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
        for key, value in tensors.items()
    }
