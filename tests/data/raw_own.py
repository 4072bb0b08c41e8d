"""Miniature files of every kind of data of one's own, for the configurations that read them."""

from __future__ import annotations

from pathlib import Path


def write(folder: Path) -> None:
    """All of them, below the folder that GEQLIB_DATA names."""
    own = folder / "own"
    own.mkdir()
    write_molecules(own / "molecules.csv")


def write_molecules(path: Path) -> None:
    """Chains with two yes-or-no targets and a number; some cells are empty."""
    rows = [
        f"C{'C' * k}{'ON'[k % 2]},{k % 2},{'' if k % 3 else k // 12},{0.5 * k}" for k in range(24)
    ]
    path.write_text("smiles,toxic,soluble,logp\n" + "\n".join(rows))
