"""Handwritten digits: point clouds in the plane, and superpixels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from geqlib.data.download import needed_file
from geqlib.data.loaders import SplitLoaders
from geqlib.data.packed import Arrays, PackedGraphs, joined
from geqlib.extras import extra_module
from geqlib.files.atomic import cached_arrays, file_hash, reading
from geqlib.graph.neighbors import radius_graph

FIELDS = {"x": "node", "pos": "node", "y": "graph"}
FILE = "MNISTSuperpixels/raw/MNISTSuperpixels.pt"
HALF_SIDE = 14.0  # pixels of an image of MNIST
HELD_OUT = 0.1


class DigitsData(SplitLoaders):
    """Digits at any angle: upright training images, test images rotated at random.

    The 1797 images of 8 x 8 pixels that scikit-learn ships. A pixel with at least `ink` is a point:
    `pos` [N, 2] its centre relative to the centroid of the ink, in half image sides, `x` [N, 1]
    the ink in (0, 1], edges between points at most `cutoff` apart, `y` the digit.

    Args:
        batch_size: images in a batch.
        ink: from 0, white, to 1, black.
        cutoff: in half image sides; the default joins all pairs.
        test_rotation: "random" angles for the test images (validation images are upright),
            or "none".
        data_seed: of the split (70 % training, 15 % validation, 15 % test, by class) and angles.
        shuffle_seed: of the order of the training images.

    Example:
        >>> data = DigitsData(batch_size=4)
        >>> data.setup()
        >>> next(iter(data.test_dataloader())).num_graphs
        4
    """

    drop_last: ClassVar[bool] = False

    noun: ClassVar[str] = "image"

    def __init__(
        self,
        batch_size: int = 64,
        *,
        ink: float = 0.25,
        cutoff: float = 3.0,
        test_rotation: Literal["random", "none"] = "random",
        data_seed: int = 0,
        shuffle_seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if test_rotation not in ("random", "none"):
            raise ValueError(f'test_rotation must be "random" or "none", got {test_rotation!r}.')
        if not 0 < ink < 1:
            raise ValueError(f"ink must be between 0 and 1, got {ink}.")
        self.batch_size, self.ink, self.cutoff = batch_size, ink, cutoff
        self.test_rotation = test_rotation
        self.data_seed, self.shuffle_seed = data_seed, shuffle_seed
        self.splits: dict[str, PackedGraphs] = {}

    def setup(self, stage: str | None = None) -> None:
        split = extra_module("sklearn.model_selection", "folds").train_test_split
        images, labels = extra_module("sklearn.datasets", "folds").load_digits(return_X_y=True)
        seed = self.data_seed
        everything = np.arange(len(labels))
        train, rest = split(everything, test_size=0.3, stratify=labels, random_state=seed)
        val, test = split(rest, test_size=0.5, stratify=labels[rest], random_state=seed)
        angles = np.random.default_rng(self.data_seed).uniform(0, 2 * math.pi, len(labels))
        if self.test_rotation == "none":
            angles[:] = 0
        for name, members in (("train", train), ("val", val), ("test", test)):
            turn = angles if name == "test" else np.zeros(len(labels))
            graphs = [self._graph(images[k], int(labels[k]), float(turn[k])) for k in members]
            self.splits[name] = PackedGraphs(joined(graphs, FIELDS), FIELDS)

    def _graph(self, image: np.ndarray, label: int, angle: float) -> Arrays:
        level = torch.as_tensor(image.reshape(8, 8) / 16, dtype=torch.get_default_dtype())
        row, column = (level >= self.ink).nonzero(as_tuple=True)
        weight = level[row, column]
        pos = torch.stack([column, -row], -1).to(level.dtype) / 4
        pos = pos - (weight[:, None] * pos).sum(0) / weight.sum()
        edge_index = radius_graph(pos, self.cutoff)
        rotated = pos @ _rotation(angle).to(pos.dtype).T
        return {
            "pos": rotated.numpy(),
            "x": weight[:, None].numpy(),
            "edge_index": edge_index.numpy(),
            "y": np.array([label]),
        }


def _rotation(angle: float) -> Tensor:
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, -s], [s, c]])


class SuperpixelData(SplitLoaders):
    """MNIST as graphs of 75 patches: 60 000 images to train on and 10 000 to test.

    Source: Monti et al., "Geometric deep learning on graphs and manifolds using mixture model
    CNNs" (CVPR 2017, arXiv 1611.08402). Batches hold `pos` [N, 2] the patches' centres from the
    image's, in half image sides, `x` [N, 1] their ink from 0 to 1, `edge_index` [2, E] the file's,
    sorted by target and without loops, `y` the digits, `batch` and `ptr`.

    The published file is looked for below the folder that the environment variable GEQLIB_DATA
    names: MNISTSuperpixels/raw/MNISTSuperpixels.pt, as torch_geometric keeps it. Nothing but
    tensors and plain values is read from it, and no code is run.

    Args:
        batch_size: images in a batch.
        data_seed: decides which tenth of the training images is for validation.
        shuffle_seed: of the order of the training images.
        cache: folder for the graphs; the user's cache folder by default.

    Raises:
        ValueError: a file that is missing, damaged or would run code.

    Example:
        >>> data = SuperpixelData(batch_size=96)  # data.setup() reads the file
    """

    def __init__(
        self,
        batch_size: int = 96,
        *,
        data_seed: int = 0,
        shuffle_seed: int = 0,
        cache: str | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {batch_size}.")
        self.batch_size, self.data_seed, self.shuffle_seed = batch_size, data_seed, shuffle_seed
        self.cache = None if cache is None else Path(cache)
        self.splits: dict[str, PackedGraphs] = {}

    def prepare_data(self) -> None:
        self._arrays()

    def setup(self, stage: str | None = None) -> None:
        arrays = self._arrays()
        whole, train = PackedGraphs(arrays, FIELDS), int(arrays["train"][0])
        order = np.random.default_rng(self.data_seed).permutation(train)
        held = int(HELD_OUT * train)
        parts = {"train": order[held:], "val": order[:held], "test": range(train, len(whole))}
        self.splits = {name: whole.subset(np.sort(part)) for name, part in parts.items()}

    def _arrays(self) -> Arrays:
        path = needed_file(FILE)
        parameters = {"sha256": file_hash(path), "format": 1}
        return cached_arrays("superpixels", parameters, lambda: _read_superpixels(path), self.cache)


def _read_superpixels(path: Path) -> Arrays:
    with reading(path, "does not hold superpixels of MNIST"):
        train, test = torch.load(path, map_location="cpu", weights_only=True)
        arrays = joined([_superpixels(image) for image in [*train, *test]], FIELDS)
        return arrays | {"train": np.array([len(train)])}


def _superpixels(image: dict[str, Tensor]) -> dict[str, Any]:
    x, pos = image["x"].float(), image["pos"].float()
    edge_index = image["edge_index"]
    if not (x.isfinite().all() and pos.isfinite().all()):
        raise ValueError("an image has patches that are not finite")
    if edge_index.numel() and not 0 <= int(edge_index.min()) <= int(edge_index.max()) < len(x):
        raise ValueError(f"an image of {len(x)} patches has an edge to patch {edge_index.max()}")
    source, target = edge_index[:, edge_index[0] != edge_index[1]]
    order = torch.argsort(target, stable=True)
    return {
        "x": x.reshape(len(x), 1).numpy(),
        "pos": (pos.reshape(len(x), 2) / HALF_SIDE - 1).numpy(),
        # 16 bits are enough for the patches of an image, of which there are 70 000
        "edge_index": torch.stack([source[order], target[order]]).to(torch.int16).numpy(),
        "y": image["y"].long().reshape(1).numpy(),
    }
