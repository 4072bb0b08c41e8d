"""Scores of generated molecules, each with the name of its rules."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from geqlib.generation.bonds import EDM_RULES, BondRules, checked_atoms
from geqlib.generation.smiles import molecule_smiles
from geqlib.generation.stability import MoleculeDefects, molecule_defects, stability
from geqlib.graph.segments import segment_index, segment_lengths

CHUNK = 1000  # molecules, whose pairs of atoms are in memory at the same time


@dataclass(frozen=True)
class MoleculeScores:
    """Counts of what is stable, valid, unique and novel, and their ratios.

    Args:
        rules: name of the rules that say what a bond is.
        atoms, molecules: in all, those of molecules with defects among them.
        stable_atoms, stable_molecules: of these.
        valid: molecules that RDKit can sanitise; None if this was not asked for.
        unique: distinct SMILES of the valid molecules; None without `valid`.
        novel: distinct SMILES that are not in the training set; None without one.
        empty, not_finite, unknown_element: molecules with a defect.

    Example:
        >>> print(MoleculeScores("EDM", 18, 2, 17, 1, valid=2, unique=1, novel=1))
        2 molecules, 18 atoms
        atom stability      94.44 %  [EDM]  17 of 18 atoms
        molecule stability  50.00 %  [EDM]  1 of 2 molecules
        validity           100.00 %  [EDM]  2 of 2 molecules
        uniqueness          50.00 %  [EDM]  1 of 2 valid molecules
        novelty            100.00 %  [EDM]  1 of 1 distinct molecules
    """

    rules: str
    atoms: int
    molecules: int
    stable_atoms: int
    stable_molecules: int
    valid: int | None = None
    unique: int | None = None
    novel: int | None = None
    empty: int = 0
    not_finite: int = 0
    unknown_element: int = 0

    @property
    def atom_stability(self) -> float:
        """Stable atoms over all atoms."""
        return _ratio(self.stable_atoms, self.atoms)

    @property
    def molecule_stability(self) -> float:
        """Stable molecules over all molecules."""
        return _ratio(self.stable_molecules, self.molecules)

    @property
    def validity(self) -> float | None:
        """Valid molecules over all molecules."""
        return None if self.valid is None else _ratio(self.valid, self.molecules)

    @property
    def uniqueness(self) -> float | None:
        """Distinct SMILES over valid molecules; 0 without any, as in the published code."""
        return None if self.unique is None else _ratio(self.unique, self.valid or 0)

    @property
    def novelty(self) -> float | None:
        """Distinct SMILES that the training set has not, over distinct SMILES."""
        return None if self.novel is None else _ratio(self.novel, self.unique or 0)

    def __str__(self) -> str:
        lines = [
            ("atom stability", self.stable_atoms, self.atoms, "atoms"),
            ("molecule stability", self.stable_molecules, self.molecules, "molecules"),
            ("validity", self.valid, self.molecules, "molecules"),
            ("uniqueness", self.unique, self.valid, "valid molecules"),
            ("novelty", self.novel, self.unique, "distinct molecules"),
        ]
        text = [f"{self.molecules} molecules, {self.atoms} atoms"]
        for title, count, total, of in lines:
            if count is not None:
                share = 100 * _ratio(count, total or 0)
                text.append(f"{title:18} {share:6.2f} %  [{self.rules}]  {count} of {total} {of}")
        defects = [
            (self.empty, "without atoms"),
            (self.not_finite, "with positions that are not finite"),
            (self.unknown_element, f"with elements outside the rules [{self.rules}]"),
        ]
        text += [f"counted as failures: {count} {what}" for count, what in defects if count]
        return "\n".join(text)


def molecule_scores(
    numbers: Tensor,
    pos: Tensor,
    batch: Tensor | None = None,
    num_graphs: int | None = None,
    *,
    rules: BondRules = EDM_RULES,
    validity: bool = True,
    training: Collection[str | None] | None = None,
    progress: Callable[[Any], Iterable[int]] = iter,
) -> MoleculeScores:
    """Stability, validity, uniqueness and novelty of molecules, by one set of rules.

    Source: Hoogeboom et al., "Equivariant diffusion for molecule generation in 3D" (ICML 2022), who
    score 10 000 samples; formulas: `stability`, `molecule_smiles`, and

        validity = valid / molecules, uniqueness = distinct / valid, novelty = new / distinct.

    Molecules with a defect (`molecule_defects`) are counted in every denominator, are never stable
    or valid, and have a line of their own in the printed text.

    Args:
        numbers: [N] atomic numbers.
        pos: [N, 3] positions, in angstrom.
        batch: [N] molecule of each atom.
        num_graphs: M, the number of molecules; needed with `batch`.
        rules: bond orders and valences.
        validity: also validity and uniqueness, which takes RDKit.
        training: SMILES of the training set, for novelty. Take those that `molecule_smiles` makes
            from its positions by the same rules: others, such as those in the files of QM9, differ
            for the same molecule, and some 15 % that are not novel were reported as such.
        progress: wraps the loop over chunks of molecules, such as `rich.progress.track`.

    Raises:
        ValueError: shapes that do not belong together, numbers that are no integers, no molecule at
            all, `training` without `validity`, RDKit not installed.

    Example:
        >>> import torch
        >>> water = torch.tensor([[0.0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]])
        >>> print(molecule_scores(torch.tensor([8, 1, 1]), water, validity=False))
        1 molecules, 3 atoms
        atom stability     100.00 %  [EDM]  3 of 3 atoms
        molecule stability 100.00 %  [EDM]  1 of 1 molecules
    """
    numbers, batch, num_graphs = checked_atoms(numbers, pos, batch, num_graphs)
    if not num_graphs:
        raise ValueError("There is no molecule to score: num_graphs is 0.")
    if training is not None and not validity:
        raise ValueError("Novelty is that of valid molecules: leave out validity=False.")
    order = batch.argsort(stable=True)
    lengths = segment_lengths(batch, num_graphs)
    names = ("stable_atoms", "stable_molecules", *MoleculeDefects._fields)
    total: dict[str, int] = dict.fromkeys(names, 0)
    texts: list[str | None] = []
    begin = 0
    for first in progress(range(0, num_graphs, CHUNK)):
        size = lengths[first : first + CHUNK]
        atoms = order[begin : begin + int(size.sum())]
        begin += len(atoms)
        chunk = (numbers[atoms], pos[atoms], segment_index(size), len(size))
        stable, defects = stability(*chunk, rules=rules), molecule_defects(*chunk, rules=rules)
        total["stable_atoms"] += int(stable.atom.sum())
        total["stable_molecules"] += int(stable.molecule.sum())
        for name, defect in zip(defects._fields, defects, strict=True):
            total[name] += int(defect.sum())
        if validity:
            texts += molecule_smiles(*chunk, rules=rules)
    valid = [text for text in texts if text is not None]
    distinct = set(valid)
    return MoleculeScores(
        rules.name,
        len(numbers),
        num_graphs,
        valid=len(valid) if validity else None,
        unique=len(distinct) if validity else None,
        novel=None if training is None else len(distinct - set(training)),
        **total,
    )


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
