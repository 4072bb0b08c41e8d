"""ZINC: the constrained solubility of drug-like molecules."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch._utils import _rebuild_tensor_v2

from geqlib.data.download import needed_file
from geqlib.data.loaders import SplitLoaders
from geqlib.data.packed import Arrays, PackedGraphs, joined
from geqlib.files.atomic import cached_arrays, file_hash, reading

FIELDS = {"x": "node", "edge_attr": "edge", "y": "graph"}
SPLITS = ("train", "val", "test")


class ZincData(SplitLoaders):
    """The 12 000 molecules of "Benchmarking graph neural networks", or all 250 000.

    Source: Dwivedi et al. (JMLR 2023, arXiv 2003.00982); the target is log P, less synthetic
    accessibility, less long cycles. Batches hold `x` [N] one of 28 kinds of atoms, `edge_index`
    [2, E] sorted by target, `edge_attr` [E] one of 4 kinds of bonds, `y` [molecules, 1], `batch`
    and `ptr`.

    The published files are looked for below the folder that the environment variable GEQLIB_DATA
    names: ZINC/raw/train.pickle, train.index and so on, as torch_geometric keeps them. They are
    pickles: nothing but tensors and plain values is read from them, and no code is run.

    Args:
        batch_size: molecules in a batch.
        subset: the 12 000 that the index files list, or all.
        shuffle_seed: of the order of the training molecules.
        cache: folder for the graphs; the user's cache folder by default.

    Raises:
        ValueError: files that are missing, damaged or would run code.

    Example:
        >>> data = ZincData(batch_size=64)  # data.setup() reads the files
    """

    noun: ClassVar[str] = "molecule"

    def __init__(
        self,
        batch_size: int = 128,
        *,
        subset: bool = True,
        shuffle_seed: int = 0,
        cache: str | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {batch_size}.")
        self.batch_size, self.subset, self.shuffle_seed = batch_size, subset, shuffle_seed
        self.cache = None if cache is None else Path(cache)
        self.splits: dict[str, PackedGraphs] = {}

    def prepare_data(self) -> None:
        for split in SPLITS:
            self._arrays(split)

    def setup(self, stage: str | None = None) -> None:
        self.splits = {split: PackedGraphs(self._arrays(split), FIELDS) for split in SPLITS}

    def degrees(self) -> list[int]:
        """How many training atoms have 0, 1, 2, ... neighbours, for PNA's scalers."""
        return self.splits["train"].degrees()

    def target_scale(self) -> tuple[float, float]:
        """Mean and standard deviation of the training targets."""
        y = self.splits["train"].y
        return float(y.mean()), float(y.std())

    def _arrays(self, split: str) -> Arrays:
        names = [f"ZINC/raw/{split}.pickle"] + [f"ZINC/raw/{split}.index"] * self.subset
        paths = [needed_file(name, "the published files") for name in names]
        parameters = {"split": split, "sha256": [file_hash(path) for path in paths], "format": 1}
        return cached_arrays("zinc", parameters, lambda: _read(*paths), self.cache)


def _read(path: Path, index: Path | None = None) -> Arrays:
    molecules = read_tensors(path)
    if index is not None:
        with reading(index, "does not hold numbers of molecules"):
            numbers = [int(k) for k in index.read_text().strip().split(",")]
            if min(numbers) < 0:
                raise ValueError(f"{min(numbers)} is negative")
    with reading(path, "does not hold ZINC's molecules"):
        chosen = molecules if index is None else [molecules[k] for k in numbers]
        return joined([_graph(molecule) for molecule in chosen], FIELDS)


def _graph(molecule: dict[str, Any]) -> Arrays:
    bonds, atoms, y = (molecule[k] for k in ("bond_type", "atom_type", "logP_SA_cycle_normalized"))
    if bonds.shape != (len(atoms), len(atoms)) or not y.isfinite().all():
        raise ValueError(f"{len(atoms)} atoms, bonds {tuple(bonds.shape)}, target {y}")
    # bonds are symmetric: rows of the matrix are targets, so that edges are sorted by target
    target, source = bonds.nonzero(as_tuple=True)
    return {
        "x": atoms.long().numpy(),
        "edge_index": torch.stack([source, target]).numpy(),
        "edge_attr": bonds[source, target].long().numpy(),
        "y": y.float().reshape(1, 1).numpy(),
    }


def read_tensors(path: Path) -> Any:
    """The content of a pickle of tensors, lists, dictionaries and plain values.

    Raises:
        ValueError: if it holds, or would run, anything else.
    """
    with (
        reading(path, "is damaged, or would run code when loaded, and nothing was run"),
        path.open("rb") as file,
    ):
        return _TensorUnpickler(file).load()


class _TensorUnpickler(pickle.Unpickler):
    """Resolves the functions that rebuild tensors, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        rebuild = {
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
            ("torch.storage", "_load_from_bytes"): _storage,
            ("collections", "OrderedDict"): OrderedDict,
        }.get((module, name))
        if rebuild is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return rebuild


def _storage(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
