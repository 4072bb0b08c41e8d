"""Scores of QM9's own molecules, by the rules that score generated ones.

Protocol: all 130 831 molecules, bonds by the distances of their atoms and the rules of EDM
(Hoogeboom et al. 2022): geqlib.generation. No network and no randomness. Published rows are as
reported: scores of 10 000 samples, and of the data by the authors of EDM. RDKit decides what is
valid, so that this score can change with its version.

    GEQLIB_DATA=FOLDER python benchmarks/accuracy/generation_metrics.py [--molecules 1000]
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Row, Table, measured
from benchmarks.tables import drawn, markdown, publish
from geqlib.data.molecules.qm9 import qm9_arrays
from geqlib.generation import MoleculeScores, molecule_scores
from geqlib.graph.segments import segment_index

COLUMNS = (
    Column("atom", "atom stability", "%", ".2f"),
    Column("molecule", "molecule stability", "%", ".2f"),
    Column("valid", "valid", "%", ".2f"),
    Column("valid and unique", "valid and unique", "%", ".2f"),
    Column("rules", "rules of bonds"),
)
# atom and molecule stability, valid, valid and unique, in %
EDM, GEOLDM = "Hoogeboom et al. 2022", "Xu et al. 2023"
PUBLISHED = {
    "QM9": ((99.0, 95.2, 97.7, 97.7), EDM),
    "EDM": ((98.7, 82.0, 91.9, 90.7), EDM),
    "GeoLDM": ((98.9, 89.4, 93.8, 92.7), GEOLDM),
}


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--molecules", type=int, help="the first of the data alone")
    options = parser.parse_args()
    scores = qm9_scores(options.molecules)
    sys.stdout.write(f"{scores}\n")
    table = compared(scores)
    if options.molecules is None:
        publish(measured("accuracy/generation_metrics", __doc__, [table]))
    else:
        sys.stdout.write(markdown(*drawn(table)))


def qm9_scores(molecules: int | None = None) -> MoleculeScores:
    """Of all molecules, or of the first ones."""
    arrays = qm9_arrays()
    lengths = torch.from_numpy(arrays["n_atoms"].astype(np.int64))[:molecules]
    atoms = int(lengths.sum())
    numbers = torch.from_numpy(arrays["z"][:atoms].astype(np.int64))
    pos = torch.from_numpy(arrays["pos"][:atoms])
    return molecule_scores(
        numbers,
        pos,
        segment_index(lengths),
        len(lengths),
        progress=lambda chunks: track(chunks, "thousands of molecules"),
    )


def compared(scores: MoleculeScores) -> Table:
    rows = [Row(("QM9, by geqlib",), cells(scores), setup=f"{scores.molecules} molecules")]
    for name, (values, source) in PUBLISHED.items():
        numbers = zip((column.key for column in COLUMNS), values, strict=False)
        row: dict[str, Cell] = {**dict(numbers), "rules": "EDM, as reported"}
        rows.append(Row((name,), row, "published", source=source))
    return Table(("molecules",), COLUMNS, tuple(rows), "molecule")


def cells(scores: MoleculeScores) -> dict[str, Cell]:
    """In %; counts of molecules with defects beside them."""
    return {
        "atom": 100 * scores.atom_stability,
        "molecule": 100 * scores.molecule_stability,
        "valid": 100 * (scores.validity or 0.0),
        "valid and unique": 100 * (scores.unique or 0) / scores.molecules,
        "rules": scores.rules,
        "empty": scores.empty,
        "not finite": scores.not_finite,
        "unknown element": scores.unknown_element,
    }


if __name__ == "__main__":
    start(main)
