"""Molecules of the Open Graph Benchmark, from its published files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from geqlib.data.column_scale import column_scale
from geqlib.data.download import needed_file
from geqlib.data.loaders import SplitLoaders
from geqlib.data.packed import Arrays, PackedGraphs
from geqlib.data.partition import checked_batch_size
from geqlib.files.atomic import cached_arrays, file_hash, reading

FIELDS = {"x": "node", "edge_attr": "edge", "y": "graph", "index": "graph"}
FILES = ("num-node-list", "num-edge-list", "edge", "node-feat", "edge-feat", "graph-label")
SPLITS = {"train": "train", "val": "valid", "test": "test"}
# name -> of its archive, number of targets
NAMES = {
    "ogbg-molbace": ("bace", 1),
    "ogbg-molbbbp": ("bbbp", 1),
    "ogbg-molclintox": ("clintox", 2),
    "ogbg-molesol": ("esol", 1),
    "ogbg-molfreesolv": ("freesolv", 1),
    "ogbg-molhiv": ("hiv", 1),
    "ogbg-mollipo": ("lipophilicity", 1),
    "ogbg-molmuv": ("muv", 17),
    "ogbg-molpcba": ("pcba", 128),
    "ogbg-molsider": ("sider", 27),
    "ogbg-moltox21": ("tox21", 12),
    "ogbg-moltoxcast": ("toxcast", 617),
}
URL = "http://snap.stanford.edu/ogb/data/graphproppred/csv_mol_download"


class OgbMoleculeData(SplitLoaders):
    """Properties of molecules of OGB, with its scaffold split.

    Source: Hu et al., "Open Graph Benchmark" (NeurIPS 2020, arXiv 2005.00687). Batches hold `x`
    [N, 9] integers with 119, 5, 12, 12, 10, 6, 6, 2 and 2 values, `edge_index` [2, E], `edge_attr`
    [E, 3] with 5, 6 and 2, `y` [molecules, targets], NaN where nothing was measured, `index`
    [molecules] as OGB numbers them, `batch` and `ptr`. Classes are 0 and 1, for
    `MaskedClassificationTask`; esol, freesolv and lipo are numbers, for `MaskedRegressionTask`.

    The published archive is unpacked by hand, and its folder renamed as the package ogb does: of
    ogbg-molhiv there are ogbg_molhiv/raw/edge.csv.gz, ogbg_molhiv/split/scaffold/train.csv.gz and
    so on, below the folder that the environment variable GEQLIB_DATA names. The archives have no
    published hashes.

    Args:
        name: such as "ogbg-molhiv".
        batch_size: molecules in a batch.
        shuffle_seed: of the order of the training molecules.
        cache: folder for the graphs; the user's cache folder by default.

    Raises:
        ValueError: an unknown name, files that are missing or do not belong together.

    Example:
        >>> data = OgbMoleculeData("ogbg-molhiv")  # data.setup() reads the files
    """

    noun: ClassVar[str] = "molecule"

    def __init__(
        self,
        name: str,
        batch_size: int = 128,
        *,
        shuffle_seed: int = 0,
        cache: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if name not in NAMES:
            raise ValueError(f"name {name!r} is unknown: choose {', '.join(NAMES)}.")
        self.set, self.num_targets = name, NAMES[name][1]
        self.batch_size, self.shuffle_seed = checked_batch_size(batch_size), shuffle_seed
        self.cache = None if cache is None else Path(cache)
        self.splits: dict[str, PackedGraphs] = {}

    def prepare_data(self) -> None:
        self._arrays()

    def setup(self, stage: str | None = None) -> None:
        arrays = self._arrays()
        graphs = PackedGraphs(arrays, FIELDS)
        for split in SPLITS:
            self.splits[split] = graphs.subset(arrays[split])

    def target_scale(self) -> tuple[Any, Any]:
        """Mean and standard deviation of the training targets, numbers if there is one target."""
        return column_scale(self.splits["train"].y)

    def degrees(self) -> list[int]:
        """How many training atoms have 0, 1, 2, ... neighbours, for PNA's scalers."""
        return self.splits["train"].degrees()

    def _arrays(self) -> Arrays:
        folder = self.set.replace("-", "_")
        what = f"{URL}/{NAMES[self.set][0]}.zip, unpacked, with its folder renamed to {folder},"
        raw = {name: needed_file(f"{folder}/raw/{name}.csv.gz", what) for name in FILES}
        splits = {
            split: needed_file(f"{folder}/split/scaffold/{name}.csv.gz", what)
            for split, name in SPLITS.items()
        }
        hashes = {name: file_hash(path) for name, path in (raw | splits).items()}
        parameters = {"sha256": hashes, "targets": self.num_targets, "format": 1}
        return cached_arrays(
            "ogb", parameters, lambda: _read(raw, splits, self.num_targets), self.cache
        )


def _read(raw: dict[str, Path], splits: dict[str, Path], targets: int) -> Arrays:
    with reading(raw["graph-label"].parent, "does not hold molecules of OGB"):
        tables = {name: _integers(path) for name, path in raw.items() if name != "graph-label"}
        nodes, bonds = (tables[f"num-{kind}-list"][:, 0] for kind in ("node", "edge"))
        y = np.genfromtxt(raw["graph-label"], delimiter=",", dtype=np.float32)
        y = y.reshape(-1, targets)
        counts = {"node-feat": nodes.sum(), "edge": bonds.sum(), "edge-feat": bonds.sum()}
        lengths = {name: len(tables[name]) for name in counts}
        if lengths != counts or not len(nodes) == len(bonds) == len(y):
            raise ValueError(
                f"there are {len(nodes)}, {len(bonds)} and {len(y)} molecules, and {lengths} lines "
                f"for {nodes.sum()} atoms and {bonds.sum()} bonds"
            )
        pairs = np.repeat(tables["edge"], 2, axis=0)
        pairs[1::2] = pairs[1::2, ::-1]  # each bond in both directions
        arrays = {
            "nodes": nodes,
            "edges": 2 * bonds,
            "edge_index": pairs.T,
            "x": tables["node-feat"],
            "edge_attr": np.repeat(tables["edge-feat"], 2, axis=0),
            "y": y,
            "index": np.arange(len(y)),
        }
        for split, path in splits.items():
            arrays[split] = _integers(path)[:, 0]
            if not ((arrays[split] >= 0) & (arrays[split] < len(y))).all():
                raise ValueError(f"{path.name} names molecules beyond {len(y) - 1}")
        return arrays


def _integers(path: Path) -> np.ndarray:
    return np.loadtxt(path, dtype=np.int64, delimiter=",", ndmin=2)
