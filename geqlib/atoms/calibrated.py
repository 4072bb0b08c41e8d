"""Uncertainty of energies and forces, from the covariance of a potential's last layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from geqlib.atoms.long_range import GaussianCharges
from geqlib.atoms.potential import Potential
from geqlib.sphere.tables import Constants


class CalibratedPotential(Potential):
    """A potential that also says how far off its energies and forces may be.

    Symmetry: that of the potential; deviations are invariant. Source: last-layer prediction
    rigidity, Bigi et al. (2024, arXiv 2403.02251). An energy is linear in the weights w of
    the network's last layers; its features are f = dE / dw. With the features of the training
    structures, each divided by its number of atoms, in the rows of F,

        std(E)^2 = a^2 f^T C f,  std(F_i)^2 = b^2 mean_x (df/dr_ix)^T C (df/dr_ix),
        C = (F^T F + s^2)^-1

    with a and b so that squared errors in validation are on average what is predicted, and s^2 of
    the greatest likelihood there. `geqlib calibrate` makes one of a trained potential.

    Args:
        model, zbl, charge, levels, level, long_range, polarisability: as of `Potential`.
        last: names of the parameters of the network in which its output is linear, all together.
        features: their number of elements.

    Raises:
        ValueError: if the network has no such parameters, or another number of elements.

    Example:
        >>> from geqlib.models import PONITA
        >>> network = PONITA(8, 0, 1, 0, channels=8, layers=2, cutoff=5.0)
        >>> CalibratedPotential(network, last=network.last_weights, features=16).calibrated
        False
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        last: Sequence[str],
        features: int,
        zbl: bool = False,
        charge: bool = False,
        levels: Sequence[str] | None = None,
        level: str | None = None,
        long_range: GaussianCharges | None = None,
        polarisability: bool = False,
    ) -> None:
        options: dict[str, Any] = {"levels": levels, "level": level, "long_range": long_range}
        options["polarisability"] = polarisability
        super().__init__(model, zbl=zbl, charge=charge, **options)
        self.last = tuple(last)
        size = count_features(model, self.last)
        if features != size:
            raise ValueError(
                f"features is {features}, but the parameters {', '.join(self.last)} of "
                f"{type(model).__name__} have {size} elements."
            )
        self.covariance = LastLayerCovariance(features)

    @property
    def calibrated(self) -> bool:
        """Whether `covariance` was fitted, or loaded."""
        return bool(self.covariance.forces_factor > 0)

    def features(self, pos: Tensor, z: Tensor, edge_index: Tensor, **fields: Any) -> Tensor:
        """Derivatives [G, n] of the energies by the last weights, in float64.

        They can be differentiated by `pos` where it requires gradients.

        Args:
            pos, z, edge_index, fields: see `Potential.forward`.
        """
        parameters = dict(self.model.named_parameters())
        return self._features([parameters[name] for name in self.last], pos, z, edge_index, fields)

    def check_linear(self, pos: Tensor, z: Tensor, edge_index: Tensor, **fields: Any) -> None:
        """Compare the features of a batch with those at other weights.

        Raises:
            ValueError: if they differ, so that `last` are not weights of last linear layers.
        """
        parameters = dict(self.model.named_parameters())
        own = [parameters[name].detach() for name in self.last]
        generator = torch.Generator().manual_seed(0)
        size = max(float(w.abs().max()) for w in own) or 1.0
        other = [size * torch.randn(w.shape, generator=generator).to(w) for w in own]
        here, there = (self._features(w, pos, z, edge_index, fields) for w in (own, other))
        if not torch.allclose(here, there, rtol=0, atol=1e-4 * float(here.abs().max())):
            raise ValueError(
                f"The energy is not linear in {', '.join(self.last)} together: name the weights of "
                "the network's last linear layers, and no others."
            )

    def _features(
        self, values: Sequence[Tensor], pos: Tensor, z: Tensor, edge_index: Tensor, fields: Any
    ) -> Tensor:
        with torch.enable_grad():
            weights = {
                name: value.detach().requires_grad_()
                for name, value in zip(self.last, values, strict=True)
            }
            named = {f"model.{name}": weight for name, weight in weights.items()}
            energies = functional_call(self, named, (pos, z, edge_index), fields).interaction
            # one row a graph; only the last layers lie between the weights and the energies
            rows = torch.autograd.grad(
                energies,
                list(weights.values()),
                torch.eye(len(energies), dtype=energies.dtype, device=energies.device),
                is_grads_batched=True,
                create_graph=pos.requires_grad,
            )
            return torch.cat([row.flatten(1) for row in rows], 1).double()

    def deviations(
        self, pos: Tensor, z: Tensor, edge_index: Tensor, *, forces: bool = True, **fields: Any
    ) -> dict[str, Tensor]:
        """Standard deviations of energies and forces.

        Args:
            pos, z, edge_index, fields: see `Potential.forward`.
            forces: whether to return those of forces, which take a backward pass a feature.

        Returns:
            "energy_std" [G] in eV, "forces_std" [N] in eV/angstrom: of a component of the force on
            an atom, in the mean over directions.

        Raises:
            ValueError: if the potential was not calibrated.
        """
        if not self.calibrated:
            raise ValueError("This potential has no covariance: run `geqlib calibrate` on it.")
        covariance = self.covariance
        inputs = {"pos": pos, "z": z, "edge_index": edge_index, **fields}
        energy, atoms = self.squares(covariance.whitening, forces=forces, **inputs)
        deviations = {"energy_std": covariance.energy_factor * energy.sum(1).sqrt()}
        if atoms is not None:
            deviations["forces_std"] = covariance.forces_factor * atoms.sum(1).sqrt()
        return deviations

    def squares(
        self,
        directions: Tensor,
        pos: Tensor,
        z: Tensor,
        edge_index: Tensor,
        *,
        forces: bool = True,
        **fields: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Squares of energies and forces along directions of the last weights.

        Args:
            directions: [n, m], one a column q.
            pos, z, edge_index, fields: see `Potential.forward`.
            forces: whether to return the second.

        Returns:
            (f q)^2 [G, m] and, in the mean over the three components of a position, (df/dr q)^2
            [N, m].
        """
        pos = pos.detach().requires_grad_(forces)
        with torch.enable_grad():
            along = self.features(pos, z, edge_index, **fields) @ directions
            if not forces:
                return along.square(), None
            atoms = [
                torch.autograd.grad(column, pos, retain_graph=True, materialize_grads=True)[0]
                .double()
                .square()
                .mean(1)
                for column in along.sum(0)
            ]
        return along.detach().square(), torch.stack(atoms, 1)


class LastLayerCovariance(Constants):
    """The factorised covariance of last-layer weights, in float64 and part of the state dict.

    Args:
        features: n, number of weights.
    """

    whitening: Tensor
    energy_factor: Tensor
    forces_factor: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        # W with W W^T = C
        self.register_buffer("whitening", torch.zeros(features, features, dtype=torch.float64))
        self.register_buffer("energy_factor", torch.zeros((), dtype=torch.float64))
        self.register_buffer("forces_factor", torch.zeros((), dtype=torch.float64))

    def set(self, whitening: Tensor, energy_factor: float, forces_factor: float) -> None:
        """Write a covariance C = W W^T, and the factors a and b of deviations.

        Args:
            whitening: W [n, n].
            energy_factor, forces_factor: positive.

        Raises:
            ValueError: if a factor is not positive.
        """
        if not (energy_factor > 0 and forces_factor > 0):
            raise ValueError(
                f"Validation gives the factors {energy_factor:g} and {forces_factor:g} of standard "
                "deviations, which must be positive: it needs structures with labels and errors."
            )
        self.whitening.copy_(whitening)
        self.energy_factor.fill_(energy_factor)
        self.forces_factor.fill_(forces_factor)


def count_features(network: nn.Module, last: Sequence[str]) -> int:
    """The number of elements of parameters of a network.

    Raises:
        ValueError: if there are none, or a name is none of its parameters.
    """
    parameters = dict(network.named_parameters())
    for name in last:
        if name not in parameters:
            raise ValueError(
                f"{type(network).__name__} has no parameter {name}: name some of "
                f"{', '.join(parameters)}."
            )
    if not last:
        raise ValueError(
            f"{type(network).__name__} does not say in which parameters its output is linear: "
            "name those of its last layer."
        )
    return sum(parameters[name].numel() for name in last)
