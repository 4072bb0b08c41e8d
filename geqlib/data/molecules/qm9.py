"""QM9 as a Lightning data module."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from ase import units
from ase.data import atomic_numbers
from rich.console import Console
from rich.progress import track

from geqlib.data.download import find_file
from geqlib.data.loaders import StructureLoaders
from geqlib.data.molecules.structures import molecules, with_neighbors
from geqlib.data.packed import Arrays, PackedGraphs
from geqlib.files.atomic import cached_arrays, reading

Target = Literal["mu", "alpha", "homo", "lumo", "gap", "r2", "zpve", "U0", "U", "H", "G", "Cv"]
NPZ = "qm9/qm9_130831.npz"
ARRAYS = ("index", "n_atoms", "z", "pos", "y", "y_names")
MEV = 1000 * units.Hartree
# column of the file, and what its unit is in that of the tables of the literature
COLUMNS = {
    "mu": ("mu", 1.0),
    "alpha": ("alpha", 1.0),
    "homo": ("homo", MEV),
    "lumo": ("lumo", MEV),
    "gap": ("gap", MEV),
    "r2": ("r2", 1.0),
    "zpve": ("zpve", MEV),
    "U0": ("u0", MEV),
    "U": ("u298", MEV),
    "H": ("h298", MEV),
    "G": ("g298", MEV),
    "Cv": ("cv", 1.0),
}
# of the targets, where it is not meV
UNITS = {"mu": "D", "alpha": "a0³", "r2": "a0²", "Cv": "cal/(mol K)"}
# Hartree of free atoms, from the file atomref.txt of the data set
ATOMS = {
    "U0": {1: -0.500273, 6: -37.846772, 7: -54.583861, 8: -75.064579, 9: -99.718730},
    "U": {1: -0.498857, 6: -37.845355, 7: -54.582445, 8: -75.063163, 9: -99.717314},
    "H": {1: -0.497912, 6: -37.844411, 7: -54.581501, 8: -75.062219, 9: -99.716370},
    "G": {1: -0.510927, 6: -37.861317, 7: -54.598897, 8: -75.079532, 9: -99.733544},
}
# of the package qm9pack, in the order of the names of the npz
PACKED = (
    ("A", "RotA_GHz"),
    ("B", "RotB_GHz"),
    ("C", "RotC_GHz"),
    ("mu", "Dipole_debye"),
    ("alpha", "Polarizability_bohr3"),
    ("homo", "HOMO_au"),
    ("lumo", "LUMO_au"),
    ("gap", "HOMO_LUMO_gap_au"),
    ("r2", "R2_bohr2"),
    ("zpve", "ZPVE_au"),
    ("u0", "InternalEnergy_0K_au"),
    ("u298", "InternalEnergy_298K_au"),
    ("h298", "Enthalphy_298K_au"),
    ("g298", "GibbsFreeEnergy_298K_au"),
    ("cv", "Heatcapacity_Cv_cal_mol_K"),
)


class QM9Data(StructureLoaders):
    """A property of a small organic molecule: 130 831 molecules of H, C, N, O and F.

    The data of Ramakrishnan et al. (Sci. Data 1, 140022, 2014), without the 3054 molecules that
    failed its consistency check. Split as for DimeNet and many after it: a permutation of
    numpy's RandomState(42), 110 000 for training, 10 000 for validation, the rest for testing.

    Batches hold `pos` [N, 3] in angstrom, `z` [N], `edge_index` [2, E], `reverse` [E], `y` [G] the
    target, `index` [G] the number in GDB-9, `batch`, `ptr`, and `cell`, `pbc` without a cell.

    The data is read from `qm9/qm9_130831.npz` in the folder `GEQLIB_DATA`, or else from the package
    qm9pack, if it is installed.

    Args:
        target: "mu" in D, "alpha" in a0^3, "r2" in a0^2, "Cv" in cal/(mol K), all others in meV.
            "U0", "U", "H" and "G" are those of atomisation: free atoms subtracted.
        cutoff: of the neighbours, in angstrom; None for all pairs.
        batch_size, eval_batch_size: molecules in a batch of training, and outside of it.
        train, val: molecules of these splits.
        num_train: training molecules used; a smaller number takes a part of a larger one.
        data_seed, shuffle_seed: of the split, and of the order in training.
        workers: processes that make batches.
        cache: folder for what is read from qm9pack; the user's cache folder by default.

    Example:
        >>> data = QM9Data("homo", cutoff=None, num_train=1000)  # data.setup() reads the file
    """

    def __init__(
        self,
        target: Target = "alpha",
        cutoff: float | None = 5.0,
        *,
        batch_size: int = 96,
        eval_batch_size: int = 96,
        train: int = 110_000,
        val: int = 10_000,
        num_train: int | None = None,
        data_seed: int = 42,
        shuffle_seed: int = 0,
        workers: int = 0,
        cache: str | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if target not in get_args(Target):
            raise ValueError(
                f"target must be one of {', '.join(get_args(Target))}, got {target!r}."
            )
        self.unit = UNITS.get(target, "meV")
        if cutoff is not None and not cutoff > 0:
            raise ValueError(f"cutoff must be positive, or null for all pairs, got {cutoff}.")
        if min(train, val, batch_size, eval_batch_size) < 1:
            raise ValueError("train, val, batch_size and eval_batch_size must be at least 1.")
        if num_train is not None and not 1 <= num_train <= train:
            raise ValueError(f"num_train must be from 1 to train ({train}), got {num_train}.")
        self.target, self.cutoff = target, cutoff
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.sizes = {"train": train, "val": val}
        self.num_train, self.workers = num_train, workers
        self.data_seed, self.shuffle_seed = data_seed, shuffle_seed
        self.cache = None if cache is None else Path(cache)
        self.splits: dict[str, PackedGraphs] = {}

    def prepare_data(self) -> None:
        """Download the file or read the package, which one process does for all."""
        if find_file(NPZ) is None:
            qm9_arrays(self.cache)

    def setup(self, stage: str | None = None) -> None:
        if self.splits:
            return
        whole = qm9_molecules(qm9_arrays(self.cache), self.target)
        count, train, val = len(whole), self.sizes["train"], self.sizes["val"]
        if train + val > count:
            raise ValueError(f"train + val is {train + val}, but there are {count} molecules.")
        order = torch.from_numpy(np.random.RandomState(self.data_seed).permutation(count))
        parts = {
            "train": order[: self.num_train or train],
            "val": order[train : train + val],
            "test": order[train + val :],
        }
        for split, chosen in parts.items():
            # neighbours of a batch take a few milliseconds, those of all molecules 0.4 GB
            self.splits[split] = with_neighbors(whole.subset(chosen), self.cutoff)

    def target_scale(self) -> tuple[float, float]:
        """Mean and standard deviation of the target over the training molecules."""
        y = self.splits["train"].y.double()
        return float(y.mean()), float(y.std())


def qm9_arrays(cache: Path | None = None) -> Arrays:
    """All of QM9: "index", "n_atoms", "z", "pos", "y" and "y_names", in the data set's own units.

    Raises:
        ValueError: if there is neither the npz nor the package qm9pack.
    """
    if path := find_file(NPZ):
        with (
            reading(path, "is not a file of QM9, or is damaged"),
            path.open("rb") as raw,
            np.load(raw, allow_pickle=False) as file,
        ):
            return _checked({name: file[name] for name in ARRAYS})
    package = find_spec("qm9pack")
    if package is None or not package.submodule_search_locations:
        raise ValueError(
            "QM9 is not here: install it by `pip install qm9pack` (104 MB), or set GEQLIB_DATA to "
            f"a folder that has {NPZ}."
        )
    folder = Path(package.submodule_search_locations[0]) / "data"
    paths = sorted(folder.glob("qm9_part*.csv"))
    parameters = {"files": [(path.name, path.stat().st_size) for path in paths]}
    arrays = cached_arrays("qm9", parameters, lambda: _from_package(paths), cache)
    return arrays | {"y_names": np.array([name for name, _ in PACKED])}


def _checked(arrays: Arrays) -> Arrays:
    atoms, molecules = int(arrays["n_atoms"].sum()), len(arrays["n_atoms"])
    counts = {"index": molecules, "y": molecules, "z": atoms, "pos": atoms}
    for name, count in counts.items():
        if len(arrays[name]) != count:
            raise ValueError(f"{name} has {len(arrays[name])} entries, not {count}")
    return arrays


def qm9_molecules(arrays: Arrays, target: str) -> PackedGraphs:
    y, atoms, index = _targets(arrays, target), arrays["n_atoms"], arrays["index"]
    return molecules(arrays["z"], arrays["pos"], atoms, index.astype(np.int64), {"y": y})


def _targets(arrays: Arrays, target: str) -> np.ndarray:
    column, factor = COLUMNS[target]
    y = arrays["y"][:, arrays["y_names"].tolist().index(column)]
    if target in ATOMS:
        free = np.zeros(1 + max(ATOMS[target]))
        free[list(ATOMS[target])] = list(ATOMS[target].values())
        starts = np.cumsum(arrays["n_atoms"], dtype=np.int64) - arrays["n_atoms"]
        y = y - np.add.reduceat(free[arrays["z"]], starts)
    return y * factor


def _from_package(paths: list[Path]) -> Arrays:
    index, sizes, numbers, positions, properties = [], [], [], [], []
    for row in _rows(paths):
        symbols = row["Elements"].strip("[]").replace("'", "").split(",")
        coordinates = row["XYZ_Ang"].replace("[", "").replace("]", "").split(",")
        index.append(int(row["Index"]))
        sizes.append(len(symbols))
        numbers.extend(atomic_numbers[symbol.strip()] for symbol in symbols)
        positions.append(np.array(coordinates, dtype=np.float32).reshape(-1, 3))
        properties.append([float(row[column]) for _, column in PACKED])
    return {
        "index": np.array(index, dtype=np.int32),
        "n_atoms": np.array(sizes, dtype=np.uint8),
        "z": np.array(numbers, dtype=np.uint8),
        "pos": np.concatenate(positions),
        "y": np.array(properties),
    }


def _rows(paths: list[Path]) -> Iterator[dict[str, str]]:
    console = Console(stderr=True)
    for path in track(paths, "reading qm9pack", console=console, disable=not console.is_terminal):
        with path.open(newline="", encoding="utf-8-sig") as file:
            yield from csv.DictReader(file)
