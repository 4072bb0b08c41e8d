"""Which points are near which, through the walls of periodic cells too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import vesin
from scipy.spatial import KDTree
from torch import Tensor

from geqlib.graph.plan import Plan

FLAT = 1e-6  # volume of a cell over that of a box with the same edges, below which it is flat


@dataclass(frozen=True)
class Neighbors(Plan):
    """Edges of a batch of graphs, some of which may repeat in space.

    The offset of an edge is pos[source] - pos[target] + cell_shift @ cell, with the cell of its
    graph.

    Args:
        edge_index: [2, E] source and target, sorted by target, then source, then shift.
        cell_shift: [E, 3] integers: in which image of the cell the source is; zeros in molecules.
        reverse: [E] index of each edge's reverse.

    Example:
        >>> from geqlib.graph import neighbor_list
        >>> near = neighbor_list(torch.tensor([[0.0, 0, 0], [0.0, 0, 1]]), 2.0)
        >>> near.edge_index.tolist(), near.reverse.tolist()
        ([[1, 0], [0, 1]], [1, 0])
    """

    edge_index: Tensor
    cell_shift: Tensor
    reverse: Tensor


def neighbor_list(
    pos: Tensor,
    cutoff: float,
    *,
    cell: Tensor | None = None,
    pbc: Tensor | None = None,
    batch: Tensor | None = None,
) -> Neighbors:
    """All pairs of points at most `cutoff` apart, images in neighbouring cells included.

    No neighbour is ever left out. A cell may be smaller than the cutoff: then a point has several
    images of another one, and of itself, as neighbours.

    Args:
        pos: [N, d] positions, inside or outside of the cell; d = 3 where a graph is periodic.
        cutoff: distance, in the units of the positions.
        cell: [G, 3, 3] the cell vectors of each graph, in rows; None if no graph is periodic.
        pbc: [G, 3] whether a graph repeats along each vector; by default along those that are
            not zero.
        batch: [N] graph of each point; None if all belong to one graph.

    Raises:
        ValueError: if the cutoff is not positive, a position or cell is not finite, or a graph
            repeats along vectors that span no volume.

    Example:
        >>> near = neighbor_list(torch.zeros(1, 3), 1.1, cell=torch.diag(torch.tensor([1.0, 2, 2])))
        >>> near.edge_index.tolist(), near.cell_shift.tolist(), near.reverse.tolist()
        ([[0, 0], [0, 0]], [[-1, 0, 0], [1, 0, 0]], [1, 0])
    """
    points = _finite_points(pos, cutoff)
    graph = _graph_numbers(batch, len(points))
    cells, periodic = _periodic_cells(cell, pbc, points, graph)
    finite = np.flatnonzero(~np.isin(graph, periodic))
    found = [(finite, *_tree_pairs(points[finite], cutoff, graph[finite]))]
    for number in periodic:
        here = np.flatnonzero(graph == number)
        found.append((here, *_periodic_pairs(points[here], cutoff, cells[number])))
    target, source, shift = (
        np.concatenate(parts)
        for parts in zip(*((here[t], here[s], shift) for here, t, s, shift in found), strict=True)
    )
    return _both_directions(target, source, shift, pos.device)


def radius_graph(pos: Tensor, cutoff: float, batch: Tensor | None = None) -> Tensor:
    """All pairs of different points of one graph at most `cutoff` apart, in both directions.

    No neighbour is ever left out, so that edges cannot depend on the order or rotation of the
    points. One tree serves the whole batch: graphs are held apart by an extra coordinate.

    Args:
        pos: [N, d].
        cutoff: distance, in the units of the positions.
        batch: [N] graph of each point; None if all belong to one graph.

    Returns:
        [2, E] source and target, sorted by target, then source.

    Raises:
        ValueError: if the cutoff is not positive or a position is not finite.

    Example:
        >>> radius_graph(torch.tensor([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0]]), 1.5).tolist()
        [[1, 0], [0, 1]]
    """
    return neighbor_list(pos, cutoff, batch=batch).edge_index


def _finite_points(pos: Tensor, cutoff: float) -> np.ndarray:
    if not cutoff > 0:
        raise ValueError(f"cutoff must be positive, got {cutoff}.")
    points = pos.detach().cpu().double().numpy()
    if not np.isfinite(points).all():
        raise ValueError("pos holds NaN or infinite coordinates: no neighbours can be found.")
    return points


def _graph_numbers(batch: Tensor | None, nodes: int) -> np.ndarray:
    return np.zeros(nodes, int) if batch is None else batch.cpu().numpy()


def _periodic_cells(
    cell: Tensor | None, pbc: Tensor | None, points: np.ndarray, graph: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Cells with zeros for the vectors that do not repeat, and the graphs with any that do."""
    if cell is None:
        if pbc is not None and bool(pbc.any()):
            raise ValueError("pbc says that a graph is periodic, but `cell` is missing: give both.")
        return np.zeros((0, 3, 3)), np.zeros(0, int)
    cells = cell.detach().cpu().double().numpy().reshape(-1, 3, 3)
    if not np.isfinite(cells).all():
        raise ValueError("cell holds NaN or infinite numbers: no neighbours can be found.")
    if len(graph) and graph.max() >= len(cells):
        raise ValueError(f"batch counts {graph.max() + 1} graphs, but cell has {len(cells)}.")
    nonzero = (cells != 0).any(-1)
    repeats = nonzero if pbc is None else pbc.cpu().numpy().reshape(-1, 3).astype(bool)
    if repeats.shape != nonzero.shape:
        raise ValueError(f"pbc has {len(repeats)} rows, but there are {len(cells)} cells.")
    periodic = np.flatnonzero(repeats.any(-1))
    if len(periodic) and points.shape[1] != 3:
        raise ValueError(f"pos has {points.shape[1]} coordinates: periodic graphs need 3.")
    for number in periodic:
        _check_volume(cells[number][repeats[number]], int(number))
    return cells * repeats[..., None], periodic


