"""Point clouds sampled from surfaces, with the class of each cloud and the normal at each point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch

from geqlib.data.download import find_folder
from geqlib.data.loaders import SplitLoaders
from geqlib.data.packed import Arrays, PackedGraphs
from geqlib.data.points.surfaces import Surface, random_surface
from geqlib.files.atomic import cached_arrays, file_hash, reading
from geqlib.symmetry.rotations import random_rotation

Protocol = Literal["I/I", "I/SO(3)", "SO(3)/SO(3)"]
ROTATED: dict[str, tuple[str, ...]] = {
    "I/I": (),
    "I/SO(3)": ("test",),
    "SO(3)/SO(3)": ("train", "val", "test"),
}
STREAMS = ("train", "val", "test")
HELD_OUT = 0.1


class PointCloudData(SplitLoaders):
    """Points on surfaces, uniform by area, with the normals and the class of the surface.

    Each cloud is centred at its centroid and divided by the root mean square distance from it.
    Batches hold `pos` and `normal` [N, 3], `y` [clouds] the class, `batch` and `ptr`.

    Args:
        source: "surfaces" for analytic surfaces with random proportions
            (`geqlib.data.points.surfaces`), or the name of a folder of meshes such as
            "GeometricShapes" or "ModelNet40" (`mesh_files`). A tenth of the training meshes of
            each class, rounded down, is for validation; where that is none, validation clouds are
            new samples of the training meshes.
        batch_size: clouds in a batch.
        points: in each cloud.
        train, val, test: number of clouds in each split; the numbers of samples of two surfaces or
            meshes differ by one at most.
        rotations: of training / test clouds. "I/I" rotates none, "I/SO(3)" each test cloud by its
            own random rotation, "SO(3)/SO(3)" all clouds by theirs. Validation clouds are treated
            as those of training. A task with `rotate=True` draws new rotations of training clouds
            in each epoch.
        kinds: the kinds of analytic surfaces to sample, which are the classes.
        data_seed: of surfaces, points and rotations. A larger split begins with a smaller one.
        shuffle_seed: of the order of the training clouds.
        cache: folder for the clouds; the user's cache folder by default.

    Raises:
        ValueError: options out of range, meshes that are missing or cannot be read.

    Example:
        >>> data = PointCloudData(batch_size=4, points=8, train=16, val=4, test=4)
        >>> data.setup()
        >>> next(iter(data.train_dataloader())).pos.shape
        torch.Size([32, 3])
    """

    noun: ClassVar[str] = "cloud"

    def __init__(
        self,
        source: str = "surfaces",
        batch_size: int = 32,
        *,
        points: int = 256,
        train: int = 2048,
        val: int = 256,
        test: int = 512,
        rotations: Protocol = "I/SO(3)",
        kinds: Sequence[Surface] = get_args(Surface),
        data_seed: int = 0,
        shuffle_seed: int = 0,
        cache: str | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if rotations not in ROTATED:
            raise ValueError(f"rotations must be one of {', '.join(ROTATED)}, got {rotations!r}.")
        if points < 2 or min(batch_size, train, val, test) < 1:
            raise ValueError(
                "points must be at least 2, batch_size, train, val and test at least 1, got "
                f"{points}, {batch_size}, {train}, {val} and {test}."
            )
        unknown = [kind for kind in kinds if kind not in get_args(Surface)]
        if unknown or not len(kinds):
            raise ValueError(
                f"kinds are {list(kinds)}: choose from {', '.join(get_args(Surface))}."
            )
        self.source, self.batch_size, self.points = source, batch_size, points
        self.sizes = {"train": train, "val": val, "test": test}
        self.rotations, self.kinds = rotations, tuple(kinds)
        self.data_seed, self.shuffle_seed = data_seed, shuffle_seed
        self.cache = None if cache is None else Path(cache)
        self.classes: tuple[str, ...] = ()
        self.splits: dict[str, PackedGraphs] = {}

    def of_file(self, path: str | Path) -> SplitLoaders:
        """Clouds of one OFF file, or of all in a folder, with the number of points of training.

        They have labels if every file lies in a folder that has the name of a class.

        Raises:
            ValueError: files that are missing or no meshes.
        """
        return MeshClouds(Path(path), self)

    def prepare_data(self) -> None:
        self._arrays()

    def setup(self, stage: str | None = None) -> None:
        arrays = self._arrays()
        for split in STREAMS:
            pos, normal, y = (arrays[f"{split}_{name}"] for name in ("pos", "normal", "y"))
            if split in ROTATED[self.rotations]:
                seed = np.random.default_rng([self.data_seed, STREAMS.index(split), 1])
                pos, normal = rotated(pos, normal, int(seed.integers(2**62)))
            self.splits[split] = point_clouds(pos, normal, y)

    def _arrays(self) -> Arrays:
        size = {"points": self.points, "seed": self.data_seed, "format": 1, **self.sizes}
        if self.source == "surfaces":
            self.classes = self.kinds
            parameters = {"kinds": self.kinds, **size}
            return cached_arrays("surfaces", parameters, self._surfaces, self.cache)
        files = mesh_files(self.source)
        self.classes = files.classes
        parameters = {"sha256": files.hashes(), **size}
        return cached_arrays("meshes", parameters, lambda: self._meshes(files), self.cache)

    def _surfaces(self) -> Arrays:
        def sample(split: str, k: int, rng: np.random.Generator) -> Any:
            kind = k % len(self.kinds)
            return kind, *random_surface(self.kinds[kind], self.points, rng)

        return self._sampled(sample, dict.fromkeys(STREAMS, len(self.kinds)))

    def _meshes(self, files: MeshFiles) -> Arrays:
        parts, read = mesh_splits(files), lru_cache(maxsize=1)(read_off)

        def sample(split: str, k: int, rng: np.random.Generator) -> Any:
            label, path = parts[split][k % len(parts[split])]
            try:
                return label, *sample_mesh(*read(files.folder / path), self.points, rng)
            except ValueError as error:
                raise ValueError(f"In {files.folder / path}: {error}") from error

        return self._sampled(sample, {split: len(part) for split, part in parts.items()})

    def _sampled(self, sample: Any, different: dict[str, int]) -> Arrays:
        """Clouds of all splits; the random stream of each depends on its split and number only."""
        arrays = {}
        for stream, split in enumerate(STREAMS):
            count, clouds = self.sizes[split], {}
            for k in sorted(range(count), key=lambda k: k % different[split]):  # one mesh at a time
                clouds[k] = sample(split, k, np.random.default_rng([self.data_seed, stream, 0, k]))
            label, pos, normal = zip(*(clouds[k] for k in range(count)), strict=True)
            arrays[f"{split}_y"] = np.array(label, dtype=np.int64)
            arrays[f"{split}_pos"] = normalised(np.stack(pos)).astype(np.float32)
            arrays[f"{split}_normal"] = np.stack(normal).astype(np.float32)
        return arrays


class MeshClouds(SplitLoaders):
    """Clouds sampled from meshes, for predictions.

    Args:
        path: of an OFF file, or of a folder of them.
        like: the data whose number of points, seed, batch size and classes are taken over.

    Attributes:
        names: paths of the meshes.
    """

    noun: ClassVar[str] = "cloud"

    def __init__(self, path: Path, like: PointCloudData) -> None:
        super().__init__()
        folder = path if path.is_dir() else path.parent
        files = sorted(path.rglob("*.off")) if path.is_dir() else [path]
        if not files:
            raise ValueError(f"There are no OFF files in {path}: name a folder of meshes.")
        self.files, self.names = files, [file.relative_to(folder).as_posix() for file in files]
        self.batch_size, self.points, self.data_seed = like.batch_size, like.points, like.data_seed
        self.classes = like.classes
        self.splits: dict[str, PackedGraphs] = {}

    def setup(self, stage: str | None = None) -> None:
        sampled = [self._sample(k, file) for k, file in enumerate(self.files)]
        pos, normal = (np.stack(part) for part in zip(*sampled, strict=True))
        clouds = point_clouds(normalised(pos), normal, self._labels())
        self.splits = {"test": clouds}

    def _sample(self, k: int, file: Path) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([self.data_seed, STREAMS.index("test"), 0, k])
        try:
            return sample_mesh(*read_off(file), self.points, rng)
        except ValueError as error:
            raise ValueError(f"In {file}: {error}") from error

    def _labels(self) -> np.ndarray | None:
        """The class of each mesh, if every mesh lies in a folder that has the name of a class."""
        number = {name: k for k, name in enumerate(self.classes)}
        own = [
            next((number[p] for p in file.parts[-2::-1] if p in number), None)
            for file in self.files
        ]
        return None if None in own else np.array(own)


def point_clouds(pos: Any, normal: Any, y: Any) -> PackedGraphs:
    """Clouds that have the same number of points, as graphs without edges.

    Args:
        pos, normal: [clouds, points, 3].
        y: [clouds] class of each; None if it is unknown.
    """
    count, points, _ = pos.shape
    arrays = {
        "nodes": np.full(count, points),
        "pos": pos.reshape(-1, 3),
        "normal": normal.reshape(-1, 3),
    }
    fields = {"pos": "node", "normal": "node"}
    if y is None:
        return PackedGraphs(arrays, fields)
    return PackedGraphs(arrays | {"y": y}, fields | {"y": "graph"})


def rotated(pos: np.ndarray, normal: np.ndarray, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions and normals, each cloud turned by its own random rotation, in float64."""
    generator = torch.Generator().manual_seed(seed)
    turns = torch.stack([random_rotation(3, generator).mT for _ in range(len(pos))])
    first, second = (torch.as_tensor(x).double() @ turns for x in (pos, normal))
    return first, second


