"""The nearest points in space or among features."""

from __future__ import annotations

import torch
from torch import Tensor

LEAST = torch.float32


@torch.no_grad()
def nearest(x: Tensor, batch: Tensor, num_graphs: int, k: int) -> Tensor:
    """[N, k] numbers of the k rows of the same graph that are nearest to each row, itself first.

    Where a graph has fewer rows, its own number fills the rest: maxima over neighbours are then
    those over all rows. Rows that are equally far are chosen by the order of the batch, or by
    rounding.

    Args:
        x: [N, C].
        batch: [N] graph of each row, ascending.
        num_graphs: number of graphs.
        k: number of neighbours, the row itself among them.

    Raises:
        ValueError: k below 1.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [3.0], [9.0]])
        >>> nearest(x, torch.tensor([0, 0, 0, 1]), 2, 2).tolist()
        [[0, 1], [1, 0], [2, 1], [3, 3]]
    """
    if k < 1:
        raise ValueError(f"the number of neighbours must be at least 1, got {k}.")
    count = torch.bincount(batch, minlength=num_graphs)
    most = max(int(count.max()) if num_graphs else 0, k)
    first, slots = count.cumsum(0) - count, torch.arange(most, device=x.device)
    place = torch.arange(len(x), device=x.device) - first[batch]
    dense = x.new_zeros(num_graphs, most, x.size(1), dtype=torch.promote_types(x.dtype, LEAST))
    dense[batch, place] = x.to(dense.dtype)
    dense -= dense.sum(1, keepdim=True) / count.clamp(min=1)[:, None, None]  # cancels fewer digits
    size = dense.square().sum(2).masked_fill(slots >= count[:, None], torch.inf)
    with torch.autocast(x.device.type, enabled=False):
        far = torch.baddbmm(size[:, None], dense, dense.mT, alpha=-2)  # |x_j - x_i|^2 - |x_i|^2
    far.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
    found = far.topk(k, largest=False)
    number = torch.where(found.values < torch.inf, found.indices, slots[:, None])
    return (number + first[:, None, None])[batch, place]
