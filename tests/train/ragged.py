"""Batches and data of graphs of different sizes, with tensors and labels for every task."""

from __future__ import annotations

from typing import Any

import numpy as np

from geqlib.data.loaders import SplitLoaders
from geqlib.data.packed import Field, PackedGraphs

SIZES = (3, 5, 4, 7, 2, 6, 5, 3, 8, 4, 3, 6)
NODE = ("pos", "vec", "x", "z", "normal", "forces", "y_node")
EDGE = ("edge_attr", "cell_shift")
REVERSE: dict[str, Any] = {"reverse": Field("edge", index="edge")}
FIELDS = {**dict.fromkeys(NODE, "node"), **dict.fromkeys(EDGE, "edge"), **REVERSE}


def ragged_arrays(sizes: tuple[int, ...] = SIZES, seed: int = 0) -> dict[str, Any]:
    """Complete graphs without their longest pairs, and every label."""
    draw = np.random.default_rng(seed)
    nodes, graphs = sum(sizes), len(sizes)
    edges = []
    for size in sizes:
        pairs = [(i, j) for i in range(size) for j in range(i) if i - j < 4]
        edges.append(np.array([*pairs, *(p[::-1] for p in pairs)]).T)
    count = [part.shape[1] for part in edges]
    normal = draw.normal(size=(nodes, 3))
    energy = draw.normal(size=graphs)
    energy[1] = np.nan
    forces = draw.normal(size=(nodes, 3))
    forces[-1] = np.nan
    return {
        "nodes": np.array(sizes),
        "edges": np.array(count),
        "edge_index": np.concatenate(edges, 1),
        "pos": 1.5 * draw.normal(size=(nodes, 3)),
        "vec": draw.normal(size=(nodes, 1, 3)),
        "x": draw.normal(size=(nodes, 2)),
        "z": draw.choice([1, 6], nodes),
        "normal": normal / np.linalg.norm(normal, axis=1, keepdims=True),
        "forces": forces,
        "y_node": draw.normal(size=(nodes, 3)),
        "edge_attr": np.concatenate([np.ones((n, 1)) for n in count]),
        "cell_shift": np.zeros((sum(count), 3), int),
        "reverse": np.concatenate([np.roll(np.arange(n), n // 2) for n in count]),
        "cell": 20 * np.stack([np.eye(3)] * graphs),
        "energy": energy,
        "stress": draw.normal(size=(graphs, 3, 3)),
        "y_graph": draw.normal(size=(graphs, 3)),
        "y": draw.normal(size=(graphs, 1)),
        "label": np.arange(graphs) % 2,
        "shift": draw.normal(size=(nodes, 3)),
    }


def ragged_graphs(*, names: tuple[str, ...], **labels: str) -> PackedGraphs:
    """All graphs with these arrays; `labels` renames some, such as y="label"."""
    arrays = ragged_arrays()
    renamed = {new: arrays[old] for new, old in labels.items()}
    chosen = {k: arrays[k] for k in ("nodes", "edges", "edge_index", *names)} | renamed
    fields = {k: FIELDS.get(k, "graph") for k in names}
    fields |= {new: "node" if len(renamed[new]) == sum(SIZES) else "graph" for new in renamed}
    return PackedGraphs(chosen, fields)


def ragged_batch(numbers: list[int], **options: Any) -> Any:
    return ragged_graphs(**options).__getitems__(numbers)


class Ragged(SplitLoaders):
    """Twelve graphs of two to eight nodes: six to train on, three to validate, three to test."""

    def __init__(
        self, names: tuple[str, ...] = (), batch_size: int = 2, labels: dict[str, str] | None = None
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.names, self.batch_size, self.labels = tuple(names), batch_size, labels or {}

    def setup(self, stage: str | None = None) -> None:
        whole = ragged_graphs(names=self.names, **self.labels)
        parts = {"train": range(6), "val": range(6, 9), "test": range(9, 12)}
        self.splits = {name: whole.subset(part) for name, part in parts.items()}


def double(batch: Any) -> Any:
    return batch.clone().apply(lambda x: x.double() if x.is_floating_point() else x)
