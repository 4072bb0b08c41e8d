"""Scores of generated molecules and graphs."""

from geqlib.generation.bonds import EDM_RULES, BondRules, Bonds, bond_orders
from geqlib.generation.mmd import GraphScores, graph_scores, squared_mmd
from geqlib.generation.scores import MoleculeScores, molecule_scores
from geqlib.generation.smiles import molecule_smiles
from geqlib.generation.stability import MoleculeDefects, Stability, molecule_defects, stability

__all__ = [
    "EDM_RULES",
    "BondRules",
    "Bonds",
    "GraphScores",
    "MoleculeDefects",
    "MoleculeScores",
    "Stability",
    "bond_orders",
    "graph_scores",
    "molecule_defects",
    "molecule_scores",
    "molecule_smiles",
    "squared_mmd",
    "stability",
]
