"""A configuration for classes or numbers of graphs, from the attributes in their files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import networkx as nx
import numpy as np

from geqlib.counted import counted
from geqlib.data.graphs.graph_files import read_source
from geqlib.data.graphs.own import OwnGraphData
from geqlib.proposals.proposal import Line, Proposal, run_name

TARGETS = ("y", "label", "class", "target", "category")
FEW = 20  # classes at most, of whole numbers
LEAST = 10  # graphs
FOLDS = 10


def look(file: str) -> Proposal:
    """Propose a network for graphs in files, or from a function of the user.

    Raises:
        ValueError: too few graphs, or no attribute to learn.
    """
    graphs = read_source(file, "y", {})
    if len(graphs) == 1:
        raise ValueError(
            f"{file} has one graph, of which nodes or links can be learnt: write a configuration "
            "with `predict: nodes` or `predict: links` of OwnGraphData (docs/own_data.md)."
        )
    if len(graphs) < LEAST:
        raise ValueError(f"{file} has {len(graphs)} graphs: give at least {LEAST} to learn from.")
    own = [graph for graph in graphs if isinstance(graph, nx.Graph)]
    target = _target(own, file) if own else "y"
    nodes = _attributes([[record for _, record in g.nodes(data=True)] for g in own])
    edges = _attributes([[record for *_, record in g.edges(data=True)] for g in own])
    kind = _kind([g.graph[target] for g in own]) if own else "classes"
    batch = max(min(32, len(graphs) // 10), 1)
    data = OwnGraphData(file, target=target, kind=kind, nodes=nodes, edges=edges, batch_size=batch)
    data.setup()
    train: Any = data.splits["train"]
    classes = list(data.classes or [])
    outputs = len(classes) if kind == "classes" else 1
    width = train.x.size(1)
    edge_dim = train.edge_attr.size(1) if "edge_attr" in train.arrays else 0
    mean = np.mean([len(g) if isinstance(g, nx.Graph) else g.num_nodes for g in graphs])
    settings = {
        "file": file,
        "target": target,
        "kind": kind,
        "nodes": nodes,
        "edges": edges,
        "task": Line(_task(kind, outputs)),
        "monitor": Line("val/loss" if kind == "classes" else "val/mae"),
        "width": width,
        "outputs": outputs,
        "edge_dim": edge_dim,
        "batch": batch,
    }
    shown = ", ".join(map(str, classes[:8])) + (", ..." if len(classes) > 8 else "")
    learnt = (
        f"{counted(outputs, 'class')} ({shown})" if kind == "classes" else f"the number {target!r}"
    )
    features = f"attributes {', '.join(nodes)}" if nodes else "degrees: there are no attributes"
    reasons = (
        f"{counted(len(graphs), 'graph')} of {mean:.3g} nodes on average; {learnt}",
        f"features of nodes: {features}, {counted(width, 'column')}",
        f"features of edges: attributes {', '.join(edges)}, {counted(edge_dim, 'column')}"
        if edges
        else "",
        f"batch_size {batch}: a step sees a tenth of the graphs, 32 at most",
        "shares of a tenth are small: `geqlib cv` measures on all graphs, in folds",
    )
    return Proposal("graphs", run_name(file), settings, tuple(filter(None, reasons)))


def _target(graphs: Sequence[nx.Graph], file: str) -> str:
    """The attribute of graphs that is learnt."""
    common = set.intersection(*(set(graph.graph) for graph in graphs))
    target = next((name for name in TARGETS if name in common), None)
    if target is None:
        others = ", ".join(sorted(map(str, common))) or "none"
        raise ValueError(
            f"The graphs of {file} have no attribute {', '.join(TARGETS[:-1])} or {TARGETS[-1]} in "
            f"common, only {others}: put those of a class into a folder of their own, or write a "
            "configuration by `geqlib new graphs` without the file, and name `target`."
        )
    return target


def _kind(values: Sequence[Any]) -> Any:
    """Text and a few whole numbers are classes."""
    if all(isinstance(value, str) for value in values):
        return "classes"
    array = np.asarray(values, dtype=float)
    few = len(np.unique(array)) <= min(FEW, len(array) // 2)
    return "classes" if few and (array == array.round()).all() else "numbers"


def _attributes(records: Sequence[Sequence[dict[str, Any]]]) -> list[str]:
    """Names that all nodes or edges of all graphs have, of numbers or text."""
    flat = [record for part in records for record in part]
    if not flat:
        return []
    common = set.intersection(*(set(record) for record in flat))
    return sorted(name for name in common if isinstance(flat[0][name], str | int | float | list))


def _task(kind: str, outputs: int) -> str:
    if kind == "classes":
        return f"class_path: GraphClassificationTask\n  init_args:\n    classes: {outputs}"
    return "class_path: MaskedRegressionTask\n  init_args:\n    num_targets: 1"


EXAMPLE = Proposal(
    "graphs",
    "my_graphs",
    {
        "file": "my_graphs",
        "target": "y",
        "kind": "classes",
        "nodes": ["degree"],
        "edges": [],
        "task": Line(_task("classes", 2)),
        "monitor": Line("val/loss"),
        "width": 1,
        "outputs": 2,
        "edge_dim": 0,
        "batch": 32,
    },
    (
        "data: the source and its attributes are examples; in_channels is the width of `nodes`",
        "my_graphs has a folder for each class, of .graphml, .json, .g6 or .s6 files",
        "or name it, and this command looks at it: geqlib new graphs SOURCE",
    ),
)
