"""Errors of energies, forces and stress: what training minimises and tables report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import huber_loss
from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric

MEV = 1000.0
GPA = 160.21766208  # of 1 eV/angstrom^3
LABELS = ("energy", "forces", "stress")
# name -> of which error, in which unit, of which power
METRICS = {
    "energy_mae": ("energy", MEV, 1),
    "energy_rmse": ("energy", MEV, 2),
    "energy_per_atom_mae": ("energy_per_atom", MEV, 1),
    "energy_per_atom_rmse": ("energy_per_atom", MEV, 2),
    "forces_mae": ("forces", MEV, 1),
    "forces_rmse": ("forces", MEV, 2),
    "stress_rmse": ("stress", MEV, 2),
    "stress_rmse_gpa": ("stress", GPA, 2),
}


def label_errors(found: Mapping[str, Tensor], batch: Any) -> dict[str, Tensor]:
    """Predictions minus labels, for the labels that a batch has; NaN where one is missing.

    Args:
        found: "energy" [G], "forces" [N, 3] and perhaps "stress" [G, 3, 3].
        batch: with labels of these names, and `batch` [N].

    Returns:
        The same names, and "energy_per_atom" [G].
    """
    errors = {name: found[name] - batch[name] for name in LABELS if name in found and name in batch}
    if "energy" in errors:
        atoms = torch.bincount(batch.batch, minlength=len(errors["energy"])).clamp(min=1)
        errors["energy_per_atom"] = errors["energy"] / atoms
    return errors


def masked_penalty(error: Tensor, kind: Literal["mse", "huber"], delta: float) -> Tensor:
    """Mean square, or mean of Huber's function, of the entries that are not NaN; 0 without any.

    Example:
        >>> masked_penalty(torch.tensor([2.0, float("nan"), 4.0]), "mse", 1.0)
        tensor(10.)
    """
    known = ~error.isnan()
    error = torch.where(known, error, 0.0)
    if kind == "mse":
        each = error**2
    else:
        each = huber_loss(error, torch.zeros_like(error), reduction="none", delta=delta)
    return each.sum() / known.sum().clamp(min=1)


class AtomicErrors(nn.Module):
    """The metrics of `METRICS`, over all batches of an epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.metrics = nn.ModuleDict(
            {
                name: MeanAbsoluteError() if power == 1 else MeanSquaredError(squared=False)
                for name, (_, _, power) in METRICS.items()
            }
        )

    def update(self, errors: Mapping[str, Tensor]) -> dict[str, Metric]:
        """Take in a batch.

        Args:
            errors: of `label_errors`.

        Returns:
            The metrics of the labels that the batch has, by name.
        """
        touched = {}
        for name, (of, unit, _) in METRICS.items():
            if of in errors:
                error = errors[of].detach()
                error = unit * error[~error.isnan()].flatten().float()
                metric = cast(Metric, self.metrics[name])
                metric.update(error, torch.zeros_like(error))
                touched[name] = metric
        return touched
