"""Extended XYZ files larger than memory: where each frame is, and batches packed when asked for."""

from __future__ import annotations

import warnings
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Batch, Data

from geqlib.data.molecules.ase_files import needs_ase
from geqlib.data.molecules.extxyz import Frame, Missing, pack_frames, parse_frame, read_frames
from geqlib.data.molecules.labels import Labels
from geqlib.data.molecules.structures import with_neighbors
from geqlib.data.packed import PackedGraphs
from geqlib.files.atomic import cached_arrays

VERSION = 2
COLUMNS = {
    "file": np.int64,
    "start": np.int64,
    "stop": np.int64,
    "index": np.int64,
    "periodic": np.bool_,
    "isolated": np.bool_,
}


@dataclass(frozen=True)
class StreamedFrames(Dataset):
    """Usable frames of some files, read from the disk when a batch asks for them.

    Memory holds a few numbers per frame, and one batch.

    Args:
        paths, labels, missing, alone: as of `read_frames`.
        cutoff: of the neighbours, in angstrom; None for all pairs.
        dtype: of floating-point numbers but energies.
        file, start, stop: [G] which file, and which of its bytes.
        index: [G] number of the frame, counted over all files.
        periodic: [G] whether it repeats along any direction.
        isolated: [G] whether it is an atom on its own.
    """

    paths: tuple[Path, ...]
    labels: Labels
    missing: Missing
    alone: float | None
    cutoff: float | None
    dtype: torch.dtype
    file: Tensor
    start: Tensor
    stop: Tensor
    index: Tensor
    periodic: Tensor
    isolated: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> Data:
        return self._structures([position])[0]

    def __getitems__(self, positions: Sequence[int]) -> Batch:
        return self._structures(positions).__getitems__(range(len(positions)))

    def subset(self, positions: Tensor) -> StreamedFrames:
        """Some of them, in that order."""
        return replace(self, **{name: getattr(self, name)[positions] for name in COLUMNS})

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
                    path=path,
                    start=start,
                    missing=self.missing,
                    alone=self.alone,
                )
            except (OSError, ValueError) as error:
                raise ValueError(
                    f"{path} has changed since it was indexed, or cannot be read any more: {error}"
                ) from error

    def _structures(self, positions: Sequence[int]) -> PackedGraphs:
        structures = pack_frames(self.read(positions), self.dtype)
        return with_neighbors(structures, self.cutoff, periodic=bool(self.periodic.any()))


def stream_frames(
    paths: Sequence[Path],
    labels: Labels,
    cutoff: float | None,
    *,
    missing: Missing = "error",
    on_bad_frame: Literal["error", "skip"] = "error",
    alone: float | None = None,
    cache: Path | None = None,
) -> StreamedFrames:
    """Read and check every frame once, and keep where the usable ones are.

    That is done again when the size or the time of change of a file has changed.

    Args:
        paths: extended XYZ files that are not compressed.
        labels, missing, on_bad_frame, alone: as of `read_frames`.
        cutoff: of the neighbours, in angstrom; None for all pairs.
        cache: folder for what is kept; the user's cache folder by default.

    Raises:
        ValueError: a compressed file or one in another format, or one of `read_frames`.
    """
    for path in paths:
        if needs_ase(path):
            raise ValueError(
                f"{path} is no extended XYZ file, and only these are streamed: convert it by "
                f"`ase convert {path} {path.stem}.extxyz`."
            )
        if path.suffix in (".gz", ".bz2", ".xz"):
            raise ValueError(f"{path} is compressed: unpack it, so that frames can be streamed.")
    stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    options: dict[str, Any] = {"missing": missing, "on_bad_frame": on_bad_frame, "alone": alone}
    parameters = {"version": VERSION, "files": stats, "labels": asdict(labels), **options}

    def build() -> dict[str, np.ndarray]:
        notes: list[str] = []
        # numbers, not objects: there may be millions of frames
        columns = {name: array("q") for name in COLUMNS}
        for frame in read_frames(paths, labels, report=notes.append, **options):
            for name, value in _location(frame, paths).items():
                columns[name].append(value)
        arrays = {name: np.array(columns[name], dtype) for name, dtype in COLUMNS.items()}
        return arrays | {"notes": np.frombuffer(" ".join(notes).encode(), np.uint8)}

    arrays = cached_arrays("frames", parameters, build, cache)
    if notes := arrays.pop("notes").tobytes().decode():
        warnings.warn(notes, stacklevel=2)
    columns = {name: torch.from_numpy(column) for name, column in arrays.items()}
    dtype = torch.get_default_dtype()
    return StreamedFrames(tuple(paths), labels, missing, alone, cutoff, dtype, **columns)


def _location(frame: Frame, paths: Sequence[Path]) -> dict[str, int | bool]:
    return {
        "file": paths.index(frame.path),
        "start": frame.start,
        "stop": frame.stop,
        "index": frame.number,
        "periodic": bool(frame.pbc.any()),
        "isolated": frame.isolated,
    }
