"""Subsets and Jaccard indices equal Python's sorting and sets."""

from __future__ import annotations

import pytest
import torch

from geqlib.subsets.selection import jaccard, top_subsets

SIZES = (3, 0, 5, 1)
BATCH = torch.arange(4).repeat_interleave(torch.tensor(SIZES))


def test_the_highest_scores_of_each_set() -> None:
    for seed in range(20):
        torch.manual_seed(seed)
        order = torch.randperm(len(BATCH))
        batch, scores = BATCH[order], torch.randint(4, (len(BATCH),)).double()  # with ties
        sizes = torch.tensor([int(torch.randint(n + 1, ())) for n in SIZES])
        expected = set()
        for k, size in enumerate(sizes.tolist()):
            members = (batch == k).nonzero()[:, 0].tolist()
            expected |= set(sorted(members, key=lambda i: (-float(scores[i]), i))[:size])
        got = top_subsets(scores, sizes, batch, 4)
        assert set(got.nonzero()[:, 0].tolist()) == expected


def test_jaccard_by_sets() -> None:
    torch.manual_seed(0)
    first, second = torch.rand(2, len(BATCH)) < 0.5
    expected = []
    for k in range(4):
        a, b = (set((mask & BATCH.eq(k)).nonzero()[:, 0].tolist()) for mask in (first, second))
        expected.append(len(a & b) / len(a | b) if a | b else 1.0)
    assert jaccard(first, second, BATCH, 4).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("sizes", [[4, 0, 5, 1], [3, 0, 5, -1]])
def test_sizes_out_of_range(sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="are to be chosen: take a size from 0"):
        top_subsets(torch.zeros(len(BATCH)), torch.tensor(sizes), BATCH, 4)


def test_sizes_of_another_shape() -> None:
    with pytest.raises(ValueError, match="expected a number of elements for each of 4 sets"):
        top_subsets(torch.zeros(len(BATCH)), torch.ones(3).long(), BATCH, 4)


def test_a_batch_of_another_length() -> None:
    with pytest.raises(ValueError, match="give the set of each element"):
        top_subsets(torch.zeros(3), torch.tensor([1]), torch.zeros(2).long(), 1)


def test_nothing_from_empty_sets() -> None:
    batch = torch.zeros(0, dtype=torch.long)
    assert top_subsets(torch.zeros(0), torch.zeros(2).long(), batch, 2).shape == (0,)
    none = torch.zeros(0, dtype=torch.bool)
    assert jaccard(none, none, batch, 2).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("other", [torch.zeros(3), torch.zeros(2, dtype=torch.bool)])
def test_subsets_that_are_none(other: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="expected booleans"):
        jaccard(torch.zeros(3, dtype=torch.bool), other)


def test_scores_that_are_not_numbers() -> None:
    with pytest.raises(ValueError, match="score of element 1 is NaN"):
        top_subsets(torch.tensor([0.1, torch.nan, 0.5]), torch.tensor([1]))
