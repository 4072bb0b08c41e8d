"""Calibration of a trained potential: the covariance of its last layer, or an ensemble of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from rich.progress import track
from torch import Tensor

from geqlib.atoms.calibrated import CalibratedPotential, count_features
from geqlib.atoms.forces import derivatives_only, energy_forces
from geqlib.atoms.halves import in_halves
from geqlib.atoms.miscalibration import miscalibration_area
from geqlib.atoms.potential import Potential
from geqlib.files.atomic import replace_file
from geqlib.files.checkpoint import is_model_file, model_file, read_checkpoint
from geqlib.files.exported_program import is_program
from geqlib.train.check import task_and_data
from geqlib.train.ensemble import (
    STRUCTURES,
    label_errors,
    mean_log_likelihood,
    slopes_of,
    train_members,
)
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
        likelihoods: mean logarithms of the likelihood of both, less a constant.

    Example:
        >>> Calibration(450, 80, 0.0, (1.0, 1.0), (0.02, 0.03), (4.1, 2.8)).structures
        450
    """

    structures: int
    features: int
    ridge: float
    factors: tuple[float, float]
    areas: tuple[float, float]
    likelihoods: tuple[float, float]


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
        return float(mean_log_likelihood(self.errors, self.along @ variances))

    def area(self, variances: Tensor) -> float:
        """Miscalibration area, with `factor`."""
        scaled = (self.errors / (self.along @ variances)).sqrt()
        return miscalibration_area(scaled / self.factor(variances))


def calibrate(
    run: str | Path,
    out: str | Path,
    *,
    last: Sequence[str] | None = None,
    ridge: float | None = None,
    members: int | None = None,
    seed: int = 0,
) -> Calibration:
    """Write a checkpoint whose potential knows its deviations: see `CalibratedPotential`.

    Args:
        run: folder or checkpoint of `geqlib fit` with the task `EnergyForces`.
        out: the new checkpoint, for `GeqCalculator`, `geqlib predict` and `geqlib test`.
        last: names of the parameters of the network's last layers; by default those that the
            network gives as `last_weights`.
        ridge: s^2; by default that of the greatest likelihood in validation.
        members: of an ensemble, which is trained in place of the covariance
            (`geqlib.train.ensemble`).
        seed: of what an ensemble begins with.

    Raises:
        ValueError: if the run has no potential, no such parameters, or no validation structures
            with labels; or an ensemble has less than two members.
    """
    file = model_file(run)
    if is_program(file) or is_model_file(file):
        raise ValueError(
            f"{file} is an exported model, which does not say what structures it was trained on: "
            "calibrate the folder or a checkpoint of its run, and export that."
        )
    task, data = task_and_data(run)
    if not isinstance(task, EnergyForces):
        raise ValueError(
            f"{run} was trained by {type(task).__name__}: uncertainties are for potentials, which "
            "EnergyForces trains."
        )
    derivatives_only(task.model, "Deviations of forces")
    potential = with_covariance(task.model, last)
    data.prepare_data()
    data.setup("fit")
    first = piece(data, "train", range(min(AT_ONCE, len(split(data, "train")))))
    potential.check_linear(**potential_inputs(first, "reverse"))
    eigenvalues, directions = principal_directions(
        features_per_atom(potential, batch) for batch in batches(data, "train")
    )
    squares = measured(potential, directions, data)
    used = best_ridge(eigenvalues, squares) if ridge is None else ridge
    whitening, variances = directions / (eigenvalues + used).sqrt(), 1 / (eigenvalues + used)
    if members is not None:
        train = slopes_of(potential, batches(data, "train", STRUCTURES), seed)
        val = slopes_of(potential, batches(data, "val"), seed)
        potential = with_covariance(task.model, last, members)
        layers = train_members(train, val, whitening, members, seed)
        whitening = layers / (members - 1) ** 0.5
        squares = measured(potential, whitening, data)
        variances = torch.ones(members, dtype=torch.float64)
    energy, forces = squares
    factors = energy.factor(variances), forces.factor(variances)
    potential.covariance.set(whitening, *factors)
    _write(Path(out), read_checkpoint(model_file(run)), potential)
    return Calibration(
        len(split(data, "train")),
        len(eigenvalues),
        used,
        factors,
        (energy.area(variances), forces.area(variances)),
        (energy.log_likelihood(variances), forces.log_likelihood(variances)),
    )


