"""Miniature raw files of molecules, in the layout of the published ones."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

LIPO = """CMPD_CHEMBLID,exp,smiles
A,3.54,Cn1c(CN2CCN(CC2)c3ccc(Cl)cc3)nc4ccccc14
B,-1.18,COc1cc(OC)c(cc1NC(=O)CSCC(=O)O)S(=O)(=O)N2C(C)CCc3ccccc23
C,3.69,c1ccccc1
D,3.37,Cc1ccccc1
E,3.1,CCO
F,3.14,CC(=O)O
G,-0.72,[NH4+]
H,0.34,F/C=C/F
I,3.05,N[C@@H](C)C(=O)O
J,2.25,Clc1ccccc1
"""


def write_compounds(folder: Path, molecules: int = 60) -> None:
    """MoleculeNet's lipo and esol of chains of carbon that end in rings, for GEQLIB_DATA."""
    ends = ("O", "c1ccccc1", "C1CC1", "C1CCC1", "C1CCCC1", "C1CCCCC1", "c1ccncc1", "c1ccoc1")
    ends += ("c1ccsc1", "C1CCNCC1", "C1CCOCC1", "C1CO1")
    lines = ["CMPD_CHEMBLID,exp,smiles"]  # with the value and the SMILES last, as esol has them
    for k in range(molecules):
        carbons, end = divmod(k, len(ends))
        lines.append(f"{k},{0.37 * carbons - 0.41 * end:.2f},{'C' * (carbons + 1)}{ends[end]}")
    for name in ("lipo/raw/Lipophilicity.csv", "esol/raw/delaney-processed.csv"):
        path = folder / "MoleculeNet" / name
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(lines) + "\n")


def write(folder: Path) -> None:
    """MoleculeNet/lipo and ZINC below a folder, for GEQLIB_DATA."""
    lipo = folder / "MoleculeNet" / "lipo" / "raw" / "Lipophilicity.csv"
    lipo.parent.mkdir(parents=True)
    lipo.write_text(LIPO)
    zinc = folder / "ZINC" / "raw"
    zinc.mkdir(parents=True)
    for k, split in enumerate(("train", "val", "test")):
        molecules = [ring(n + k) for n in (3, 6, 4, 5, 7, 8)]
        (zinc / f"{split}.pickle").write_bytes(pickle.dumps(molecules))
        (zinc / f"{split}.index").write_text("0,2,3,5\n")


def ring(atoms: int) -> dict[str, Any]:
    """A molecule as ZINC's files hold it: single bonds in a ring, one of them doubled."""
    bonds = torch.zeros(atoms, atoms, dtype=torch.long)
    for k in range(atoms):
        bonds[k, k - 1] = bonds[k - 1, k] = 1 + (k == 0)
    return {
        "num_atom": atoms,
        "atom_type": torch.arange(atoms) % 28,
        "bond_type": bonds,
        "logP_SA_cycle_normalized": torch.tensor([0.5 * atoms]),
    }
