"""The device that a command computes on."""

from __future__ import annotations


def chosen_device(name: str | None) -> str:
    """The device of that name; without one a GPU where there is one.

    Raises:
        ValueError: a name that means no device of this machine.

    Example:
        >>> chosen_device("cpu")
        'cpu'
    """
    import torch

    from geqlib.graph.checks import check_device

    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    check_device(name, "--device")
    return name
