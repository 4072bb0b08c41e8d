"""Disjoint parts of the frames of a file, for training, validation and testing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Part = int | float | Sequence[int]


def split_frames(
    numbers: Sequence[int] | np.ndarray,
    *,
    val: Part = 0,
    test: Part = 0,
    train: int | None = None,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Disjoint parts of the frames, a function of the arguments alone.

    The frames are permuted at random. Validation takes the first ones, testing the next, and
    training all others or the first `train` of them: a smaller training set is part of a larger
    one, and leaves validation and testing as they are. Frames that are listed are taken out first.

    Args:
        numbers: [G] of the frames, none twice.
        val, test: a fraction below 1, a count, or a list of frame numbers.
        train: a count; by default all that are left.
        seed: of the order.

    Returns:
        "train", "val" and "test": positions in `numbers`, ascending.

    Raises:
        ValueError: if lists overlap, repeat themselves or name a frame that does not exist, or if
            there are not enough frames.

    Example:
        >>> parts = split_frames(range(10), val=0.2, test=[0, 9], train=5)
        >>> {name: len(part) for name, part in parts.items()}, parts["test"]
        ({'train': 5, 'val': 2, 'test': 2}, array([0, 9]))
    """
    order = np.random.default_rng(seed).permutation(len(numbers))
    position = {int(number): k for k, number in enumerate(numbers)}
    parts = {name: _listed(name, part, position) for name, part in (("val", val), ("test", test))}
    listed = [k for part in parts.values() if part is not None for k in part]
    if len(set(listed)) < len(listed):
        raise ValueError("val and test list the same frame: a frame can be in one of them.")
    free = order[~np.isin(order, listed)]
    for name, part in (("val", val), ("test", test)):
        if parts[name] is None:
            count = _count(name, part, len(numbers))
            if count > len(free):
                raise ValueError(
                    f"{name} asks for {count} frames, but {len(free)} of {len(numbers)} are left."
                )
            parts[name], free = free[:count], free[count:]
    if train is not None and not 1 <= train <= len(free):
        raise ValueError(
            f"num_train is {train}, but there are {len(free)} frames that are not in val or test: "
            f"choose between 1 and that."
        )
    if len(free) == 0:
        raise ValueError(f"val and test take all {len(numbers)} frames: leave some for training.")
    return {name: np.sort(part) for name, part in {"train": free[:train], **parts}.items()}


def _listed(name: str, part: Part, position: dict[int, int]) -> np.ndarray | None:
    if not isinstance(part, Sequence):
        return None
    unknown = [number for number in part if number not in position]
    if unknown:
        raise ValueError(
            f"{name} lists frame {unknown[0]}, which does not exist: frames are counted from 0 to "
            f"{max(position, default=-1)}, and some may have been left out."
        )
    if len(set(part)) < len(part):
        raise ValueError(f"{name} lists a frame twice.")
    return np.array([position[number] for number in part], dtype=np.int64)


def _count(name: str, part: Part, total: int) -> int:
    if isinstance(part, float) and 0 <= part < 1:
        return round(part * total)
    if isinstance(part, int) and not isinstance(part, bool) and part >= 0:
        return part
    raise ValueError(
        f"{name} is {part!r}: expected a fraction below 1, a count, or a list of frame numbers."
    )
