"""Extended XYZ files to be spoilt."""

from __future__ import annotations

import lzma
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from geqlib.data.molecules.extxyz import Frame, read_frames
from geqlib.data.molecules.labels import Labels
from geqlib.data.molecules.streamed import stream_frames
from tests.data.molecules import raw_frames
from tests.mutations.mutators import BINARY, TEXT, inside_xz
from tests.mutations.reader import Reader

PROPERTIES = "Properties=species:S:1:pos:R:3:forces:R:3 "


def write_frames(name: str = "frames.xyz") -> None:
    raw_frames.write_files({"train": name, "stress_key": "stress"}, Path())


def in_memory() -> list[Frame]:
    paths = sorted(Path().glob("frames.xyz*"))
    return list(read_frames(paths, Labels(), missing="error"))


def streamed() -> list[Frame]:
    path = Path("frames.xyz")
    frames = stream_frames([path], Labels(), 5.0, cache=Path("cache"))
    return list(frames.read(range(len(frames))))


def check_frames(actual: list[Frame], sound: Any) -> None:
    """What the columns of the text say, read in the plainest way."""
    for frame in actual:
        raw = frame.path.read_bytes()
        if frame.path.suffix == ".xz":
            raw = lzma.decompress(raw)
        count, comment, *rows = raw[frame.start : frame.stop].decode().split("\n")
        assert int(count) == len(frame.z) == len(frame.pos)
        assert np.isfinite(frame.pos).all() and np.isfinite(frame.labels["energy"])
        if PROPERTIES not in comment or comment.count("Properties=") != 1:
            continue
        words = [row.split() for row in rows[: int(count)]]
        numbers = np.array([[float(word) for word in row[1:7]] for row in words])
        assert np.array_equal(frame.pos, numbers[:, :3])
        assert np.array_equal(frame.labels["forces"], numbers[:, 3:])
        assert frame.z.tolist() == [atomic_numbers[row[0]] for row in words]


READERS = {
    "extended XYZ": Reader(write_frames, in_memory, "frames.xyz", TEXT, 140, check_frames),
    "extended XYZ, streamed": Reader(write_frames, streamed, "frames.xyz", TEXT, 40, check_frames),
    "extended XYZ, packed": Reader(
        partial(write_frames, "frames.xyz.xz"),
        in_memory,
        "*.xz",
        (*BINARY, *inside_xz(*TEXT)),
        40,
        check_frames,
    ),
}
