"""Errors of the structures of an earlier training, before and after fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torchmetrics import Metric

from geqlib.data.shares import is_padding
from geqlib.train.steps.precision import cast_to


def old_errors(task: Any) -> dict[str, float]:
    """Errors of the validation loader "old" by name, if the data has one and the task measures it.

    Args:
        task: a task in a trainer, with the metrics `errors["old"]`.
    """
    data: Any = getattr(task.trainer, "datamodule", None)
    errors = getattr(task, "errors", {})
    if "old" not in getattr(data, "validated", ()) or "old" not in errors:
        return {}
    training, metrics = task.training, _measured(task, data)
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
