"""Uncertainty of energies and forces, from a potential's last layer: covariances, ensembles."""

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

    With `members` it is an ensemble of that many last layers w + d_k instead, in the mean w, which
    are trained (`geqlib.train.ensemble`): C = sum_k d_k d_k^T / (members - 1).

    Args:
        model, zbl, charge, levels, level, long_range, polarisability: as of `Potential`.
        last: names of the parameters of the network in which its output is linear, all together.
        features: their number of elements.
        members: of an ensemble, at least 2; None for a covariance.

    Raises:
        ValueError: if the network has no such parameters, or another number of elements; or an
            ensemble has less than two members.

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
        members: int | None = None,
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
        if members is not None and members < 2:
            raise ValueError(f"members must be at least 2, got {members}: one has no deviation.")
        self.members = members
        self.covariance = LastLayerCovariance(features, members)

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
        energy, slopes = self.along(covariance.whitening, forces=forces, **inputs)
        deviations = {"energy_std": covariance.energy_factor * energy.square().sum(1).sqrt()}
        if slopes is not None:
            each = slopes.square().mean(1).sum(1).sqrt()
            deviations["forces_std"] = covariance.forces_factor * each
        return deviations

    def of_members(
        self, pos: Tensor, z: Tensor, edge_index: Tensor, **fields: Any
    ) -> dict[str, Tensor]:
        """What the members of an ensemble add to energies and forces, 0 in the mean over them.

        For deviations of what is made of several energies or forces, such as their differences,
        whose errors are not independent.

        Args:
            pos, z, edge_index, fields: see `Potential.forward`.

        Returns:
            "energy" [G, members] in eV, "forces" [N, 3, members] in eV/angstrom. Their standard
            deviations are those of `deviations`.

        Raises:
            ValueError: if the potential is no ensemble.
        """
        if self.members is None or not self.calibrated:
            raise ValueError(
                "This potential is no ensemble: run `geqlib calibrate --ensemble 16` on its run."
            )
        covariance, size = self.covariance, (self.members - 1) ** 0.5
        energy, slopes = self.along(covariance.whitening, pos, z, edge_index, **fields)
        forces = -covariance.forces_factor * size * torch.as_tensor(slopes)
        return {"energy": covariance.energy_factor * size * energy, "forces": forces}

    def along(
        self,
        directions: Tensor,
        pos: Tensor,
        z: Tensor,
        edge_index: Tensor,
        *,
        forces: bool = True,
        **fields: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Energies, and their derivatives, along directions of the last weights.

        Args:
            directions: [n, m], one a column q.
            pos, z, edge_index, fields: see `Potential.forward`.
            forces: whether to return the second.

        Returns:
            f q [G, m], and df/dr q [N, 3, m] by the positions.
        """
        pos = pos.detach().requires_grad_(forces)
        with torch.enable_grad():
            along = self.features(pos, z, edge_index, **fields) @ directions
            if not forces:
                return along, None
            slopes = [
                torch.autograd.grad(column, pos, retain_graph=True, materialize_grads=True)[0]
                for column in along.sum(0)
            ]
        return along.detach(), torch.stack(slopes, 2).double()


class LastLayerCovariance(Constants):
    """The factorised covariance of last-layer weights, in float64 and part of the state dict.

    Args:
        features: n, number of weights.
        members: of an ensemble; None for a covariance of full rank.
    """

    whitening: Tensor
    energy_factor: Tensor
    forces_factor: Tensor

    def __init__(self, features: int, members: int | None = None) -> None:
        super().__init__()
        # W with W W^T = C; of an ensemble d_k / sqrt(members - 1) in its columns
        columns = features if members is None else members
        self.register_buffer("whitening", torch.zeros(features, columns, dtype=torch.float64))
        self.register_buffer("energy_factor", torch.zeros((), dtype=torch.float64))
        self.register_buffer("forces_factor", torch.zeros((), dtype=torch.float64))

    def set(self, whitening: Tensor, energy_factor: float, forces_factor: float) -> None:
        """Write a covariance C = W W^T, and the factors a and b of deviations.

        Args:
            whitening: W [n, n], of an ensemble [n, members].
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
