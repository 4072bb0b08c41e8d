"""Ragged segments: consecutive parts of one tensor, described by lengths, pointer or index.

Three segments of lengths [2, 0, 3] have the pointer [0, 2, 2, 5], where each begins and ends, and
the index [0, 0, 2, 2, 2], the segment of each element. All functions stay on the device of their
arguments. The number of elements, where it is passed as `total`, spares the host a wait for it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def segment_lengths(index: Tensor, num_segments: int) -> Tensor:
    """[num_segments] number of elements of each segment, by the index in any order.

    Example:
        >>> segment_lengths(torch.tensor([2, 0, 2, 2, 0]), 4).tolist()
        [2, 0, 3, 0]
    """
    # not bincount, for which the host waits on a GPU
    return index.new_zeros(num_segments).scatter_add_(0, index.long(), torch.ones_like(index))


def segment_ptr(lengths: Tensor) -> Tensor:
    """[segments + 1] where each segment begins, and where the last one ends.

    Example:
        >>> segment_ptr(torch.tensor([2, 0, 3])).tolist()
        [0, 2, 2, 5]
    """
    return torch.nn.functional.pad(lengths.cumsum(0), (1, 0))


def segment_index(lengths: Tensor, total: int | None = None) -> Tensor:
    """[total] the segment of each element, ascending. Of a pointer, lengths are `ptr.diff()`.

    Args:
        lengths: [segments].
        total: their sum.

    Example:
        >>> segment_index(torch.tensor([2, 0, 3])).tolist()
        [0, 0, 2, 2, 2]
    """
    return torch.repeat_interleave(lengths, output_size=total)


def segment_places(index: Tensor, num_segments: int) -> Tensor:
    """[n] place of each element in its segment, from 0, by the index in any order.

    Example:
        >>> segment_places(torch.tensor([1, 0, 1, 1]), 2).tolist()
        [0, 0, 1, 2]
    """
    order = index.argsort(stable=True)
    first = segment_ptr(segment_lengths(index, num_segments))[index[order]]
    places = torch.arange(index.size(0), device=index.device) - first
    return torch.empty_like(places).index_copy(0, order, places)


def ragged_ranges(start: Tensor | int, lengths: Tensor, total: int | None = None) -> Tensor:
    """[total] start, start + 1, ..., start + length - 1 of each segment, one after the other.

    With `start` the beginning of segments of some tensor, these are the indices of all their
    elements; with 0, the position of each element in its segment.

    Args:
        start: [segments], or one number for all.
        lengths: [segments].
        total: their sum.

    Example:
        >>> ragged_ranges(torch.tensor([10, 20, 30]), torch.tensor([2, 0, 3])).tolist()
        [10, 11, 30, 31, 32]
        >>> ragged_ranges(0, torch.tensor([2, 0, 3])).tolist()
        [0, 1, 0, 1, 2]
    """
    before = lengths.cumsum(0) - lengths
    shift = (start - before).repeat_interleave(lengths, output_size=total)
    return shift + torch.arange(len(shift), device=shift.device)


def masked(values: Tensor, mask: Tensor, total: int) -> Tensor:
    """[total] values where the mask is true: values[mask] for which no host waits.

    Args:
        values, mask: [N].
        total: how often the mask is true.

    Example:
        >>> masked(torch.tensor([5, 6, 7]), torch.tensor([True, False, True]), 2).tolist()
        [5, 7]
    """
    place = torch.where(mask, mask.cumsum(0) - 1, total)
    return values.new_empty(total + 1).scatter_(0, place, values)[:total]