def normalised(pos: np.ndarray) -> np.ndarray:
    """Clouds [clouds, points, 3], centred, with a mean squared distance from the centroid of 1."""
    pos = pos - pos.mean(1, keepdims=True)
    size = np.sqrt((pos**2).sum(2).mean(1))
    return pos / np.where(size > 0, size, 1.0)[:, None, None]


# --- meshes --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MeshFiles:
    """The files of a set of meshes.

    Args:
        folder: the folder that holds all of them.
        classes: names of the classes, in alphabetical order.
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
    """Find a set of meshes, whose files are CLASS/train/*.off and CLASS/test/*.off.

    This is the layout of torch_geometric's raw folders. Such sets are GeometricShapes
    (https://github.com/Yannick-S/geometric_shapes), and ModelNet10 and ModelNet40 (Wu et al., CVPR
    2015, arXiv 1406.5670).

    Args:
        name: your own folder, or one below the folder that GEQLIB_DATA names. The folders of the
            classes are in it, or in its subfolder `raw`. GeometricShapes is downloaded if it is
            missing.

    Raises:
        ValueError: no such folder, or a class without meshes to train on.
    """
    folder = _folder(name)
    classes = sorted(p.name for p in folder.iterdir() if (p / "train").is_dir())
    splits = {"train": [], "test": []}
    for split, meshes in splits.items():
        for number, label in enumerate(classes):
            paths = sorted((folder / label / split).glob("*.off"))
            meshes += [(number, path.relative_to(folder).as_posix()) for path in paths]
    trained = {number for number, _ in splits["train"]}
    lacking = [label for number, label in enumerate(classes) if number not in trained]
    if lacking or not classes:
        empty = f"{folder}/{lacking[0] if lacking else 'CLASS'}/train"
        raise ValueError(f"There are no meshes to train on in {empty}: put OFF files there.")
    return MeshFiles(folder, tuple(classes), tuple(splits["train"]), tuple(splits["test"]))


def mesh_splits(files: MeshFiles) -> dict[str, list[tuple[int, str]]]:
    """Class and path of the meshes from which the clouds of each split are sampled.

    Raises:
        ValueError: a set without test meshes.
    """
    if not files.test:
        raise ValueError(f"There are no test meshes in {files.folder}: put some in CLASS/test.")
    parts: dict[str, list[tuple[int, str]]] = {"train": [], "val": [], "test": list(files.test)}
    for label in range(len(files.classes)):
        mine = [mesh for mesh in files.train if mesh[0] == label]
        held = int(HELD_OUT * len(mine))
        parts["train"] += mine[held:]
        parts["val"] += mine[:held] or mine
    return parts


def _folder(name: str) -> Path:
    folder = find_folder(name)
    if folder is None:
        raise ValueError(
            f"There is no folder {name} of meshes, here or below the folder that GEQLIB_DATA "
            "names: unpack the published archive there."
        )
    return folder / "raw" if (folder / "raw").is_dir() else folder


def read_off(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Corners [V, 3] and triangles [F, 3] of a mesh in an OFF file.

    Polygons are divided into triangles that share their first corner. Unlike torch_geometric's
    reader, this one keeps faces of more than four corners, and the last line of a file that ends
    without a line break. The numbers of corners and faces may stand on the line of "OFF", as they
    do in some files of ModelNet, even without a space.

    Raises:
        ValueError: a file that is no OFF mesh.
    """
    with reading(path, "is no OFF mesh", "correct or remove it"):
        lines = [line.split("#")[0].split() for line in path.read_text("utf-8-sig").splitlines()]
        lines = [line for line in lines if line]
        header = " ".join(lines[0]).removeprefix("OFF").split()
        lines = [line for line in lines if line != ["OFF"]]
        corners, faces = map(int, (header or lines[0])[:2])
        pos = np.array([line[:3] for line in lines[1 : 1 + corners]], dtype=np.float64)
        pos = pos.reshape(corners, 3)
        triangles = _triangles(lines[1 + corners : 1 + corners + faces])
        if len(lines) < 1 + corners + faces:
            raise ValueError("lines are missing")
        if not 0 <= triangles.min() <= triangles.max() < corners:
            raise ValueError("faces name corners that do not exist")
    return pos, triangles


def _triangles(faces: Sequence[Sequence[str]]) -> np.ndarray:
    triangles = []
    for corners, *numbers in faces:
        face = [int(number) for number in numbers[: int(corners)]]  # colours may follow
        triangles += [(face[0], a, b) for a, b in pairwise(face[1:])]
    return np.array(triangles, dtype=np.int64).reshape(-1, 3)


def sample_mesh(
    pos: np.ndarray, face: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Points [count, 3], uniform by area, and the normals of their triangles.

    Args:
        pos: [V, 3] corners.
        face: [F, 3] the three corners of each triangle.
        count: number of points.
        rng: random generator.

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
