"""Metrics of several targets at once, some of which may be missing."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_auroc, binary_average_precision


class TargetMetric(Metric):
    """The mean over targets of one number for each, of those that are not NaN.

    Attributes:
        each: those numbers, of the last `compute`.
    """

    each: Tensor

    def of_targets(self) -> Tensor:
        """[targets], NaN of those without data."""
        raise NotImplementedError

    def compute(self) -> Tensor:
        self.each = self.of_targets()  # of all processes, which metrics are joined for here
        return self.each.nanmean()


class TargetErrors(TargetMetric):
    """Mean absolute (power 1) or root mean square (power 2) error of each target.

    Attributes:
        scale: [targets] what errors are divided by before their mean is taken, or one for all.
    """

    def __init__(self, power: Literal[1, 2]) -> None:
        super().__init__()
        self.power = power
        self.scale: Tensor | float = 1.0
        self.total: Tensor
        self.count: Tensor
        # which grow to the number of targets
        self.add_state("total", torch.zeros(1, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(1, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, true: Tensor) -> None:
        labelled = ~true.isnan()
        error = torch.where(labelled, predicted - true, 0.0).detach().double()
        self.total = self.total + error.abs().pow(self.power).sum(0)
        self.count = self.count + labelled.sum(0)

    def of_targets(self) -> Tensor:
        return (self.total / self.count).pow(1 / self.power)

    def compute(self) -> Tensor:
        super().compute()
        return (self.each / self.scale).nanmean()


class TargetAccuracy(TargetMetric):
    """Share of the entries of each target on the right side of the threshold."""

    def __init__(self) -> None:
        super().__init__()
        self.right: Tensor
        self.count: Tensor
        self.add_state("right", torch.zeros(1, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(1, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, true: Tensor) -> None:
        labelled = ~true.isnan()
        self.right = self.right + (labelled & ((logits > 0) == (true > 0.5))).sum(0)
        self.count = self.count + labelled.sum(0)

    def of_targets(self) -> Tensor:
        return self.right / self.count


class TargetRanking(TargetMetric):
    """Area under the receiver operating curve of each target, or its average precision."""

    def __init__(self, of: Literal["roc", "precision"] = "roc") -> None:
        super().__init__()
        self.rank = binary_auroc if of == "roc" else binary_average_precision
        self.logits: list[Tensor]
        self.true: list[Tensor]
        self.add_state("logits", [], dist_reduce_fx="cat")
        self.add_state("true", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, true: Tensor) -> None:
        self.logits.append(logits.detach())
        self.true.append(true)

    def of_targets(self) -> Tensor:
        logits, true = (torch.cat(_listed(x)) for x in (self.logits, self.true))
        values = []
        for scores, y in zip(logits.sigmoid().T, true.T, strict=True):
            labelled = ~y.isnan()
            classes = y[labelled].long()
            both = bool((classes == 0).any() and (classes == 1).any())
            nothing = scores.new_tensor(torch.nan)
            values.append(self.rank(scores[labelled], classes) if both else nothing)
        return torch.stack(values)


def _listed(values: Any) -> list[Tensor]:
    return values if isinstance(values, list) else [values]
