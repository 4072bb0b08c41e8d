"""Random groups are parts of their sets, of all sizes."""

from __future__ import annotations

import pytest
import torch

from geqlib.graph import random_groups

INDEX = torch.tensor([3, 0, 3, 1, 3, 0, 3, 5, 3, 3])


def test_every_element_is_in_a_group_of_its_set() -> None:
    for seed in range(20):
        torch.manual_seed(seed)
        group, owner = random_groups(INDEX, 7)
        assert torch.equal(owner[group], INDEX)
        assert torch.bincount(group, minlength=len(owner)).min() > 0
        assert group.unique().tolist() == list(range(len(owner)))


def test_from_one_group_to_groups_of_one() -> None:
    torch.manual_seed(0)
    counts = [len(random_groups(torch.zeros(8, dtype=torch.long), 1)[1]) for _ in range(2000)]
    # 1 + Binomial(7, p) with p uniform: every count from 1 to 8 has chance 1 / 8
    shares = torch.bincount(torch.tensor(counts))[1:] / 2000
    assert (shares - 1 / 8).abs().max() < 5 * (1 / 8 * 7 / 8 / 2000) ** 0.5


def test_groups_are_mixed() -> None:
    torch.manual_seed(0)
    together = torch.zeros(6, 6)
    for _ in range(2000):
        group, _ = random_groups(torch.zeros(6, dtype=torch.long), 1)
        together += group[:, None] == group[None]
    pairs = together[~torch.eye(6, dtype=torch.bool)] / 2000
    assert (pairs - pairs.mean()).abs().max() < 0.06  # five standard deviations


def test_no_elements_and_bad_ones() -> None:
    group, owner = random_groups(torch.zeros(0, dtype=torch.long), 3)
    assert len(group) == len(owner) == 0
    with pytest.raises(ValueError, match="index goes from 0 to 5, but sets are numbered"):
        random_groups(INDEX, 5)
