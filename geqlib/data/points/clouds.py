"""Point clouds sampled from surfaces: what is it, and where is outside?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch.utils.data import Dataset
from torch_geometric.data import Batch

from geqlib.data.loaders import SplitLoaders
from geqlib.data.points.meshes import MeshFiles, mesh_files, read_off, sample_mesh
from geqlib.data.points.surfaces import Surface, random_surface
from geqlib.files.cache import cached_arrays
from geqlib.symmetry.rotations import random_rotation

Protocol = Literal["I/I", "I/SO(3)", "SO(3)/SO(3)"]
TURNED: dict[str, tuple[str, ...]] = {
    "I/I": (),
    "I/SO(3)": ("test",),
    "SO(3)/SO(3)": ("train", "val", "test"),
}
STREAMS = ("train", "val", "test")
HELD_OUT = 0.1


class PointCloudData(SplitLoaders):
    """Points on surfaces, uniform by area, with the surfaces' normals and classes.

    Each cloud is moved to its centroid and divided by the root mean square distance from it.
    Batches hold `pos` and `normal` [N, 3], `y` [clouds] the class, `batch` and `ptr`.

    Args:
        source: "surfaces", analytic ones with random proportions
            (`geqlib.data.points.surfaces`), or a folder of meshes such as "GeometricShapes" or
            "ModelNet40" (`geqlib.data.points.meshes`). Of each class of meshes a tenth of those to
            train on, rounded down, is for validation; where that is none, validation clouds are
            new samples of the training meshes.
        batch_size: clouds in a batch.
        points: in each cloud.
        train, val, test: number of clouds, the same for each surface or mesh up to one.
        rotations: of training / test clouds. "I/I" leaves all as the surfaces stand, "I/SO(3)"
            turns each test cloud by a random rotation of its own, "SO(3)/SO(3)" all clouds.
            Validation clouds are like those of training. A task with `rotate=True` turns training
            clouds anew each time.
        kinds: of analytic surfaces.
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
        if rotations not in TURNED:
            raise ValueError(f"rotations must be one of {', '.join(TURNED)}, got {rotations!r}.")
        if points < 2 or min(batch_size, train, val, test) < 1:
            raise ValueError(
                "points must be at least 2, batch_size, train, val and test at least 1, got "
                f"{points}, {batch_size}, {train}, {val} and {test}."
            )
        unknown = [kind for kind in kinds if kind not in get_args(Surface)]
        if unknown or not kinds:
            raise ValueError(
                f"kinds are {list(kinds)}: choose from {', '.join(get_args(Surface))}."
            )
        self.source, self.batch_size, self.points = source, batch_size, points
        self.sizes = {"train": train, "val": val, "test": test}
        self.rotations, self.kinds = rotations, tuple(kinds)
        self.data_seed, self.shuffle_seed = data_seed, shuffle_seed
        self.cache = None if cache is None else Path(cache)
        self.classes: tuple[str, ...] = ()
        self.splits: dict[str, PointClouds] = {}

    def prepare_data(self) -> None:
        self._arrays()

    def setup(self, stage: str | None = None) -> None:
        arrays = self._arrays()
        for split in STREAMS:
            pos, normal, y = (arrays[f"{split}_{name}"] for name in ("pos", "normal", "y"))
            clouds = PointClouds(pos, normal, y)
            if split in TURNED[self.rotations]:
                seed = np.random.default_rng([self.data_seed, STREAMS.index(split), 1])
                clouds = clouds.turned(int(seed.integers(2**62)))
            self.splits[split] = clouds

    def _arrays(self) -> dict[str, np.ndarray]:
        size = {"points": self.points, "seed": self.data_seed, "format": 1, **self.sizes}
        if self.source == "surfaces":
            self.classes = self.kinds
            known: dict[str, Any] = {"kinds": self.kinds}
            return cached_arrays("surfaces", known | size, self._surfaces, self.cache)
        files = mesh_files(self.source)
        self.classes = files.classes
        known = {"sha256": files.hashes()}
        return cached_arrays("meshes", known | size, lambda: self._meshes(files), self.cache)

    def _surfaces(self) -> dict[str, np.ndarray]:
        def sample(split: str, k: int, rng: np.random.Generator) -> Any:
            kind = k % len(self.kinds)
            return kind, *random_surface(self.kinds[kind], self.points, rng)

        return self._sampled(sample, dict.fromkeys(STREAMS, len(self.kinds)))

    def _meshes(self, files: MeshFiles) -> dict[str, np.ndarray]:
        parts, read = mesh_splits(files), lru_cache(maxsize=1)(read_off)

        def sample(split: str, k: int, rng: np.random.Generator) -> Any:
            label, path = parts[split][k % len(parts[split])]
            try:
                return label, *sample_mesh(*read(files.folder / path), self.points, rng)
            except ValueError as error:
                raise ValueError(f"In {files.folder / path}: {error}") from error

        return self._sampled(sample, {split: len(part) for split, part in parts.items()})

    def _sampled(self, sample: Any, different: dict[str, int]) -> dict[str, np.ndarray]:
        """Clouds of all splits; each has a random stream of its own, whatever comes before it."""
        arrays = {}
        for stream, split in enumerate(STREAMS):
            count, found = self.sizes[split], {}
            for k in sorted(range(count), key=lambda k: k % different[split]):  # one mesh at a time
                found[k] = sample(split, k, np.random.default_rng([self.data_seed, stream, 0, k]))
            label, pos, normal = zip(*(found[k] for k in range(count)), strict=True)
            arrays[f"{split}_y"] = np.array(label, dtype=np.int64)
            arrays[f"{split}_pos"] = normalised(np.stack(pos)).astype(np.float32)
            arrays[f"{split}_normal"] = np.stack(normal).astype(np.float32)
        return arrays


class PointClouds(Dataset):
    """Clouds of equally many points in memory; indexing with a list makes a whole batch at once.

    Args:
        pos, normal: [clouds, points, 3].
        y: [clouds].
    """

    def __init__(self, pos: Any, normal: Any, y: Any) -> None:
        dtype = torch.get_default_dtype()
        self.pos, self.normal = (torch.as_tensor(x).to(dtype) for x in (pos, normal))
        self.y = torch.as_tensor(y)

    def turned(self, seed: int) -> PointClouds:
        """Each cloud by a rotation of its own."""
        generator = torch.Generator().manual_seed(seed)
        turns = torch.stack([random_rotation(3, generator).mT for _ in range(len(self))])
        pos, normal = (x.double() @ turns for x in (self.pos, self.normal))
        return PointClouds(pos, normal, self.y)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        chosen = torch.as_tensor(indices, dtype=torch.long)
        points, clouds = self.pos.size(1), torch.arange(len(chosen) + 1)
        return Batch(
            pos=self.pos[chosen].flatten(0, 1),
            normal=self.normal[chosen].flatten(0, 1),
            y=self.y[chosen],
            batch=clouds[:-1].repeat_interleave(points),
            ptr=clouds * points,
        )


def mesh_splits(files: MeshFiles) -> dict[str, list[tuple[int, str]]]:
    """(class, path) of the meshes that each split samples.

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


def normalised(pos: np.ndarray) -> np.ndarray:
    """Clouds [clouds, points, 3] about their centroids, with mean squares of 1."""
    pos = pos - pos.mean(1, keepdims=True)
    size = np.sqrt((pos**2).sum(2).mean(1))
    return pos / np.where(size > 0, size, 1.0)[:, None, None]
