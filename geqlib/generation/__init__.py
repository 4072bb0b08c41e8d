"""Scores of generated molecules."""

from geqlib.generation.bonds import EDM_RULES, BondRules, Bonds, bond_orders
from geqlib.generation.scores import MoleculeScores, molecule_scores
from geqlib.generation.smiles import molecule_smiles
from geqlib.generation.stability import MoleculeDefects, Stability, molecule_defects, stability

__all__ = [
    "EDM_RULES",
    "BondRules",
    "Bonds",
    "MoleculeDefects",
    "MoleculeScores",
    "Stability",
    "bond_orders",
    "molecule_defects",
    "molecule_scores",
    "molecule_smiles",
    "stability",
]
