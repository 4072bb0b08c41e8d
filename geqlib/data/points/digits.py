"""Handwritten digits as point clouds in the plane."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Batch, Data

from geqlib.data.loaders import SplitLoaders
from geqlib.extras import extra_module
from geqlib.graph.neighbors import radius_graph


class DigitsData(SplitLoaders):
    """Which digit is it, whichever way up? Upright training, test images turned at random.

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
        self.splits: dict[str, GraphList] = {}

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
            self.splits[name] = GraphList(graphs)

    def _graph(self, image: np.ndarray, label: int, angle: float) -> Data:
        level = torch.as_tensor(image.reshape(8, 8) / 16, dtype=torch.get_default_dtype())
        row, column = (level >= self.ink).nonzero(as_tuple=True)
        weight = level[row, column]
        pos = torch.stack([column, -row], -1).to(level.dtype) / 4
        pos = pos - (weight[:, None] * pos).sum(0) / weight.sum()
        edge_index = radius_graph(pos, self.cutoff)
        turned = pos @ _rotation(angle).to(pos.dtype).T
        return Data(pos=turned, x=weight[:, None], edge_index=edge_index, y=torch.tensor([label]))


class GraphList(Dataset):
    """Graphs in memory; indexing with a list makes a whole batch at once."""

    def __init__(self, graphs: Sequence[Data]) -> None:
        self.graphs = list(graphs)

    def __len__(self) -> int:
        return len(self.graphs)

    def __getitem__(self, index: int) -> Data:
        return self.graphs[index]

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        return Batch.from_data_list([self.graphs[k] for k in indices])


def _rotation(angle: float) -> Tensor:
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, -s], [s, c]])
