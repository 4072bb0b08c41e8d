"""Errors of energies, forces and other labels: what has one, their penalty and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import huber_loss
from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric

from geqlib.graph.segments import segment_lengths

MEV = 1000.0
GPA = 160.21766208  # of 1 eV/angstrom^3
LABELS = ("energy", "forces", "stress", "dipole", "polarisability")
PER_ATOM = ("forces",)
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
    "dipole_mae": ("dipole", MEV, 1),
    "dipole_rmse": ("dipole", MEV, 2),
    "polarisability_mae": ("polarisability", 1.0, 1),
    "polarisability_rmse": ("polarisability", 1.0, 2),
}
UNITS = {
    **{name: "meV" for name in METRICS if name.startswith("energy")},
    "forces_mae": "meV/Å",
    "forces_rmse": "meV/Å",
    "stress_rmse": "meV/Å³",
    "stress_rmse_gpa": "GPa",
    "dipole_mae": "me·Å",
    "dipole_rmse": "me·Å",
    "polarisability_mae": "Å³",
    "polarisability_rmse": "Å³",
}


class LabelErrors(NamedTuple):
    """Predictions minus labels.

    Args:
        error: of any shape; 0 where there is no label.
        labelled: of the same shape, whether there is one.

    Example:
        >>> LabelErrors(torch.tensor([2.0, 0.0]), torch.tensor([True, False])).values()
        tensor([2.])
    """

    error: Tensor
    labelled: Tensor

    def values(self) -> Tensor:
        """The errors of what has a label, one after the other."""
        return self.error[self.labelled]


def label_errors(predicted: Mapping[str, Tensor], batch: Any) -> dict[str, LabelErrors]:
    """Errors of the labels that a batch has.

    Only a label that is NaN is missing: a prediction that is NaN is an error of NaN.

    Args:
        predicted: "energy" [G], "forces" [N, 3] and optionally "stress" and "polarisability"
            [G, 3, 3] and "dipole" [G, 3].
        batch: with labels of these names, and `batch` [N].

    Returns:
        The same names, and "energy_per_atom" [G].
    """
    errors = {}
    for name in LABELS:
        if name in predicted and name in batch:
            labelled = ~batch[name].isnan()
            error = torch.where(labelled, predicted[name] - batch[name], 0.0)
            errors[name] = LabelErrors(error, labelled)
    if "energy" in errors:
        error, labelled = errors["energy"]
        atoms = segment_lengths(batch.batch, len(error)).clamp(min=1)
        errors["energy_per_atom"] = LabelErrors(error / atoms, labelled)
    return errors


def masked_penalty(
    error: Tensor, labelled: Tensor, kind: Literal["mse", "huber"], delta: float
) -> Tensor:
    """Mean square, or mean of Huber's function, of the entries that have a label; 0 without any.

    Example:
        >>> labelled = torch.tensor([True, False, True])
        >>> masked_penalty(torch.tensor([2.0, 0.0, 4.0]), labelled, "mse", 1.0)
        tensor(10.)
    """
    if kind == "mse":
        penalty = error**2
    else:
        penalty = huber_loss(error, torch.zeros_like(error), reduction="none", delta=delta)
    return penalty.sum() / labelled.sum().clamp(min=1)


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

    def update(self, errors: Mapping[str, LabelErrors]) -> dict[str, Metric | Tensor]:
        """Add a batch.

        Args:
            errors: of `label_errors`.

        Returns:
            The metrics of the labels that the batch has, by name.
        """
        updated: dict[str, Metric | Tensor] = {}
        for name, (of, unit, _) in METRICS.items():
            if of in errors:
                error = unit * errors[of].values().detach().float()
                metric = cast(Metric, self.metrics[name])
                metric.update(error, torch.zeros_like(error))
                updated[name] = metric
        return updated
