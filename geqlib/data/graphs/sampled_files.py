"""Graphs that a model drew, for networkx and in files: graph6, or JSON with all kinds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import networkx as nx

from geqlib.files.atomic import replace_file
from geqlib.pard.sampling import SampledGraphs

ENDINGS = (".g6", ".json")


def check_ending(path: Path) -> None:
    """Refuse a path with another ending than these files have.

    Raises:
        ValueError: naming the endings.
    """
    if path.suffix not in ENDINGS:
        raise ValueError(f"{path} must end in {' or '.join(ENDINGS)}, which say how to write it.")


def write_graphs(path: str | Path, graphs: Sequence[nx.Graph]) -> None:
    """Write graphs, whole or not at all.

    Args:
        path: ".g6" for one graph a line in graph6, without attributes; ".json" for a list of
            {"nodes": [kind of each], "edges": [[i, j, kind], ...]}, of the attribute `kind`.
        graphs: with nodes 0, 1, ...

    Raises:
        ValueError: another ending, or kinds that differ for graph6, which has none.

    Example:
        >>> write_graphs("rings.g6", [nx.cycle_graph(4)])  # doctest: +SKIP
    """
    path = Path(path)
    check_ending(path)
    if path.suffix == ".g6":
        kinds = {kind for graph in graphs for kind in _as_json(graph)["nodes"]}
        bonds = {kind for graph in graphs for *_, kind in _as_json(graph)["edges"]}
        if len(kinds) > 1 or len(bonds) > 1:
            raise ValueError(
                f"{path}: graph6 has no kinds of nodes and edges, and these graphs have several: "
                "write .json."
            )
        content = b"".join(nx.to_graph6_bytes(graph, header=False) for graph in graphs)
    else:
        content = json.dumps([_as_json(graph) for graph in graphs]).encode() + b"\n"
    replace_file(path, lambda part: part.write_bytes(content))


def _as_json(graph: nx.Graph) -> dict[str, list]:
    return {
        "nodes": [int(record.get("kind", 0)) for _, record in graph.nodes(data=True)],
        "edges": [[i, j, int(record.get("kind", 1))] for i, j, record in graph.edges(data=True)],
    }


def as_networkx(batches: Sequence[SampledGraphs], hops: int) -> list[nx.Graph]:
    """Graphs of networkx, with nodes 0, 1, ... in the order in which they came.

    Args:
        batches: samples, graph by graph.
        hops: of the partial order of the model.

    Returns:
        Graphs in which `kind` is that of a node or edge, `block` says when a node came, `follows`
        of the graph whether its own partial order is the one by which it was drawn, and `stopped`
        whether it had too many nodes for a further block. Those that were dropped are left out.

    Example:
        >>> import torch
        >>> one = torch.ones(1, dtype=torch.long)
        >>> none = one[:0]
        >>> whole = torch.zeros(1, dtype=torch.bool)
        >>> single = SampledGraphs(one, none.view(2, 0), none, one - 1, one - 1, whole, whole)
        >>> as_networkx([single], 1)[0].nodes(data=True)
        NodeDataView({0: {'kind': 1, 'block': 0}})
    """
    return [graph for samples in batches for graph in _graphs(samples, hops)]


def _graphs(samples: SampledGraphs, hops: int) -> list[nx.Graph]:
    of_graphs = zip(samples.follows(hops).tolist(), samples.stopped.tolist(), strict=True)
    whole = [nx.Graph(follows=same, stopped=stopped) for same, stopped in of_graphs]
    place = []
    owner = samples.batch.tolist()
    for kind, block, graph in zip(samples.x.tolist(), samples.block.tolist(), owner, strict=True):
        place.append(len(whole[graph]))
        whole[graph].add_node(place[-1], kind=kind, block=block)
    edges = zip(samples.edge_index.T.tolist(), samples.edge_attr.tolist(), strict=True)
    for (i, j), kind in edges:
        whole[owner[i]].add_edge(place[i], place[j], kind=kind)
    lost = samples.dropped.tolist()
    return [graph for graph, drop in zip(whole, lost, strict=True) if not drop]
