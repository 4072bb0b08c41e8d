"""Energies of atoms before any network, and what a potential returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from geqlib.atoms.network import ELEMENTS
from geqlib.elements import chemical_symbols
from geqlib.graph.checks import refuse_number
from geqlib.sphere.tables import Constants

NONE = (None, None, None)


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

    @property
    def charges(self) -> Tensor | None:
        """[N] latent charges in units of the elementary charge, of a potential that has some."""
        return getattr(self, "response", NONE)[0]

    @property
    def polarisability(self) -> Tensor | None:
        """[G, 3, 3] in angstrom^3, of a potential that learns it."""
        return getattr(self, "response", NONE)[1]

    @property
    def direct_forces(self) -> Tensor | None:
        """[N, 3] in eV/angstrom, of a potential whose forces are no derivatives."""
        return getattr(self, "response", NONE)[2]


class OtherEnergies(Energies):
    """`Energies`, still three, of a potential that has charges, a polarisability or direct forces.

    Attributes:
        response: all of them; None for what it does not have.
    """

    response: tuple[Tensor | None, Tensor | None, Tensor | None]


def with_response(
    energies: Energies,
    charges: Tensor | None,
    polarisability: Tensor | None,
    direct_forces: Tensor | None,
) -> Energies:
    """The same energies, with charges, polarisabilities and direct forces where there are some."""
    response = charges, polarisability, direct_forces
    if all(part is None for part in response):
        return energies
    more = OtherEnergies(*energies)
    more.response = response
    return more


class AtomicStatistics(Constants):
    """Energies of atoms before any network, in float64 and part of the state dict.

    An atom of element z with the network's output e has the energy E_0[z] + scale e + shift. With
    several levels of theory, each has its own E_0 and shift; the scale is common.

    Args:
        levels: their number; None for a potential that knows of none.

    Example:
        >>> AtomicStatistics(2).references.shape
        torch.Size([2, 119])
    """

    references: Tensor
    seen: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, levels: int | None = None) -> None:
        super().__init__()
        each = () if levels is None else (levels,)
        # fixed shapes, so that every state dict loads
        self.register_buffer("references", torch.zeros(*each, ELEMENTS, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(*each, ELEMENTS, dtype=torch.bool))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))
        self.register_buffer("shift", torch.zeros(each, dtype=torch.float64))

    @property
    def fitted(self) -> bool:
        """Whether `set` was called, or a state loaded for which it was."""
        return bool(self.seen.any())

    @property
    def elements(self) -> Tensor:
        """[119] whether an element was in the training set, at any level."""
        return self.seen if self.seen.dim() == 1 else self.seen.any(0)

    def set(self, references: Tensor, seen: Tensor, scale: float, shift: float | Tensor) -> None:
        """Write the statistics of a training set.

        Args:
            references: [119] E_0 by atomic number, in eV; [levels, 119] of several levels.
            seen: whether the training set has the element; of the same shape.
            scale: eV per unit of the network's output.
            shift: eV per atom; [levels] of several levels.
        """
        self.references.copy_(references)
        self.seen.copy_(seen)
        self.scale.fill_(scale)
        self.shift.copy_(torch.as_tensor(shift, dtype=torch.float64))

    def shifts(self, graph: Tensor, level: Tensor | None) -> Tensor:
        """eV per atom, [N] or one for all.

        Args:
            graph: [N] of each atom.
            level: [G] of each graph, where there are several.
        """
        return self.shift if level is None else self.shift[level].index_select(0, graph)

    def isolated(self, z: Tensor, graph: Tensor, level: Tensor | None) -> Tensor:
        """E_0 of each atom [N]; arguments as of `shifts`, and z [N] atomic numbers."""
        if level is None:
            return self.references.index_select(0, z)
        return self.references[level.index_select(0, graph), z]

    def grown(self, levels: int) -> AtomicStatistics:
        """The same for each of several levels."""
        grown = AtomicStatistics(levels)
        grown.set(self.references, self.seen, float(self.scale), self.shift)
        return grown.to(self.shift.device)


def check_elements(
    z: Tensor,
    seen: Tensor,
    graph: Tensor | None = None,
    level: Tensor | None = None,
    names: Sequence[str] = (),
) -> None:
    """Refuse atoms of other elements than `seen`, if it has any, and of none.

    Args:
        z: [N] atomic numbers.
        seen: [119], or [levels, 119].
        graph: [N] of each atom, and level: [G] of each graph, where there are several levels.
        names: of the levels.

    Raises:
        ValueError: naming the atom, and the elements that there are.
    """
    outside = (z < 0) | (z >= ELEMENTS)
    entry = z.masked_fill(outside, 0)
    if level is None or seen.dim() == 1:
        of_atoms, number = seen.index_select(0, entry), None
    else:
        each = level.expand(len(z)) if graph is None else level.index_select(0, graph)
        of_atoms, number = seen[each, entry], each
    unseen = (~of_atoms | outside).nonzero()[:, 0].tolist()
    if not unseen:
        return
    if bool(outside.any()):
        refuse_number(outside, z)
    if not bool(seen.any()):
        return
    row = seen if number is None else seen[int(number[unseen[0]])]
    where = "" if number is None else f" at the level {names[int(number[unseen[0]])]}"
    symbols = ", ".join(chemical_symbols[k] for k in row.nonzero()[:, 0].tolist())
    raise ValueError(
        f"atom {unseen[0]} is {chemical_symbols[int(z[unseen[0]])]}, which the training data "
        f"never showed{where} ({symbols}): use a model that was trained on it."
    )
