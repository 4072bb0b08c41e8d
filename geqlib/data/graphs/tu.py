"""TU graph classification sets from either of their two text formats."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import networkx as nx
import numpy as np
import torch
from torch_geometric.io import read_tu_data

from geqlib.data.download import find_file, find_folder
from geqlib.data.packed import Arrays
from geqlib.files.atomic import cached_arrays, file_hash, reading

SUFFIXES = (
    "A",
    "graph_indicator",
    "graph_labels",
    "node_labels",
    "node_attributes",
    "edge_labels",
    "edge_attributes",
)
FOLDER = {"IMDB-BINARY": "IMDBBINARY", "IMDB-MULTI": "IMDBMULTI"}


def tu_arrays(name: str, cache: Path | None = None) -> Arrays:
    """All graphs of a set as arrays for `PackedGraphs`, read once and kept in the cache.

    Source: Morris et al., "TUDataset" (ICML workshop GRL+ 2020). The files are looked for below the
    folder that the environment variable GEQLIB_DATA names, as TUDataset/NAME/raw/NAME_A.txt and so
    on, torch_geometric's layout; nothing is written there. MUTAG, PTC_MR, PROTEINS, NCI1, ENZYMES
    and IMDB-BINARY are downloaded where they are not there; PTC, NCI109 and IMDB-MULTI, too, in
    DGCNN's format (`read_dgcnn`).

    Args:
        name: such as "MUTAG".
        cache: folder for the arrays; the user's cache folder by default.

    Returns:
        "nodes", "edges" [G] counts, "edge_index" [2, E] counted from 0 in each graph, without loops
        and repeats, "y" [G] classes, and those of "label" [N, kinds], "attribute" [N, ...],
        "edge_label" [E, kinds] and "edge_attribute" [E, ...] that the set has.

    Raises:
        ValueError: if files are missing or are not a TU set.
    """
    folder = find_folder(f"TUDataset/{name}/raw") or Path("nowhere")
    named = {suffix: folder / f"{name}_{suffix}.txt" for suffix in SUFFIXES}
    paths = {suffix: path for suffix, path in named.items() if path.is_file()}
    missing = next((suffix for suffix in SUFFIXES[:3] if suffix not in paths), None)
    if missing == "A" and (arrays := dgcnn_arrays(name, cache)) is not None:
        return arrays
    if missing is not None:
        raise ValueError(
            f"There is no TUDataset/{name}/raw/{name}_{missing}.txt: put the files there, below "
            "the folder that GEQLIB_DATA names."
        )
    hashes = {suffix: file_hash(path) for suffix, path in paths.items()}
    parameters = {"name": name, "sha256": hashes, "format": 1}
    return cached_arrays("tu", parameters, lambda: _read(folder, name), cache)


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


def index_folder(name: str) -> str:
    """Where the index files of a set lie, and the text whose graphs they count."""
    return f"TU_10fold/{FOLDER.get(name, name)}"


def read_dgcnn(path: Path) -> Arrays:
    """All graphs of a file in DGCNN's text format, whose order the usual index files count.

    Source: Zhang et al., "An end-to-end deep learning architecture for graph classification" (AAAI
    2018). The first line is the number of graphs. Each has a line "nodes class" and a line per
    node, "kind neighbours neighbour neighbour ...", in which nodes are counted from 0.

    Returns:
        The arrays of `tu_arrays`, with "label" where there are several kinds of nodes.

    Raises:
        ValueError: if the file is damaged.
    """
    with reading(path, "does not hold graphs in DGCNN's format"):
        lines = iter(path.read_text().splitlines())
        graphs = [_next_graph(lines) for _ in range(int(next(lines)))]
        classes, kinds, edges = zip(*graphs, strict=True)
        kind = np.concatenate(kinds)
        arrays = {
            "nodes": np.array([len(k) for k in kinds]),
            "edges": np.array([e.shape[1] for e in edges]),
            "edge_index": np.concatenate(edges, 1),
            "y": np.unique(classes, return_inverse=True)[1].reshape(-1),
        }
        if kind.min() < kind.max():
            arrays["label"] = np.eye(kind.max() - kind.min() + 1, dtype=np.float32)[
                kind - kind.min()
            ]
    return arrays


def match_graphs(theirs: Arrays, ours: Arrays) -> np.ndarray:
    """The number among `ours` of each of `theirs`: isomorphic, of the same class and kinds.

    The two number kinds of nodes differently, so that kinds are matched by how often they occur. Of
    isomorphic graphs either may be meant.

    Raises:
        ValueError: if one is missing.
    """
    candidates: dict[Any, list[tuple[int, nx.Graph]]] = defaultdict(list)
    for number, (key, graph) in enumerate(_keyed(ours)):
        candidates[key].append((number, graph))
    same, numbers = nx.algorithms.isomorphism.categorical_node_match("kind", 0), []
    for key, graph in _keyed(theirs):
        fits = (nx.is_isomorphic(graph, other, node_match=same) for _, other in candidates[key])
        match = next((i for i, fit in enumerate(fits) if fit), None)
        if match is None:
            raise ValueError(f"its graph {len(numbers)} is none of the set's")
        numbers.append(candidates[key].pop(match)[0])
    return np.array(numbers)


def _read(folder: Path, name: str) -> Arrays:
    with reading(folder, f"does not hold the TU set {name}", "use the published files"):
        graph = np.loadtxt(folder / f"{name}_graph_indicator.txt", dtype=np.int64, ndmin=1)
        if not (folder / f"{name}_A.txt").read_text().strip():
            return _without_edges(folder, name, graph)
        data, slices, sizes = read_tu_data(str(folder), name)
        edges = np.diff(slices["edge_index"].numpy())
        arrays = {
            "nodes": np.bincount(graph)[1:],
            # torch_geometric counts up to the last graph that has any
            "edges": np.pad(edges, (0, max(graph.max() - len(edges), 0))),
            "edge_index": np.asarray(data.edge_index),
            "y": np.asarray(data.y),
        }
        arrays |= _columns(data.x, sizes["num_node_attributes"], "attribute", "label")
        count = sizes["num_edge_attributes"]
        arrays |= _columns(data.edge_attr, count, "edge_attribute", "edge_label")
        _check(arrays, graph)
    return arrays


def _without_edges(folder: Path, name: str, graph: np.ndarray) -> Arrays:
    """A set whose graphs have no edge, which torch_geometric cannot read: with a loop, which it
    leaves out again."""
    with TemporaryDirectory() as copy:
        for path in folder.glob(f"{name}_*.txt"):
            if not path.name.startswith(f"{name}_edge_"):
                shutil.copy(path, copy)
        Path(copy, f"{name}_A.txt").write_text("1, 1\n1, 1\n")
        data, _, sizes = read_tu_data(copy, name)
    nodes = np.bincount(graph)[1:]
    arrays = {
        "nodes": nodes,
        "edges": np.zeros(len(nodes), dtype=np.int64),
        "edge_index": np.zeros((2, 0), dtype=np.int64),
        "y": np.asarray(data.y),
    }
    arrays |= _columns(data.x, sizes["num_node_attributes"], "attribute", "label")
    _check(arrays, graph)
    return arrays


def _check(arrays: Arrays, graph: np.ndarray) -> None:
    """Files that were cut or mixed up can be read, and are no graphs."""
    nodes, edges = arrays["nodes"], arrays["edges"]
    if (np.diff(graph) < 0).any() or len(nodes) != len(arrays["y"]):
        raise ValueError("graph_indicator does not count the graphs of graph_labels one by one")
    counts = {"attribute": nodes, "label": nodes, "edge_attribute": edges, "edge_label": edges}
    for name in counts.keys() & arrays.keys():
        if len(arrays[name]) != counts[name].sum():
            raise ValueError(f"there are {len(arrays[name])} lines of {name}s")
    ends = arrays["edge_index"]
    if len(edges) != len(nodes) or not ((ends >= 0) & (ends < np.repeat(nodes, edges))).all():
        raise ValueError("edges join different graphs")


def _columns(x: Any, attributes: int, *names: str) -> Arrays:
    """torch_geometric puts attributes before labels, in one matrix."""
    if x is None:
        return {}
    parts = zip(names, torch.tensor_split(x, [attributes], 1), strict=True)
    return {name: part.numpy() for name, part in parts if part.size(1)}


def _next_graph(lines: Iterator[str]) -> tuple[int, np.ndarray, np.ndarray]:
    nodes, label = map(int, next(lines).split())
    entries = [list(map(int, next(lines).split())) for _ in range(nodes)]
    pairs = {(i, j) for i, line in enumerate(entries) for j in line[2 : 2 + line[1]] if i != j}
    if any(not 0 <= j < nodes for _, j in pairs):
        raise ValueError(f"a graph of {nodes} nodes has an edge to another node")
    edges = sorted(pairs | {(j, i) for i, j in pairs})
    kinds = np.array([line[0] for line in entries], dtype=np.int64)
    return label, kinds, np.array(edges, dtype=np.int64).reshape(-1, 2).T


def _keyed(arrays: Arrays) -> Iterator[tuple[Any, nx.Graph]]:
    """Each graph with what isomorphic ones share."""
    kinds = np.zeros(arrays["nodes"].sum(), dtype=np.int64)
    if "label" in arrays:
        rank = np.argsort(np.argsort(-arrays["label"].sum(0), kind="stable"))
        kinds = rank[arrays["label"].argmax(1)]
    node_parts = np.split(kinds, arrays["nodes"].cumsum()[:-1])
    edge_parts = np.split(arrays["edge_index"], arrays["edges"].cumsum()[:-1], axis=1)
    for kind, edges, label in zip(node_parts, edge_parts, arrays["y"], strict=True):
        graph = nx.Graph()
        graph.add_nodes_from((i, {"kind": int(k)}) for i, k in enumerate(kind))
        graph.add_edges_from(edges.T.tolist())
        degrees = sorted((int(kind[i]), degree) for i, degree in graph.degree())
        yield (int(label), tuple(degrees)), graph
