"""Which points are near which."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor


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
    if cutoff <= 0:
        raise ValueError(f"cutoff must be positive, got {cutoff}.")
    points = pos.detach().cpu().double().numpy()
    if not np.isfinite(points).all():
        raise ValueError("pos holds NaN or infinite coordinates: no neighbours can be found.")
    if len(points) == 0:
        return torch.zeros(2, 0, dtype=torch.long, device=pos.device)
    if batch is not None:
        apart = batch.cpu().double().numpy()[:, None] * (2 * cutoff)
        points = np.concatenate([points, apart], 1)
    pairs = KDTree(points).query_pairs(cutoff, output_type="ndarray")
    source, target = np.concatenate([pairs, pairs[:, ::-1]]).T
    order = np.lexsort((source, target))
    edges = np.stack([source[order], target[order]]).astype(np.int64)
    return torch.from_numpy(edges).to(pos.device)
