"""MNIST superpixels: handwritten digits as graphs of 75 patches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geqlib.data.graphs.packed import GraphArrays, graph_arrays, joined
from geqlib.data.loaders import SplitLoaders
from geqlib.data.mirror import find_file
from geqlib.files.cache import cached_arrays, file_hash
from geqlib.files.reading import reading

FILE = "MNISTSuperpixels/raw/MNISTSuperpixels.pt"
KINDS = {"x": "node", "pos": "node", "y": "graph"}
HALF_SIDE = 14.0  # pixels
HELD_OUT = 0.1


class SuperpixelData(SplitLoaders):
    """Which digit is it? 60 000 images to train on and 10 000 to test, 75 patches each.

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
        self.splits: dict[str, GraphArrays] = {}

    def prepare_data(self) -> None:
        self._arrays()

    def setup(self, stage: str | None = None) -> None:
        arrays = self._arrays()
        whole, known = graph_arrays(arrays, KINDS), int(arrays["train"][0])
        order = np.random.default_rng(self.data_seed).permutation(known)
        held = int(HELD_OUT * known)
        parts = {"train": order[held:], "val": order[:held], "test": range(known, len(whole))}
        self.splits = {name: whole.subset(np.sort(part)) for name, part in parts.items()}

    def _arrays(self) -> dict[str, np.ndarray]:
        path = find_file(FILE)
        if path is None:
            raise ValueError(
                f"There is no {FILE}: put the published file there, below the folder that "
                "GEQLIB_DATA names."
            )
        parameters = {"sha256": file_hash(path), "format": 1}
        return cached_arrays("superpixels", parameters, lambda: _read(path), self.cache)


def _read(path: Path) -> dict[str, np.ndarray]:
    with reading(path, "does not hold superpixels of MNIST"):
        train, test = torch.load(path, map_location="cpu", weights_only=True)
        arrays = joined([_graph(image) for image in [*train, *test]], KINDS)
        return arrays | {"train": np.array([len(train)])}


def _graph(image: dict[str, Tensor]) -> dict[str, Any]:
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
