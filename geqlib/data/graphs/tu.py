"""TU graph classification sets from their text files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch_geometric.io import read_tu_data

from geqlib.data.graphs.dgcnn import dgcnn_arrays
from geqlib.data.mirror import find_folder
from geqlib.files.cache import cached_arrays, file_hash
from geqlib.files.reading import reading

SUFFIXES = (
    "A",
    "graph_indicator",
    "graph_labels",
    "node_labels",
    "node_attributes",
    "edge_labels",
    "edge_attributes",
)


def tu_arrays(name: str, cache: Path | None = None) -> dict[str, np.ndarray]:
    """All graphs of a set, read once and kept in the cache.

    Source: Morris et al., "TUDataset" (ICML workshop GRL+ 2020). The files are looked for below the
    folder that the environment variable GEQLIB_DATA names, as TUDataset/NAME/raw/NAME_A.txt and so
    on, torch_geometric's layout; nothing is written there. MUTAG, PTC_MR, PROTEINS, NCI1, ENZYMES
    and IMDB-BINARY are downloaded where they are not there; PTC, NCI109 and IMDB-MULTI, too, in
    DGCNN's format (`geqlib.data.graphs.dgcnn`).

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
    needed = next((suffix for suffix in SUFFIXES[:3] if suffix not in paths), None)
    if needed == "A" and (arrays := dgcnn_arrays(name, cache)) is not None:
        return arrays
    if needed is not None:
        raise ValueError(
            f"There is no TUDataset/{name}/raw/{name}_{needed}.txt: put the files there, below "
            "the folder that GEQLIB_DATA names."
        )
    hashes = {suffix: file_hash(path) for suffix, path in paths.items()}
    parameters = {"name": name, "sha256": hashes, "format": 1}
    return cached_arrays("tu", parameters, lambda: _read(folder, name), cache)


def _read(folder: Path, name: str) -> dict[str, np.ndarray]:
    with reading(folder, f"does not hold the TU set {name}", "use the published files"):
        data, slices, sizes = read_tu_data(str(folder), name)
        numbers = np.loadtxt(folder / f"{name}_graph_indicator.txt", dtype=np.int64, ndmin=1)
        whole = {
            "nodes": np.bincount(numbers)[1:],
            "edges": np.diff(slices["edge_index"].numpy()),
            "edge_index": np.asarray(data.edge_index),
            "y": np.asarray(data.y),
        }
        whole |= _columns(data.x, sizes["num_node_attributes"], "attribute", "label")
        count = sizes["num_edge_attributes"]
        whole |= _columns(data.edge_attr, count, "edge_attribute", "edge_label")
        _check(whole, numbers)
    return whole


def _check(arrays: dict[str, np.ndarray], numbers: np.ndarray) -> None:
    """Files that were cut or mixed up can be read, and are no graphs."""
    nodes, edges = arrays["nodes"], arrays["edges"]
    if (np.diff(numbers) < 0).any() or len(nodes) != len(arrays["y"]):
        raise ValueError("graph_indicator does not count the graphs of graph_labels one by one")
    rows = {"attribute": nodes, "label": nodes, "edge_attribute": edges, "edge_label": edges}
    for name in rows.keys() & arrays.keys():
        if len(arrays[name]) != rows[name].sum():
            raise ValueError(f"there are {len(arrays[name])} rows of {name}s")
    ends = arrays["edge_index"]
    if len(edges) != len(nodes) or not ((ends >= 0) & (ends < np.repeat(nodes, edges))).all():
        raise ValueError("edges join different graphs")


def _columns(x: Any, attributes: int, *names: str) -> dict[str, np.ndarray]:
    """torch_geometric puts attributes before labels, in one matrix."""
    if x is None:
        return {}
    parts = zip(names, torch.tensor_split(x, [attributes], 1), strict=True)
    return {name: part.numpy() for name, part in parts if part.size(1)}
