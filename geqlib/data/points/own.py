"""Clouds of points of your own: a folder of folders, one for each class, or a table of files."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch.utils.data import DataLoader

from geqlib.data.column_scale import column_scale
from geqlib.data.download import find_file, find_folder
from geqlib.data.packed import PackedGraphs
from geqlib.data.partition import Partition, checked_batch_size
from geqlib.data.points.cloud_files import READERS, Cloud, read_cloud
from geqlib.data.points.cloud_folder import CloudFolder, packed_clouds, with_edges
from geqlib.data.rounding import check_digits
from geqlib.data.targets import Kind, checked_units, encoded
from geqlib.data.trained import NamedLoaders
from geqlib.data.unused import warn_of_unused
from geqlib.files.atomic import file_hash, reading

Listed = tuple[Path, Any]  # a file and its target


class CloudData(NamedLoaders):
    """Clouds of points of your own, in shares or folds, with a class or numbers for each.

    Files are `.npy`, `.npz`, `.ply`, `.xyz`, `.off` or `.stl` (see
    `geqlib.data.points.cloud_files.read_cloud`); reading PLY takes plyfile. Batches hold `pos`
    [N, 3], `normal` [N, 3] and `x` [N, features] where all files have them, with a `cutoff`
    `edge_index` [2, E] of all pairs within it, `y` [clouds] the class or, with kind="numbers",
    [clouds, targets], `batch` and `ptr`.

    Args:
        source: a folder with a folder of files for each class; or a CSV file with a column `file`,
            of paths relative to it, and a column for each target.
        val, test: shares, or sources of their own.
        target: the column of the CSV file; several, if they are numbers, as a list.
        kind: "classes" or "numbers".
        units: of targets by name, for tables and reports; numbers stay as they are.
        points: how many of each cloud, drawn once, by the content of the file and `data_seed`; null
            for all. Surfaces are sampled by area.
        normalize: whether each cloud is moved to its centroid and divided by the root mean square
            distance from it.
        cutoff: of the edges, in the unit of the positions; by default that of the network which is
            trained, if it has one.
        fold, num_folds: test one of several folds; `geqlib cv` runs through them.
        batch_size: clouds in a batch.
        data_seed, shuffle_seed: of points and splits, and of the order of the training clouds.

    Attributes:
        classes: their names in alphabetical order, after `setup`.

    Raises:
        ValueError: one sentence with the file: it is missing or cannot be read, or has other
            columns than the others.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> draw = np.random.default_rng(0)
        >>> with TemporaryDirectory() as folder:
        ...     for name, stretch in (("balls", 1.0), ("rods", 9.0)):
        ...         Path(folder, name).mkdir()
        ...         for k in range(10):
        ...             cloud = draw.normal(size=(50, 3)) * [1, 1, stretch]
        ...             np.save(f"{folder}/{name}/{k}.npy", cloud)
        ...     data = CloudData(folder, points=20, batch_size=4)
        ...     data.setup()
        >>> data.classes, next(iter(data.train_dataloader())).pos.shape
        (['balls', 'rods'], torch.Size([80, 3]))
    """

    noun: ClassVar[str] = "cloud"

    def __init__(
        self,
        source: str | Path,
        val: float | str | Path = 0.1,
        test: float | str | Path = 0.1,
        *,
        target: str | list[str] = "label",
        kind: Kind = "classes",
        units: dict[str, str] | None = None,
        points: int | None = 256,
        normalize: bool = True,
        cutoff: float | None = None,
        fold: int | None = None,
        num_folds: int = 10,
        batch_size: int = 32,
        data_seed: int = 0,
        shuffle_seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if kind not in ("classes", "numbers"):
            raise ValueError(f'kind must be "classes" or "numbers", got {kind!r}.')
        if isinstance(target, list) and (kind == "classes" or not target):
            raise ValueError(
                f'target is {target}: several targets are numbers (kind="numbers"), of classes '
                "there is one."
            )
        if points is not None and points < 2:
            raise ValueError(f"points must be at least 2, or null for all, got {points}.")
        if cutoff is not None and not cutoff > 0:
            raise ValueError(f"cutoff must be positive, or null for no edges, got {cutoff}.")
        self.targets = [target] if isinstance(target, str) else list(target)
        self.units = checked_units(units, self.targets)
        named = {"val": val, "test": test}
        files = {name: str(part) for name, part in named.items() if isinstance(part, str | Path)}
        self.sources = {"train": str(source)} | files
        shares = {
            name: float(part) for name, part in named.items() if not isinstance(part, str | Path)
        }
        self.partition = Partition(**shares, fold=fold, num_folds=num_folds, seed=data_seed)
        self.kind: Kind = kind
        self.points, self.normalize, self.cutoff = points, normalize, cutoff
        self.batch_size, self.shuffle_seed = checked_batch_size(batch_size), shuffle_seed
        self.classes: list[Any] | None = None
        self.splits: dict[str, PackedGraphs] = {}

    def setup(self, stage: str | None = None) -> None:
        if self.splits:
            return
        parts = {name: listed_files(part, self.targets) for name, part in self.sources.items()}
        origin = np.array([name for name, part in parts.items() for _ in part])
        files = [entry for part in parts.values() for entry in part]
        clouds = [self.cloud(path) for path, _ in files]
        names = self.targets if len(self.targets) > 1 else None
        values = [value for _, value in files]
        y, self.classes = encoded(values, self.kind, "The target of cloud {}", names)
        graphs = with_edges(packed_clouds(clouds, [path for path, _ in files], y), self.cutoff)
        listed = {name: np.flatnonzero(origin == name) for name in parts if name != "train"}
        self.divide(graphs, listed=listed, classes=y if self.kind == "classes" else None)

    def train_dataloader(self) -> DataLoader:
        fields = self.splits["train"].fields if "train" in self.splits else ()
        warn_of_unused(self, ["x"] if "x" in fields else [])
        return super().train_dataloader()

    def target_scale(self) -> tuple[Any, Any]:
        """Mean and standard deviation of the training numbers; numbers if there is one target."""
        if self.kind != "numbers":
            raise ValueError(
                'These targets are classes, which are not standardised: set kind="numbers", or '
                "take a task of classes."
            )
        return column_scale(self.splits["train"].y)

    def of_file(self, path: str | Path) -> CloudFolder:
        """The clouds of a file, folder or table, read in the same way; labels are optional."""
        return CloudFolder(Path(path), self)

    def cloud(self, path: Path) -> Cloud:
        """The points of a file, which are drawn by its content and the seed, wherever it lies."""
        cloud = read_cloud(path)
        rng = np.random.default_rng([self.partition.seed, int(file_hash(path), 16)])
        with reading(path, "cannot be sampled", "correct or remove it, or change `points`"):
            cloud = cloud.sampled(self.points, rng)
        if not self.normalize:
            check_digits(cloud.pos, str(path), "set normalize")
            return cloud
        pos = cloud.pos.astype(np.float64)
        pos = pos - pos.mean(0)
        size = np.sqrt((pos**2).sum(1).mean())
        return Cloud(pos / (size if size > 0 else 1.0), cloud.normal, cloud.x)


def listed_files(source: str, targets: Sequence[str]) -> list[Listed]:
    """The files of a folder of classes, or of a CSV file, and the target of each.

    Raises:
        ValueError: if there is no such folder or file, or it lists no clouds.
    """
    if folder := find_folder(source):
        return _files_of_classes(folder)
    if path := find_file(source):
        return _files_of_table(path, targets)
    raise ValueError(
        f"There is no folder or CSV file {source}, here or in the folder GEQLIB_DATA: correct "
        "`source`."
    )


def _files_of_classes(folder: Path) -> list[Listed]:
    classes = sorted(part for part in folder.iterdir() if part.is_dir())
    files = [
        (file, part.name)
        for part in classes
        for file in sorted(part.iterdir())
        if file.suffix.lower() in READERS
    ]
    empty = next((part for part in classes if not any(f[1] == part.name for f in files)), None)
    if not files or empty is not None:
        raise ValueError(
            f"There are no clouds in {empty or folder / 'CLASS'}: put {', '.join(READERS)} files "
            "into a folder for each class."
        )
    return files


def _files_of_table(path: Path, targets: Sequence[str]) -> list[Listed]:
    with reading(path, "is no table of files", "save it as CSV in UTF-8"):
        rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
        if not rows:
            raise ValueError("it has no rows")
    missing = next((name for name in ("file", *targets) if name not in rows[0]), None)
    if missing is not None:
        option = "" if missing == "file" else ", or name the right one in `target`"
        raise ValueError(
            f"{path} has no column {missing!r}, only {', '.join(map(str, rows[0]))}: add "
            f"it{option}."
        )
    entries = []
    for k, row in enumerate(rows):
        file = path.parent / (row["file"] or "")
        if not file.is_file():
            raise ValueError(f"{path}, row {k + 1} after the header: there is no file {file}.")
        values = [(row[name] or "").strip() or None for name in targets]
        entries.append((file, values if len(targets) > 1 else values[0]))
    return entries
