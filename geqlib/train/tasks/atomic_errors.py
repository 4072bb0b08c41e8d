"""Errors of energies, forces and other labels: what has one, their penalty and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import huber_loss
from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric

from geqlib.graph.segments import segment_lengths
from geqlib.train.tasks.means import labelled_means

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
    return _penalties(error, kind, delta).sum() / labelled.sum().clamp(min=1)


def weighted_errors(
    errors: Mapping[str, LabelErrors], weights: Mapping[str, float]
) -> dict[str, tuple[float, LabelErrors]]:
    """Weight and errors of each part of the loss that has both; energies count per atom.

    Args:
        errors: of `label_errors`.
        weights: of the labels.
    """
    parts = {name: "energy_per_atom" if name == "energy" else name for name in weights}
    return {
        name: (weights[name], errors[part])
        for name, part in parts.items()
        if weights[name] and part in errors
    }


def weighted_penalty(
    errors: Mapping[str, LabelErrors],
    weights: Mapping[str, float],
    kind: Literal["mse", "huber"],
    delta: float,
) -> Tensor:
    """The weighted sum of penalties, see `weighted_errors` and `masked_penalty`."""
    parts = weighted_errors(errors, weights).values()
    penalties = [weight * masked_penalty(*each, kind, delta) for weight, each in parts]
    return torch.stack([penalty.float() for penalty in penalties]).sum()


def graph_penalties(
    errors: Mapping[str, LabelErrors],
    weights: Mapping[str, float],
    batch: Any,
    kind: Literal["mse", "huber"],
    delta: float,
) -> Tensor:
    """[G] the weighted sum of penalties of each structure, means over what has a label in it.

    Args:
        errors: of `label_errors`.
        weights: of the labels.
        batch: of structures, with `batch` [N].
        kind, delta: of `masked_penalty`.
    """
    of_graphs = torch.arange(batch.num_graphs, device=batch.batch.device)
    total = torch.zeros(batch.num_graphs, device=batch.batch.device)
    for name, (weight, (error, labelled)) in weighted_errors(errors, weights).items():
        graph = batch.batch if name in PER_ATOM else of_graphs
        penalties = _penalties(error, kind, delta)
        means = labelled_means(penalties, labelled, graph, batch.num_graphs)
        total = total + weight * means.float()
    return total


def _penalties(error: Tensor, kind: Literal["mse", "huber"], delta: float) -> Tensor:
    if kind == "mse":
        return error**2
    return huber_loss(error, torch.zeros_like(error), reduction="none", delta=delta)


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
