"""Batches of simple undirected graphs, in which motifs are counted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geqlib.graph.checks import as_index, check_edges
from geqlib.graph.pool import graph_index
from geqlib.motifs.tables import row_nodes


@dataclass(frozen=True)
class Graphs:
    """A batch of simple undirected graphs, as checked by `simple_graphs`.

    Args:
        edge_index: [2, E] both directions of every edge, sorted.
        num_nodes: N.
        batch: [N] graph of each node.
        num_graphs: G.
        labels: [N] integers, or None.
    """

    edge_index: Tensor
    num_nodes: int
    batch: Tensor
    num_graphs: int
    labels: Tensor | None = None


def simple_graphs(
    edge_index: Tensor,
    num_nodes: int,
    batch: Tensor | None = None,
    num_graphs: int | None = None,
    labels: Tensor | None = None,
) -> Graphs:
    """Check that the graphs of a batch are simple and undirected, and return them as `Graphs`.

    Args:
        edge_index: [2, E] both directions of every edge, in any order.
        num_nodes: N.
        batch: [N] graph of each node; by default all nodes are of one graph.
        num_graphs: G, which is needed with `batch`.
        labels: [N] integers, with which the labels of patterns are compared.

    Returns:
        the batch, with sorted edges.

    Raises:
        ValueError: `batch` without `num_graphs`, or that is not one of these graphs per node;
            loops, parallel edges, edges in one direction only or between two graphs, nodes that do
            not exist; labels that are not one integer per node.

    Example:
        >>> simple_graphs(torch.tensor([[1, 0], [0, 1]]), 2).edge_index.tolist()
        [[0, 1], [1, 0]]
    """
    edge_index = as_index(edge_index)
    check_edges(edge_index, num_nodes)
    batch, num_graphs = graph_index(batch, num_graphs, num_nodes, edge_index.device)
    _check_batch(batch, num_graphs, num_nodes)
    source, target = edge_index
    key = (source * num_nodes + target).sort().values
    _check_no_loops(source, target)
    _check_no_parallel_edges(key, num_nodes)
    _check_undirected(key, source, target, num_nodes)
    _check_edges_within_graphs(source, target, batch)
    if labels is not None:
        labels = as_index(labels, "labels")
        if labels.shape != (num_nodes,):
            raise ValueError(f"labels has shape {tuple(labels.shape)}: expected [{num_nodes}].")
    edges = torch.stack(row_nodes(key, 2, num_nodes))
    return Graphs(edges, num_nodes, batch, num_graphs, labels)


def _check_batch(batch: Tensor, num_graphs: int, num_nodes: int) -> None:
    if batch.shape != (num_nodes,):
        raise ValueError(f"batch has shape {tuple(batch.shape)}: expected [{num_nodes}].")
    outside = batch[(batch < 0) | (batch >= num_graphs)]
    if len(outside):
        raise ValueError(
            f"batch names graph {int(outside[0])}, but there are {num_graphs} from 0: pass the "
            "number of graphs as num_graphs."
        )


def _check_no_loops(source: Tensor, target: Tensor) -> None:
    loops = source[source == target]
    if len(loops):
        raise ValueError(
            f"Node {int(loops[0])} has a loop, and motifs are counted in simple graphs: remove "
            "loops, for example by torch_geometric.utils.remove_self_loops."
        )


def _check_no_parallel_edges(key: Tensor, num_nodes: int) -> None:
    again = key[1:][key.diff() == 0]
    if len(again):
        raise ValueError(
            f"The edge {_edge(again[0], num_nodes)} occurs twice, and motifs are counted in simple "
            "graphs: remove parallel edges, for example by torch_geometric.utils.coalesce."
        )


def _check_undirected(key: Tensor, source: Tensor, target: Tensor, num_nodes: int) -> None:
    reverse = (target * num_nodes + source).sort().values
    if not torch.equal(key, reverse):
        edge = key[~torch.isin(key, reverse)][0]
        raise ValueError(
            f"The edge {_edge(edge, num_nodes)} has no edge back, and motifs are counted in "
            "undirected graphs: add the other directions if that is what you mean, for example by "
            "torch_geometric.utils.to_undirected."
        )


def _check_edges_within_graphs(source: Tensor, target: Tensor, batch: Tensor) -> None:
    across = (batch[source] != batch[target]).nonzero()
    if len(across):
        edge = int(across[0])
        raise ValueError(
            f"The edge {int(source[edge])} -> {int(target[edge])} joins two graphs of the batch: "
            "count nodes on over the graphs, as torch_geometric's batches do."
        )


def _edge(key: Tensor, num_nodes: int) -> str:
    return f"{int(key) // num_nodes} -> {int(key) % num_nodes}"
