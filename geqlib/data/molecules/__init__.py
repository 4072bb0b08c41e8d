"""Molecules and materials."""

from geqlib.data.molecules.md17 import MD17Data
from geqlib.data.molecules.module import MoleculeData
from geqlib.data.molecules.moleculenet import MoleculeNetData
from geqlib.data.molecules.qm9 import QM9Data
from geqlib.data.molecules.zinc import ZincData

__all__ = ["MD17Data", "MoleculeData", "MoleculeNetData", "QM9Data", "ZincData"]
