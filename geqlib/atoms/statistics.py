"""Energies of atoms before any network, and what a potential returns."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from geqlib.atoms.network import ELEMENTS
from geqlib.elements import chemical_symbols
from geqlib.sphere.tables import Constants


class Energies(NamedTuple):
    """Energies in eV; totals are float64, as they may be -10^4 eV with differences of 10^-3.

    Args:
        total: [G] of graphs.
        interaction: [G] the part that is not reference energies, in the precision of the model.
        atoms: [N] float64; they add up to the totals.

    Example:
        >>> total, interaction, atoms = Energies(torch.ones(1), torch.ones(1), torch.ones(1))
    """

    total: Tensor
    interaction: Tensor
    atoms: Tensor


class AtomicStatistics(Constants):
    """Energies of atoms before any network, in float64 and part of the state dict.

    An atom of element z with the network's output e has the energy E_0[z] + scale e + shift.
    """

    references: Tensor
    seen: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        # fixed shapes, so that every state dict loads
        self.register_buffer("references", torch.zeros(ELEMENTS, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(ELEMENTS, dtype=torch.bool))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))
        self.register_buffer("shift", torch.zeros((), dtype=torch.float64))

    @property
    def fitted(self) -> bool:
        """Whether `set` was called, or a state loaded for which it was."""
        return bool(self.seen.any())

    def set(self, references: Tensor, seen: Tensor, scale: float, shift: float) -> None:
        """Write the statistics of a training set.

        Args:
            references: [119] E_0 by atomic number, in eV.
            seen: [119] whether the training set has the element.
            scale: eV per unit of the network's output.
            shift: eV per atom.
        """
        self.references.copy_(references)
        self.seen.copy_(seen)
        self.scale.fill_(scale)
        self.shift.fill_(shift)


def check_elements(z: Tensor, seen: Tensor) -> None:
    """Refuse atoms of other elements than `seen` [119], if it has any."""
    elements = seen.nonzero()[:, 0].tolist()
    unseen = (~seen.index_select(0, z)).nonzero()[:, 0].tolist()
    if elements and unseen:
        symbols = ", ".join(chemical_symbols[k] for k in elements)
        raise ValueError(
            f"atom {unseen[0]} is {chemical_symbols[int(z[unseen[0]])]}, which the training data "
            f"never showed ({symbols}): use a model that was trained on it."
        )
