"""Positions that float32 cannot hold, as they are far from the origin."""

from __future__ import annotations

import numpy as np
import torch

LOST = 1e-4  # of the size of a cloud
SAME = 1e-12  # sizes below that, of the coordinates, are those of one point


def check_digits(pos: np.ndarray, place: str, fix: str) -> None:
    """Refuse positions in float64 whose differences would be lost in torch's default type.

    Networks see differences. In a cloud of size 1 at 10^6 float32 has steps of 0.06.

    Args:
        pos: [N, dim].
        place: where they come from, and
        fix: what can be done, for the sentence.

    Raises:
        ValueError: if rounding moves a point by more than 1e-4 of the root mean square distance
            from the centroid.

    Example:
        >>> check_digits(1e6 + np.eye(3) / 3, "own.npy", "set normalize")
        Traceback (most recent call last):
        ...
        ValueError: own.npy: its points are so far from the origin that float32 rounds them by \
up to 0.02, and their size is 0.27: set normalize, or subtract their centre.
    """
    if pos.dtype.kind == "f" and pos.dtype.itemsize < np.dtype(np.float64).itemsize:
        return  # the file itself has no more digits
    points = pos.astype(np.float64)
    dtype = torch.get_default_dtype()
    lost = np.abs(torch.from_numpy(points).to(dtype).double().numpy() - points).max(initial=0.0)
    size = np.sqrt(((points - points.mean(0)) ** 2).sum(1).mean()) if len(points) else 0.0
    several = size > SAME * np.abs(points).max(initial=0.0)
    if several and lost > LOST * size:
        raise ValueError(
            f"{place}: its points are so far from the origin that {str(dtype)[6:]} rounds them by "
            f"up to {lost:.1g}, and their size is {size:.2g}: {fix}, or subtract their centre."
        )
