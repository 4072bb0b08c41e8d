"""Regression data sets of MoleculeNet as graphs of atoms and bonds."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch_geometric.utils import from_smiles

from geqlib.data.download import needed_file
from geqlib.data.loaders import SplitLoaders
from geqlib.data.packed import Arrays, PackedGraphs, joined
from geqlib.files.atomic import cached_arrays, file_hash, reading

FIELDS = {"x": "node", "edge_attr": "edge", "y": "graph", "scaffold": "graph"}
# name -> file, column of the SMILES, column of the target
FILES = {
    "esol": ("delaney-processed.csv", -1, -2),
    "freesolv": ("SAMPL.csv", 1, 2),
    "lipo": ("Lipophilicity.csv", 2, 1),
}


class MoleculeNetData(SplitLoaders):
    """A property of each molecule: solubility (ESOL), hydration energy (FreeSolv), log D (lipo).

    Source: Wu et al., "MoleculeNet" (Chemical Science 9, 513, 2018). Atoms and bonds have the
    integer features of torch_geometric's `from_smiles`: `x` [N, 9] with 119, 9, 11, 12, 9, 5, 8, 2
    and 2 values, `edge_attr` [E, 3] with 22, 6 and 2. Batches hold these, `edge_index` [2, E]
    sorted by target, `y` [molecules, 1] in the file's unit, `batch` and `ptr`.

    The file is looked for below the folder that the environment variable GEQLIB_DATA names, in
    torch_geometric's layout: MoleculeNet/lipo/raw/Lipophilicity.csv; those of lipo and esol are
    downloaded where they are not there. Reading them takes rdkit.

    Args:
        name: "esol", "freesolv" or "lipo".
        batch_size: molecules in a batch.
        split: "scaffold" gives molecules that share a Murcko scaffold to one part, the largest
            groups to training (always the same split); "random" follows `data_seed`. Both 80, 10
            and 10 %.
        data_seed: of the random split.
        shuffle_seed: of the order of the training molecules.
        cache: folder for the graphs; the user's cache folder by default.

    Raises:
        ValueError: a missing file, rdkit not installed, or a molecule that cannot be read.

    Example:
        >>> data = MoleculeNetData("lipo", split="scaffold")  # data.setup() reads the file
    """

    noun: ClassVar[str] = "molecule"

    def __init__(
        self,
        name: Literal["esol", "freesolv", "lipo"],
        batch_size: int = 128,
        *,
        split: Literal["scaffold", "random"] = "scaffold",
        data_seed: int = 0,
        shuffle_seed: int = 0,
        cache: str | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if name not in FILES:
            raise ValueError(f"name '{name}' is unknown: choose {', '.join(FILES)}.")
        if split not in ("scaffold", "random"):
            raise ValueError(f'split must be "scaffold" or "random", got {split!r}.')
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {batch_size}.")
        self.molecules, self.batch_size, self.split = name, batch_size, split
        self.data_seed, self.shuffle_seed = data_seed, shuffle_seed
        self.cache = None if cache is None else Path(cache)
        self.splits: dict[str, PackedGraphs] = {}

    def prepare_data(self) -> None:
        self._arrays()

    def setup(self, stage: str | None = None) -> None:
        arrays = self._arrays()
        graphs = PackedGraphs(arrays, {k: v for k, v in FIELDS.items() if k != "scaffold"})
        if self.split == "scaffold":
            parts = scaffold_split(arrays["scaffold"])
        else:
            parts = np.random.default_rng(self.data_seed).permutation(len(graphs))
            parts = np.split(parts, _cuts(len(graphs)))
        for name, part in zip(("train", "val", "test"), parts, strict=True):
            self.splits[name] = graphs.subset(part)

    def degrees(self) -> list[int]:
        """How many training atoms have 0, 1, 2, ... neighbours, for PNA's scalers."""
        return self.splits["train"].degrees()

    def target_scale(self) -> tuple[float, float]:
        """Mean and standard deviation of the training targets."""
        y = self.splits["train"].y
        return float(y.mean()), float(y.std())

    def _arrays(self) -> Arrays:
        file, smiles, target = FILES[self.molecules]
        path = needed_file(f"MoleculeNet/{self.molecules}/raw/{file}", "the file")
        parameters = {"name": self.molecules, "sha256": file_hash(path), "format": 1}
        return cached_arrays(
            "moleculenet", parameters, lambda: read_molecules(path, smiles, target), self.cache
        )


def read_molecules(path: Path, smiles: int, target: int) -> Arrays:
    """Graphs of a CSV file with a header; `smiles` and `target` are the numbers of its columns."""
    molecules = read_values(path, smiles, target)
    console = Console(stderr=True)
    steps = track(molecules, path.name, console=console, disable=not console.is_terminal)
    graphs = [_molecule(path, *row) for row in steps]
    # scaffolds by number, in the order of their first molecules
    numbers: dict[str, int] = {}
    for graph in graphs:
        graph["scaffold"] = np.array([numbers.setdefault(graph["scaffold"], len(numbers))])
    return joined(graphs, FIELDS)


def read_values(path: Path, smiles: int, target: int) -> list[tuple[str, float]]:
    """SMILES and value of each molecule of a CSV file with a header.

    Args:
        path: of the file.
        smiles, target: numbers of the columns.

    Raises:
        ValueError: a file that is no such table, has no molecules, or a value that is not finite.
    """
    with reading(path, "is not a table of molecules", "correct or drop that line"):
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row][1:]
        molecules = [(row[smiles].strip(), float(row[target])) for row in rows]
        infinite = [name for name, value in molecules if not isfinite(value)]
        if infinite or not molecules:
            raise ValueError(f"{infinite[0]} has no finite value" if infinite else "it has no rows")
    return molecules


def scaffold_split(scaffold: np.ndarray) -> list[np.ndarray]:
    """80, 10 and 10 % without a scaffold in two parts: large groups first, later ones first.

    Args:
        scaffold: [G] the number of each molecule's scaffold.

    Example:
        >>> [part.tolist() for part in scaffold_split(np.array([0, 0, 1, 0, 0, 2, 0, 0, 0, 0]))]
        [[0, 1, 3, 4, 6, 7, 8, 9], [5], [2]]
    """
    groups = [np.flatnonzero(scaffold == k) for k in range(scaffold.max(initial=-1) + 1)]
    groups.sort(key=lambda group: (len(group), group[0]), reverse=True)
    first, second = _cuts(len(scaffold))
    limits, parts = (first, second - first, len(scaffold)), ([], [], [])
    for group in groups:
        free = (k for k in range(3) if sum(map(len, parts[k])) + len(group) <= limits[k])
        parts[next(free)].append(group)
    return [np.concatenate([np.empty(0, dtype=np.int64), *part]) for part in parts]


def _cuts(count: int) -> Sequence[int]:
    return round(0.8 * count), round(0.9 * count)


def _molecule(path: Path, smiles: str, target: float) -> dict[str, Any]:
    try:
        from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError(
            'Reading molecules needs rdkit: install it with pip install "geqlib[molecules]".'
        ) from error
    data: Any = from_smiles(smiles)
    if not data.num_nodes:
        raise ValueError(
            f"In {path}, the molecule {smiles!r} cannot be read: correct or drop that line."
        )
    order = torch.argsort(data.edge_index[1], stable=True)
    return {
        "x": data.x.numpy(),
        "edge_index": data.edge_index[:, order].numpy(),
        "edge_attr": data.edge_attr[order].numpy(),
        "y": np.array([[target]], dtype=np.float32),
        "scaffold": MurckoScaffoldSmiles(smiles=smiles),
    }
