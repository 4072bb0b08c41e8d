"""Graph classification sets in DGCNN's text format, whose order the usual index files count."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from geqlib.data.mirror import find_file
from geqlib.files.cache import cached_arrays, file_hash
from geqlib.files.reading import reading

Arrays = dict[str, np.ndarray]
FOLDER = {"IMDB-BINARY": "IMDBBINARY", "IMDB-MULTI": "IMDBMULTI"}


def index_folder(name: str) -> str:
    """Where the index files of a set lie, and the text whose graphs they count."""
    return f"TU_10fold/{FOLDER.get(name, name)}"


def dgcnn_arrays(name: str, cache: Path | None = None) -> Arrays | None:
    """The set of the text beside the index files, TU_10fold/NAME/NAME.txt, kept in the cache.

    None if there is no such text.
    """
    folder = index_folder(name)
    path = find_file(f"{folder}/{folder.split('/')[1]}.txt")
    if path is None:
        return None
    parameters = {"sha256": file_hash(path), "format": 1}
    return cached_arrays("dgcnn", parameters, lambda: read_dgcnn(path), cache)


def read_dgcnn(path: Path) -> Arrays:
    """All graphs of a file.

    Source: Zhang et al., "An end-to-end deep learning architecture for graph classification" (AAAI
    2018). The first line is the number of graphs. Each has a line "nodes class" and a line for each
    node, "kind neighbours neighbour neighbour ...", which count from 0.

    Returns:
        The arrays of `geqlib.data.graphs.tu.tu_arrays`, with "label" where there are several kinds.

    Raises:
        ValueError: if the file is damaged.
    """
    with reading(path, "does not hold graphs in DGCNN's format"):
        lines = iter(path.read_text().splitlines())
        graphs = [_next_graph(lines) for _ in range(int(next(lines)))]
        classes, kinds, ends = zip(*graphs, strict=True)
        kind = np.concatenate(kinds)
        arrays = {
            "nodes": np.array([len(k) for k in kinds]),
            "edges": np.array([e.shape[1] for e in ends]),
            "edge_index": np.concatenate(ends, 1),
            "y": np.unique(classes, return_inverse=True)[1].reshape(-1),
        }
        if kind.min() < kind.max():
            arrays["label"] = np.eye(kind.max() - kind.min() + 1, dtype=np.float32)[
                kind - kind.min()
            ]
    return arrays


def match_graphs(theirs: Arrays, ours: Arrays) -> np.ndarray:
    """The number among `ours` of each of `theirs`: isomorphic, of the same class and kinds.

    Kinds of nodes go by other numbers in the two: they are told by how often they occur. Of
    isomorphic graphs either may be meant.

    Raises:
        ValueError: if one is missing.
    """
    candidates: dict[Any, list[tuple[int, nx.Graph]]] = defaultdict(list)
    for number, (key, graph) in enumerate(_keyed(ours)):
        candidates[key].append((number, graph))
    same, found = nx.algorithms.isomorphism.categorical_node_match("kind", 0), []
    for key, graph in _keyed(theirs):
        fits = (nx.is_isomorphic(graph, other, node_match=same) for _, other in candidates[key])
        place = next((i for i, fit in enumerate(fits) if fit), None)
        if place is None:
            raise ValueError(f"its graph {len(found)} is none of the set's")
        found.append(candidates[key].pop(place)[0])
    return np.array(found)


def _next_graph(lines: Iterator[str]) -> tuple[int, np.ndarray, np.ndarray]:
    nodes, label = map(int, next(lines).split())
    rows = [list(map(int, next(lines).split())) for _ in range(nodes)]
    pairs = {(i, j) for i, row in enumerate(rows) for j in row[2 : 2 + row[1]] if i != j}
    if any(not 0 <= j < nodes for _, j in pairs):
        raise ValueError(f"a graph of {nodes} nodes has an edge to another node")
    ends = sorted(pairs | {(j, i) for i, j in pairs})
    kinds = np.array([row[0] for row in rows], dtype=np.int64)
    return label, kinds, np.array(ends, dtype=np.int64).reshape(-1, 2).T


def _keyed(arrays: Arrays) -> Iterator[tuple[Any, nx.Graph]]:
    """Each graph with what isomorphic ones share."""
    kinds = np.zeros(arrays["nodes"].sum(), dtype=np.int64)
    if "label" in arrays:
        rank = np.argsort(np.argsort(-arrays["label"].sum(0), kind="stable"))
        kinds = rank[arrays["label"].argmax(1)]
    node_parts = np.split(kinds, arrays["nodes"].cumsum()[:-1])
    edge_parts = np.split(arrays["edge_index"], arrays["edges"].cumsum()[:-1], axis=1)
    for kind, ends, label in zip(node_parts, edge_parts, arrays["y"], strict=True):
        graph = nx.Graph()
        graph.add_nodes_from((i, {"kind": int(k)}) for i, k in enumerate(kind))
        graph.add_edges_from(ends.T.tolist())
        degrees = sorted((int(kind[i]), degree) for i, degree in graph.degree())
        yield (int(label), tuple(degrees)), graph
