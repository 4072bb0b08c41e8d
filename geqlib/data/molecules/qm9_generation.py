"""QM9 as data of generative models."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from geqlib.data.download import find_file
from geqlib.data.loaders import StructureLoaders
from geqlib.data.molecules.qm9 import COLUMNS, NPZ, Target, qm9_arrays, qm9_molecules
from geqlib.data.molecules.structures import molecules, with_neighbors
from geqlib.data.packed import PackedGraphs

Split = Literal["EDM", "PONITA"]
# of all 130 831 molecules: seed of the permutation, molecules for training and for validation
SPLITS: dict[str, tuple[int, int, int]] = {
    "EDM": (0, 100_000, 17_748),
    "PONITA": (42, 110_000, 10_000),
}


class QM9Generation(StructureLoaders):
    """The molecules of QM9, hydrogens included, for generation.

    The data of Ramakrishnan et al. (Sci. Data 1, 140022, 2014), without the 3054 molecules that
    failed its consistency check, in the split of Hoogeboom et al. (ICML 2022; a permutation of
    numpy's RandomState(0): 100 000 for training, 17 748 for validation, 13 083 for testing) or that
    of the code of Bekkers et al. (RandomState(42): 110 000, 10 000 and 10 831).

    Batches hold `pos` [N, 3] in angstrom, `z` [N], `edge_index` [2, E] and `reverse` [E] of all
    pairs, `batch`, `ptr`, `index` [G] the number in GDB-9, `y` [G] if there is a target, and
    `cell`, `pbc` without a cell. The data is read as by `QM9Data`.

    Args:
        split: "EDM" or "PONITA".
        target: a property for conditional models, see `QM9Data`; None for none.
        batch_size, eval_batch_size: molecules in a batch of training, and outside of it.
        train, val: molecules of these splits; those of the published split by default.
        num_train: training molecules used; a smaller number takes a part of a larger one.
        max_atoms: of the training molecules used; by default all sizes are.
        shuffle_seed: of the order in training.
        workers: processes that make batches.
        cache: folder for what is read from qm9pack; the user's cache folder by default.

    Raises:
        ValueError: an unknown split or target, sizes below 1 or above the number of molecules.

    Example:
        >>> data = QM9Generation(num_train=1000)  # data.setup() reads the file
    """

    def __init__(
        self,
        split: Split = "EDM",
        target: Target | None = None,
        *,
        batch_size: int = 96,
        eval_batch_size: int = 96,
        train: int | None = None,
        val: int | None = None,
        num_train: int | None = None,
        max_atoms: int | None = None,
        shuffle_seed: int = 0,
        workers: int = 0,
        cache: str | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}.")
        if target is not None and target not in get_args(Target):
            raise ValueError(f"target must be null or one of {', '.join(COLUMNS)}, got {target!r}.")
        self.seed, usual_train, usual_val = SPLITS[split]
        self.sizes = {
            "train": usual_train if train is None else train,
            "val": usual_val if val is None else val,
        }
        if min(*self.sizes.values(), batch_size, eval_batch_size) < 1:
            raise ValueError("train, val, batch_size and eval_batch_size must be at least 1.")
        if num_train is not None and not 1 <= num_train <= self.sizes["train"]:
            raise ValueError(
                f"num_train must be from 1 to train ({self.sizes['train']}), got {num_train}."
            )
        self.target, self.num_train, self.max_atoms = target, num_train, max_atoms
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.shuffle_seed, self.workers = shuffle_seed, workers
        self.cache = None if cache is None else Path(cache)
        self.splits: dict[str, PackedGraphs] = {}

    def prepare_data(self) -> None:
        """Read the package where there is no file, which one process does for all."""
        if find_file(NPZ) is None:
            qm9_arrays(self.cache)

    def setup(self, stage: str | None = None) -> None:
        if self.splits:
            return
        arrays = qm9_arrays(self.cache)
        if self.target is None:
            index = arrays["index"].astype(np.int64)
            whole = molecules(arrays["z"], arrays["pos"], arrays["n_atoms"], index)
        else:
            whole = qm9_molecules(arrays, self.target)
        count, train, val = len(whole), self.sizes["train"], self.sizes["val"]
        if train + val > count:
            raise ValueError(f"train + val is {train + val}, but there are {count} molecules.")
        order = torch.from_numpy(np.random.RandomState(self.seed).permutation(count))
        parts = {
            "train": self._used(order[:train], whole),
            "val": order[train : train + val],
            "test": order[train + val :],
        }
        for split, chosen in parts.items():
            self.splits[split] = with_neighbors(whole.subset(chosen), None)

    def _used(self, train: Tensor, whole: PackedGraphs) -> Tensor:
        """Those of the training molecules that are trained on."""
        if self.max_atoms is not None:
            train = train[whole.counts["node"][train] <= self.max_atoms]
        count = len(train) if self.num_train is None else self.num_train
        if not 1 <= count <= len(train):
            raise ValueError(
                f"{len(train)} training molecules have at most {self.max_atoms} atoms, and "
                f"num_train is {self.num_train}: raise max_atoms or lower num_train."
            )
        return train[:count]

    def target_scale(self) -> tuple[float, float]:
        """Mean and standard deviation of the target over the training molecules."""
        y = self.splits["train"].y.double()
        return float(y.mean()), float(y.std())