def with_covariance(
    potential: Potential, last: Sequence[str] | None = None, members: int | None = None
) -> CalibratedPotential:
    """The same potential, sharing its parts, with a covariance or an ensemble that is not set yet.

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
        members=members,
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

    def evaluate(**fields: Any) -> dict[str, Tensor]:
        return {"features": potential.features(**fields).detach()}

    return in_halves(evaluate, fields)["features"] / atoms[:, None]


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


def measured(potential: CalibratedPotential, directions: Tensor, data: Any) -> list[Squares]:
    """Of the energies and the forces of all validation structures.

    Raises:
        ValueError: if there is no label of one of them.
    """
    parts = [squared_errors(potential, directions, batch) for batch in batches(data, "val")]
    return [
        _joined([pair[k] for pair in parts], name) for k, name in enumerate(("energy", "forces"))
    ]


def squared_errors(
    potential: CalibratedPotential, directions: Tensor, batch: Any
) -> tuple[Squares, Squares]:
    """Of the energies and of the components of forces that have a label.

    Atoms without neighbours are left out: their forces are 0 whatever the weights.
    """

    def evaluate(**fields: Any) -> dict[str, Tensor]:
        outputs = energy_forces(potential, **fields, check=False)
        energy, slopes = potential.along(directions, **fields)
        both = {name: outputs[name].detach() for name in ("energy", "forces")}
        return both | {"along": energy, "slopes": torch.as_tensor(slopes)}

    outputs = in_halves(evaluate, potential_inputs(batch, "reverse"))
    energy, atoms = outputs["along"], outputs["slopes"].square().mean(1)
    errors, components = (error.square() for error in label_errors(outputs, batch))
    one = ~errors.isnan() & energy.any(1)
    all_three = ~components.isnan() & atoms.any(1, keepdim=True)
    each = atoms.unsqueeze(1).expand(-1, 3, -1)
    return Squares(errors[one], energy[one].square()), Squares(
        components[all_three], each[all_three]
    )


def batches(data: L.LightningDataModule, name: str, most: int | None = None) -> Iterator[Any]:
    """All structures of a split in order, with a progress bar.

    Args:
        data: whose split.
        name: of the split.
        most: number of structures, which are then spread evenly over it.
    """
    size = len(split(data, name))
    count = size if most is None else min(most, size)
    numbers = [k * size // count for k in range(count)]
    for start in track(range(0, count, AT_ONCE), description=f"{name} structures"):
        yield piece(data, name, numbers[start : start + AT_ONCE])


def piece(data: Any, name: str, numbers: Sequence[int]) -> Any:
    """A batch of some structures of a split."""
    batch = split(data, name).__getitems__(numbers)
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
            "of energies and of forces with predicted deviations, and needs labels for both."
        )
    return joined


def _write(out: Path, content: dict[str, Any], potential: CalibratedPotential) -> None:
    """A checkpoint without the state of the training, which another potential cannot resume."""
    stored = content["hyper_parameters"]["model"]
    arguments = {**(stored.get("init_args") or {}), "last": list(potential.last)}
    arguments["features"] = len(potential.covariance.whitening)
    arguments["members"] = potential.members
    content["hyper_parameters"]["model"] = {"class_path": CLASS, "init_args": arguments}
    content["state_dict"] = content["state_dict"] | potential.state_dict(prefix="model.")
    state = {key: value for key, value in content.items() if key not in TRAINING_STATE}
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(out, lambda part: torch.save(state, part))