def _check_volume(vectors: np.ndarray, number: int) -> None:
    lengths = np.linalg.norm(vectors, axis=1)
    volume = np.sqrt(max(np.linalg.det(vectors @ vectors.T), 0.0))
    if not volume > FLAT * lengths.prod():
        raise ValueError(
            f"graph {number} repeats along the vectors {vectors.tolist()}, which span no volume: "
            "mend its cell, or set pbc to False."
        )


def _tree_pairs(
    points: np.ndarray, cutoff: float, graph: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each pair once, for all graphs by one tree: an extra coordinate holds them apart."""
    pairs = np.zeros((0, 2), int)
    if len(points):
        apart = graph[:, None] * (2.0 * cutoff)
        tree = KDTree(np.concatenate([points, apart], 1))
        pairs = tree.query_pairs(cutoff, output_type="ndarray")
    return pairs[:, 0], pairs[:, 1], np.zeros((len(pairs), 3), int)


def _periodic_pairs(
    points: np.ndarray, cutoff: float, cell: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each pair of images once; a zero vector of the cell means that it does not repeat there."""
    search = vesin.NeighborList(
        # it leaves out pairs at the cutoff itself
        cutoff=cutoff * (1 + 1e-6),
        full_list=False,
        # one in the workers of a loader
        n_threads=torch.get_num_threads(),
    )
    target, source, shift = search.compute(points, cell, (cell != 0).any(-1), "ijS")
    target, source, shift = (part.astype(np.int64) for part in (target, source, shift))
    offset = points[source] - points[target] + shift @ cell
    near = np.linalg.norm(offset, axis=1) <= cutoff
    return target[near], source[near], shift[near]


def _both_directions(
    target: np.ndarray, source: np.ndarray, shift: np.ndarray, device: torch.device
) -> Neighbors:
    pairs, count = np.stack([source, target]), len(source)
    pairs = np.concatenate([pairs, pairs[::-1]], 1)
    shift = np.concatenate([shift, -shift])
    order = np.lexsort((*shift.T[::-1], *pairs))
    place = np.empty_like(order)
    place[order] = np.arange(2 * count)
    reverse = place[(order + count) % (2 * count)] if count else order
    arrays = (pairs[:, order], shift[order], reverse)
    return Neighbors(*(torch.from_numpy(a.astype(np.int64)).to(device) for a in arrays))
