"""Batches and data of graphs of different sizes, with tensors and labels for every task."""

from __future__ import annotations

from typing import Any

import numpy as np

from geqlib.data.loaders import SplitLoaders
from geqlib.data.packed import Field, PackedGraphs

SIZES = (3, 5, 4, 7, 2, 6, 5, 3, 8, 4, 3, 6)
NODE = ("pos", "vec", "x", "z", "normal", "forces", "y_node", "charges")
EDGE = ("edge_attr", "cell_shift")
REVERSE: dict[str, Any] = {"reverse": Field("edge", index="edge")}
PAIRS: dict[str, Any] = {
    "edge_label": Field("pair"),
    "edge_label_index": Field("pair", "node", dim=1),
}
FIELDS = {**dict.fromkeys(NODE, "node"), **dict.fromkeys(EDGE, "edge"), **REVERSE, **PAIRS}


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
    targets = draw.normal(size=(graphs, 3))
    targets[1::3, 1] = np.nan
    classes = draw.choice([0.0, 1.0, np.nan], (nodes, 2))
    charges = draw.normal(size=(nodes, 1))
    charges[::4] = np.nan
    pairs = np.arange(graphs) % 4 + 1
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
        "gap": energy[:, None],
        "stress": draw.normal(size=(graphs, 3, 3)),
        "y_graph": draw.normal(size=(graphs, 3)),
        "y": draw.normal(size=(graphs, 1)),
        "label": np.arange(graphs) % 2,
        "shift": draw.normal(size=(nodes, 3)),
        "targets": targets,
        "classes": classes,
        "kind": draw.integers(-1, 3, nodes),
        "charges": charges,
        "dipole": draw.normal(size=(graphs, 3)),
        "pairs": pairs,
        "edge_label": np.concatenate([np.arange(n) % 2 for n in pairs]),
        "edge_label_index": np.concatenate(
            [draw.integers(0, size, (2, n)) for size, n in zip(sizes, pairs, strict=True)], 1
        ),
    }


def ragged_graphs(*, names: tuple[str, ...], **labels: str) -> PackedGraphs:
    """All graphs with these arrays; `labels` renames some, such as y="label"."""
    arrays = ragged_arrays()
    renamed = {new: arrays[old] for new, old in labels.items()}
    counts = ("nodes", "edges", *(["pairs"] if "edge_label" in names else []))
    chosen = {k: arrays[k] for k in (*counts, "edge_index", *names)} | renamed
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
