"""Calibration of a trained potential: its last-layer covariance, from the data of its run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from geqlib.atoms.calibrated import CalibratedPotential, count_features
from geqlib.atoms.forces import energy_forces
from geqlib.atoms.miscalibration import miscalibration_area
from geqlib.atoms.potential import Potential
from geqlib.files.atomic import replace_file
from geqlib.files.checkpoint import model_file, read_checkpoint
from geqlib.train.check import task_and_data
from geqlib.train.tasks.energy import EnergyForces, potential_inputs

CLASS = "geqlib.models.CalibratedPotential"
AT_ONCE = 16  # structures
RIDGES = tuple(10.0**power for power in range(-12, 3))  # times the mean eigenvalue
TRAINING_STATE = ("optimizer_states", "lr_schedulers", "loops", "callbacks")


class Calibration(NamedTuple):
    """What was measured: of `structures` training structures, and of the validation split.

    Args:
        structures: in the covariance.
        features: n.
        ridge: s^2.
        factors: a and b of `CalibratedPotential`.
        areas: miscalibration areas of energies and forces, see `miscalibration_area`.

    Example:
        >>> Calibration(450, 80, 0.0, (1.0, 1.0), (0.02, 0.03)).structures
        450
    """

    structures: int
    features: int
    ridge: float
    factors: tuple[float, float]
    areas: tuple[float, float]


class Squares(NamedTuple):
    """Squared errors, and what their variances are sums of, direction by direction.

    Args:
        errors: [labels].
        along: [labels, n] squares of `CalibratedPotential.squares`.

    Example:
        >>> Squares(torch.ones(4), torch.ones(4, 2)).along.shape
        torch.Size([4, 2])
    """

    errors: Tensor
    along: Tensor

    def factor(self, variances: Tensor) -> float:
        """By which deviations are multiplied to be right on average; a variance [n] a direction."""
        return float((self.errors / (self.along @ variances)).mean().sqrt())

    def log_likelihood(self, variances: Tensor) -> float:
        """In the mean over the errors, with `factor`, less a constant."""
        predicted = (self.along @ variances).log().mean() / 2
        return -float(predicted) - float(np.log(self.factor(variances)))


def calibrate(
    run: str | Path,
    out: str | Path,
    *,
    last: Sequence[str] | None = None,
    ridge: float | None = None,
) -> Calibration:
    """Write a checkpoint whose potential knows its deviations: see `CalibratedPotential`.

    Args:
        run: folder or checkpoint of `geqlib fit` with the task `EnergyForces`.
        out: the new checkpoint, for `GeqCalculator`, `geqlib predict` and `geqlib test`.
        last: names of the parameters of the network's last layers; by default those that the
            network gives as `last_weights`.
        ridge: s^2; by default that of the greatest likelihood in validation.

    Raises:
        ValueError: if the run has no potential, no such parameters, or no validation structures
            with labels.
    """
    task, data = task_and_data(run)
    if not isinstance(task, EnergyForces):
        raise ValueError(
            f"{run} was trained by {type(task).__name__}: uncertainties are for potentials, which "
            "EnergyForces trains."
        )
    potential = with_covariance(task.model, last)
    data.prepare_data()
    data.setup("fit")
    potential.check_linear(**potential_inputs(piece(data, "train", 0), "reverse"))
    eigenvalues, directions = principal_directions(
        features_per_atom(potential, batch) for batch in batches(data, "train")
    )
    measured = [squared_errors(potential, directions, batch) for batch in batches(data, "val")]
    energy, forces = (
        _joined([pair[part] for pair in measured], name)
        for part, name in enumerate(("energy", "forces"))
    )
    used = best_ridge(eigenvalues, (energy, forces)) if ridge is None else ridge
    variances = 1 / (eigenvalues + used)
    factors = energy.factor(variances), forces.factor(variances)
    potential.covariance.set(directions * variances.sqrt(), *factors)
    _write(Path(out), read_checkpoint(model_file(run)), potential)
    areas = (
        miscalibration_area((energy.errors / (energy.along @ variances)).sqrt() / factors[0]),
        miscalibration_area((forces.errors / (forces.along @ variances)).sqrt() / factors[1]),
    )
    return Calibration(len(split(data, "train")), len(eigenvalues), used, factors, areas)


def with_covariance(potential: Potential, last: Sequence[str] | None = None) -> CalibratedPotential:
    """The same potential, sharing its parts, with a covariance that is not set yet.

    Raises:
        ValueError: if the network does not say what its last layers are, and `last` is None.
    """
    network: Any = potential.model
    names = tuple(getattr(network, "last_weights", ()) if last is None else last)
    features = count_features(network, names)
    calibrated = CalibratedPotential(
        network,
        last=names,
        features=features,
        zbl=potential.zbl is not None,
        long_range=potential.long_range,
        polarisability=potential.polarisability,
    )
    calibrated.share(potential)
    return calibrated.to(next(potential.parameters()).device).eval()


def features_per_atom(potential: CalibratedPotential, batch: Any) -> Tensor:
    """Last-layer features [structures, n] of a batch, divided by the numbers of atoms."""
    fields = potential_inputs(batch, "reverse")
    atoms = torch.bincount(fields["batch"], minlength=batch.num_graphs)
    return (potential.features(**fields) / atoms[:, None]).detach()


def principal_directions(features: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Eigenvalues [n] and eigenvectors [n, n] of F^T F.

    Args:
        features: the rows of F, in pieces.

    Raises:
        ValueError: if they are not finite, or all 0.
    """
    gram = torch.zeros((), dtype=torch.float64)
    for rows in features:
        gram = gram + rows.T @ rows
    if not gram.isfinite().all() or not gram.any():
        raise ValueError(
            "The last-layer features of the training structures are not finite, or all 0: "
            "calibrate a potential that is trained."
        )
    eigenvalues, directions = torch.linalg.eigh(gram)
    return eigenvalues.clamp(min=0), directions


