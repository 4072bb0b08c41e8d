"""Files of graphs that a model drew: graph6, or JSON with kinds of nodes and edges."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import networkx as nx

from geqlib.files.atomic import replace_file

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
