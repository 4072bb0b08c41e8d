"""One operation on many tensors at once, in place: few launches on a GPU."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

operations: Any = torch  # these have no public names


def copy_all(to: Iterable[Tensor], values: Iterable[Tensor]) -> None:
    """Copy each of the values to its tensor, also from another device.

    Example:
        >>> x = torch.zeros(2)
        >>> copy_all([x], [torch.ones(2)])
        >>> x
        tensor([1., 1.])
    """
    pairs = list(zip(to, values, strict=True))
    if pairs:
        operations._foreach_copy_(*map(list, zip(*pairs, strict=True)), non_blocking=True)


def add_all(to: Iterable[Tensor], values: Iterable[Tensor]) -> None:
    """Add each of the values to its tensor."""
    pairs = list(zip(to, values, strict=True))
    if pairs:
        operations._foreach_add_(*map(list, zip(*pairs, strict=True)))


def mix_all(to: Iterable[Tensor], values: Iterable[Tensor], share: float) -> None:
    """Move each tensor by a share of the way to its value.

    Example:
        >>> x = torch.zeros(2)
        >>> mix_all([x], [torch.ones(2)], 0.25)
        >>> x
        tensor([0.2500, 0.2500])
    """
    pairs = list(zip(to, values, strict=True))
    if pairs:
        operations._foreach_lerp_(*map(list, zip(*pairs, strict=True)), share)


def zero_all(tensors: Iterable[Tensor]) -> None:
    """Fill each tensor with zeros."""
    if listed := list(tensors):
        operations._foreach_zero_(listed)


def largest_of(tensors: Iterable[Tensor]) -> Tensor:
    """[] the largest absolute value of all tensors; NaN if one has that, 0 without any.

    Example:
        >>> largest_of([torch.tensor([1.0, -3.0]), torch.zeros(0)])
        tensor(3.)
    """
    filled = [x.detach() for x in tensors if x.numel()]
    if not filled:
        return torch.zeros(())
    return torch.stack([x.float() for x in operations._foreach_norm(filled, torch.inf)]).max()
