"""Examples of validation and testing that are trained on: said once, before training."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from hashlib import blake2b

import numpy as np

from geqlib.data.packed import PackedGraphs

MOST = 100_000  # graphs that are compared: of more, training would begin late
INPUTS = ("x", "z", "pos", "normal", "vec", "cell", "charge", "edge_attr", "edge_index")


def warn_of_copies(splits: Mapping[str, PackedGraphs], noun: str) -> None:
    """Warn of graphs in validation and test splits whose inputs equal those of a training graph.

    Nodes are compared in their order: the same graph with other numbers of its nodes is another.

    Args:
        splits: by name.
        noun: what a graph is called.
    """
    copies = copies_of_training(splits)
    if not copies:
        return
    listed = " and ".join(f"{count} of {len(splits[name])} in {name}" for name, count in copies)
    warnings.warn(
        f"{listed} equal {noun}s of the training in all features, so that metrics are better than "
        f"for new {noun}s: remove copies from the data, or name a file of your own as val or test.",
        stacklevel=4,  # whoever asks a data module for its training graphs
    )


def copies_of_training(splits: Mapping[str, PackedGraphs]) -> list[tuple[str, int]]:
    """Splits with the number of their graphs that equal a training graph, where there are any.

    Example:
        >>> def points(*pos):
        ...     return PackedGraphs({"nodes": [1] * len(pos), "pos": pos}, {"pos": "node"})
        >>> copies_of_training({"train": points(1.0, 2.0), "val": points(3.0), "test": points(2.0)})
        [('test', 1)]
    """
    train = splits.get("train")
    if train is None or sum(map(len, splits.values())) > MOST:
        return []
    trained = set(_digests(train))
    counts = {
        name: sum(digest in trained for digest in _digests(split))
        for name, split in splits.items()
        if name != "train"
    }
    return [(name, count) for name, count in counts.items() if count]


def _digests(graphs: PackedGraphs) -> Iterator[bytes]:
    """One for each graph, of its inputs."""
    columns = []
    for name in sorted(set(INPUTS) & graphs.fields.keys()):
        field = graphs.fields[name]
        ends = np.r_[0, graphs.counts[field.per].cumsum(0).numpy()]
        values = np.moveaxis(graphs.arrays[name].numpy(), field.dim, 0)
        columns.append((ends, np.ascontiguousarray(values)))
    for k in range(len(graphs)):
        digest = blake2b(digest_size=16)
        for ends, values in columns:
            digest.update(np.int64(ends[k + 1] - ends[k]).tobytes())
            digest.update(values[ends[k] : ends[k + 1]].tobytes())
        yield digest.digest()
