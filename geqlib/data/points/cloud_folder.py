"""Clouds of another file or folder, read as the training clouds were, with or without labels."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from geqlib.counted import counted
from geqlib.data.loaders import SplitLoaders
from geqlib.data.near_pairs import with_near_pairs
from geqlib.data.packed import PackedGraphs
from geqlib.data.points.cloud_files import READERS, Cloud
from geqlib.data.targets import encoded_as
from geqlib.files.atomic import reading


class CloudFolder(SplitLoaders):
    """The clouds of a file or folder as the test split, for predictions.

    Args:
        path: of one cloud, of a folder of clouds, or of a CSV file with a column `file`, whose
            columns of targets may be missing. Clouds in folders that have the names of classes are
            labelled.
        like: a `CloudData`, whose classes or targets, points, cutoff and batches these have.

    Attributes:
        names: paths of the clouds.
    """

    noun: ClassVar[str] = "cloud"

    def __init__(self, path: Path, like: Any) -> None:
        super().__init__()
        self.path, self.like = path, like
        self.batch_size, self.cutoff = like.batch_size, like.cutoff
        self.targets, self.classes = like.targets, like.classes
        self.units = like.units
        self.names: list[str] = []
        self.splits: dict[str, PackedGraphs] = {}

    def setup(self, stage: str | None = None) -> None:
        files, values = self._listed()
        top = self.path if self.path.is_dir() else self.path.parent
        self.names = [file.relative_to(top).as_posix() for file in files]
        clouds = [self.like.cloud(file) for file in files]
        what = "The target of cloud {}"
        y = encoded_as(values, self.like.kind, what, self.classes, len(self.targets))
        self.splits = {"test": with_edges(packed_clouds(clouds, files, y), self.cutoff)}

    def _listed(self) -> tuple[list[Path], list[Any]]:
        """Files of clouds, and the class of each, or None."""
        if self.path.suffix.lower() == ".csv":
            return self._of_table()
        inner = sorted(self.path.rglob("*")) if self.path.is_dir() else [self.path]
        files = [file for file in inner if file.suffix.lower() in READERS]
        if not files:
            raise ValueError(
                f"There are no clouds in {self.path}: name files of {', '.join(READERS)}."
            )
        classes = set(self.classes or [])
        return files, [next((p for p in f.parts[-2::-1] if p in classes), None) for f in files]

    def _of_table(self) -> tuple[list[Path], list[Any]]:
        with reading(self.path, "is no table of files", "save it as CSV in UTF-8"):
            rows = list(csv.DictReader(self.path.read_text(encoding="utf-8-sig").splitlines()))
            if not rows or "file" not in rows[0]:
                raise ValueError("it has no rows with a column 'file'")
        files = [self.path.parent / (row["file"] or "") for row in rows]
        missing = next((file for file in files if not file.is_file()), None)
        if missing is not None:
            raise ValueError(f"{self.path}: there is no file {missing}.")
        values = [[(row.get(name) or "").strip() or None for name in self.targets] for row in rows]
        return files, values if len(self.targets) > 1 else [value[0] for value in values]


def with_edges(graphs: PackedGraphs, cutoff: float | None) -> PackedGraphs:
    """The clouds with all pairs within a distance, if there is one."""
    return graphs if cutoff is None else with_near_pairs(graphs, cutoff)


def packed_clouds(
    clouds: Sequence[Cloud], paths: Sequence[Path], y: np.ndarray | None
) -> PackedGraphs:
    """Clouds as graphs without edges, and their targets if there are any.

    There are normals where all clouds have them.

    Raises:
        ValueError: clouds of several dimensions, or of which some have features.
    """
    arrays = {"nodes": np.array([len(cloud.pos) for cloud in clouds])}
    fields: dict[str, str] = {}
    if y is not None:
        arrays["y"], fields["y"] = y, "graph"
    for name in ("pos", "normal", "x"):
        parts = [getattr(cloud, name) for cloud in clouds]
        if name == "normal" and any(part is None for part in parts):
            continue  # surfaces beside clouds of points alone
        widths = [0 if part is None else part.shape[1] for part in parts]
        other = next((k for k, width in enumerate(widths) if width != widths[0]), None)
        if other is not None:
            raise ValueError(
                f"{paths[other]} has {counted(widths[other], 'column')} of {name}, but {paths[0]} "
                f"{widths[0]}: give all clouds the same."
            )
        if widths[0]:
            arrays[name], fields[name] = np.concatenate(parts), "node"
    return PackedGraphs(arrays, fields)
