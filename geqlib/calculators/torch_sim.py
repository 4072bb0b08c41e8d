"""Trained potentials in torch-sim, which simulates batches of structures at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from geqlib.atoms.charge import is_plain
from geqlib.atoms.forces import derivatives_only, energy_forces
from geqlib.atoms.network import network_cutoff
from geqlib.atoms.potential import Potential
from geqlib.calculators.trained import all_pairs, neighbor_cutoff, trained_potential
from geqlib.extras import extra_module
from geqlib.graph.checks import check_device
from geqlib.graph.neighbors import Neighbors, SkinNeighbors
from geqlib.graph.wrapping import near_cell

if TYPE_CHECKING:
    from torch_sim.models.interface import (  # pyright: ignore[reportMissingImports]
        ModelInterface,
    )
    from torch_sim.state import SimState  # pyright: ignore[reportMissingImports]
else:
    ModelInterface = extra_module("torch_sim.models.interface", "torch-sim").ModelInterface

# names in torch-sim of the charge and of 2S + 1, the preferred one last
CHARGE, MULTIPLICITY = ("charge", "total_charge"), ("spin", "total_spin")


class TorchSimModel(ModelInterface):
    """Energies, forces and stresses of a batch of structures, in eV and angstrom.

    What torch-sim's integrators, optimisers and batching take as a model. Every structure has the
    results that `GeqCalculator` has for it alone. Its charge is `state.total_charge` (or
    `state.charge`), its multiplicity 2S + 1 `state.total_spin` (or `state.spin`), for potentials
    trained with them.

    Args:
        model: a checkpoint of `geqlib fit`, a file of `geqlib export`, or a potential in memory,
            which is copied.
        device: such as "cuda"; that of the model by default.
        dtype: torch.float32 or torch.float64, which the states must have, too; that of the model by
            default.
        cutoff: of the neighbours in angstrom, for networks without one. By default that of the
            network or of its training data, whichever is smaller; without either, all pairs.
        level: of theory, by name, for potentials that were trained on several.
        skin: neighbours are searched again when an atom of the batch has moved by half of it, or
            the batch has changed; the results do not depend on it.
        compute_forces, compute_stress: what to compute beside energies. Both can be set later.
            Stresses of structures that do not repeat are zeros.

    Returns:
        "energy" [G], "forces" [N, 3] and "stress" [G, 3, 3], positive under tension.

    Raises:
        ValueError: if torch-sim is not installed, the file is damaged or is a program, or the
            model is no potential; in a computation, if an element was not in the training data,
            the type or device of a state is another one, a structure has a charge that the
            potential was not trained with, or it repeats and there is no cutoff.

    Example:
        >>> # model = TorchSimModel("runs/water/checkpoints/best.ckpt", dtype=torch.float64)
        >>> # torch_sim.optimize(system=[molecule("H2O")] * 100, model=model,
        >>> #                    optimizer=torch_sim.Optimizer.fire)
    """

    def __init__(
        self,
        model: str | Path | Potential,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        cutoff: float | None = None,
        level: str | None = None,
        skin: float = 0.5,
        compute_forces: bool = True,
        compute_stress: bool = False,
    ) -> None:
        super().__init__()
        if dtype not in (None, torch.float32, torch.float64):
            raise ValueError(f"dtype must be torch.float32 or torch.float64, got {dtype}.")
        potential, trained_cutoff = trained_potential(model, level)
        check_device(device)
        self.potential = potential.to(device=device, dtype=dtype).eval().requires_grad_(False)
        weights = next(self.potential.parameters())
        self._device, self._dtype = weights.device, weights.dtype
        self._compute_forces, self._compute_stress = compute_forces, compute_stress
        if compute_stress:
            derivatives_only(potential, "Stresses")
        self.cutoff = neighbor_cutoff(cutoff, network_cutoff(potential.model), trained_cutoff)
        self.near = None if self.cutoff is None else SkinNeighbors(self.cutoff, skin=skin)

    @property
    def compute_forces(self) -> bool:
        """Whether forces are computed."""
        return self._compute_forces

    @compute_forces.setter
    def compute_forces(self, value: bool) -> None:
        self._compute_forces = value

    @property
    def compute_stress(self) -> bool:
        """Whether stresses are computed."""
        return self._compute_stress

    @compute_stress.setter
    def compute_stress(self, value: bool) -> None:
        self._compute_stress = value

    def forward(self, state: SimState, **kwargs: Any) -> dict[str, Tensor]:
        """See the class.

        Args:
            state: of torch-sim, with any number of structures.
            kwargs: accepted for torch-sim's interface, and not used.
        """
        self._check(state)
        inputs = self._inputs(state)
        graphs = state.n_systems
        if self.compute_forces or self.compute_stress:
            outputs = energy_forces(
                self.potential, **inputs, num_graphs=graphs, stress=self.compute_stress
            )
        else:
            names = ("z", "cell", "cell_shift", "charge", "multiplicity")
            self.potential.check(**{name: inputs[name] for name in names if name in inputs})
            with torch.no_grad():
                outputs = {"energy": self.potential(**inputs, num_graphs=graphs).total}
        names = ["energy"]
        names += ["forces"] * self.compute_forces + ["stress"] * self.compute_stress
        return {name: outputs[name].to(self.dtype) for name in names}

    def _check(self, state: SimState) -> None:
        if state.positions.dtype != self.dtype or state.positions.device != self.device:
            raise ValueError(
                f"The state is {state.positions.dtype} on {state.positions.device}, the model "
                f"{self.dtype} on {self.device}: make both alike, by state.to(device, dtype) or "
                "the arguments of TorchSimModel."
            )

    def _inputs(self, state: SimState) -> dict[str, Any]:
        """The arguments of the potential; neighbours are searched in float64."""
        batch = state.system_idx
        pos, cell = state.positions.detach().double(), state.row_vector_cell.detach().double()
        periodic = bool(state.pbc.any())
        near = self._neighbors(pos, cell, state.pbc.expand(state.n_systems, 3), batch)
        shift: Any = near.cell_shift
        if self.dtype != torch.float64:
            cells = {"cell": cell, "cell_shift": shift} if periodic else {}
            pos, shift = near_cell(
                pos, near.edge_index, **cells, batch=batch, num_graphs=state.n_systems
            )
        fields = {
            "pos": pos.to(self.dtype),
            "z": state.atomic_numbers.long(),
            "batch": batch,
            "edge_index": near.edge_index,
            "reverse": near.reverse,
            **self._electrons(state),
        }
        return fields | ({"cell": cell.to(self.dtype), "cell_shift": shift} if periodic else {})

    def _neighbors(self, pos: Tensor, cell: Tensor, pbc: Tensor, batch: Tensor) -> Neighbors:
        if self.near is not None:
            return self.near(pos, cell * pbc[..., None], pbc, batch)
        if bool(pbc.any()):
            raise ValueError(
                "This network has no cutoff, and a periodic structure has infinitely many pairs: "
                "give TorchSimModel the cutoff of its training data."
            )
        return all_pairs(pos, batch)

    def _electrons(self, state: SimState) -> dict[str, Tensor]:
        """Charges and multiplicities [G]; none for a potential that was trained without."""
        values: dict[str, Tensor] = {}
        for name, keys in (("charge", CHARGE), ("multiplicity", MULTIPLICITY)):
            for key in (k for k in keys if state.has_extras(k)):
                value = getattr(state, key).reshape(state.n_systems).to(self.dtype)
                if name in values and not torch.equal(values[name], value):
                    raise ValueError(f"The state has different {' and '.join(keys)}: keep one.")
                values[name] = value
        if self.potential.charges is not None:
            return values
        if not is_plain(values.get("charge"), values.get("multiplicity")):
            raise ValueError(
                "The structures have charges or multiplicities, which this potential does not "
                "know: train one on data with charges, or take them out of the state."
            )
        return {}