def best_ridge(eigenvalues: Tensor, measured: Sequence[Squares]) -> float:
    """The s^2 with the greatest likelihood of the errors, each kind with its own factor."""
    ridges = [float(eigenvalues.mean()) * share for share in RIDGES]
    return max(ridges, key=lambda s: sum(m.log_likelihood(1 / (eigenvalues + s)) for m in measured))


def squared_errors(
    potential: CalibratedPotential, directions: Tensor, batch: Any
) -> tuple[Squares, Squares]:
    """Of the energies and of the components of forces that have a label."""
    fields = potential_inputs(batch, "reverse")
    outputs = energy_forces(potential, **fields, check=False)
    energy, atoms = potential.squares(directions, **fields)
    errors = (outputs["energy"] - batch.energy).square()
    components = (outputs["forces"] - batch.forces).double().square()
    one, all_three = ~errors.isnan(), ~components.isnan()
    each = torch.as_tensor(atoms).unsqueeze(1).expand(-1, 3, -1)
    return Squares(errors[one], energy[one]), Squares(components[all_three], each[all_three])


def batches(data: L.LightningDataModule, name: str) -> Iterator[Any]:
    """All structures of a split in order, with a progress bar."""
    starts = range(0, len(split(data, name)), AT_ONCE)
    for start in track(starts, description=f"{name} structures"):
        yield piece(data, name, start)


def piece(data: Any, name: str, start: int) -> Any:
    """A batch of the structures of a split from `start` on."""
    structures = split(data, name)
    batch = structures.__getitems__(range(start, min(start + AT_ONCE, len(structures))))
    batch.plan = None
    return batch


def split(data: Any, name: str) -> Any:
    """The structures of a split.

    Raises:
        ValueError: if there are none.
    """
    structures = getattr(data, "splits", {}).get(name)
    if structures is None or len(structures) == 0:
        raise ValueError(
            f"The data of this run has no {name} structures, which the calibration needs: keep "
            "some for validation (val of the data)."
        )
    return structures


def _joined(parts: Sequence[Squares], label: str) -> Squares:
    joined = Squares(torch.cat([p.errors for p in parts]), torch.cat([p.along for p in parts]))
    if len(joined.errors) == 0:
        raise ValueError(
            f"No validation structure has a label for {label}: the calibration compares errors "
            "with predicted deviations."
        )
    return joined


def _write(out: Path, content: dict[str, Any], potential: CalibratedPotential) -> None:
    """A checkpoint without the state of the training, which another potential cannot resume."""
    stored = content["hyper_parameters"]["model"]
    arguments = {**(stored.get("init_args") or {}), "last": list(potential.last)}
    arguments["features"] = len(potential.covariance.whitening)
    content["hyper_parameters"]["model"] = {"class_path": CLASS, "init_args": arguments}
    content["state_dict"] = content["state_dict"] | potential.state_dict(prefix="model.")
    state = {key: value for key, value in content.items() if key not in TRAINING_STATE}
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(out, lambda part: torch.save(state, part))
