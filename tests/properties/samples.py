"""Random graphs with positions, degenerate ones among them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from tests.contract import all_edges

PLACES = (
    *("random", "coincident", "twins", "collinear", "planar"),
    *("lattice", "mirrored", "far away", "small", "large"),
)
EDGES = ("some", "all", "none", "one way", "star", "loops and repeats")
LARGEST = 8


@dataclass(frozen=True)
class Sample:
    """A graph, and how it was made.

    Args:
        name: for messages.
        pos: [N, dim] float64.
        edge_index: [2, E].
    """

    name: str
    pos: Tensor
    edge_index: Tensor

    @property
    def conditioning(self) -> float:
        """By how much directions are rounded more than coordinates: their size over distances."""
        distance = torch.cdist(self.pos, self.pos, compute_mode="donot_use_mm_for_euclid_dist")
        apart = distance[distance > 0]
        if not len(apart):
            return 1.0
        return max(1.0, float((1 + self.pos.abs().max()) / apart.min()))


def random_sample(dim: int, largest: int, generator: Generator) -> Sample:
    """A graph of 0 to `largest` nodes with positions in `dim` dimensions."""
    nodes = _draw(largest + 1, generator)
    place, edges = PLACES[_draw(len(PLACES), generator)], EDGES[_draw(len(EDGES), generator)]
    pos = _positions(place, nodes, dim, generator)
    name = f"{nodes} nodes, {place}; edges: {edges}"
    return Sample(name, pos, _edge_index(edges, nodes, generator))


def _draw(choices: int, generator: Generator) -> int:
    return int(torch.randint(choices, (), generator=generator))


def _positions(name: str, nodes: int, dim: int, generator: Generator) -> Tensor:
    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    pos = normal(nodes, dim)
    if name == "coincident":
        return pos[:1].expand(nodes, dim).clone()
    if name == "twins":
        return pos[torch.arange(nodes) // 2]
    if name == "collinear":
        return normal(nodes, 1) * normal(1, dim) + normal(1, dim)
    if name == "planar":
        return torch.cat([pos[:, :-1], normal(1, 1).expand(nodes, 1)], 1)
    if name == "lattice":  # squares and cubes: equal distances, repeated eigenvalues
        return torch.randint(-1, 2, (nodes, dim), generator=generator).double()
    if name == "mirrored":
        return torch.cat([pos[: nodes - nodes // 2], -pos[: nodes // 2]])
    return {"far away": pos + 1e3, "small": 1e-3 * pos, "large": 1e3 * pos}.get(name, pos)


def _edge_index(name: str, nodes: int, generator: Generator) -> Tensor:
    pairs = all_edges(nodes)
    source, target = pairs
    remaining = torch.rand(pairs.size(1), generator=generator) < 0.5
    if name == "loops and repeats":
        loops = torch.arange(nodes).expand(2, nodes)
        return torch.cat([pairs[:, remaining], pairs[:, remaining][:, ::2], loops], 1)
    chosen = {
        "some": remaining,
        "none": torch.zeros_like(remaining),
        "one way": source < target,
        "star": (source == 0) | (target == 0),
    }
    return pairs[:, chosen.get(name, torch.ones_like(remaining))]
