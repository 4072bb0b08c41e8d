"""Potentials whose forces are outputs of the network, and not conservative."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from geqlib.atoms.potential import Potential

NOT_CONSERVATIVE = "not conservative: they are outputs of the network, no derivatives of the energy"


class DirectPotential(Potential):
    """Energies, and forces that the network gives itself. **The forces are not conservative.**

    Energies are those of `Potential`. The force on an atom is the second output of the network
    times the scale of the energies,

        F_i = scale f_i,

    which is no derivative of an energy: it does not conserve energy in dynamics, and turns with a
    structure only as far as the network's output does. There is no stress. Training takes no second
    derivatives, and inference none at all; Qu and Krishnapriyan (2024, arXiv 2410.24169) train
    EScAIP so on large data sets.

    Args:
        model: with an attribute `direct_forces` that is true, such as `EScAIP(...,
            direct_forces=True)`; it returns scalars as of `Potential` and forces [N, 1, 3].
        charge, levels, level: as of `Potential`.

    Raises:
        ValueError: if the network has no direct forces.

    Example:
        >>> import torch
        >>> from geqlib.graph import neighbor_list
        >>> from geqlib.models import EScAIP, energy_forces
        >>> network = EScAIP(4, channels=8, layers=1, heads=1, cutoff=5.0, direct_forces=True)
        >>> pos, z = torch.tensor([[0.0, 0, 0], [0.0, 0, 0.74]]), torch.tensor([1, 1])
        >>> edge_index = neighbor_list(pos, 5.0).edge_index
        >>> energy_forces(DirectPotential(network), pos, z, edge_index)["forces"].shape
        torch.Size([2, 3])
    """

    conservative = False

    def __init__(
        self,
        model: nn.Module,
        *,
        charge: bool = False,
        levels: Sequence[str] | None = None,
        level: str | None = None,
    ) -> None:
        if not getattr(model, "direct_forces", False):
            raise ValueError(
                f"{type(model).__name__} has no direct forces: build it with direct_forces=True, "
                "or use geqlib.models.Potential, whose forces are derivatives of the energy."
            )
        super().__init__(model, charge=charge, levels=levels, level=level)

    def _direct(self, output: Any) -> Tensor:
        return output[1].squeeze(1) * self.statistics.scale
