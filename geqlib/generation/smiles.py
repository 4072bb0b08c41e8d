"""SMILES of molecules from their atoms and positions, by RDKit."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from geqlib.extras import extra_module
from geqlib.generation.bonds import EDM_RULES, BondRules, bond_orders, checked_atoms
from geqlib.generation.stability import molecule_defects
from geqlib.graph.segments import ragged_ranges, segment_lengths


def molecule_smiles(
    numbers: Tensor,
    pos: Tensor,
    batch: Tensor | None = None,
    num_graphs: int | None = None,
    *,
    rules: BondRules = EDM_RULES,
) -> list[str | None]:
    """Canonical SMILES of the largest fragment of each molecule that is valid.

    Source: Hoogeboom et al., "Equivariant diffusion for molecule generation in 3D" (ICML 2022), as
    their code has it. A molecule of the atoms and of the bonds by `bond_orders` is valid if RDKit
    can sanitise it. Hydrogens that are atoms stand in the SMILES, and RDKit fills what lacks with
    implicit ones, so that an atom with too few bonds is valid, and one with too many is not. Of
    fragments of one size the first counts. Fragments are those of the valid whole: a molecule with
    one bad fragment is invalid.

    Args:
        numbers: [N] atomic numbers.
        pos: [N, 3] positions, in angstrom.
        batch: [N] molecule of each atom.
        num_graphs: M, the number of molecules; needed with `batch`.
        rules: bond orders.

    Returns:
        M texts, None for what is invalid or has a defect (`molecule_defects`).

    Raises:
        ValueError: shapes that do not belong together, numbers that are no integers, RDKit not
            installed.

    Example:
        >>> import torch
        >>> water = torch.tensor([[0.0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]])
        >>> molecule_smiles(torch.tensor([8, 1, 1]), water)  # doctest: +SKIP
        ['[H]O[H]']
    """
    extra_module("rdkit", "molecules")
    from rdkit import rdBase  # pyright: ignore[reportMissingImports]

    numbers, batch, num_graphs = checked_atoms(numbers, pos, batch, num_graphs)
    (later, earlier), order = bond_orders(numbers, pos, batch, num_graphs, rules=rules)
    defect = molecule_defects(numbers, pos, batch, num_graphs, rules=rules).any.tolist()
    atoms = numbers[batch.argsort(stable=True)].split(segment_lengths(batch, num_graphs).tolist())
    position = _position(batch, num_graphs)
    bonds = list(
        zip(position[later].tolist(), position[earlier].tolist(), order.tolist(), strict=True)
    )
    number = segment_lengths(batch[later], num_graphs).tolist()
    texts, begin = [], 0
    with rdBase.BlockLogs():  # RDKit reports what it cannot sanitise
        for molecule, count in enumerate(number):
            own = bonds[begin : begin + count]
            begin += count
            texts.append(
                None if defect[molecule] else smiles_of_bonds(atoms[molecule].tolist(), own)
            )
    return texts


def _position(batch: Tensor, num_graphs: int) -> Tensor:
    """[N] of each atom in its molecule."""
    place = batch.new_empty(len(batch))
    place[batch.argsort(stable=True)] = ragged_ranges(0, segment_lengths(batch, num_graphs))
    return place


def smiles_of_bonds(numbers: list[int], bonds: list[tuple[int, int, int]]) -> str | None:
    """Canonical SMILES of the largest fragment of one molecule; None if it is not valid.

    Args:
        numbers: atomic numbers.
        bonds: two atoms and the order of each bond.
    """
    from rdkit import Chem  # pyright: ignore[reportMissingImports]

    types = (None, Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE)
    molecule: Any = Chem.RWMol()
    for number in numbers:
        molecule.AddAtom(Chem.Atom(number))
    for later, earlier, order in bonds:
        molecule.AddBond(later, earlier, types[order])
    try:
        Chem.SanitizeMol(molecule)
    except ValueError:
        return None
    fragments = Chem.GetMolFrags(molecule, asMols=True)
    return Chem.MolToSmiles(max(fragments, key=lambda fragment: fragment.GetNumAtoms()))
