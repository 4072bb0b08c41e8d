"""The benchmark of uncertainties: its measure of separation."""

import pytest
import torch

from benchmarks.accuracy.uncertainty import separation


def test_separation_is_the_share_of_ordered_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    cold = torch.randint(0, 6, (30,), generator=generator).double()
    hot = torch.randint(2, 8, (20,), generator=generator).double()
    difference = hot[:, None] - cold
    share = (difference > 0).double() + 0.5 * (difference == 0).double()
    assert separation(cold, hot) == pytest.approx(float(share.mean()))
    assert separation(cold, cold + 10) == 1.0
