"""Neighbours: all within a cutoff, periodic images included, or the k nearest."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor

from geqlib.extras import extra_module
from geqlib.graph.cell_list import cell_list
from geqlib.graph.checks import as_index
from geqlib.graph.plan import Plan
from geqlib.graph.segments import masked, ragged_ranges, segment_lengths, segment_ptr

FLAT = 1e-6  # volume of a cell over that of a box with the same edges, below which it is flat
DEVICES = {"cuda"}  # on which lists are made there; tests add "cpu"
LEAST = torch.float32  # precision of distances between features


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
    images of another one, and of itself, as neighbours. Positions on a GPU are searched there
    (`geqlib.graph.cell_list`), for which the host waits twice.

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
    if (near := _on_device(pos, cutoff, cell, pbc, batch)) is not None:
        return near
    points = _finite_points(pos, cutoff)
    graph = _graph_numbers(batch, len(points))
    cells, periodic = _periodic_cells(cell, pbc, points, graph)
    finite = np.flatnonzero(~np.isin(graph, periodic))
    pairs = [(finite, *_tree_pairs(points[finite], cutoff, graph[finite]))]
    for number in periodic:
        own = np.flatnonzero(graph == number)
        pairs.append((own, *_periodic_pairs(points[own], cutoff, cells[number])))
    target, source, shift = (
        np.concatenate(parts)
        for parts in zip(*((own[t], own[s], shift) for own, t, s, shift in pairs), strict=True)
    )
    return _both_directions(target, source, shift, pos.device)


def radius_graph(pos: Tensor, cutoff: float, batch: Tensor | None = None) -> Tensor:
    """All pairs of different points of one graph at most `cutoff` apart, in both directions.

    No neighbour is ever left out, so that edges cannot depend on the order or rotation of the
    points. One tree serves the whole batch: an extra coordinate separates the graphs.

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


class SkinNeighbors:
    """`neighbor_list` for one batch after another, with the same edges in the same order.

    A list of pairs up to cutoff + skin apart serves as long as the cells stay the same and no atom
    has moved by more than skin / 2: those within the cutoff are selected from it.

    Args:
        cutoff: distance, in the units of the positions.
        skin: the same; 0 searches every time.

    Attributes:
        searches: number of searches so far.

    Example:
        >>> near = SkinNeighbors(1.2, skin=0.5)
        >>> pos = torch.tensor([[0.0, 0, 0], [1, 0, 0]], dtype=torch.float64)
        >>> [near(x * pos).edge_index.size(1) for x in (1.0, 1.1, 1.21)], near.searches
        ([2, 2, 0], 1)
    """

    def __init__(self, cutoff: float, *, skin: float) -> None:
        if skin < 0:
            raise ValueError(f"skin must not be negative, got {skin}.")
        self.cutoff, self.skin = cutoff, skin
        self.searches = 0
        self._last: tuple[Tensor, ...] | None = None
        self._wide: Neighbors | None = None

    def __call__(
        self,
        pos: Tensor,
        cell: Tensor | None = None,
        pbc: Tensor | None = None,
        batch: Tensor | None = None,
    ) -> Neighbors:
        """Neighbours within the cutoff.

        Args:
            pos: [N, 3] in float64.
            cell: [3, 3] or [G, 3, 3] vectors in rows, pbc [3] or [G, 3], and batch [N], as for
                `neighbor_list`.
        """
        cell = pos.new_zeros(1, 3, 3) if cell is None else cell.reshape(-1, 3, 3)
        pbc = (cell != 0).any(2) if pbc is None else pbc.reshape(-1, 3)
        graph = torch.zeros(len(pos), dtype=torch.long, device=pos.device)
        graph = graph if batch is None else batch
        wide = self._wide
        if wide is None or not self._still(pos, cell, pbc, graph):
            wide = neighbor_list(pos, self.cutoff + self.skin, cell=cell, pbc=pbc, batch=batch)
            self.searches += 1
            self._wide = wide
            self._last = tuple(part.clone() for part in (pos, cell, pbc, graph))
        return _within(wide, pos, cell.index_select(0, graph), self.cutoff) if self.skin else wide

    def _still(self, pos: Tensor, *others: Tensor) -> bool:
        """Whether no atom moved far, and cells, periodicity and graphs are what they were."""
        if self._last is None or self.skin == 0:
            return False
        before, *old = self._last
        if before.shape != pos.shape or before.device != pos.device:
            return False
        if any(a.shape != b.shape for a, b in zip(old, others, strict=True)):
            return False
        moved = torch.linalg.vector_norm(pos - before, dim=1)
        # less than half, as the search rounds too; false for NaN
        still = (moved < 0.4999 * self.skin).all()
        for a, b in zip(old, others, strict=True):
            still = still & (a == b).all()
        return bool(still)


