"""A few made-up molecules in the layout of QM9's npz."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from geqlib.data.molecules.qm9 import NPZ, PACKED

NAMES = [name for name, _ in PACKED]


def arrays(count: int = 20, seed: int = 0) -> dict[str, np.ndarray]:
    """Chains of random atoms with random properties, in the layout of the npz."""
    rng = np.random.default_rng(seed)
    n_atoms = rng.integers(1, 6, count).astype(np.uint8)
    place = np.concatenate([np.arange(n) for n in n_atoms])
    pos = np.stack([place, *(0.1 * rng.normal(size=(2, len(place))))], -1)
    return {
        "index": np.arange(1, 2 * count, 2, dtype=np.int32),
        "n_atoms": n_atoms,
        "z": rng.choice([1, 6, 7, 8, 9], len(place)).astype(np.uint8),
        "pos": pos.astype(np.float32),
        "y": rng.normal(size=(count, len(NAMES))),
        "y_names": np.array(NAMES),
    }


def write_npz(folder: Path) -> None:
    """The file where a mirror in `folder` has it."""
    path = folder / NPZ
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays())  # type: ignore[arg-type]
