"""Loaders that all data modules share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import lightning as L
import torch
from ase import Atoms
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler
from torch_geometric.data import Data

from geqlib.data.packed import PackedGraphs
from geqlib.data.shares import ShareOfBatches, WholeBatches
from geqlib.files.plain import PlainArguments, plain

RESIDENT = 0.25  # of the free memory of a device


class SplitLoaders(PlainArguments, L.LightningDataModule):
    """Serves `splits`: training in an order that (seed, epoch) decide, the others in their order.

    Therefore a resumed run equals an uninterrupted one. Of several processes, each evaluates its
    own part of the graphs, and no graph counts twice. A subclass's `setup` fills `splits` with data
    sets whose `__getitems__` makes a whole batch at once, such as
    `geqlib.data.packed.PackedGraphs`.

    Attributes:
        splits: "train", "val" and "test".
        batch_size: graphs in a batch.
        eval_batch_size: the same outside of training; `batch_size` where it is None.
        shuffle_seed: seed of the order of the training graphs.
        workers: processes that make batches, beside the one that trains.
        drop_last: whether a last, smaller training batch is left out. A split that is smaller
            than one batch is one batch.
        noun: what one of its graphs is called in messages.
        prepare: what is done to each batch where it is made, such as a model's plan of it.

    On a CUDA device without workers, splits that take at most a quarter of its free memory live
    there, and batches are cut from them there; others are copied batch by batch from pinned memory.
    """

    batch_size: int
    eval_batch_size: int | None = None
    shuffle_seed: int = 0
    workers: int = 0
    drop_last: ClassVar[bool] = True
    noun: ClassVar[str] = "graph"
    prepare: Callable[[Any], Any] | None = None
    splits: dict[str, Any]

    def state_dict(self) -> dict[str, Any]:
        """The names of classes, which checkpoints keep for predictions on other data."""
        classes = getattr(self, "classes", None)
        return {"classes": plain(list(classes), "classes")} if classes else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if not getattr(self, "classes", None):
            self.classes = state_dict["classes"]

    def train_dataloader(self) -> DataLoader:
        data = self._split("train")
        if not len(data):
            raise ValueError("The training split is empty: set `train` to at least 1.")
        sampler = DistributedSampler(
            data,
            num_replicas=self.trainer.world_size if self.trainer else 1,
            rank=self.trainer.global_rank if self.trainer else 0,
            shuffle=True,
            seed=int(self.shuffle_seed),
        )
        size = min(self.batch_size, len(sampler))
        return self._loader(data, size, sampler=sampler, drop_last=self.drop_last)

    def val_dataloader(self) -> DataLoader:
        return self._in_order("val")

    def test_dataloader(self) -> DataLoader:
        return self._in_order("test")

    def predict_dataloader(self) -> DataLoader:
        return self._in_order("test")

    def _in_order(self, split: str) -> DataLoader:
        return self._evaluation(self._split(split), self.eval_batch_size or self.batch_size)

    def _evaluation(self, data: Any, size: int) -> DataLoader:
        """All of the data in its order, or of several processes this one's share."""
        if self.trainer is None or self.trainer.world_size == 1:
            return self._loader(data, min(size, max(len(data), 1)))
        rank, processes = self.trainer.global_rank, self.trainer.world_size
        share = ShareOfBatches(len(data), int(size), processes, rank)
        return self._loader(WholeBatches(data), None, sampler=share)

    def _split(self, split: str) -> Any:
        if split not in self.splits:
            raise ValueError(f"There is no {split} split: name its data in `{split}`.")
        return self.splits[split]

    def _loader(self, data: Dataset, size: int | None, **options: Any) -> DataLoader:
        device = self._device()
        data = self._placed(data, device)
        return DataLoader(
            data,
            batch_size=None if size is None else int(size),
            collate_fn=self.prepare or _same,
            num_workers=int(self.workers),
            persistent_workers=self.workers > 0,
            # from which copies to a device need no wait
            pin_memory=device.type == "cuda" and not _on_device(data),
            **options,
        )

    def _placed(self, data: Any, device: torch.device) -> Any:
        """The data on the device, if it fits there and no other process makes batches."""
        if device.type != "cuda" or self.workers or not isinstance(data, PackedGraphs):
            return data
        fits = data.nbytes <= RESIDENT * torch.cuda.mem_get_info(device)[0]
        return data.to(device) if fits else data

    def _device(self) -> torch.device:
        """On which batches are needed."""
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        if isinstance(batch, Data):  # which Lightning would wait for
            return batch.to(device, non_blocking=True)
        return super().transfer_batch_to_device(batch, device, dataloader_idx)


class StructureLoaders(SplitLoaders):
    """`SplitLoaders` of structures, each of which can be had for ASE."""

    noun: ClassVar[str] = "structure"

    def atoms(self, index: int, split: str = "test") -> Atoms:
        """The structure of a split that has this `index`, for ASE.

        Its labels, in eV and angstrom, are called REF_energy, REF_forces and so on.
        """
        from geqlib.data.molecules.structures import to_atoms  # which imports data modules

        structures = self.splits[split]
        position = (structures.index == index).nonzero()
        if len(position) == 0:
            raise ValueError(f"There is no frame {index} in the {split} split.")
        return to_atoms(structures[int(position[0])])


def noun_of(data: Any) -> str:
    """What a graph of a data module is called in messages.

    Example:
        >>> noun_of(StructureLoaders()), noun_of(None)
        ('structure', 'graph')
    """
    return getattr(data, "noun", "graph")


def _on_device(data: Any) -> bool:
    return isinstance(data, PackedGraphs) and data.device.type != "cpu"


def _same(batch: Any) -> Any:
    return batch
