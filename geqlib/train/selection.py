"""Which structures to label next: those whose features the training set spans least."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geqlib.atoms.calibrated import CalibratedPotential
from geqlib.train.calibration import batches, features_per_atom, split
from geqlib.train.predictor import load_predictor
from geqlib.train.tasks.label_checks import check_frames


def select(
    model: str | Path, file: str | Path, count: int, level: str | None = None
) -> tuple[list[int], list[float], Any]:
    """The structures of a file that reduce the uncertainty of a potential most, one after another.

    Each is the one of greatest variance given the training set and those chosen before, which
    makes the determinant of the covariance smallest step by step; near copies of one structure
    are therefore not chosen together.

    Args:
        model: a checkpoint of `geqlib calibrate`.
        file: of structures, without labels.
        count: how many to choose.
        level: of theory, by name, of potentials that were trained on several.

    Returns:
        Their numbers in the file; the standard deviation of each one's energy per atom when it was
        chosen, in eV; and the data module, whose `atoms(index)` are the structures.

    Raises:
        ValueError: if the model is not calibrated, the file has fewer structures, or elements that
            the model was not trained on.
    """
    predictor = load_predictor(model, level)
    potential: Any = predictor.task.model
    if not (isinstance(potential, CalibratedPotential) and potential.calibrated):
        raise ValueError(f"{model} has no covariance: run `geqlib calibrate` on it first.")
    data: Any = predictor.data(file)
    data.prepare_data()
    data.setup("predict")  # for which structures need no labels
    size = len(split(data, "test"))
    if not 1 <= count <= size:
        raise ValueError(
            f"--count is {count}, but {file} has {size} structures: choose 1 to {size}."
        )
    features = []
    for batch in batches(data, "test"):
        check_frames("test", batch, potential.statistics.seen)
        features.append(features_per_atom(potential, batch).detach())
    covariance = potential.covariance
    numbers, variances = greedy(torch.cat(features) @ covariance.whitening, count)
    factor = float(covariance.energy_factor)
    return numbers, [factor * variance**0.5 for variance in variances], data


def greedy(white: Tensor, count: int) -> tuple[list[int], list[float]]:
    """Rows that make det(1 + sum of g g^T) greatest, one after another.

    Args:
        white: [structures, n] features g in units of the prior.
        count: how many rows.

    Returns:
        Numbers of the rows, and g^T (1 + sum of those before)^-1 g of each.

    Example:
        >>> greedy(torch.tensor([[3.0, 0.0], [2.9, 0.0], [0.0, 1.0]]), 2)
        ([0, 2], [9.0, 1.0])
    """
    left = white.clone()
    numbers, variances = [], []
    for _ in range(count):
        variance = (left * white).sum(1)
        if numbers:
            variance[numbers] = -1
        best = int(variance.argmax())
        numbers.append(best)
        variances.append(float(variance[best]))
        # the inverse, applied to all rows, after one more term g g^T
        along = left @ white[best]
        left = left - along[:, None] * left[best] / (1 + variances[-1])
    return numbers, variances
