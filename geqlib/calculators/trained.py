"""Trained potentials for calculators: the model, its cutoff and its neighbours."""

from __future__ import annotations

import math
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geqlib.atoms.calibrated import CalibratedPotential
from geqlib.atoms.direct import NOT_CONSERVATIVE
from geqlib.atoms.forces import derivatives_only
from geqlib.atoms.potential import Potential
from geqlib.atoms.rotation_average import RotationAverage
from geqlib.files.checkpoint import data_cutoff, load, read_stored
from geqlib.graph.complete import complete_graphs
from geqlib.graph.neighbors import Neighbors
from geqlib.graph.segments import segment_lengths, segment_ptr


def trained_potential(
    model: str | Path | Potential, level: str | None = None
) -> tuple[Potential, float | None]:
    """A potential that no other object uses, and the cutoff of its training data.

    A warning says if its forces are no derivatives of its energy.

    Args:
        model: a file or a potential.
        level: of theory, of a potential that was trained on several.

    Raises:
        ValueError: if the model is no potential, or the level is none of its; of several none is
            named.
    """
    in_memory = isinstance(model, Potential)
    loaded: Any = load(model) if isinstance(model, str | Path) else deepcopy(model)
    if not isinstance(loaded, Potential):
        raise ValueError(
            f"{type(loaded).__name__} is not a potential: use a checkpoint of the task "
            "EnergyForces."
        )
    if not loaded.conservative:
        warnings.warn(
            f"Forces of this potential are {NOT_CONSERVATIVE}. Dynamics with them do not conserve "
            "energy.",
            stacklevel=3,
        )
    return loaded.at_level(level), None if in_memory else data_cutoff(read_stored(model))


def neighbor_cutoff(
    chosen: float | None, network: float | None, data: float | None = None
) -> float | None:
    """The cutoff of the neighbours: that of the network or of its data, or `chosen` without one.

    Raises:
        ValueError: if `chosen` is not the cutoff of the network.
    """
    if network is not None and chosen is not None and not math.isclose(network, chosen):
        raise ValueError(
            f"cutoff={chosen} is not that of the network, {network}: leave it out, it is for "
            "networks without one."
        )
    if chosen is not None:
        return chosen
    if network is not None and data is not None and not math.isclose(network, data):
        warnings.warn(
            f"This potential was trained on neighbours up to {data} angstrom, while the cutoff of "
            f"its network is {network}: its energy may jump there. Train it with equal cutoffs.",
            stacklevel=3,
        )
    return min((c for c in (network, data) if c is not None), default=None)


def rotation_averaged(potential: Potential, rotations: int) -> Potential:
    """A potential whose energy is the mean over this many rotations of a structure.

    Of a calibrated potential, standard deviations are those of the mean, with its covariance.
    """
    derivatives_only(potential, "Forces of an average over rotations")
    if potential.polarisability:
        raise ValueError(
            f"rotations={rotations} averages energies, and this potential has a polarisability: "
            "leave rotations out."
        )
    network = RotationAverage(potential.model, rotations)
    options: dict[str, Any] = {
        "zbl": potential.zbl is not None,
        "long_range": potential.long_range,
    }
    if not isinstance(potential, CalibratedPotential):
        return Potential(network, **options).share(potential)
    # the mean over rotations is linear in the same weights, so that it has the same covariance
    average = CalibratedPotential(
        network,
        last=[f"model.{name}" for name in potential.last],
        features=len(potential.covariance.whitening),
        members=potential.members,
        **options,
    )
    average.covariance = potential.covariance
    return average.share(potential)


def all_pairs(pos: Tensor, batch: Tensor | None = None) -> Neighbors:
    """All pairs of different atoms of a structure; batch [N], in order, of several."""
    if batch is None:
        return complete_graphs(torch.tensor([0, len(pos)], device=pos.device))
    return complete_graphs(segment_ptr(segment_lengths(batch, int(batch[-1]) + 1)))
