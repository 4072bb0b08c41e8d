"""Miniature TU sets and fold files, in the layout of the published ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from geqlib.motifs.features import MotifFeatures

FOLDER = {"IMDB-BINARY": "IMDBBINARY", "IMDB-MULTI": "IMDBMULTI"}


def write(folder: Path, name: str, kinds: int = 0, edge_kinds: int = 0, graphs: int = 40) -> None:
    """A set of rings and stars of 3 to 8 nodes, and its ten folds, for GEQLIB_DATA.

    Args:
        folder: the mirror.
        name: of the set.
        kinds, edge_kinds: labels of nodes and edges; 0 for none.
        graphs: how many.
    """
    built = [shape(3 + k % 6) for k in range(graphs // 2) for shape in (nx.cycle_graph, star)]
    write_set(folder, name, built, [k % 2 for k in range(graphs)], kinds, edge_kinds)
    write_folds(folder, name, np.arange(graphs).reshape(10, -1).tolist(), graphs)


def write_for(settings: dict[str, Any], folder: Path) -> None:
    """The set of a configuration, with as many labels of nodes as its network reads."""
    net, data = settings["model"]["init_args"]["model"]["init_args"], settings["data"]["init_args"]
    features = data.get("features")
    counts = MotifFeatures(**features).channels.get("x", 0) if features else 0
    write(folder, data["name"], kinds=net["in_channels"] - counts)


def star(nodes: int) -> nx.Graph:
    return nx.star_graph(nodes - 1)


def write_set(
    folder: Path,
    name: str,
    graphs: Sequence[nx.Graph],
    classes: Sequence[int],
    kinds: int = 0,
    edge_kinds: int = 0,
) -> None:
    raw = folder / "TUDataset" / name / "raw"
    raw.mkdir(parents=True)
    whole = nx.disjoint_union_all(graphs)
    edges = [f"{i + 1}, {j + 1}" for i, j in whole.to_directed().edges()]
    number = [k + 1 for k, graph in enumerate(graphs) for _ in graph]
    files = {"A": edges, "graph_indicator": number, "graph_labels": [2 * c - 1 for c in classes]}
    if kinds:
        files["node_labels"] = [i % kinds for i in range(len(number))]
    if edge_kinds:
        files["edge_labels"] = [i % edge_kinds for i in range(len(edges))]
    for suffix, lines in files.items():
        (raw / f"{name}_{suffix}.txt").write_text("".join(f"{line}\n" for line in lines))


def write_folds(folder: Path, name: str, tests: Sequence[Sequence[int]], graphs: int) -> None:
    """Index files whose test folds are given; what is not tested is trained on."""
    place = folder / "TU_10fold" / FOLDER.get(name, name) / "10fold_idx"
    place.mkdir(parents=True)
    for k, test in enumerate(tests):
        train = [i for i in range(graphs) if i not in set(test)]
        for part, numbers in (("train", train), ("test", test)):
            text = "".join(f"{i}\n" for i in numbers)
            (place / f"{part}_idx-{k + 1}.txt").write_text(text)


def write_generated(folder: Path, name: str, graphs: Sequence[nx.Graph]) -> None:
    """A set of graphs to be generated, in graph6."""
    path = folder / "graph_generation" / f"{name}.g6"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join(nx.to_graph6_bytes(graph, header=False) for graph in graphs))


def write_generated_for(settings: dict[str, Any], folder: Path) -> None:
    """Rings and stars as the set of a configuration."""
    name = settings["data"]["init_args"]["name"]
    write_generated(folder, name, [shape(4) for shape in (nx.cycle_graph, star)] * 5)
