"""Molecules by diffusion, and scores of generated molecules and graphs."""

from geqlib.generation.bonded import bonded_scores, bonded_smiles
from geqlib.generation.bonds import (
    EDM_RULES,
    EDM_RULES_WITHOUT_CO,
    BondRules,
    Bonds,
    bond_orders,
    bond_rules,
)
from geqlib.generation.denoiser import Denoised, Denoiser
from geqlib.generation.gaunt_net import DenoisingGauntNet
from geqlib.generation.mmd import GraphScores, graph_scores, squared_mmd
from geqlib.generation.molecules import Molecules, drawn_sizes, sample_molecules
from geqlib.generation.preconditioning import (
    Preconditioning,
    centred,
    loss_weight,
    preconditioning,
)
from geqlib.generation.sampler import HeunSampler
from geqlib.generation.scores import MoleculeScores, molecule_scores
from geqlib.generation.smiles import molecule_smiles
from geqlib.generation.stability import MoleculeDefects, Stability, molecule_defects, stability

__all__ = [
    "EDM_RULES",
    "EDM_RULES_WITHOUT_CO",
    "BondRules",
    "Bonds",
    "Denoised",
    "Denoiser",
    "DenoisingGauntNet",
    "GraphScores",
    "HeunSampler",
    "MoleculeDefects",
    "MoleculeScores",
    "Molecules",
    "Preconditioning",
    "Stability",
    "bond_orders",
    "bond_rules",
    "bonded_scores",
    "bonded_smiles",
    "centred",
    "drawn_sizes",
    "graph_scores",
    "loss_weight",
    "molecule_defects",
    "molecule_scores",
    "molecule_smiles",
    "preconditioning",
    "sample_molecules",
    "squared_mmd",
    "stability",
]
