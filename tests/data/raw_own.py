"""Miniature files of every kind of data of one's own, for the configurations that read them."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import numpy as np
from ase.build import molecule
from ase.io import write as write_structures


def write(folder: Path) -> None:
    """All of them, below the folder that GEQLIB_DATA names."""
    own = folder / "own"
    own.mkdir()
    write_molecules(own / "molecules.csv")
    write_graphs(own / "graphs")
    nx.write_graphml(nx.karate_club_graph(), own / "club.graphml")
    write_clouds(own / "clouds")
    write_dipoles(own / "dipoles.xyz")


def write_molecules(path: Path) -> None:
    """Chains with two yes-or-no targets and a number; some cells are empty."""
    rows = [
        f"C{'C' * k}{'ON'[k % 2]},{k % 2},{'' if k % 3 else k // 12},{0.5 * k}" for k in range(24)
    ]
    path.write_text("smiles,toxic,soluble,logp\n" + "\n".join(rows))


def write_graphs(folder: Path) -> None:
    """Twelve rings and twelve trees, a folder for each."""
    for name, shape in (("rings", nx.cycle_graph), ("trees", nx.path_graph)):
        (folder / name).mkdir(parents=True)
        lines = [nx.to_graph6_bytes(shape(n), header=False) for n in range(4, 16)]
        (folder / name / "all.g6").write_bytes(b"".join(lines))


def write_clouds(folder: Path) -> None:
    """Twelve balls and twelve rods of forty points."""
    draw = np.random.default_rng(0)
    for name, length in (("balls", 1.0), ("rods", 8.0)):
        (folder / name).mkdir(parents=True)
        for k in range(12):
            np.save(folder / name / f"{k}.npy", draw.normal(size=(40, 3)) * [1, 1, length])


def write_dipoles(path: Path) -> None:
    """Waters with random charges, and the dipole of these."""
    draw, structures = np.random.default_rng(1), []
    for k in range(24):
        atoms = molecule("H2O")
        atoms.rattle(0.1, seed=k)
        charges = draw.normal(size=3)
        atoms.set_array("charges", charges)
        atoms.info["dipole"] = charges @ atoms.positions
        structures.append(atoms)
    write_structures(path, structures, format="extxyz")
