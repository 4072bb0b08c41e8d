"""Molecules of your own with any number of targets: a CSV file of SMILES, or an SDF file."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader
from torch_geometric.utils import from_rdmol

from geqlib.data.column_scale import column_scale
from geqlib.data.download import find_files
from geqlib.data.molecules.structures import far_origins
from geqlib.data.molecules.table_file import DELIMITERS, TableFile, file_content, is_sdf, table_text
from geqlib.data.near_pairs import with_near_pairs
from geqlib.data.packed import Arrays, PackedGraphs, joined
from geqlib.data.partition import Partition, checked_batch_size
from geqlib.data.targets import LARGEST, checked_units
from geqlib.data.trained import NamedLoaders
from geqlib.data.unused import warn_of_unused
from geqlib.extras import extra_module
from geqlib.files.atomic import cached_arrays, file_hash
from geqlib.files.plain import plain

FIELDS = {"x": "node", "z": "node", "edge_attr": "edge", "y": "graph", "index": "graph"}
CHARGE = "charge"
MISSING = ("", "nan", "na", "n/a", "none", "null", "-", "?")


class MoleculeTableData(NamedLoaders):
    """Molecules of a table with any number of targets, some of which may be missing.

    A `.csv` file has a header, a column of SMILES and a column for each target; an `.sdf` file has
    structures, and the targets as their properties. Both may end in .gz. Atoms and bonds have the
    integer features of torch_geometric's `from_rdmol`: `x` [N, 9] with 119, 9, 11, 12, 9, 5, 8, 2
    and 2 values, `edge_attr` [E, 3] with 22, 6 and 2. Batches hold these, `z` [N] atomic numbers,
    `edge_index` [2, E] sorted by target, `y` [molecules, targets], NaN where the file says nothing,
    `index` [molecules] the number of the row, from 0, `batch` and `ptr`. Where all structures of an
    SDF file are three-dimensional there is `pos` [N, 3] in angstrom, near the origin; with a
    `cutoff` edges are all pairs within it, in place of bonds, and there is no `edge_attr`.

    Reading molecules takes rdkit.

    Args:
        file: of the molecules.
        targets: names of columns or properties, one or several. Numbers; for classes 0 and 1.
        val, test: shares, or files of their own.
        units: of targets by name, for tables and reports; numbers stay as they are.
        smiles: name of the column of SMILES.
        cutoff: of three-dimensional neighbours, in angstrom; by default that of the network which
            is trained, if it has one, else edges are bonds.
        charges: whether batches hold `charge` [molecules], the sums of formal charges, for networks
            that know them, such as `MoleculeModel(net, charge=True)`.
        split: "random", or "scaffold", which keeps molecules of one Murcko scaffold in one part.
        fold, num_folds: test one of several folds; `geqlib cv` runs through them.
        on_bad_molecule: "skip" leaves out what rdkit cannot read, with a warning.
        batch_size: molecules in a batch.
        data_seed, shuffle_seed: of the splits, and of the order of the training molecules.
        cache: folder for the graphs; the user's cache folder by default.

    Raises:
        ValueError: one sentence with file and line: no such file or column, a target that is no
            number or that no molecule has, a molecule that cannot be read.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> table = "smiles,logp,toxic\\nCCO,-0.1,0\\nCCC,1.8,\\nCO,-0.6,1\\nCC,1.1,0\\n"
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "own.csv")
        ...     _ = path.write_text(table)
        ...     data = MoleculeTableData(path, ["logp", "toxic"], val=0.25, test=0.25, cache=folder)
        ...     data.setup()
        >>> next(iter(data.train_dataloader())).y.shape
        torch.Size([2, 2])
    """

    noun: ClassVar[str] = "molecule"

    def __init__(
        self,
        file: str | Path,
        targets: str | list[str],
        val: float | str | Path = 0.1,
        test: float | str | Path = 0.1,
        *,
        units: dict[str, str] | None = None,
        smiles: str = "smiles",
        cutoff: float | None = None,
        charges: bool = False,
        split: Literal["random", "scaffold"] = "random",
        fold: int | None = None,
        num_folds: int = 10,
        on_bad_molecule: Literal["error", "skip"] = "error",
        batch_size: int = 32,
        data_seed: int = 0,
        shuffle_seed: int = 0,
        cache: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.targets = [targets] if isinstance(targets, str) else list(targets)
        if not self.targets or len(set(self.targets)) < len(self.targets):
            raise ValueError(f"targets are {targets}: name at least one column, and none twice.")
        self.units = checked_units(units, self.targets)
        if split not in ("random", "scaffold"):
            raise ValueError(f'split must be "random" or "scaffold", got {split!r}.')
        if on_bad_molecule not in ("error", "skip"):
            raise ValueError(f'on_bad_molecule must be "error" or "skip", got {on_bad_molecule!r}.')
        if cutoff is not None and not cutoff > 0:
            raise ValueError(f"cutoff must be positive, or null for bonds, got {cutoff}.")
        self.sources = {"train": str(file)} | {
            name: str(part)
            for name, part in (("val", val), ("test", test))
            if isinstance(part, str | Path)
        }
        shares = {
            name: float(part)
            for name, part in (("val", val), ("test", test))
            if not isinstance(part, str | Path)
        }
        self.partition = Partition(**shares, fold=fold, num_folds=num_folds, seed=data_seed)
        self.smiles, self.cutoff, self.split = smiles, cutoff, split
        self.charges = charges
        self.on_bad_molecule = on_bad_molecule
        self.batch_size, self.shuffle_seed = checked_batch_size(batch_size), shuffle_seed
        self.cache = None if cache is None else Path(plain(cache))
        self.splits: dict[str, PackedGraphs] = {}

    def prepare_data(self) -> None:
        """Read the molecules, which one process does for all."""
        for file in self.sources.values():
            self._arrays(file)

    def setup(self, stage: str | None = None) -> None:
        parts = {name: self._arrays(file) for name, file in self.sources.items()}
        names = [name for name, part in parts.items() for _ in part["y"]]
        graphs = self.packed(list(parts.values()), self.cutoff, self.sources["train"])
        listed = {
            name: np.flatnonzero(np.array(names) == name) for name in parts if name != "train"
        }
        scaffolds = np.concatenate([part["scaffold"] for part in parts.values()])
        groups = scaffolds if self.split == "scaffold" else None
        self.divide(graphs, listed=listed, classes=binary_classes(graphs.y), groups=groups)

    def of_file(self, path: str | Path) -> TableFile:
        """The molecules of another file, read in the same way; its targets are optional."""
        return TableFile(Path(path), self)

    def read(self, path: Path) -> Arrays:
        """The molecules of a file, whose targets are optional."""
        skip = self.on_bad_molecule == "skip"
        return read_molecules(path, self.targets, self.smiles, skip=skip, optional=True)

    def packed(self, parts: Sequence[Arrays], cutoff: float | None, file: str) -> PackedGraphs:
        """Tables as one set of graphs, with neighbours if there is a cutoff."""
        if not self.charges:
            parts = [{k: values for k, values in part.items() if k != CHARGE} for part in parts]
        return _with_neighbors(_stacked(parts), cutoff, file)

    def train_dataloader(self) -> DataLoader:
        fields = self.splits["train"].fields if "train" in self.splits else ()
        warn_of_unused(self, [name for name in ("edge_attr", "pos") if name in fields])
        return super().train_dataloader()

    def target_scale(self) -> tuple[Any, Any]:
        """Mean and standard deviation of the training targets, numbers if there is one target."""
        return column_scale(self.splits["train"].y)

    def identifiers(self) -> list[str]:
        """SMILES of the rows of the file that test molecules come from; names in an SDF file."""
        (path,) = find_files(self.sources.get("test", self.sources["train"]))
        sdf = is_sdf(path)
        rows = _sdf_rows(path, []) if sdf else _csv_rows(path, [], self.smiles, optional=True)
        return [row.name or str(row.number) for row in rows]

    def _arrays(self, file: str) -> Arrays:
        (path,) = find_files(file)
        options = {
            "targets": self.targets,
            "smiles": self.smiles,
            "skip": self.on_bad_molecule == "skip",
        }
        parameters = {"sha256": file_hash(path), "sdf": is_sdf(path), **options, "format": 2}
        return cached_arrays(
            "table", parameters, lambda: read_molecules(path, **options), self.cache
        )


def binary_classes(y: Tensor) -> np.ndarray | None:
    """Of one target that is 0, 1 or missing, which of these; None of all others."""
    values = y.nan_to_num(2.0)
    if y.size(1) != 1 or not torch.isin(values, torch.tensor([0.0, 1.0, 2.0])).all():
        return None
    return values[:, 0].long().numpy()


@dataclass(frozen=True)
class _Row:
    """One molecule: where it stands, how to read it, its targets, and its SMILES or name."""

    place: str
    number: int
    read: Callable[[], Any]
    values: list[float]
    name: str = ""


def read_molecules(
    path: Path,
    targets: Sequence[str],
    smiles: str = "smiles",
    *,
    skip: bool = False,
    optional: bool = False,
) -> Arrays:
    """The molecules of a CSV or SDF file as arrays for `PackedGraphs`; NaN for what is unknown.

    Returns:
        "nodes", "edges", "edge_index", "x", "z", "edge_attr", "y" [G, targets], "index" [G] the
        number of the row, "scaffold" [G], "charge" [G], and "pos" [N, 3] if all are
        three-dimensional.

    Raises:
        ValueError: see `MoleculeTableData`.
    """
    extra_module("rdkit", "molecules")
    rows = list(
        _sdf_rows(path, targets) if is_sdf(path) else _csv_rows(path, targets, smiles, optional)
    )
    if not rows:
        raise ValueError(f"{path} has no molecules: give it at least one.")
    values = np.array([row.values for row in rows])
    empty = next((k for k in range(len(targets)) if np.isnan(values[:, k]).all()), None)
    if empty is not None and not optional:
        raise ValueError(f"{path}: no molecule has a value of {targets[empty]!r}: leave it out.")
    console, graphs, bad = Console(stderr=True), [], []
    for row in track(rows, path.name, console=console, disable=not console.is_terminal):
        try:
            graphs.append(_graph(row))
        except ValueError as error:
            bad.append(f"{row.place}: {error}")
            if not skip:
                raise ValueError(
                    f'{bad[0]}: correct or drop it, or set on_bad_molecule to "skip".'
                ) from error
    if bad:
        _report(bad, len(rows))
    numbers: dict[str, int] = {}
    for graph in graphs:
        graph["scaffold"] = np.array([numbers.setdefault(graph["scaffold"], len(numbers))])
    fields = FIELDS | {"scaffold": "graph", CHARGE: "graph"}
    if all("pos" in graph for graph in graphs):
        fields |= {"pos": "node"}
    return joined(graphs, fields)


def unreadable_molecules(path: Path, smiles: str = "smiles") -> list[str]:
    """Where molecules of a CSV or SDF file are that rdkit cannot read, and why.

    Args:
        path: of the file.
        smiles: name of the column of SMILES.
    """
    extra_module("rdkit", "molecules")
    bad = []
    for row in _sdf_rows(path, []) if is_sdf(path) else _csv_rows(path, [], smiles, True):
        try:
            if not row.read().GetNumAtoms():
                raise ValueError("it has no atoms")
        except ValueError as error:
            bad.append(f"{row.place}: {error}")
    return bad


def _report(bad: list[str], count: int) -> None:
    if len(bad) == count:
        raise ValueError(f"No molecule can be read. The first was {bad[0]}.")
    warnings.warn(
        f"{len(bad)} of {count} molecules are left out. The first was {bad[0]}.", stacklevel=4
    )


def _csv_rows(path: Path, targets: Sequence[str], smiles: str, optional: bool) -> Iterator[_Row]:
    text = table_text(path)
    delimiter = max(DELIMITERS, key=text.splitlines()[0].count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    header = [name.strip() for name in next(reader)]
    present = [name for name in targets if name in header or not optional]
    for name in (smiles, *present):
        if header.count(name) != 1:
            how = "no column" if name not in header else "several columns"
            option = "smiles" if name == smiles else "targets"
            raise ValueError(
                f"{path} has {how} {name!r}, only {', '.join(header)}: name the right one in "
                f"`{option}`."
            )
    for number, cells in enumerate(row for row in reader if any(cell.strip() for cell in row)):
        place = f"{path}, row {number + 1} after the header"
        if len(cells) != len(header):
            raise ValueError(
                f"{place} has {len(cells)} cells, but the header has {len(header)}: correct it."
            )
        named = dict(zip(header, cells, strict=True))
        values = [_number(named.get(name, ""), name, place) for name in targets]
        text = named[smiles].strip()
        yield _Row(place, number, _smiles_reader(text), values, text)


def _smiles_reader(smiles: str) -> Callable[[], Any]:
    def read() -> Any:
        from rdkit import Chem, RDLogger  # pyright: ignore[reportMissingImports]

        RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
        molecule = Chem.MolFromSmiles(smiles)
        if molecule is None or not molecule.GetNumAtoms():
            raise ValueError(f"rdkit cannot read the SMILES {smiles!r}")
        return molecule

    return read


def _sdf_rows(path: Path, targets: Sequence[str]) -> Iterator[_Row]:
    from rdkit import Chem, RDLogger  # pyright: ignore[reportMissingImports]

    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
    supplier = Chem.ForwardSDMolSupplier(io.BytesIO(file_content(path)), removeHs=False)
    for number, molecule in enumerate(supplier):
        place = f"{path}, molecule {number + 1}"
        if molecule is None:
            yield _Row(place, number, _unreadable, [nan] * len(targets))
            continue
        own = {name.strip(): molecule.GetProp(name) for name in molecule.GetPropNames()}
        values = [_number(own.get(name, ""), name, place) for name in targets]
        name = molecule.GetProp("_Name") if molecule.HasProp("_Name") else ""
        yield _Row(place, number, lambda molecule=molecule: molecule, values, name)


def _unreadable() -> Any:
    raise ValueError("rdkit cannot read it")


def _number(cell: str, name: str, place: str) -> float:
    text = cell.strip()
    if text.lower() in MISSING:
        return nan
    try:
        value = float(text)
    except ValueError as error:
        raise ValueError(
            f"{place}: {name!r} is {text[:40]!r}, which is no number: write numbers, classes as 0 "
            "and 1, and nothing where it is unknown."
        ) from error
    if abs(value) > LARGEST:
        raise ValueError(
            f"{place}: {name!r} is infinite, or as good as that: correct it, or leave the cell "
            "empty."
        )
    return value


def _graph(row: _Row) -> dict[str, Any]:
    from rdkit import Chem  # pyright: ignore[reportMissingImports]
    from rdkit.Chem.Scaffolds.MurckoScaffold import (  # pyright: ignore[reportMissingImports]
        MurckoScaffoldSmiles,
    )

    molecule = row.read()
    if not molecule.GetNumAtoms():
        raise ValueError("it has no atoms")
    data: Any = from_rdmol(molecule)
    order = torch.argsort(data.edge_index[1], stable=True)
    graph = {
        "x": data.x.numpy(),
        "z": data.x[:, 0].numpy(),
        "edge_index": data.edge_index[:, order].numpy(),
        "edge_attr": data.edge_attr[order].numpy(),
        "y": np.array([row.values], dtype=np.float32),
        "index": np.array([row.number]),
        CHARGE: np.array([Chem.GetFormalCharge(molecule)]),
        "scaffold": MurckoScaffoldSmiles(mol=molecule),
    }
    if molecule.GetNumConformers() and molecule.GetConformer().Is3D():
        pos = np.asarray(molecule.GetConformer().GetPositions(), dtype=np.float64)
        # molecules cut out of a large file, whose positions would lose digits in float32
        graph["pos"] = pos - far_origins(pos, np.zeros((3, 3)), np.zeros(3, dtype=bool))
    return graph


def _stacked(parts: Sequence[Arrays]) -> PackedGraphs:
    """Several tables, one after the other."""
    names = set.intersection(*(set(part) for part in parts))
    arrays = {
        name: np.concatenate([part[name] for part in parts], axis=1 if name == "edge_index" else 0)
        for name in names
    }
    fields = FIELDS | {"pos": "node", CHARGE: "graph"}
    return PackedGraphs(arrays, {name: per for name, per in fields.items() if name in names})


def _with_neighbors(graphs: PackedGraphs, cutoff: float | None, file: str) -> PackedGraphs:
    """The molecules with all pairs within a distance in place of bonds."""
    if cutoff is None:
        return graphs
    if "pos" not in graphs.arrays:
        raise ValueError(
            f"The cutoff is {cutoff}, but not all molecules of {file} are three-dimensional: give "
            "structures in an SDF file, or a network without a cutoff, which goes along bonds."
        )
    return with_near_pairs(graphs, cutoff)
