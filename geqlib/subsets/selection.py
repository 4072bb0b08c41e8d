"""Subsets from scores of elements, and how much two subsets have in common."""

from __future__ import annotations

import torch
from torch import Tensor

from geqlib.graph.checks import values_readable
from geqlib.graph.pool import graph_index, sum_pool
from geqlib.graph.segments import segment_lengths, segment_ptr


def top_subsets(
    scores: Tensor, sizes: Tensor, batch: Tensor | None = None, num_graphs: int | None = None
) -> Tensor:
    """The elements of the highest scores, `sizes` of each set.

    Args:
        scores: [N]; of equal ones, the first in the set is taken.
        sizes: [num_graphs] integers.
        batch: [N] set of each element, and num_graphs: how many sets there are.

    Returns:
        [N] booleans.

    Raises:
        ValueError: a size below 0, or larger than its set; scores and batch of different lengths;
            NaN.

    Example:
        >>> top_subsets(torch.tensor([0.1, 0.9, 0.5, 0.7]), torch.tensor([2])).tolist()
        [False, True, False, True]
    """
    batch, num_graphs = graph_index(batch, num_graphs, len(scores), scores.device)
    if sizes.shape != (num_graphs,) or sizes.is_floating_point():
        raise ValueError(
            f"sizes has shape {tuple(sizes.shape)} and dtype {sizes.dtype}, expected a number of "
            f"elements for each of {num_graphs} sets, as integers."
        )
    if batch.shape != scores.shape:
        raise ValueError(
            f"scores has shape {tuple(scores.shape)} and batch {tuple(batch.shape)}: give the set "
            "of each element."
        )
    if values_readable() and bool(scores.isnan().any()):
        raise ValueError(
            f"The score of element {int(scores.isnan().nonzero()[0])} is NaN, which is neither "
            "high nor low: correct what computes it."
        )
    lengths = segment_lengths(batch, num_graphs)
    wrong = (sizes < 0) | (sizes > lengths)
    if values_readable() and bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"Set {row} has {int(lengths[row])} elements, and {int(sizes[row])} are to be chosen: "
            "take a size from 0 to that of the set."
        )
    order = scores.argsort(descending=True, stable=True)
    order = order[batch[order].argsort(stable=True)]
    grouped = batch[order]
    place = torch.arange(len(order), device=order.device) - segment_ptr(lengths)[grouped]
    return torch.empty_like(place, dtype=torch.bool).index_copy(0, order, place < sizes[grouped])


def jaccard(
    first: Tensor, second: Tensor, batch: Tensor | None = None, num_graphs: int | None = None
) -> Tensor:
    """The size of the intersection over that of the union, [num_graphs]; 1 for two empty subsets.

    Args:
        first, second: [N] booleans.
        batch: [N] set of each element, and num_graphs: how many sets there are.

    Raises:
        ValueError: anything but booleans of one shape.

    Example:
        >>> jaccard(torch.tensor([True, True, False]), torch.tensor([False, True, True]))
        tensor([0.3333])
    """
    if first.shape != second.shape or {first.dtype, second.dtype} != {torch.bool}:
        raise ValueError(
            f"Subsets have shapes {tuple(first.shape)} and {tuple(second.shape)} and dtypes "
            f"{first.dtype} and {second.dtype}, expected booleans [N]: compare scores with a "
            "threshold first."
        )
    counts = torch.stack([first & second, first | second], 1).to(torch.get_default_dtype())
    both, either = sum_pool(counts, batch, num_graphs).unbind(1)
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)
