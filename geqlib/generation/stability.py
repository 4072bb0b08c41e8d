"""Stability: does every atom have the valence of its element?"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from geqlib.generation.bonds import EDM_RULES, BondRules, bond_orders, checked_atoms
from geqlib.graph.segments import segment_lengths


class MoleculeDefects(NamedTuple):
    """Molecules that no rule can judge; one may have several defects.

    Args:
        empty: [M] without atoms.
        not_finite: [M] with a position that is NaN or infinite.
        unknown_element: [M] with an element that the rules do not know.

    Example:
        >>> none, some = torch.tensor([False, False]), torch.tensor([False, True])
        >>> MoleculeDefects(none, none, some).any
        tensor([False,  True])
    """

    empty: Tensor
    not_finite: Tensor
    unknown_element: Tensor

    @property
    def any(self) -> Tensor:
        """[M] with one of them."""
        return self.empty | self.not_finite | self.unknown_element


class Stability(NamedTuple):
    """Which atoms and molecules are stable.

    Args:
        atom: [N].
        molecule: [M].

    Example:
        >>> hydrogen = torch.tensor([[0.0, 0, 0], [0.74, 0, 0]])
        >>> stability(torch.tensor([1, 1]), hydrogen).molecule
        tensor([True])
    """

    atom: Tensor
    molecule: Tensor


def molecule_defects(
    numbers: Tensor,
    pos: Tensor,
    batch: Tensor | None = None,
    num_graphs: int | None = None,
    *,
    rules: BondRules = EDM_RULES,
) -> MoleculeDefects:
    """Molecules that are empty, have no finite positions or elements outside the rules.

    Args:
        numbers: [N] atomic numbers.
        pos: [N, 3] positions, in angstrom.
        batch: [N] molecule of each atom.
        num_graphs: M, the number of molecules; needed with `batch`.
        rules: whose elements are known.

    Raises:
        ValueError: shapes that do not belong together, numbers that are no integers.

    Example:
        >>> defects = molecule_defects(torch.tensor([6, 14]), torch.zeros(2, 3))
        >>> defects.unknown_element  # silicon
        tensor([True])
    """
    numbers, batch, num_graphs = checked_atoms(numbers, pos, batch, num_graphs)
    unknown = rules.element(numbers) == len(rules.valences)
    return MoleculeDefects(
        segment_lengths(batch, num_graphs) == 0,
        _any(~pos.isfinite().all(1), batch, num_graphs),
        _any(unknown, batch, num_graphs),
    )


def stability(
    numbers: Tensor,
    pos: Tensor,
    batch: Tensor | None = None,
    num_graphs: int | None = None,
    *,
    rules: BondRules = EDM_RULES,
) -> Stability:
    """Atoms whose bond orders sum to their valence, and molecules of such atoms alone.

    Invariant to rotations, reflections and translations of every molecule. Source: Hoogeboom et
    al., "Equivariant diffusion for molecule generation in 3D" (ICML 2022); formula:

        atom i is stable if sum_j order(i, j) = valence(element of i), charges being ignored;
        a molecule is stable if it has atoms, and all of them are stable.

    A molecule with a defect (`molecule_defects`) is not stable, and neither is any of its atoms.

    Args:
        numbers: [N] atomic numbers.
        pos: [N, 3] positions, in angstrom.
        batch: [N] molecule of each atom.
        num_graphs: M, the number of molecules; needed with `batch`.
        rules: bond orders and valences.

    Raises:
        ValueError: shapes that do not belong together, numbers that are no integers.

    Example:
        >>> water = torch.tensor([[0.0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]])
        >>> stability(torch.tensor([8, 1, 1]), water)
        Stability(atom=tensor([True, True, True]), molecule=tensor([True]))
    """
    numbers, batch, num_graphs = checked_atoms(numbers, pos, batch, num_graphs)
    pair, order = bond_orders(numbers, pos, batch, num_graphs, rules=rules)
    total = torch.zeros_like(numbers)
    for end in pair:
        total.index_add_(0, end, order)
    defect = molecule_defects(numbers, pos, batch, num_graphs, rules=rules).any
    valence = torch.tensor([*rules.valences.values(), -1], device=numbers.device)
    atom = (total == valence[rules.element(numbers)]) & ~defect[batch]
    return Stability(atom, ~_any(~atom, batch, num_graphs) & ~defect)


def _any(of_atom: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
    """[M] molecules with such an atom."""
    return segment_lengths(batch[of_atom], num_graphs) > 0
