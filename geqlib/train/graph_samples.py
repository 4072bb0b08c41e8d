"""Graphs of a trained `GraphDiffusion`, for networkx and files."""

from __future__ import annotations

import warnings
from pathlib import Path

import networkx as nx

from geqlib.data.graphs.sampled_files import as_networkx, write_graphs
from geqlib.train.samples import load_generator
from geqlib.train.tasks.graph_generation import GraphDiffusion


def draw_graphs(
    checkpoint: str | Path | GraphDiffusion,
    out: str | Path | None = None,
    *,
    count: int = 40,
    seed: int = 0,
    at_once: int = 40,
) -> list[nx.Graph]:
    """Draw graphs from a checkpoint of `geqlib fit`, with averaged weights where there are any.

    The same arguments give the same graphs, on one machine. `geqlib sample` does the same, and goes
    on where it was stopped.

    Args:
        checkpoint: or the folder of a run; or a trained task, which needs no checkpoint.
        out: file to write, see `geqlib.data.graphs.sampled_files.write_graphs`; none by default.
        count: of graphs.
        seed: of all of them.
        at_once: how many are drawn side by side.

    Returns:
        See `as_networkx`: fewer than `count` where some ended in NaN, which a warning says.

    Raises:
        ValueError: a file that is missing, damaged or of another task, or fewer than one graph.

    Example:
        >>> graphs = draw_graphs("runs/community", "samples.g6")  # doctest: +SKIP
    """
    if count < 1 or at_once < 1:
        raise ValueError(f"There is nothing to draw: count is {count}, and {at_once} at once.")
    built = isinstance(checkpoint, GraphDiffusion)
    task = checkpoint if built else load_generator(checkpoint)
    if not isinstance(task, GraphDiffusion):
        raise ValueError(
            f"{checkpoint} is a model of {type(task).__name__}: name one that was trained by "
            "GraphDiffusion."
        )
    ranges = [range(k, min(k + at_once, count)) for k in range(0, count, at_once)]
    batches = [task.sample(part, seed=seed) for part in ranges]
    if lost := sum(int(part.dropped.sum()) for part in batches):
        warnings.warn(f"{lost} of {count} graphs ended in NaN and are left out.", stacklevel=2)
    graphs = as_networkx(batches, task.network.hops)
    if out is not None:
        write_graphs(out, graphs)
    return graphs
