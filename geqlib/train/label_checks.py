"""Labels and elements of structures that no potential can be trained or measured on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from ase.data import chemical_symbols
from torch import Tensor


def check_splits(splits: Mapping[str, Any], seen: Tensor) -> None:
    """`check_frames` of all splits in memory; those that are streamed are checked by batches."""
    for split, structures in splits.items():
        if "z" in getattr(structures, "arrays", {}):
            check_frames(split, structures, seen)


def check_labelled(splits: Mapping[str, Any], weights: Mapping[str, float]) -> None:
    """Refuse splits in memory, of those for training, none of whose frames has a weighted label.

    Their loss would be 0, which is the best there is.

    Raises:
        ValueError: naming the split and the label.
    """
    for split in ("train", "val"):
        arrays = getattr(splits.get(split), "arrays", {})
        for name, weight in weights.items():
            if weight and name in arrays and arrays[name].numel() and arrays[name].isnan().all():
                raise ValueError(
                    f"No frame of the {split} split has a label for {name}, but {name}_weight is "
                    f"{weight}: choose other frames for it, or set the weight to 0."
                )


def check_frames(split: str, structures: Any, seen: Tensor) -> None:
    """Refuse an element that the training frames do not have.

    Args:
        split: to be named.
        structures: a batch, or all structures of a data set.
        seen: [119] whether the training set has the element.

    Raises:
        ValueError: naming the split, the frame and the atom.
    """
    z = structures.z.long()
    unseen = (~seen.index_select(0, z)).nonzero()[:, 0]
    if not len(unseen):
        return
    atom = int(unseen[0])
    graph = int(structures.batch[atom])
    index = getattr(structures, "index", None)
    first = int((structures.batch < graph).sum())
    elements = ", ".join(chemical_symbols[k] for k in seen.nonzero()[:, 0].tolist())
    raise ValueError(
        f"Frame {graph if index is None else int(index[graph])} of the {split} split: atom "
        f"{atom - first} is {chemical_symbols[int(z[atom])]}, which the training data never showed "
        f"({elements}): put such frames into the training data, or leave this one out."
    )


def check_volumes(batch: Any) -> None:
    """Refuse labels of the stress of graphs that have no volume.

    Raises:
        ValueError: naming the graph.
    """
    if "stress" not in batch:
        return
    labelled = ~batch.stress.isnan().flatten(1).all(1)
    bare = (labelled & ~volumes(batch)).nonzero()[:, 0]
    if len(bare):
        raise ValueError(
            f"Graph {int(bare[0])} of a batch has a stress, but no cell along which it repeats and "
            "that has a volume: make its stress NaN, which is no label."
        )


def volumes(batch: Any) -> Tensor:
    """[G] whether each graph repeats and has a volume."""
    if "cell" not in batch:
        return torch.zeros(batch.num_graphs, dtype=torch.bool, device=batch.pos.device)
    volume = torch.linalg.det(batch.cell.double()).abs() > 0
    return volume & batch.pbc.view(-1, 3).any(1) if "pbc" in batch else volume
