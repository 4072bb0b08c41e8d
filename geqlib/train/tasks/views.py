"""Views of graphs and point clouds: random changes after which they still are the same example.

Source: You et al., "Graph contrastive learning with augmentations" (NeurIPS 2020, arXiv
2010.13902), for nodes, edges and features that are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Batch

from geqlib.graph.segments import segment_lengths, segment_ptr
from geqlib.symmetry.types import parse_type


@dataclass(frozen=True)
class ViewChanges:
    """How much of each graph changes.

    Args:
        drop_nodes: probability of a node to be left out, with its edges; one node always stays.
        drop_edges: probability of an edge to be left out, in both directions at once.
        mask: probability that all features `x` of a node become 0.
        noise: standard deviation of normal noise on `pos`, in units of the positions.

    Raises:
        ValueError: probabilities outside of [0, 1), noise that is negative.

    Example:
        >>> ViewChanges(drop_nodes=0.2).any
        True
    """

    drop_nodes: float = 0.0
    drop_edges: float = 0.0
    mask: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        for name in ("drop_nodes", "drop_edges", "mask"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is a probability in [0, 1), got {getattr(self, name)}.")
        if not 0 <= self.noise < float("inf"):
            raise ValueError(f"noise is a standard deviation of at least 0, got {self.noise}.")

    @property
    def any(self) -> bool:
        return any(getattr(self, f.name) > 0 for f in fields(self))


def view_of(batch: Any, inputs: Mapping[str, str], changes: ViewChanges) -> Batch:
    """A new batch with the inputs of a task, changed at random; plans and labels are left behind.

    Args:
        batch: of graphs whose nodes stand graph by graph.
        inputs: their types, as of a task.
        changes: how much.
    """
    tensors = {name: batch[name] for name in inputs if name in batch}
    levels = {name: parse_type(name, text).level for name, text in inputs.items()}
    if changes.noise and "pos" in tensors:
        pos = tensors["pos"]
        tensors["pos"] = pos + changes.noise * torch.randn_like(pos)
    if changes.mask and "x" in tensors:
        x = tensors["x"]
        masked = torch.rand(len(x), device=x.device) < changes.mask
        tensors["x"] = torch.where(masked.view(-1, *[1] * (x.dim() - 1)), torch.zeros_like(x), x)
    graph, graphs = batch.batch, int(batch.num_graphs)
    kept = _kept_nodes(graph, graphs, changes.drop_nodes)
    edges = tensors.get("edge_index", graph.new_zeros(2, 0))
    stays = _kept_edges(edges, changes.drop_edges) & kept[edges].all(0)
    for name, x in tensors.items():
        if name == "edge_index":
            tensors[name] = (kept.cumsum(0) - 1)[edges[:, stays]]
        elif levels[name] in ("node", "edge"):
            tensors[name] = x[kept] if levels[name] == "node" else x[stays]
    tensors["ptr"] = segment_ptr(segment_lengths(tensors["batch"], graphs))
    return Batch(**tensors)


def _kept_nodes(graph: Tensor, graphs: int, share: float) -> Tensor:
    """[N] whether a node stays: each with probability 1 - share, and the luckiest of each graph."""
    draw = torch.rand(len(graph), device=graph.device)
    best = draw.new_zeros(graphs).scatter_reduce(0, graph, draw, "amax")
    return (draw >= share) | (draw == best[graph])


def _kept_edges(edges: Tensor, share: float) -> Tensor:
    """[E] whether an edge stays: both directions, and parallel edges, or none of them."""
    pair = edges.sort(0).values
    number = pair.unique(dim=1, return_inverse=True)[1]
    return torch.rand(edges.size(1), device=edges.device)[number] >= share
