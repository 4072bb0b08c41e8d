"""Frames of S_n to compare with the exact one, which is group="S_n" in `FrameAveraging`."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from geqlib.frames.laplacian_frames import laplacian_orders
from geqlib.frames.point_frames import Frames


def laplacian_frame(*, bound: int = 1000, samples: int = 1) -> Callable[..., Frames]:
    """A frame for `FrameAveraging`: orders from Laplacian eigenspaces.

    Source: Puny et al. (ICLR 2022, arXiv 2110.03336), section 3.2; see `laplacian_orders`. Averages
    are exact for graphs with at most `bound` orders; of larger frames `samples` orders are drawn,
    from numpy's generator seeded by torch's, and a warning says so. `laplacian_orders` says which
    it is for a graph.

    Example:
        >>> frame = laplacian_frame()
        >>> path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> frame(x=torch.ones(3, 1), edge_index=path).nodes.tolist()
        [1, 0, 2, 1, 2, 0]
    """

    def orders(edge_index: np.ndarray, nodes: int, rng: np.random.Generator) -> np.ndarray:
        found = laplacian_orders(edge_index, nodes, bound=bound, samples=samples, rng=rng)
        if not found.exact:
            warnings.warn(
                f"A graph has more than bound={bound} Laplacian orders: its average is over "
                'samples of them, not exact. Raise bound, or take group="S_n", which is exact.',
                stacklevel=2,
            )
        return found.orders

    return _frame(orders)


def random_frame(*, samples: int = 1) -> Callable[..., Frames]:
    """Uniformly drawn orders: the whole group in expectation, and no symmetry in a single draw."""

    def orders(edge_index: np.ndarray, nodes: int, rng: np.random.Generator) -> np.ndarray:
        return np.stack([rng.permutation(nodes) for _ in range(samples)])

    return _frame(orders)


def _frame(
    orders: Callable[[np.ndarray, int, np.random.Generator], np.ndarray],
) -> Callable[..., Frames]:
    def frame(
        *,
        x: Tensor,
        edge_index: Tensor,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
        **others: Tensor,
    ) -> Frames:
        number = np.zeros(len(x), np.int64) if batch is None else batch.cpu().numpy()
        count = 1 if batch is None else num_graphs or int(number.max(initial=-1)) + 1
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        place, ends = _places(number, count)
        edges = edge_index.cpu().numpy()
        owner, found = number[edges[0]], []
        by_graph, lines = _places(owner, count)
        for k in range(count):
            nodes = place[ends[k] : ends[k + 1]]
            own = edges[:, by_graph[lines[k] : lines[k + 1]]]
            inside = np.searchsorted(nodes, own)
            found.append(nodes[orders(inside, len(nodes), rng)])
        return _frames([np.reshape(part, (len(part), -1)) for part in found], x)

    return frame


def _places(number: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows sorted by their number, and where each number begins."""
    order = number.argsort(kind="stable")
    return order, np.searchsorted(number[order], np.arange(count + 1))


def _frames(found: list[np.ndarray], like: Tensor) -> Frames:
    copies = [len(part) for part in found]
    sample = torch.arange(len(found)).repeat_interleave(torch.tensor(copies, dtype=torch.long))
    weight = torch.tensor([1 / k for k in copies], dtype=torch.float64)[sample]
    nodes = np.concatenate([np.zeros(0, np.int64), *(part.ravel() for part in found)])
    none, device = like.new_zeros(len(sample), 0, 0, dtype=torch.float64), like.device
    order = torch.from_numpy(nodes).to(device)
    return Frames(none, sample.to(device), weight.to(device), nodes=order)
