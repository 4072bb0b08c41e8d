"""Scores of molecules that are graphs: atoms and bonds, without positions."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from geqlib.extras import extra_module
from geqlib.generation.bonds import EDM_RULES, BondRules
from geqlib.generation.scores import MoleculeScores
from geqlib.generation.smiles import smiles_of_bonds
from geqlib.graph.segments import segment_lengths, segment_ptr


def bonded_scores(
    numbers: Tensor,
    edge_index: Tensor,
    order: Tensor,
    batch: Tensor,
    num_graphs: int,
    *,
    rules: BondRules = EDM_RULES,
    validity: bool = True,
    training: Collection[str | None] | None = None,
) -> MoleculeScores:
    """Stability, validity, uniqueness and novelty of molecules by the bonds that they have.

    As `geqlib.generation.molecule_scores`, with bonds of the graph in place of those by distances:
    an atom is stable if its bond orders sum to the valence that the rules give its element, and a
    molecule is valid if RDKit can sanitise it, without formal charges. Of the rules only valences
    are used, which the printed name says. A molecule with an element that has none is neither
    stable nor valid.

    Args:
        numbers: [N] atomic numbers, molecule by molecule.
        edge_index: [2, E] both directions of every bond.
        order: [E] 1, 2 or 3.
        batch: [N] molecule of each atom, ascending, and num_graphs: their number.
        rules: valences.
        validity: also validity and uniqueness, which takes RDKit.
        training: SMILES of training molecules by `bonded_smiles`, for novelty.

    Raises:
        ValueError: no molecule, `training` without `validity`, RDKit not installed.

    Example:
        >>> water, bonds = torch.tensor([8, 1, 1]), torch.tensor([[0, 1, 0, 2], [1, 0, 2, 0]])
        >>> batch, one = torch.zeros(3, dtype=torch.long), torch.ones(4, dtype=torch.long)
        >>> print(bonded_scores(water, bonds, one, batch, 1, validity=False))
        1 molecules, 3 atoms
        atom stability     100.00 %  [valences of EDM]  3 of 3 atoms
        molecule stability 100.00 %  [valences of EDM]  1 of 1 molecules
    """
    if not num_graphs:
        raise ValueError("There is no molecule to score: num_graphs is 0.")
    if training is not None and not validity:
        raise ValueError("Novelty is that of valid molecules: leave out validity=False.")
    total = torch.zeros_like(numbers).index_add(0, edge_index[1], order.long())
    valence = torch.tensor([*rules.valences.values(), -1], device=numbers.device)
    element = rules.element(numbers)
    stable = total == valence[element]
    atoms = segment_lengths(batch, num_graphs)
    strange = _with_unknown_elements(numbers, batch, num_graphs, rules)
    stable = stable & ~strange[batch]
    whole = (segment_lengths(batch[stable], num_graphs) == atoms) & (atoms > 0)
    texts: list[str | None] = []
    if validity:
        texts = bonded_smiles(numbers, edge_index, order, batch, num_graphs, rules=rules)
    valid = [text for text in texts if text is not None]
    distinct = set(valid)
    return MoleculeScores(
        f"valences of {rules.name}",
        len(numbers),
        num_graphs,
        int(stable.sum()),
        int(whole.sum()),
        valid=len(valid) if validity else None,
        unique=len(distinct) if validity else None,
        novel=None if training is None else len(distinct - set(training)),
        empty=int((atoms == 0).sum()),
        unknown_element=int(strange.sum()),
    )


def bonded_smiles(
    numbers: Tensor,
    edge_index: Tensor,
    order: Tensor,
    batch: Tensor,
    num_graphs: int,
    *,
    rules: BondRules = EDM_RULES,
) -> list[str | None]:
    """Canonical SMILES of the largest fragment of each molecule that is valid.

    Args:
        numbers, edge_index, order, batch, num_graphs: as of `bonded_scores`.
        rules: whose elements are known.

    Returns:
        M texts, None for molecules without atoms or with unknown elements, and for those that
        RDKit cannot sanitise.

    Raises:
        ValueError: RDKit not installed.

    Example:
        >>> water, bonds = torch.tensor([8, 1, 1]), torch.tensor([[0, 1, 0, 2], [1, 0, 2, 0]])
        >>> batch, one = torch.zeros(3, dtype=torch.long), torch.ones(4, dtype=torch.long)
        >>> bonded_smiles(water, bonds, one, batch, 1)  # doctest: +SKIP
        ['[H]O[H]']
    """
    extra_module("rdkit", "molecules")
    from rdkit import rdBase  # pyright: ignore[reportMissingImports]

    once = edge_index[0] > edge_index[1]
    later, earlier = edge_index[:, once]
    molecule, kinds = batch[later], order[once]
    place = molecule.argsort(stable=True)
    first = segment_ptr(segment_lengths(batch, num_graphs))[:-1][molecule]
    ends = torch.stack([later - first, earlier - first, kinds])[:, place].T
    counts = segment_lengths(molecule, num_graphs).tolist()
    atoms = numbers.split(segment_lengths(batch, num_graphs).tolist())
    strange = _with_unknown_elements(numbers, batch, num_graphs, rules).tolist()
    with rdBase.BlockLogs():  # RDKit reports what it cannot sanitise
        return [
            smiles_of_bonds(own.tolist(), [(a, b, c) for a, b, c in bonds.tolist()])
            if len(own) and not unknown
            else None
            for own, bonds, unknown in zip(atoms, ends.split(counts), strange, strict=True)
        ]


def _with_unknown_elements(
    numbers: Tensor, batch: Tensor, num_graphs: int, rules: BondRules
) -> Tensor:
    """[M] molecules with an element that the rules give no valence."""
    unknown = rules.element(numbers) == len(rules.valences)
    return segment_lengths(batch[unknown], num_graphs) > 0
