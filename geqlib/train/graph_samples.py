"""Graphs of a trained `GraphDiffusion`, written to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx as nx

from geqlib.data.graphs.sampled_files import write_graphs
from geqlib.files.checkpoint import model_file, read_checkpoint
from geqlib.pard.sampling import SampledGraphs
from geqlib.train.predictor import trained_task
from geqlib.train.tasks.graph_generation import GraphDiffusion


def draw_graphs(
    checkpoint: str | Path,
    out: str | Path | None = None,
    *,
    count: int = 40,
    seed: int = 0,
    at_once: int = 40,
) -> list[nx.Graph]:
    """Draw graphs from a checkpoint of `geqlib fit`, with averaged weights where there are any.

    The same arguments give the same graphs, on one machine.

    Args:
        checkpoint: or the folder of a run.
        out: file to write, see `geqlib.data.graphs.sampled_files.write_graphs`; none by default.
        count: of graphs.
        seed: of all of them.
        at_once: how many are drawn side by side.

    Returns:
        Graphs of networkx, in which `kind` is that of a node or edge, `block` says when a node
        came, and `follows` of the graph whether its own partial order is the one by which it was
        drawn.

    Raises:
        ValueError: a file that is missing, damaged or of another task, or fewer than one graph.

    Example:
        >>> graphs = draw_graphs("runs/community", "samples.g6")  # doctest: +SKIP
    """
    if count < 1 or at_once < 1:
        raise ValueError(f"There is nothing to draw: count is {count}, and {at_once} at once.")
    file = model_file(checkpoint)
    task: Any = trained_task(file, read_checkpoint(file))
    if not isinstance(task, GraphDiffusion):
        raise ValueError(
            f"{file} is a model of {type(task).__name__}: name one that was trained by "
            "GraphDiffusion."
        )
    ranges = [range(k, min(k + at_once, count)) for k in range(0, count, at_once)]
    graphs = []
    for part in ranges:
        samples = task.sample(part, seed=seed)
        follows = samples.follows(task.network.hops).tolist()
        for graph, same in zip(as_networkx(samples), follows, strict=True):
            graph.graph["follows"] = same
            graphs.append(graph)
    if out is not None:
        write_graphs(out, graphs)
    return graphs


def as_networkx(graphs: SampledGraphs) -> list[nx.Graph]:
    """Graphs of networkx, with nodes 0, 1, ... in the order in which they came.

    Example:
        >>> import torch
        >>> one = torch.ones(1, dtype=torch.long)
        >>> none = one[:0]
        >>> single = SampledGraphs(one, none.view(2, 0), none, one - 1, 1, one, one.bool())
        >>> as_networkx(single)[0].nodes(data=True)
        NodeDataView({0: {'kind': 1, 'block': 1}})
    """
    whole = [nx.Graph() for _ in range(graphs.num_graphs)]
    place = []
    nodes = zip(graphs.x.tolist(), graphs.block.tolist(), graphs.batch.tolist(), strict=True)
    for kind, block, graph in nodes:
        place.append(len(whole[graph]))
        whole[graph].add_node(place[-1], kind=kind, block=block)
    owner = graphs.batch.tolist()
    for (i, j), kind in zip(graphs.edge_index.T.tolist(), graphs.edge_attr.tolist(), strict=True):
        whole[owner[i]].add_edge(place[i], place[j], kind=kind)
    return whole
