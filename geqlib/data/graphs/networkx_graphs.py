"""networkx graphs as arrays for `PackedGraphs`: edges, attributes of nodes and edges, classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import networkx as nx
import numpy as np

from geqlib.data.packed import Arrays

Records = Sequence[Mapping[str, Any]]


def networkx_arrays(
    graphs: Sequence[nx.Graph],
    classes: Sequence[Any] | str,
    nodes: Sequence[str] = (),
    edges: Sequence[str] = (),
) -> tuple[Arrays, list[Any]]:
    """Arrays of graphs, as `geqlib.data.graphs.tu.tu_arrays` gives them, and the classes in order.

    An edge of an undirected graph occurs in both directions. Attributes that are numbers, or arrays
    of one length, are copied; those that are text become one-hot, in the alphabetical order of
    what occurs.

    Args:
        graphs: directed or not, with or without parallel edges.
        classes: of each graph, or the name of a graph attribute.
        nodes, edges: names of attributes.

    Raises:
        ValueError: no graphs, something else than graphs, attributes that are missing, not finite
            or of different lengths, and classes that are missing or cannot be sorted.
    """
    _check(graphs)
    names, numbers = _numbered(_classes(graphs, classes))
    directed = [directed_edges(graph) for graph in graphs]
    arrays = {
        "nodes": np.array([len(graph) for graph in graphs], dtype=np.int64),
        "edges": np.array([pairs.shape[1] for pairs, _ in directed], dtype=np.int64),
        "edge_index": np.concatenate([pairs for pairs, _ in directed], 1),
        "y": numbers,
    }
    if nodes:
        records = [[record for _, record in graph.nodes(data=True)] for graph in graphs]
        arrays["attribute"] = attribute_columns(records, nodes, "node")
    if edges:
        arrays["edge_attribute"] = attribute_columns(
            [records for _, records in directed], edges, "edge"
        )
    return arrays, names


def _check(graphs: Sequence[Any]) -> None:
    if not len(graphs):
        raise ValueError("There are no graphs: give at least one networkx graph a class.")
    for k, graph in enumerate(graphs):
        if not isinstance(graph, nx.Graph):
            raise ValueError(
                f"graphs[{k}] is a {type(graph).__name__}: give networkx graphs, in a list."
            )


def _classes(graphs: Sequence[nx.Graph], classes: Sequence[Any] | str) -> list[Any]:
    if isinstance(classes, str):
        missing = next((k for k, graph in enumerate(graphs) if classes not in graph.graph), None)
        if missing is not None:
            raise ValueError(f"graphs[{missing}].graph has no {classes!r}: give all of them one.")
        return [graph.graph[classes] for graph in graphs]
    if len(graphs) != len(classes):
        raise ValueError(f"There are {len(graphs)} graphs, but {len(classes)} classes.")
    return list(classes)


def _numbered(classes: list[Any]) -> tuple[list[Any], np.ndarray]:
    """The different classes in ascending order, and the number of each graph's among them."""
    for k, value in enumerate(classes):
        if value is None or (isinstance(value, float) and not value.is_integer()):
            raise ValueError(
                f"The class of graphs[{k}] is {value}: give each graph one of a few classes, as "
                "text or whole numbers."
            )
    try:
        names, numbers = np.unique(np.array(classes, dtype=object), return_inverse=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"Classes must be of one kind, text or numbers ({error}).") from error
    return names.tolist(), numbers.astype(np.int64)


def directed_edges(graph: nx.Graph) -> tuple[np.ndarray, Records]:
    """[2, E] nodes of the directed edges, and their attributes."""
    number = {node: i for i, node in enumerate(graph)}
    edges = list(graph.to_directed(as_view=True).edges(data=True))
    pairs = np.array([[number[i], number[j]] for i, j, _ in edges], dtype=np.int64)
    return pairs.reshape(-1, 2).T, [record for *_, record in edges]


def attribute_columns(
    records: Sequence[Records],
    names: Sequence[str],
    what: str,
    texts: Mapping[str, Sequence[str]] | None = None,
) -> np.ndarray:
    """[elements of all graphs, width of all attributes].

    Args:
        records: of the elements of each graph.
        names: of the attributes.
        what: an element is called in errors.
        texts: values of attributes that are text, in the order of their columns; all that there
            are, in alphabetical order, by default.
    """
    for k, part in enumerate(records):
        missing = next((n for n in names for record in part if n not in record), None)
        if missing is not None:
            others = ", ".join(sorted({str(name) for record in part for name in record})) or "none"
            raise ValueError(
                f"graph {k} has {what}s without {missing!r}: give all of them one, or name others; "
                f"attributes of its {what}s are: {others}."
            )
    flat = [(k, record) for k, part in enumerate(records) for record in part]
    columns = [
        _column(
            [(k, record[name]) for k, record in flat], f"{what} {name!r}", (texts or {}).get(name)
        )
        for name in names
    ]
    return np.concatenate(columns, 1)


def text_values(records: Sequence[Records], names: Sequence[str]) -> dict[str, list[str]]:
    """The values of attributes that are text, in the order of their columns."""
    texts = {}
    for name in names:
        values = [record[name] for part in records for record in part]
        if values and all(isinstance(value, str) for value in values):
            texts[name] = sorted(set(values))
    return texts


def _column(
    values: list[tuple[int, Any]], where: str, texts: Sequence[str] | None = None
) -> np.ndarray:
    if texts is not None or any(isinstance(value, str) for _, value in values):
        return _one_hot(values, where, texts)
    rows: list[np.ndarray] = []
    for k, value in values:
        try:
            rows.append(np.asarray(value, dtype=np.float32).reshape(-1))
        except (TypeError, ValueError) as error:
            raise ValueError(f"graph {k}: {where} is {value!r}, which is no number.") from error
        if rows[-1].shape != rows[0].shape:
            raise ValueError(
                f"graph {k}: {where} has {rows[-1].size} numbers, but {rows[0].size} before: give "
                "all of them the same number."
            )
        if not np.isfinite(rows[-1]).all():
            raise ValueError(f"graph {k}: {where} is {value}: correct or drop that graph.")
    return np.stack(rows) if rows else np.zeros((0, 1), dtype=np.float32)


def _one_hot(values: list[tuple[int, Any]], where: str, texts: Sequence[str] | None) -> np.ndarray:
    mixed = next(((k, value) for k, value in values if not isinstance(value, str)), None)
    if mixed is not None:
        raise ValueError(f"graph {mixed[0]}: {where} is {mixed[1]!r}, and text elsewhere.")
    kinds = sorted({value for _, value in values}) if texts is None else list(texts)
    number = {kind: k for k, kind in enumerate(kinds)}
    other = next(((k, value) for k, value in values if value not in number), None)
    if other is not None:
        raise ValueError(
            f"graph {other[0]}: {where} is {other[1]!r}, which no training graph has "
            f"({', '.join(kinds)}): the model has no input for it."
        )
    return np.eye(len(kinds), dtype=np.float32)[[number[value] for _, value in values]]
