"""Sets of your own with the subset of each that is to be chosen: a line for each element."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import ClassVar

import numpy as np

from geqlib.data.download import find_files
from geqlib.data.packed import Arrays, PackedGraphs
from geqlib.data.partition import Partition, PartitionedLoaders, checked_batch_size
from geqlib.files.atomic import reading

DELIMITERS = (",", ";", "\t")
FIELDS = {"x": "node", "y": "node"}
YES_OR_NO = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1, "no": 0, "yes": 1}


class SubsetTableData(PartitionedLoaders):
    """Sets of a CSV file, of any sizes, of which `SubsetTask` learns to choose the right subset.

    Each line is an element: the name of its set, its features, and 1 if it belongs to the subset
    that is to be chosen, else 0. Lines of a set may stand anywhere; sets have the order in which
    they occur. Batches hold `x` [N, features], each column less its mean over the training sets and
    divided by its standard deviation there, `y` [N] 1 for the chosen and 0 for the others, `batch`
    and `ptr`.

    Args:
        file: of the elements.
        features: names of the columns of x; by default all but `set` and `chosen`.
        set: name of the column of sets.
        chosen: name of the column of 0 and 1.
        val, test: shares of the sets, or files of their own; in a test file that is to be predicted
            the column `chosen` may be missing.
        fold, num_folds: test one of several folds; `geqlib cv` runs through them.
        batch_size: sets in a batch.
        data_seed, shuffle_seed: of the splits, and of the order of the training sets.

    Raises:
        ValueError: one sentence with file and line: no such file or column, a feature that is no
            number, a label other than 0 and 1.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> lines = [f"{k // 3},{k},{int(k % 3 == 0)}" for k in range(30)]
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "sets.csv")
        ...     _ = path.write_text("set,size,chosen\\n" + "\\n".join(lines))
        ...     data = SubsetTableData(path, batch_size=4)
        ...     data.setup()
        >>> batch = next(iter(data.train_dataloader()))
        >>> batch.x.shape, int(batch.y.sum())
        (torch.Size([12, 1]), 4)
    """

    noun: ClassVar[str] = "set"
    sizes_apart: ClassVar[bool] = False  # test metrics are those of all sets

    def __init__(
        self,
        file: str | Path,
        features: list[str] | None = None,
        val: float | str | Path = 0.1,
        test: float | str | Path = 0.1,
        *,
        set: str = "set",
        chosen: str = "chosen",
        fold: int | None = None,
        num_folds: int = 10,
        batch_size: int = 32,
        data_seed: int = 0,
        shuffle_seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        named = {"val": val, "test": test}
        files = {name: str(part) for name, part in named.items() if isinstance(part, str | Path)}
        self.files = {"train": str(file)} | files
        shares = {
            name: float(part) for name, part in named.items() if not isinstance(part, str | Path)
        }
        self.partition = Partition(**shares, fold=fold, num_folds=num_folds, seed=data_seed)
        self.features, self.set, self.chosen = features, set, chosen
        self.batch_size, self.shuffle_seed = checked_batch_size(batch_size), shuffle_seed
        self.splits: dict[str, PackedGraphs] = {}

    def setup(self, stage: str | None = None) -> None:
        (path,) = find_files(self.files["train"])
        features = self.features or feature_columns(path, (self.set, self.chosen))
        tables = {}
        for name, file in self.files.items():
            (path,) = find_files(file)
            optional = name == "test" and stage == "predict"
            tables[name] = read_sets(path, features, self.set, self.chosen, optional=optional)
        origin = np.array([name for name, table in tables.items() for _ in table["nodes"]])
        parts = list(tables.values())
        fields = {name: per for name, per in FIELDS.items() if all(name in part for part in parts)}
        arrays = {
            name: np.concatenate([part[name] for part in parts]) for name in ("nodes", *fields)
        }
        listed = {name: np.flatnonzero(origin == name) for name in tables if name != "train"}
        self.divide(PackedGraphs(arrays, fields), listed=listed)
        trained = np.isin(np.arange(len(origin)), self.numbers["train"])
        x = arrays["x"][np.repeat(trained, arrays["nodes"])]
        scale = x.std(0)
        scale[scale == 0] = 1
        graphs = PackedGraphs(arrays | {"x": (arrays["x"] - x.mean(0)) / scale}, fields)
        self.splits = {name: graphs.subset(part) for name, part in self.numbers.items()}


def feature_columns(path: Path, others: Sequence[str]) -> list[str]:
    """All columns of a table but some.

    Raises:
        ValueError: if there are no more.
    """
    header = _lines(path)[0]
    features = [name for name in header if name not in others]
    if not features:
        raise ValueError(f"{path} has no columns beside {' and '.join(others)}: add features.")
    return features


def read_sets(
    path: Path, features: Sequence[str], set_: str, chosen: str, *, optional: bool = False
) -> Arrays:
    """The sets of a table as arrays for `PackedGraphs`.

    Args:
        path: of the table.
        features: columns of x.
        set_: column of sets.
        chosen: column of 0 and 1.
        optional: whether that column may be missing.

    Raises:
        ValueError: see `SubsetTableData`.
    """
    header, *rows = _lines(path)
    labelled = chosen in header or not optional
    for name in (set_, *features, *([chosen] if labelled else [])):
        if header.count(name) != 1:
            how = "no column" if name not in header else "several columns"
            raise ValueError(
                f"{path} has {how} {name!r}, only {', '.join(header)}: name the right ones in "
                "`set`, `features` and `chosen`."
            )
    column = {name: k for k, name in enumerate(header)}
    elements: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise ValueError(
                f"{path}, line {number + 2} has {len(row)} cells, but the header has "
                f"{len(header)}: correct it."
            )
        elements.setdefault(row[column[set_]].strip(), []).append(number)
    if not elements:
        raise ValueError(f"{path} has no elements: give it at least one line after the header.")
    order = [k for members in elements.values() for k in members]
    places = [(f"{path}, line {k + 2}", rows[k]) for k in order]
    x = [[_number(row[column[name]], name, place) for name in features] for place, row in places]
    arrays: Arrays = {
        "nodes": np.array([len(members) for members in elements.values()]),
        "x": np.array(x, np.float64),
    }
    if labelled:
        y = [_label(row[column[chosen]], chosen, place) for place, row in places]
        arrays["y"] = np.array(y, np.uint8)
    return arrays


def _lines(path: Path) -> list[list[str]]:
    """Header and rows of a table, without empty lines."""
    with reading(path, "is no table in UTF-8", "save it as CSV in UTF-8"):
        text = path.read_text(encoding="utf-8-sig")
    if not text.strip():
        raise ValueError(f"{path} is empty: expected a header and a line for each element.")
    delimiter = max(DELIMITERS, key=text.splitlines()[0].count)
    header, *rows = (row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if any(row))
    return [[name.strip() for name in header], *rows]


def _number(cell: str, name: str, place: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise ValueError(
            f"{place}: {name!r} is {cell.strip()[:40]!r}, which is no finite number: correct it, "
            "or name the columns of numbers in `features`."
        )
    return value


def _label(cell: str, name: str, place: str) -> int:
    label = YES_OR_NO.get(cell.strip().lower())
    if label is None:
        raise ValueError(
            f"{place}: {name!r} is {cell.strip()[:40]!r}: write 1 for elements to be chosen and 0 "
            "for the others."
        )
    return label
