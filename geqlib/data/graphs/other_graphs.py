"""Graphs of another file, read as the training graphs were, with or without targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geqlib.data.graphs.graph_files import read_source
from geqlib.data.graphs.own_arrays import graph_arrays
from geqlib.data.loaders import SplitLoaders
from geqlib.data.packed import PackedGraphs
from geqlib.data.targets import encoded_as, widest


class OtherGraphs(SplitLoaders):
    """The graphs of a file or folder as the test split, for predictions.

    Args:
        path: of a file or folder that `OwnGraphData` reads.
        like: an `OwnGraphData`, whose attributes, targets, classes and batches these have.

    Raises:
        ValueError: a model that was trained before checkpoints kept what its features mean.
    """

    def __init__(self, path: Path, like: Any) -> None:
        super().__init__()
        if like.columns is None:
            raise ValueError(
                "The checkpoint does not say what the features of its graphs mean: train it again "
                "with this version."
            )
        self.path, self.like = path, like
        self.batch_size, self.targets, self.classes = like.batch_size, like.targets, like.classes
        self.units = like.units
        self.splits: dict[str, PackedGraphs] = {}

    def setup(self, stage: str | None = None) -> None:
        like = self.like
        graphs = read_source(str(self.path), like.targets[0], {})
        arrays, fields = graph_arrays(graphs, like.nodes, like.edges, like.columns)
        values = like.values(graphs)
        width = max(len(like.targets), widest(values))
        what = f"The target of {like.predict.removesuffix('s')} {{}}"
        y = encoded_as(values, like.kind, what, like.classes, width)
        if y is not None:
            per = "graph" if like.predict == "graphs" else "node"
            arrays, fields = arrays | {"y": y}, fields | {"y": per}
        self.splits = {"test": like.packed(arrays, fields)}
