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

    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ValueError(
            f"--device {name} cannot be used here ({reason}): name cpu, or cuda where there is one."
        ) from error
    return name
