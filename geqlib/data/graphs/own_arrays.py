"""Graphs of one's own as arrays, and what the columns of their features mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import networkx as nx
import numpy as np
from torch_geometric.data import Data

from geqlib.data.graphs.networkx_graphs import attribute_columns, directed_edges, text_values
from geqlib.data.packed import Arrays
from geqlib.data.rounding import check_digits

# tensors of torch_geometric's graphs that batches hold
KEPT = {"x": "node", "pos": "node", "z": "node", "edge_attr": "edge", "edge_weight": "edge"}


@dataclass(frozen=True)
class Columns:
    """What the columns of one-hot features mean, kept for graphs that a model is used on.

    Args:
        degrees: of nodes; None where nodes have features.
        nodes, edges: attribute -> its values, of those that are text.
    """

    degrees: list[int] | None
    nodes: dict[str, list[str]]
    edges: dict[str, list[str]]

    def state(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def graph_arrays(
    graphs: Sequence[Any],
    nodes: Sequence[str] = (),
    edges: Sequence[str] = (),
    columns: Columns | None = None,
) -> tuple[Arrays, dict[str, str]]:
    """Arrays and fields for `PackedGraphs`, of networkx graphs or torch_geometric's.

    Args:
        graphs: all of one kind.
        nodes, edges: attributes of networkx graphs.
        columns: of the graphs of a training, whose features these have, too.

    Raises:
        ValueError: graphs of neither kind or of both, or see `OwnGraphData`.
    """
    if all(isinstance(graph, nx.Graph) for graph in graphs):
        arrays = _networkx_arrays(graphs, nodes, edges, columns)
    elif all(isinstance(graph, Data) for graph in graphs):
        if nodes or edges:
            raise ValueError(
                "`nodes` and `edges` name attributes of networkx graphs; those of torch_geometric "
                "have x and edge_attr: leave the names out."
            )
        arrays = _pyg_arrays(graphs)
    else:
        other = next((g for g in graphs if not isinstance(g, nx.Graph | Data)), None)
        kind = "both kinds" if other is None else f"a {type(other).__name__}"
        raise ValueError(
            f"The graphs are of {kind}: give networkx graphs, or torch_geometric's Data."
        )
    fields = {name: per for name, per in KEPT.items() if name in arrays}
    if not fields.keys() & {"x", "pos", "z"}:
        degrees = None if columns is None else columns.degrees
        if columns is not None and degrees is None:
            raise ValueError(
                "The model was trained on graphs with features of their nodes, and these have "
                "none: give them the same attributes."
            )
        arrays["x"], fields["x"] = _degrees(arrays, degrees), "node"
    return arrays, fields


def _networkx_arrays(
    graphs: Sequence[nx.Graph],
    nodes: Sequence[str],
    edges: Sequence[str],
    columns: Columns | None,
) -> Arrays:
    directed = [directed_edges(graph) for graph in graphs]
    arrays = {
        "nodes": np.array([len(graph) for graph in graphs], dtype=np.int64),
        "edges": np.array([pairs.shape[1] for pairs, _ in directed], dtype=np.int64),
        "edge_index": np.concatenate([pairs for pairs, _ in directed], 1),
    }
    if nodes:
        records = [[record for _, record in graph.nodes(data=True)] for graph in graphs]
        texts = None if columns is None else columns.nodes
        arrays["x"] = attribute_columns(records, nodes, "node", texts)
    if edges:
        texts = None if columns is None else columns.edges
        arrays["edge_attr"] = attribute_columns([r for _, r in directed], edges, "edge", texts)
    return arrays


def _pyg_arrays(graphs: Sequence[Data]) -> Arrays:
    names = [name for name in KEPT if all(graph.get(name) is not None for graph in graphs)]
    for k, graph in enumerate(graphs):
        if graph.edge_index is None:
            raise ValueError(f"Graph {k} has no edge_index: give all graphs one, [2, edges].")
        lost = next((n for n in KEPT if graph.get(n) is not None and n not in names), None)
        if lost is not None:
            raise ValueError(f"Graph {k} has {lost}, but not all graphs do: give it to all.")
    arrays = {
        "nodes": np.array([graph.num_nodes for graph in graphs]),
        "edges": np.array([graph.num_edges for graph in graphs]),
        "edge_index": np.concatenate([graph.edge_index.numpy() for graph in graphs], 1),  # type: ignore[union-attr]
    }
    for name in names:
        widths = {graph[name].shape[1:] for graph in graphs}
        if len(widths) > 1:
            raise ValueError(f"{name} has several widths, {sorted(widths)}: give all graphs one.")
        arrays[name] = np.concatenate([graph[name].numpy() for graph in graphs])
        if name == "pos":
            for k, graph in enumerate(graphs):
                check_digits(graph.pos.numpy(), f"Graph {k}", "use --trainer.precision 64-true")  # type: ignore[union-attr]
    return arrays


def columns_of(graphs: Sequence[Any], nodes: Sequence[str], edges: Sequence[str]) -> Columns:
    """What the features of graphs mean, after `graph_arrays` has taken them."""
    if not all(isinstance(graph, nx.Graph) for graph in graphs):
        bare = not any(graph.get(k) is not None for graph in graphs for k in ("x", "pos", "z"))
        kinds = np.unique(node_degrees(_pyg_arrays(graphs))).tolist() if bare else None
        return Columns(kinds, {}, {})
    texts = (
        text_values([[r for _, r in graph.nodes(data=True)] for graph in graphs], nodes),
        text_values([directed_edges(graph)[1] for graph in graphs], edges),
    )
    degrees = None if nodes else node_degrees(_networkx_arrays(graphs, (), (), None))
    return Columns(None if degrees is None else np.unique(degrees).tolist(), *texts)


def node_degrees(arrays: Arrays) -> np.ndarray:
    """[N] how many edges start at each node."""
    start = np.repeat(arrays["nodes"].cumsum() - arrays["nodes"], arrays["edges"])
    return np.bincount(arrays["edge_index"][0] + start, minlength=arrays["nodes"].sum())


def _degrees(arrays: Arrays, kinds: Sequence[int] | None) -> np.ndarray:
    """[N, different degrees] one-hot."""
    degree = node_degrees(arrays)
    listed = np.unique(degree) if kinds is None else np.array(kinds)
    other = np.flatnonzero(~np.isin(degree, listed))
    if len(other):
        raise ValueError(
            f"A node has {degree[other[0]]} edges, which no node of the training graphs has "
            f"({', '.join(map(str, listed))}): the model has no input for it. Train on such "
            "graphs, too, or with attributes in place of the degree."
        )
    return np.eye(len(listed), dtype=np.float32)[np.searchsorted(listed, degree)]
