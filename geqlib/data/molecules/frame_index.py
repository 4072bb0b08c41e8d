"""Where the frames of large files start, found once and kept on disk."""

from __future__ import annotations

import warnings
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from geqlib.data.molecules.extxyz import Frame, parse_frame, read_frames
from geqlib.data.molecules.labels import Labels
from geqlib.files.cache import cached_arrays

VERSION = 1
COLUMNS = {
    "file": np.int64,
    "start": np.int64,
    "stop": np.int64,
    "index": np.int64,
    "periodic": np.bool_,
    "isolated": np.bool_,
}


@dataclass(frozen=True)
class FrameIndex:
    """The usable frames of some files: a few numbers for each, whatever its size.

    Args:
        paths, labels, missing, alone: as given to `read_frames`.
        file, start, stop: [G] which file, and which of its bytes.
        index: [G] number of the frame, counted over all files.
        periodic: [G] whether it repeats along any direction.
        isolated: [G] whether it is an atom on its own.
    """

    paths: tuple[Path, ...]
    labels: Labels
    missing: Literal["error", "mask"]
    alone: float | None
    file: Tensor
    start: Tensor
    stop: Tensor
    index: Tensor
    periodic: Tensor
    isolated: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def select(self, chosen: Tensor) -> FrameIndex:
        """Some of them, in the order of their positions `chosen`."""
        return replace(self, **{name: getattr(self, name)[chosen] for name in COLUMNS})

    def read(self, positions: Sequence[int]) -> Iterator[Frame]:
        """Frames from the disk."""
        for k in positions:
            path, start = self.paths[int(self.file[k])], int(self.start[k])
            try:
                with path.open("rb") as file:
                    file.seek(start)
                    text = file.read(int(self.stop[k]) - start)
                yield parse_frame(
                    text,
                    self.labels,
                    int(self.index[k]),
                    path,
                    start,
                    missing=self.missing,
                    alone=self.alone,
                )
            except (OSError, ValueError) as error:
                raise ValueError(
                    f"{path} has changed since it was indexed, or cannot be read any more: {error}"
                ) from error


def index_frames(
    paths: Sequence[Path],
    labels: Labels,
    *,
    missing: Literal["error", "mask"] = "error",
    on_bad_frame: Literal["error", "skip"] = "error",
    alone: float | None = None,
    cache: Path | None = None,
) -> FrameIndex:
    """Read and check every frame once, and keep where the usable ones are.

    The index is made again when a file's size or time of change is another.

    Args:
        paths: extended XYZ files that are not compressed.
        labels, missing, on_bad_frame, alone: see `read_frames`.
        cache: folder for the index; the user's cache folder by default.
    """
    for path in paths:
        if path.suffix in (".gz", ".bz2", ".xz"):
            raise ValueError(f"{path} is compressed: unpack it, so that frames can be streamed.")
    stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    parameters = {
        "version": VERSION,
        "files": stats,
        "labels": asdict(labels),
        "missing": missing,
        "on_bad_frame": on_bad_frame,
        "alone": alone,
    }

    def build() -> dict[str, np.ndarray]:
        notes: list[str] = []
        frames = read_frames(
            paths,
            labels,
            missing=missing,
            on_bad_frame=on_bad_frame,
            alone=alone,
            report=notes.append,
        )
        # numbers, not objects: there may be millions of frames
        columns = {name: array("q") for name in COLUMNS}
        for frame in frames:
            for name, value in _row(frame, paths).items():
                columns[name].append(value)
        arrays = {name: np.array(columns[name], dtype) for name, dtype in COLUMNS.items()}
        return arrays | {"notes": np.frombuffer("".join(notes).encode(), np.uint8)}

    arrays = cached_arrays("frames", parameters, build, cache)
    if notes := arrays.pop("notes").tobytes().decode():
        warnings.warn(notes, stacklevel=2)
    columns = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return FrameIndex(tuple(paths), labels, missing, alone, **columns)


def _row(frame: Frame, paths: Sequence[Path]) -> dict[str, int | bool]:
    return {
        "file": paths.index(frame.path),
        "start": frame.start,
        "stop": frame.stop,
        "index": frame.number,
        "periodic": bool(frame.pbc.any()),
        "isolated": frame.isolated,
    }
