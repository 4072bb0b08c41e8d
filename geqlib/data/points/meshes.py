"""Triangle meshes in folders of OFF files, and points on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from geqlib.data.mirror import find_folder
from geqlib.files.cache import file_hash
from geqlib.files.reading import reading


@dataclass(frozen=True)
class MeshFiles:
    """The files of a set.

    Args:
        folder: where they lie.
        classes: names, in alphabetical order.
        train, test: (class, path below the folder) of each mesh, ordered by both.
    """

    folder: Path
    classes: tuple[str, ...]
    train: tuple[tuple[int, str], ...]
    test: tuple[tuple[int, str], ...]

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each file."""
        return {path: file_hash(self.folder / path) for _, path in (*self.train, *self.test)}


def mesh_files(name: str) -> MeshFiles:
    """Find a set: CLASS/train/*.off and CLASS/test/*.off, as torch_geometric's raw folders are.

    Such are GeometricShapes (https://github.com/Yannick-S/geometric_shapes) and ModelNet10 and
    ModelNet40 (Wu et al., CVPR 2015, arXiv 1406.5670).

    Args:
        name: a folder of your own, or one below the folder that GEQLIB_DATA names; the classes are
            in it, or in `raw` in it. GeometricShapes is downloaded where it is not there.

    Raises:
        ValueError: no such folder, or a class without meshes to train on.
    """
    folder = _folder(name)
    classes = sorted(p.name for p in folder.iterdir() if (p / "train").is_dir())
    found = {"train": [], "test": []}
    for split, meshes in found.items():
        for number, label in enumerate(classes):
            here = sorted((folder / label / split).glob("*.off"))
            meshes += [(number, path.relative_to(folder).as_posix()) for path in here]
    trained = {number for number, _ in found["train"]}
    lacking = [label for number, label in enumerate(classes) if number not in trained]
    if lacking or not classes:
        place = f"{folder}/{lacking[0] if lacking else 'CLASS'}/train"
        raise ValueError(f"There are no meshes to train on in {place}: put OFF files there.")
    return MeshFiles(folder, tuple(classes), tuple(found["train"]), tuple(found["test"]))


def _folder(name: str) -> Path:
    place = find_folder(name)
    if place is None:
        raise ValueError(
            f"There is no folder {name} of meshes, here or below the folder that GEQLIB_DATA "
            "names: unpack the published archive there."
        )
    return place / "raw" if (place / "raw").is_dir() else place


def read_off(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Corners [V, 3] and triangles [F, 3] of a mesh; polygons are cut from their first corner.

    Unlike torch_geometric's reader, this one keeps faces of more than four corners and the last
    line of files that end without a line break. Some files of ModelNet lack the break after "OFF".

    Raises:
        ValueError: a file that is no OFF mesh.
    """
    with reading(path, "is no OFF mesh", "mend or remove it"):
        lines = [line.split("#")[0].split() for line in path.read_text().splitlines()]
        lines = [line for line in lines if line and line != ["OFF"]]
        corners, faces = int(lines[0][0].removeprefix("OFF")), int(lines[0][1])
        pos = np.array([line[:3] for line in lines[1 : 1 + corners]], dtype=np.float64)
        pos = pos.reshape(corners, 3)
        triangles = _triangles(lines[1 + corners : 1 + corners + faces])
        if len(lines) < 1 + corners + faces:
            raise ValueError("lines are missing")
        if not 0 <= triangles.min() <= triangles.max() < corners:
            raise ValueError("faces name corners that are not there")
    return pos, triangles


def _triangles(faces: Sequence[Sequence[str]]) -> np.ndarray:
    found = []
    for corners, *names in faces:
        face = [int(name) for name in names[: int(corners)]]  # colours may follow
        found += [(face[0], a, b) for a, b in pairwise(face[1:])]
    return np.array(found, dtype=np.int64).reshape(-1, 3)


def sample_mesh(
    pos: np.ndarray, face: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Points [count, 3], uniform by area, and the normals of their triangles.

    Args:
        pos: [V, 3].
        face: [F, 3] corners of triangles.
        count: of points.
        rng: what draws them.

    Raises:
        ValueError: a mesh without area.

    Example:
        >>> corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
        >>> rng = np.random.default_rng(0)
        >>> sample_mesh(corners, np.array([[0, 1, 2]]), 2, rng)[1].tolist()
        [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
    """
    a, b, c = (pos[face[:, k]] for k in range(3))
    across = np.cross(b - a, c - a)
    area = np.linalg.norm(across, axis=1)
    if not area.sum() > 0:
        raise ValueError("The mesh has no area: remove it, or give its points instead.")
    chosen = rng.choice(len(area), count, p=area / area.sum())
    s, t = rng.random((2, count, 1))
    s, t = np.where(s + t > 1, 1 - s, s), np.where(s + t > 1, 1 - t, t)  # fold the square over
    points = a[chosen] + s * (b - a)[chosen] + t * (c - a)[chosen]
    return points, across[chosen] / area[chosen, None]
