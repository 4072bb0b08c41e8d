"""Edges between all points of a graph that are near each other."""

from __future__ import annotations

import torch

from geqlib.data.packed import EDGE_INDEX, PackedGraphs
from geqlib.graph.neighbors import radius_graph


def with_near_pairs(graphs: PackedGraphs, cutoff: float) -> PackedGraphs:
    """The graphs with all pairs of points within a distance as `edge_index`.

    Edges that there were go, and what belongs to them.

    Args:
        graphs: with `pos`.
        cutoff: in the unit of the positions.

    Example:
        >>> points = {"nodes": [2, 1], "pos": [[0.0, 0, 0], [1, 0, 0], [5, 0, 0]]}
        >>> with_near_pairs(PackedGraphs(points, {"pos": "node"}), 1.5)[0].edge_index.tolist()
        [[1, 0], [0, 1]]
    """
    edge_index = radius_graph(graphs.pos, cutoff, graphs.batch)
    graph = graphs.batch[edge_index[1]]
    fields = {name: field for name, field in graphs.fields.items() if field.per != "edge"}
    arrays = {
        "nodes": graphs.counts["node"],
        "edges": torch.bincount(graph, minlength=len(graphs)),
        **{name: graphs.arrays[name] for name in fields},
        "edge_index": edge_index - graphs.ptr[graph],
    }
    return PackedGraphs(arrays, fields | {"edge_index": EDGE_INDEX})
