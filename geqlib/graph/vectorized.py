"""What depends on the values of tensors, inside `torch.func.vmap`, which hides them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor


def readable(x: Tensor) -> bool:
    """Whether the value of a single number can be read: not where `torch.func.vmap` vectorises it.

    Example:
        >>> import torch
        >>> readable(torch.ones(()))
        True
    """
    try:
        x.item()
    except RuntimeError as error:
        if "vmap" not in str(error):
            raise
        return False
    return True


@contextmanager
def outside_vmap(layer: str) -> Iterator[None]:
    """Say in a sentence that a layer cannot be vectorised, where torch says which line cannot.

    Args:
        layer: how the sentence begins.

    Raises:
        ValueError: in place of torch's error.
    """
    try:
        yield
    except RuntimeError as error:
        if "vmap" not in str(error) or "randomness" in str(error):
            raise
        raise ValueError(
            f"{layer} depends on the values of its inputs, which torch.func.vmap hides: call it on "
            "one batch of graphs instead. jacrev, jacfwd and hessian work."
        ) from error
