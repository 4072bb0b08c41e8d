"""Batches under random symmetries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from geqlib.symmetry.rotations import random_rotations
from geqlib.symmetry.types import parse_type, rotate


def rotated_graphs(batch: Any, types: Mapping[str, str], task: str) -> Any:
    """A copy of the batch with every graph rotated by its own random rotation.

    Args:
        batch: of graphs.
        types: of its tensors, as in `geqlib.testing`.
        task: its name, for errors.

    Raises:
        ValueError: if none of the tensors is a point or a vector.
    """
    parsed = [parse_type(name, text) for name, text in types.items() if name in batch]
    rotating = [type_ for type_ in parsed if type_.rotates]
    where = next((type_.where for type_ in rotating if type_.cartesian), None)
    if where is None:  # a StopIteration would end the epoch without a word
        raise ValueError(
            f"{task} has rotate=True, but none of its `inputs` and `outputs` in "
            "the batch is a point or a vector: declare them, or set rotate=False."
        )
    first = batch[where]
    rotation = random_rotations(
        batch.num_graphs, first.size(-1), dtype=first.dtype, device=first.device
    )
    turned = batch.clone()
    for type_ in rotating:
        x = batch[type_.where]
        own = rotation
        if type_.level != "graph":
            node = batch.edge_index[0] if type_.level == "edge" else slice(None)
            own = rotation.index_select(0, batch.batch[node])
        turned[type_.where] = rotate(x, type_, own)
    return turned


def rotated_structures(batch: Any) -> Any:
    """A copy of a batch of structures, each rotated by its own random rotation, with its labels."""
    pos, copy = batch.pos, batch.clone()
    rotation = random_rotations(batch.num_graphs, 3, dtype=pos.dtype, device=pos.device)
    per_atom = rotation.index_select(0, batch.batch)
    for name in ("pos", "forces"):
        if name in batch:
            copy[name] = torch.einsum("nij,nj->ni", per_atom, batch[name])
    if "cell" in batch:
        copy.cell = batch.cell @ rotation.transpose(1, 2)
    if "dipole" in batch:
        copy.dipole = torch.einsum("gij,gj->gi", rotation, batch.dipole)
    for name in ("stress", "polarisability"):
        if name in batch:
            copy[name] = rotation @ batch[name] @ rotation.transpose(1, 2)
    return copy
