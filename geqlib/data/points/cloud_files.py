"""Clouds of points from files: arrays, PLY, XYZ, and the surfaces of OFF, STL and PLY meshes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geqlib.data.points.clouds import read_off, sample_mesh
from geqlib.extras import extra_module
from geqlib.files.atomic import reading

TRIANGLE = 50  # bytes of a triangle in a binary STL file
HEADER = 84


@dataclass(frozen=True)
class Cloud:
    """One cloud of points, or a surface that clouds are sampled from.

    Args:
        pos: [N, 2 or 3] points, or the corners of the surface.
        normal: [N, 3] unit vectors, where the file has them.
        x: [N, F] what else it has of each point.
        face: [F, 3] triangles of a surface.
    """

    pos: np.ndarray
    normal: np.ndarray | None = None
    x: np.ndarray | None = None
    face: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in ("pos", "normal", "x"):
            values = getattr(self, name)
            if values is None:
                continue
            if values.ndim != 2 or len(values) != len(self.pos) or values.dtype.kind not in "fiu":
                raise ValueError(
                    f"{name} is {values.dtype} {values.shape}, not numbers of each point"
                )
            bad = np.flatnonzero(~np.isfinite(values).all(1))
            if len(bad):
                raise ValueError(f"{name} of point {bad[0]} is NaN or infinite")
        if self.pos.shape[1] not in (2, 3) or not len(self.pos):
            raise ValueError(f"points are {self.pos.shape}, not [at least 1, 2 or 3]")

    def sampled(self, count: int | None, rng: np.random.Generator) -> Cloud:
        """That many points at random: of a surface uniform by area, of a cloud some of its own.

        Points of a cloud that has fewer come several times. With None, all points of a cloud.

        Raises:
            ValueError: a surface of which no number of points is asked for.
        """
        if self.face is not None:
            if count is None:
                raise ValueError("it is a surface: say by `points` how many to sample from it")
            pos, normal = sample_mesh(self.pos.astype(np.float64), self.face, count, rng)
            return Cloud(pos, normal)
        if count is None:
            return self
        chosen = rng.choice(len(self.pos), count, replace=count > len(self.pos))
        parts = (None if part is None else part[chosen] for part in (self.normal, self.x))
        return Cloud(self.pos[chosen], *parts)


def read_cloud(path: Path) -> Cloud:
    """The points of a file, by its ending.

    `.npy`: [N, 2], [N, 3], or more columns, of which the first three are positions and the others
    features. `.npz`: `pos`, and if there are any `normal` and `x`; or one array as of `.npy`.
    `.ply`: vertices with x, y, z, and normals where it has nx, ny, nz; with faces it is a surface.
    `.xyz`: x, y, z and further columns, features, on each line. `.off`, `.stl`: surfaces.

    Raises:
        ValueError: another kind of file, or one that cannot be read, with the file and the reason.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(
            f"{path} is no file of points: convert it to one of {', '.join(READERS)}, such as by "
            "numpy.save."
        )
    if path.suffix.lower() == ".ply":
        extra_module("plyfile", "clouds")
    with reading(path, "holds no cloud of points", "correct or remove it"):
        return reader(path)


def _of_columns(values: np.ndarray) -> Cloud:
    if values.ndim != 2:
        raise ValueError(f"its array is {values.shape}, not [points, columns]")
    return Cloud(values[:, :3], x=values[:, 3:] if values.shape[1] > 3 else None)


def _read_npy(path: Path) -> Cloud:
    return _of_columns(np.load(path, allow_pickle=False))


def _read_npz(path: Path) -> Cloud:
    with np.load(path, allow_pickle=False) as file:
        arrays: dict[str, Any] = {name: file[name] for name in file.files}
    if len(arrays) == 1:
        return _of_columns(next(iter(arrays.values())))
    if "pos" not in arrays:
        raise ValueError(f'it has {", ".join(sorted(arrays))}, and no "pos"')
    return Cloud(arrays["pos"], arrays.get("normal"), arrays.get("x"))


def _read_xyz(path: Path) -> Cloud:
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    rows = [line.replace(",", " ").split() for line in lines if line.strip()]
    rows = [row for row in rows if not row[0].startswith("#")]
    if len(rows) > 2 and len(rows[0]) == 1 and rows[2][0][:1].isalpha():
        raise ValueError("it holds atoms, which MoleculeData and PropertyData read")
    if len({len(row) for row in rows}) != 1:
        raise ValueError("its lines have different numbers of columns")
    return _of_columns(np.array(rows, dtype=np.float64))


def _read_mesh(path: Path) -> Cloud:
    pos, face = read_off(path)
    return Cloud(pos, face=face)


def _read_ply(path: Path) -> Cloud:
    plyfile: Any = extra_module("plyfile", "clouds")
    content = plyfile.PlyData.read(str(path))
    vertex = content["vertex"].data
    names = vertex.dtype.names
    pos = np.stack([vertex[name] for name in "xyz"], 1).astype(np.float64)
    normal = None
    if {"nx", "ny", "nz"} <= set(names):
        normal = np.stack([vertex[f"n{name}"] for name in "xyz"], 1).astype(np.float64)
    if "face" not in content or not len(content["face"].data):
        return Cloud(pos, normal)
    faces = content["face"].data
    key = next(name for name in faces.dtype.names if name in ("vertex_indices", "vertex_index"))
    triangles = [
        (corners[0], corners[k], corners[k + 1])
        for corners in faces[key]
        for k in range(1, len(corners) - 1)
    ]
    face = np.array(triangles, dtype=np.int64).reshape(-1, 3)
    if not len(face) or not 0 <= face.min() <= face.max() < len(pos):
        raise ValueError("faces name corners that do not exist")
    return Cloud(pos, face=face)


def _read_stl(path: Path) -> Cloud:
    """Both forms of STL; "solid" may begin either, so that the length decides."""
    content = path.read_bytes()
    count = int.from_bytes(content[80:HEADER], "little")
    if len(content) >= HEADER and len(content) == HEADER + TRIANGLE * count:
        kind = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
        corners = np.frombuffer(content, kind, offset=HEADER)["corners"].reshape(-1, 3)
    elif content.lstrip()[:5].lower() == b"solid":
        lines = [line.split() for line in content.decode("utf-8", "replace").splitlines()]
        if not lines or lines[-1][:1] != ["endsolid"]:
            raise ValueError("it is cut off: the last line is not endsolid")
        rows = [line[1:] for line in lines if line[:1] == ["vertex"]]
        corners = np.array(rows, dtype=np.float64).reshape(-1, 3)
    else:
        raise ValueError(f"its {len(content)} bytes are not those of {count} triangles")
    if not len(corners) or len(corners) % 3:
        raise ValueError(f"its {len(corners)} corners are no triangles")
    return Cloud(corners, face=np.arange(len(corners)).reshape(-1, 3))


READERS: dict[str, Callable[[Path], Cloud]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".ply": _read_ply,
    ".xyz": _read_xyz,
    ".off": _read_mesh,
    ".stl": _read_stl,
}
