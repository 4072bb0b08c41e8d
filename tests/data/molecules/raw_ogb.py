"""A miniature of ogbg-molhiv or another set of OGB, in the layout of its archive."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

ATOMS = (119, 5, 12, 12, 10, 6, 6, 2, 2)
BONDS = (5, 6, 2)
SIZES = (3, 1, 4, 5, 2, 3, 4, 6, 3, 4)


def write(folder: Path, name: str = "ogbg_molhiv", targets: int = 1) -> None:
    """Ten chains with random features; every fifth label of the first target is missing."""
    draw = np.random.default_rng(0)
    chains = [(i, i + 1) for n in SIZES for i in range(n - 1)]
    tables = {
        "raw/num-node-list": [[n] for n in SIZES],
        "raw/num-edge-list": [[n - 1] for n in SIZES],
        "raw/edge": chains,
        "raw/node-feat": draw.integers(0, ATOMS, (sum(SIZES), 9)).tolist(),
        "raw/edge-feat": draw.integers(0, BONDS, (len(chains), 3)).tolist(),
        "raw/graph-label": [
            ["" if targets > 1 and k % 5 == 4 else k % 2, *[float(k // 5)] * (targets - 1)]
            for k in range(10)
        ],
        "split/scaffold/train": [[k] for k in (7, 0, 1, 2, 3, 4)],
        "split/scaffold/valid": [[5], [8]],
        "split/scaffold/test": [[6], [9]],
    }
    for file, rows in tables.items():
        path = folder / name / f"{file}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(",".join(map(str, row)) + "\n" for row in rows)
        path.write_bytes(gzip.compress(text.encode()))
