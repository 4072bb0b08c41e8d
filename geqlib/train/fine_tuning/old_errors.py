"""Errors of the structures of an earlier training, before and after fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from geqlib.data.shares import is_padding
from geqlib.train.steps.precision import cast_to


def old_errors(task: Any, first: Mapping[str, Tensor]) -> dict[str, float]:
    """Errors of the validation loader "old" by name, if the data has one and the task measures it.

    Args:
        task: a task in a trainer, with the metrics `errors["old"]`.
        first: values to measure with in place of the task's, by their names in its state.
    """
    data: Any = getattr(task.trainer, "datamodule", None)
    errors = getattr(task, "errors", {})
    if "old" not in getattr(data, "validated", ()) or "old" not in errors:
        return {}
    training = task.training
    with _values(task, first):
        metrics = _measured(task, data)
    values = {k: float(m.compute()) for k, m in metrics.items() if isinstance(m, Metric)}
    for metric in errors["old"].metrics.values():
        metric.reset()
    task.train(training)
    task._watched = {}
    return values


def _measured(task: Any, data: Any) -> Mapping[str, Metric | Tensor]:
    metrics: Mapping[str, Metric | Tensor] = {}
    task.eval()
    for batch in data.val_dataloader()[data.validated.index("old")]:
        if not is_padding(batch):
            batch = batch.to(task.device)
            cast_to(task.model, batch, task.inputs)
            metrics = task.metrics(batch, "old")
    return metrics


def changed_since(before: Mapping[str, Tensor], task: nn.Module) -> dict[str, Tensor]:
    """What of an earlier state, a copy, the state of a task has otherwise today."""
    now = task.state_dict()
    return {name: old for name, old in before.items() if not torch.equal(old, now[name])}


@contextmanager
@torch.no_grad()
def _values(task: nn.Module, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Let some tensors of a task have other values for a while."""
    state = task.state_dict()
    own = {name: state[name].clone() for name in values}
    try:
        for name, value in values.items():
            state[name].copy_(value)
        yield
    finally:
        for name, value in own.items():
            state[name].copy_(value)
