"""Segments are those that numpy makes one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geqlib.graph.segments import masked, ragged_ranges, segment_index, segment_lengths, segment_ptr

Lengths = st.lists(st.integers(0, 5), max_size=6)


@settings(deadline=None, max_examples=30)
@given(Lengths, st.booleans())
def test_lengths_pointer_and_index_describe_the_same_segments(
    sizes: list[int], known: bool
) -> None:
    lengths = torch.tensor(sizes, dtype=torch.long)
    total = sum(sizes) if known else None
    index, ptr = segment_index(lengths, total), segment_ptr(lengths)
    assert index.tolist() == np.repeat(np.arange(len(sizes)), sizes).tolist()
    assert ptr.tolist() == [0, *np.cumsum(sizes, dtype=int)]
    assert torch.equal(ptr.diff(), lengths)
    mixed = index[torch.randperm(len(index))]
    assert torch.equal(segment_lengths(mixed, len(sizes)), lengths)
    assert segment_lengths(mixed, len(sizes) + 2).tolist() == [*sizes, 0, 0]


@settings(deadline=None, max_examples=30)
@given(Lengths, st.booleans())
def test_ranges(sizes: list[int], known: bool) -> None:
    lengths = torch.tensor(sizes, dtype=torch.long)
    start = torch.arange(len(sizes)) * 7 - 3
    expected = [s + k for s, size in zip(start.tolist(), sizes, strict=True) for k in range(size)]
    total = sum(sizes) if known else None
    assert ragged_ranges(start, lengths, total).tolist() == expected
    within = [k for size in sizes for k in range(size)]
    assert ragged_ranges(0, lengths, total).tolist() == within


@given(st.lists(st.booleans(), max_size=8))
def test_masked(chosen: list[bool]) -> None:
    mask, values = torch.tensor(chosen, dtype=torch.bool), torch.randn(len(chosen))
    assert torch.equal(masked(values, mask, sum(chosen)), values[mask])


@pytest.mark.parametrize("dtype", [torch.int, torch.long])
def test_types_of_integers(dtype: torch.dtype) -> None:
    index = torch.tensor([2, 0, 2], dtype=dtype)
    assert segment_lengths(index, 3).tolist() == [1, 0, 2]
    assert ragged_ranges(0, segment_lengths(index, 3)).tolist() == [0, 0, 1]


def test_no_value_is_read_where_the_total_is_passed() -> None:
    """On the meta device a tensor has no values to read."""
    lengths = torch.empty(4, dtype=torch.long, device="meta")
    assert segment_index(lengths, 9).shape == ragged_ranges(0, lengths, 9).shape == (9,)
    assert segment_lengths(segment_index(lengths, 9), 4).shape == (4,)