@torch.no_grad()
def nearest(
    x: Tensor, batch: Tensor, num_graphs: int, k: int, *, widest: int | None = None
) -> Tensor:
    """[N, k] indices of the k points of the same graph nearest to each point, itself first.

    Where a graph has fewer points, the index of the point itself fills the rest: maxima over
    neighbours are then those over all points. Among equally distant points, the order in the batch
    or rounding decides.

    Args:
        x: [N, C] positions or features.
        batch: [N] graph of each point, ascending.
        num_graphs: number of graphs.
        k: number of neighbours, the point itself among them.
        widest: points of the largest graph, by `most_points`; the host waits for the device to
            count them where it is None.

    Raises:
        ValueError: k below 1.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [3.0], [9.0]])
        >>> nearest(x, torch.tensor([0, 0, 0, 1]), 2, 2).tolist()
        [[0, 1], [1, 0], [2, 1], [3, 3]]
    """
    if k < 1:
        raise ValueError(f"the number of neighbours must be at least 1, got {k}.")
    batch = as_index(batch, "batch")
    count = segment_lengths(batch, num_graphs)
    widest = max(most_points(batch, num_graphs) if widest is None else widest, k)
    first, columns = segment_ptr(count)[:-1], torch.arange(widest, device=x.device)
    rank = ragged_ranges(0, count, len(x))
    dense = x.new_zeros(num_graphs, widest, x.size(1), dtype=torch.promote_types(x.dtype, LEAST))
    dense[batch, rank] = x.to(dense.dtype)
    dense -= dense.sum(1, keepdim=True) / count.clamp(min=1)[:, None, None]  # cancels fewer digits
    size = dense.square().sum(2).masked_fill(columns >= count[:, None], torch.inf)
    with torch.autocast(x.device.type, enabled=False):
        distance = torch.baddbmm(
            size[:, None], dense, dense.mT, alpha=-2
        )  # |x_j - x_i|^2 - |x_i|^2
    distance.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
    smallest = distance.topk(k, largest=False)
    number = torch.where(smallest.values < torch.inf, smallest.indices, columns[:, None])
    return (number + first[:, None, None])[batch, rank]


def most_points(batch: Tensor, num_graphs: int) -> int:
    """How many points the largest graph has, for which the host waits once.

    Args:
        batch: [N] graph of each point.
        num_graphs: number of graphs.

    Example:
        >>> most_points(torch.tensor([0, 0, 0, 1]), 2)
        3
    """
    return int(segment_lengths(batch, num_graphs).max()) if num_graphs else 0


def _on_device(
    pos: Tensor, cutoff: float, cell: Tensor | None, pbc: Tensor | None, batch: Tensor | None
) -> Neighbors | None:
    """The list made on the device; None if it is made on the host, which says what is wrong."""
    if pos.device.type not in DEVICES or pos.size(1) > 3 or not cutoff > 0:
        return None
    if cell is None:
        fits = pbc is None
    else:
        fits = pos.size(1) == 3 and (pbc is None or 3 * pbc.numel() == cell.numel())
    edges = cell_list(pos, cutoff, cell, pbc, batch, least_volume=FLAT) if fits else None
    return None if edges is None else Neighbors(*edges)


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
            "correct its cell, or set pbc to False."
        )


def _tree_pairs(
    points: np.ndarray, cutoff: float, graph: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each pair once, for all graphs by one tree: an extra coordinate separates them."""
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
    search = extra_module("vesin", "atoms").NeighborList(
        # it leaves out pairs at the cutoff itself
        cutoff=cutoff * (1 + 1e-6),
        full_list=False,
        # one in the workers of a loader
        n_threads=torch.get_num_threads(),
    )
    # it crashes on points that are far from each other where not all vectors repeat
    repeats = (cell != 0).any(-1)
    wrap = np.floor(points @ np.linalg.pinv(cell)) * repeats
    points = points - wrap @ cell
    target, source, shift = search.compute(points, cell, repeats, "ijS")
    target, source, shift = (part.astype(np.int64) for part in (target, source, shift))
    offset = points[source] - points[target] + shift @ cell
    near = np.linalg.norm(offset, axis=1) <= cutoff
    shift = shift + wrap.astype(np.int64)[target] - wrap.astype(np.int64)[source]
    return target[near], source[near], shift[near]


def _both_directions(
    target: np.ndarray, source: np.ndarray, shift: np.ndarray, device: torch.device
) -> Neighbors:
    pairs, count = np.stack([source, target]), len(source)
    pairs = np.concatenate([pairs, pairs[::-1]], 1)
    shift = np.concatenate([shift, -shift])
    order = np.lexsort((*shift.T[::-1], *pairs))
    rank = np.empty_like(order)
    rank[order] = np.arange(2 * count)
    reverse = rank[(order + count) % (2 * count)] if count else order
    arrays = (pairs[:, order], shift[order], reverse)
    return Neighbors(*(torch.from_numpy(a.astype(np.int64)).to(device) for a in arrays))


def _within(wide: Neighbors, pos: Tensor, cells: Tensor, cutoff: float) -> Neighbors:
    """The pairs of a longer list that are at most `cutoff` apart; with the cell of each point."""
    source, target = wide.edge_index
    shift = torch.einsum("ei,eij->ej", wide.cell_shift.to(pos.dtype), cells[target])
    offset = pos[source] - pos[target] + shift
    near = torch.linalg.vector_norm(offset, dim=1) <= cutoff
    near = near & near[wide.reverse]
    number = near.cumsum(0) - 1
    chosen = masked(torch.arange(len(near), device=near.device), near, int(near.sum()))
    return replace(
        wide,
        edge_index=wide.edge_index.index_select(1, chosen),
        cell_shift=wide.cell_shift.index_select(0, chosen),
        reverse=number.index_select(0, wide.reverse.index_select(0, chosen)),
    )
