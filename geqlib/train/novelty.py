"""SMILES of training molecules, by which samples are novel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from geqlib.data.packed import PackedGraphs
from geqlib.elements import atomic_numbers
from geqlib.generation import EDM_RULES, BondRules, bonded_smiles, molecule_smiles

CHUNK = 1000  # molecules, whose pairs of atoms are in memory at the same time


def training_smiles(
    graphs: PackedGraphs,
    *,
    rules: BondRules = EDM_RULES,
    species: Sequence[str] = (),
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> frozenset[str]:
    """SMILES of the valid molecules of a split, made as those of samples are.

    Args:
        graphs: a split of `QM9Generation`, or of `GraphGeneration`, whose bonds are edges.
        rules: of bonds by distances; of a graph with bonds, which elements are known.
        species: the element of each kind of node of graphs with bonds; none for positions.
        progress: wraps the loop over chunks of molecules.

    Raises:
        ValueError: RDKit not installed.

    Example:
        >>> from geqlib.data import QM9Generation
        >>> data = QM9Generation()
        >>> data.setup()  # doctest: +SKIP
        >>> texts = training_smiles(data.splits["train"])  # doctest: +SKIP
    """
    texts: set[str | None] = set()
    numbers = torch.tensor([atomic_numbers[symbol] for symbol in species])
    for first in progress(range(0, len(graphs), CHUNK)):
        batch: Any = graphs.__getitems__(range(first, min(first + CHUNK, len(graphs))))
        size = batch.num_graphs
        if species:
            bonds = batch.edge_index, batch.edge_attr
            texts |= {*bonded_smiles(numbers[batch.x], *bonds, batch.batch, size, rules=rules)}
        else:
            texts |= {*molecule_smiles(batch.z, batch.pos, batch.batch, size, rules=rules)}
    return frozenset(text for text in texts if text is not None)


def training_graphs(checkpoint: str | Path) -> PackedGraphs:
    """The training split of the data that a checkpoint of `geqlib fit` was trained on.

    Raises:
        ValueError: a checkpoint that does not describe its data, or data of another form.

    Example:
        >>> len(training_graphs("runs/qm9"))  # doctest: +SKIP
        100000
    """
    from geqlib.train.check import task_and_data

    data: Any = task_and_data(checkpoint)[1]
    data.prepare_data()
    data.setup("fit")
    train = getattr(data, "splits", {}).get("train")
    if not isinstance(train, PackedGraphs):
        raise ValueError(f"The data of {checkpoint} has no training molecules to compare with.")
    return train
