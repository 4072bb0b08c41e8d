"""Precision of training: what is refused, and batches in the type of the model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

REFUSED = ("16-true", "bf16-true", "transformer-engine", "transformer-engine-float16")


def check_precision(precision: str) -> None:
    """Refuse a precision of the trainer in which no task gives right results.

    Raises:
        ValueError: if weights, positions and sums would be in half precision.

    Example:
        >>> check_precision("64-true")
    """
    if precision in REFUSED:
        raise ValueError(
            f"The precision {precision} is not supported: positions, distances and sums of "
            "energies need float32. Use bf16-mixed, 16-mixed, 32-true or 64-true."
        )


def cast_to(model: nn.Module, batch: Any, inputs: Iterable[str]) -> None:
    """Give the numbers of a batch the type of the model's weights, in place.

    Numbers of a lower precision are raised to it. Inputs of a higher one are lowered, labels are
    not: total energies stay in float64.

    Args:
        model: without weights, batches stay as they are.
        batch: of torch_geometric; others stay as they are.
        inputs: names of the tensors that the model sees.

    Example:
        >>> from torch_geometric.data import Batch
        >>> batch = Batch(pos=torch.zeros(1, 3), z=torch.ones(1, dtype=torch.long))
        >>> cast_to(nn.Linear(3, 1).double(), batch, ["pos", "z"])
        >>> batch.pos.dtype, batch.z.dtype
        (torch.float64, torch.int64)
    """
    weights = (p.dtype for p in model.parameters() if p.is_floating_point())
    dtype, names = next(weights, None), set(inputs)
    if dtype is None or not hasattr(batch, "to_dict"):
        return
    for name, value in batch.to_dict().items():
        if isinstance(value, Tensor) and value.is_floating_point() and value.dtype != dtype:
            wider = torch.promote_types(value.dtype, dtype) == dtype
            if wider or name in names:
                batch[name] = value.to(dtype)
