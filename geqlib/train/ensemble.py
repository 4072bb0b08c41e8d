"""Ensembles of last layers, trained by the likelihood of errors of energies and forces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from rich.progress import track
from torch import Tensor

from geqlib.atoms.calibrated import CalibratedPotential
from geqlib.atoms.forces import energy_forces
from geqlib.train.tasks.energy import potential_inputs

STEPS, EVERY = 500, 10  # of Adam; between validations
RATE = 0.1  # of Adam, in units of the first members' spread; a cosine ends with the steps
STRUCTURES = 1000  # of training, spread evenly
NUMBERS = 2**26  # slopes of forces that are kept, in float64: half a GiB


class Slopes(NamedTuple):
    """Errors of energies and forces, and how these change with the weights of the last layer.

    Args:
        energy: [S] errors, NaN without a label.
        energies: [S, n] derivatives of the energies by the weights.
        force: [A, 3] errors, NaN without a label.
        forces: [A, 3, n] derivatives of the energies by positions and weights.

    Example:
        >>> Slopes(torch.ones(1), torch.ones(1, 2), torch.ones(3, 3), torch.ones(3, 3, 2)).turned(
        ...     torch.ones(2, 5)
        ... ).forces.shape
        torch.Size([3, 3, 5])
    """

    energy: Tensor
    energies: Tensor
    force: Tensor
    forces: Tensor

    def turned(self, directions: Tensor) -> Slopes:
        """The same along directions [n, m] of the weights."""
        return Slopes(self.energy, self.energies @ directions, self.force, self.forces @ directions)

    def log_likelihood(self, members: Tensor) -> Tensor:
        """Of energies and forces, each in the mean over its labels and with its own factor.

        Args:
            members: [n, K], what is added to the last layer, 0 in the mean over K.
        """
        spread = members.size(1) - 1
        energy = (self.energies @ members).square().sum(1) / spread
        atoms = (self.forces @ members).square().mean(1).sum(1) / spread
        force = atoms[:, None].expand_as(self.force)
        return mean_log_likelihood(self.energy.square(), energy) + mean_log_likelihood(
            self.force.square(), force
        )


def mean_log_likelihood(squares: Tensor, variances: Tensor) -> Tensor:
    """Of normal errors whose variances are right up to a factor, the likeliest; less a constant.

    Args:
        squares: squared errors, NaN where there is no label.
        variances: of the same shape. Where one is 0, nothing is predicted.

    Returns:
        the mean over the errors; 0 without any.

    Example:
        >>> squares = torch.tensor([0.25, 4.0])
        >>> [float(mean_log_likelihood(squares, factor * squares)) for factor in (1, 4)]
        [0.0, 0.0]
    """
    used = ~squares.isnan() & (variances > 0)
    if not used.any():
        return variances.new_zeros(())
    squares, variances = squares[used], variances[used]
    return -(variances.log().mean() + (squares / variances).mean().log()) / 2


def train_members(train: Slopes, val: Slopes, whitening: Tensor, count: int, seed: int) -> Tensor:
    """Members of an ensemble of the greatest likelihood.

    Source: shallow ensembles, Kellner and Ceriotti (2024, arXiv 2402.16621), here with the layers
    below and the mean of the members as they are. They begin as samples of the covariance of the
    last layer, w + W x with normal x, and x is trained by Adam on the errors of the training
    structures; the step of the greatest likelihood in validation counts.

    Args:
        train, val: of both splits.
        whitening: W [n, n].
        count: K, number of members.
        seed: of the first x.

    Returns:
        [n, K], what the members add to the last layer, 0 in the mean.
    """
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(whitening.size(1), count, generator=generator, dtype=torch.float64)
    x = start.requires_grad_()
    train, val = train.turned(whitening), val.turned(whitening)
    adam = torch.optim.Adam([x], lr=RATE)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, STEPS + 1)
    best, chosen = -torch.inf, centred(x.detach())
    for step in track(range(STEPS + 1), description="ensemble"):
        if step % EVERY == 0:
            with torch.no_grad():
                value = float(val.log_likelihood(centred(x)))
            if value > best:
                best, chosen = value, centred(x.detach())
        adam.zero_grad()
        (-train.log_likelihood(centred(x))).backward()
        adam.step()
        cosine.step()
    return whitening @ chosen


def centred(members: Tensor) -> Tensor:
    """[n, K] less its mean over K."""
    return members - members.mean(1, keepdim=True)


def slopes_of(potential: CalibratedPotential, batches: Iterable[Any], seed: int) -> Slopes:
    """Slopes of all structures of these batches, and of a random part of their atoms.

    The part is all of them, or a half, a quarter and so on, so that `NUMBERS` is not exceeded.

    Args:
        potential: whose covariance need not be set.
        batches: with labels.
        seed: of the choice of atoms.
    """
    size = len(potential.covariance.whitening)
    every = torch.eye(size, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    parts: list[Slopes] = []
    halvings = 0
    for batch in batches:
        part = _slopes(potential, every, batch)
        for _ in range(halvings):
            part = _half(part, generator)
        parts.append(part)
        if 3 * size * sum(len(part.force) for part in parts) > NUMBERS:
            halvings, parts = halvings + 1, [_half(part, generator) for part in parts]
    return _joined(parts)


def label_errors(outputs: Mapping[str, Tensor], batch: Any) -> tuple[Tensor, Tensor]:
    """Predicted energies [G] and forces [N, 3] minus their labels, in float64.

    Args:
        outputs: of `energy_forces`.
        batch: with labels, or without: NaN where there is none.
    """
    energy, forces = (
        (outputs[name] - getattr(batch, name, torch.nan)).double() for name in ("energy", "forces")
    )
    return energy, forces


def _slopes(potential: CalibratedPotential, directions: Tensor, batch: Any) -> Slopes:
    fields = potential_inputs(batch, "reverse")
    outputs = energy_forces(potential, **fields, check=False)
    energies, forces = potential.along(directions, **fields)
    energy, force = label_errors(outputs, batch)
    tensors = energy, energies, force, torch.as_tensor(forces)
    return Slopes(*(tensor.cpu() for tensor in tensors))


def _half(part: Slopes, generator: torch.Generator) -> Slopes:
    half = torch.randperm(len(part.force), generator=generator)[: (len(part.force) + 1) // 2]
    return part._replace(force=part.force[half], forces=part.forces[half])


def _joined(parts: Sequence[Slopes]) -> Slopes:
    return Slopes(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
