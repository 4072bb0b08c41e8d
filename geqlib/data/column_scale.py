"""Means and standard deviations of targets, of which some may be missing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def column_scale(y: Tensor) -> tuple[Any, Any]:
    """Mean and standard deviation of each column, without NaN; numbers if there is one column.

    Example:
        >>> column_scale(torch.tensor([[1.0], [3.0], [torch.nan]]))
        (2.0, 1.0)
    """
    labelled = ~y.isnan()
    count = labelled.sum(0).clamp(min=1)
    mean = y.nan_to_num().sum(0) / count
    std = (torch.where(labelled, y - mean, 0.0).square().sum(0) / count).sqrt()
    if y.size(1) == 1:
        return float(mean), float(std)
    return mean, std
