"""Averaged weights against the recursion, in a loop."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from geqlib.train.steps.averaging import AveragedWeights


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.999])
def test_the_average_forgets_the_beginning(decay: float) -> None:
    torch.manual_seed(0)
    module: Any = nn.Linear(3, 2).double()
    callback = AveragedWeights(decay)
    callback._average_model = AveragedModel(module)
    average, weights = None, []
    for step in range(1, 61):
        if step == 31:  # as after a resume
            again = AveragedWeights(decay)
            again._average_model = callback._average_model
            again.load_state_dict(callback.state_dict())
            callback = again
        trainer: Any = SimpleNamespace(global_step=step)
        if step in (1, 31):
            callback.on_train_start(trainer, module)
        with torch.no_grad():
            module.weight.copy_(torch.randn(2, 3, dtype=torch.float64))
        weights.append(module.weight.detach().clone())
        callback.on_train_batch_end(trainer, module, None, None, step)
        share = max(1 - decay, min(1.0, 10 / step))
        old = weights[-1] if average is None else average
        average = old + share * (weights[-1] - old)
        model: Any = callback._average_model
        torch.testing.assert_close(model.module.weight, average)
    if decay == 0.999:  # a tenth of the steps or so counts: the first half hardly does
        late = torch.stack(weights[30:]).mean(0)
        assert (average - late).norm() < (average - torch.stack(weights[:30]).mean(0)).norm()


def test_earlier_averages_go_on_as_they_began() -> None:
    """Whose state does not say how they began: 1 - decay from the second step on."""
    callback = AveragedWeights(0.75)
    callback.load_state_dict({"latest_update_step": 1})
    assert [callback.share(step) for step in (1, 2, 3, 100)] == [1.0, 0.25, 0.25, 0.25]
    again = AveragedWeights(0.75)
    again.load_state_dict(callback.state_dict())
    assert again.share(2) == 0.25
