"""Graphs of your own as networkx graphs or torch_geometric's: from files, or from your code."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import networkx as nx

from geqlib.data.download import find_file, find_folder
from geqlib.data.imported import call_by_path, is_import_path
from geqlib.files.atomic import reading

Source = str | Path | Mapping[str, Any]


def read_source(source: Source, target: str, arguments: Mapping[str, Any]) -> list[Any]:
    """The graphs of a source, in its order.

    Args:
        source: a file; a folder of files, or of folders of files, whose names are then the classes;
            class -> any of these; or the import path of a function or class of your own.
        target: name of the graph attribute to which such classes are assigned.
        arguments: of the function or class.

    Returns:
        networkx graphs or `torch_geometric.data.Data`.

    Raises:
        ValueError: no such file, a file that cannot be read, or a function that returns no graphs.
    """
    if isinstance(source, Mapping):
        parts = [(name, read_source(part, target, arguments)) for name, part in source.items()]
        return [graph for name, part in parts for graph in _labelled(part, target, name)]
    text = str(source)
    folder, file = find_folder(text), find_file(text)
    if folder is not None:
        return _read_folder(folder, target)
    if file is not None:
        return read_graph_file(file)
    if Path(text).suffix.lower() not in READERS and is_import_path(text):
        return _own_graphs(text, arguments)
    raise ValueError(
        f"There is no file or folder {text}, here or in the folder GEQLIB_DATA, and it is no "
        "import path such as my_project.data.rings: correct `source`."
    )


def read_graph_file(path: Path) -> list[nx.Graph]:
    """The graphs of a GraphML, node-link JSON, graph6 or sparse6 file.

    A JSON file holds one graph in networkx's node-link format, or a list of them; a JSONL file has
    one in each line, and graph6 and sparse6 files do, too.

    Raises:
        ValueError: another kind of file, or one that cannot be read.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(
            f"{path} is none of {', '.join(READERS)}: convert it, or name a function that returns "
            "its graphs by import path."
        )
    with reading(path, "does not hold graphs", f"write it as networkx writes {path.suffix} files"):
        graphs = reader(path)
        if not graphs:
            raise ValueError("it is empty")
        return graphs


def _read_graphml(path: Path) -> list[nx.Graph]:
    return [nx.read_graphml(path)]


def _read_json(path: Path) -> list[nx.Graph]:
    content = json.loads(path.read_text(encoding="utf-8-sig"))
    return [_node_link(part) for part in (content if isinstance(content, list) else [content])]


def _read_json_lines(path: Path) -> list[nx.Graph]:
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    return [_node_link(json.loads(line)) for line in lines if line.strip()]


def _node_link(content: Any) -> nx.Graph:
    if not isinstance(content, dict) or "nodes" not in content:
        raise ValueError('it has no "nodes": a graph in the node-link format has them')
    key = "edges" if "edges" in content else "links"
    if key not in content:
        raise ValueError('it has neither "edges" nor "links"')
    return nx.node_link_graph(content, edges=key)


def _read_graph6(path: Path) -> list[nx.Graph]:
    return [nx.from_graph6_bytes(line) for line in path.read_bytes().split()]


def _read_sparse6(path: Path) -> list[nx.Graph]:
    return [nx.from_sparse6_bytes(line) for line in path.read_bytes().split()]


READERS: dict[str, Callable[[Path], list[nx.Graph]]] = {
    ".graphml": _read_graphml,
    ".json": _read_json,
    ".jsonl": _read_json_lines,
    ".g6": _read_graph6,
    ".graph6": _read_graph6,
    ".s6": _read_sparse6,
}


def _read_folder(folder: Path, target: str) -> list[nx.Graph]:
    classes = sorted(part for part in folder.iterdir() if part.is_dir())
    if classes:
        return [
            graph
            for part in classes
            for graph in _labelled(_read_folder(part, target), target, part.name)
        ]
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in READERS)
    if not files:
        raise ValueError(f"There are no graphs in {folder}: put {', '.join(READERS)} files there.")
    return [graph for file in files for graph in read_graph_file(file)]


def _labelled(graphs: list[Any], target: str, name: str) -> list[Any]:
    for graph in graphs:
        if isinstance(graph, nx.Graph):
            graph.graph[target] = name
        else:
            graph[target] = name
    return graphs


def _own_graphs(path: str, arguments: Mapping[str, Any]) -> list[Any]:
    result = call_by_path(path, arguments)
    try:
        graphs = [result[k] for k in range(len(result))]
    except (TypeError, KeyError, IndexError) as error:
        raise ValueError(
            f"{path} returns a {type(result).__name__}: return a list of networkx graphs, or a "
            "data set or list of torch_geometric's Data."
        ) from error
    if not graphs:
        raise ValueError(f"{path} returns no graphs.")
    return graphs
