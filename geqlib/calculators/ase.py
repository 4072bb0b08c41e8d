"""Trained potentials as ASE calculators, for relaxation, dynamics and phonons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import (
    Calculator,
    PropertyNotImplementedError,
    all_changes,
)
from ase.stress import full_3x3_to_voigt_6_stress
from torch import Tensor

from geqlib.atoms.calibrated import CalibratedPotential
from geqlib.atoms.charge import is_plain
from geqlib.atoms.forces import derivatives_only, energy_forces
from geqlib.atoms.network import network_cutoff
from geqlib.atoms.potential import Potential
from geqlib.calculators.replayed import ReplayedForces
from geqlib.calculators.trained import (
    all_pairs,
    neighbor_cutoff,
    rotation_averaged,
    trained_potential,
)
from geqlib.files.exported_program import Program, is_program
from geqlib.graph.checks import check_device, check_numbers
from geqlib.graph.neighbors import SkinNeighbors
from geqlib.graph.wrapping import near_cell

__all__ = ["GeqCalculator"]
Compute = Callable[..., dict[str, Tensor]]
MANY = 256  # atoms whose neighbours are searched on a GPU: fewer cost less than the launches there
# where a structure has its charge and multiplicity
KEYS = {"charge": "charge", "multiplicity": "multiplicity", "spin": "multiplicity"}
BORN = "born_effective_charges"
# ASE's names of properties -> those of `energy_forces`
ELECTRIC = {
    "charges": "charges",
    "dipole": "dipole",
    BORN: "born_charges",
    "polarizability": "polarisability",
}
DEVIATIONS = ("energy_std", "forces_std")
PER_ATOM = ("charges", "born_charges")


class GeqCalculator(Calculator):
    """Energy, forces and stress of a trained potential, in eV and angstrom.

    `energy` and `free_energy` are equal; `energies` are per atom and add up to them.
    `stress` is (dE / d strain) / volume as xx, yy, zz, yz, xz, xy, for structures that repeat in
    at least one direction and have a cell with a volume. A calibrated potential (`geqlib
    calibrate`) also has `energy_std` and `forces_std`, by `calculator.get_property(name, atoms)`,
    one with charges (`long_range`) `charges` in e, `dipole` of structures that do not repeat in
    e angstrom, and `born_effective_charges` [N, 3, 3], the polarisation by the position, in e; one
    that learns it `polarizability` [3, 3] in angstrom^3. A `DirectPotential`, whose forces are not
    conservative, has no stress; a warning says so.

    Args:
        model: a checkpoint of `geqlib fit`, a file of `geqlib export`, or a potential in memory,
            which is copied.
        device: such as "cuda"; that of the model by default. Programs run on the CPU.
        dtype: of all but sums of energies; that of the model by default. torch.float64 for
            dynamics over many steps and for phonons. Programs have a fixed one.
        cutoff: of the neighbours in angstrom, for networks without one. By default that of the
            network or of its training data, whichever is smaller; without either, all pairs.
        level: of theory, by name, for potentials that were trained on several.
        charge, multiplicity: of the structures, for potentials trained with them. By default those
            of `atoms.info["charge"]` and `atoms.info["multiplicity"]` (or "spin", which also means
            2S + 1).
        skin: neighbours are searched again when an atom has moved by half of it; the results do
            not depend on it.
        rotations: for networks with a grid of orientations, which are exact only for the
            rotations of the grid: number of rotations to average over
            (`geqlib.models.RotationAverage`). Three make the remaining error three times
            smaller, at up to three times the cost.
        cuda_graphs: whether the computation is recorded once per size of structure and replayed,
            for dynamics of small structures on a GPU, whose time is that of launching kernels.
            Neighbours are padded to a few numbers, and the 64 sizes that were used last stay
            recorded; energies and forces are the same up to rounding.
        trusted: whether `model` may be a program (`geqlib export --format torch` or `compiled`),
            which can run any code when it is read. Other files never do.

    Raises:
        ValueError: if the file is damaged, its model is no potential, or it is a program that is
            not trusted; in a calculation, if an element was not in the training data, or a
            structure repeats and there is no cutoff.

    Example:
        >>> from geqlib.models import PONITA
        >>> potential = Potential(PONITA(8, 0, 1, 0, channels=8, layers=1, cutoff=5.0))
        >>> atoms = Atoms("H2", [[0, 0, 0], [0, 0, 0.74]])
        >>> atoms.calc = GeqCalculator(potential, dtype=torch.float64)
        >>> atoms.get_forces().shape
        (2, 3)
    """

    implemented_properties: Sequence[str] = (
        "energy",
        "free_energy",
        "energies",
        "forces",
        "stress",
    )

    def __init__(
        self,
        model: str | Path | Potential,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        cutoff: float | None = None,
        level: str | None = None,
        charge: int | None = None,
        multiplicity: int | None = None,
        skin: float = 0.5,
        rotations: int = 1,
        cuda_graphs: bool = False,
        trusted: bool = False,
    ) -> None:
        super().__init__()
        if dtype not in (None, torch.float32, torch.float64):
            raise ValueError(f"dtype must be torch.float32 or torch.float64, got {dtype}.")
        if cutoff is not None and not cutoff > 0:
            raise ValueError(f"cutoff must be positive, got {cutoff}.")
        self.electrons = {
            name: _whole(name, value)
            for name, value in (("charge", charge), ("multiplicity", multiplicity))
            if value is not None
        }
        self._last: dict[str, Any] = {}
        self.potential: Any = None
        if isinstance(model, str | Path) and is_program(model):
            if rotations != 1:
                raise ValueError(f"rotations={rotations} needs a checkpoint: {model} is a program.")
            if cuda_graphs:
                raise ValueError(f"cuda_graphs needs a checkpoint: {model} is a program.")
            if level is not None:
                raise ValueError(
                    f"{model} is a program, of one level: leave level out, or export another one."
                )
            program = Program(model, trusted=trusted, device=device, dtype=dtype)
            self.compute: Compute = program
            cutoffs = [program.cutoff]
            self.device, self.dtype = program.device, program.dtype
        else:
            potential, trained_cutoff = trained_potential(model, level)
            if rotations != 1:
                potential = rotation_averaged(potential, rotations)
            check_device(device)
            self.potential = potential.to(device=device, dtype=dtype).eval().requires_grad_(False)
            self.compute = partial(energy_forces, self.potential)
            cutoffs = [network_cutoff(self.potential.model), trained_cutoff]
            weights = next(self.potential.parameters())
            self.device, self.dtype = weights.device, weights.dtype
            if cuda_graphs:
                derivatives_only(self.potential, "Recorded forces (cuda_graphs)")
            if cuda_graphs and self.potential.long_range is not None:
                raise ValueError(
                    "cuda_graphs cannot replay a potential with long_range, whose sums depend on "
                    "the cell: leave it out."
                )
            if cuda_graphs:
                self.compute = ReplayedForces(self.potential)
        self.conservative = self.potential is None or self.potential.conservative
        if not self.conservative:
            self.implemented_properties = tuple(
                name for name in self.implemented_properties if name != "stress"
            )
        self.calibrated = isinstance(self.potential, CalibratedPotential)
        if self.calibrated:
            self.implemented_properties = (*self.implemented_properties, *DEVIATIONS)
        self.implemented_properties = (*self.implemented_properties, *self._electric())
        self.cutoff = neighbor_cutoff(cutoff, *cutoffs)
        self.near = None if self.cutoff is None else SkinNeighbors(self.cutoff, skin=skin)

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What has changed since the last calculation; also charges, which ASE does not compare."""
        changes = super().check_state(atoms, tol)
        return changes if self._electrons(atoms) == self._last else [*changes, "charge"]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Fill `results`: called by ASE."""
        super().calculate(atoms, list(properties), list(system_changes))
        structure: Any = self.atoms
        self._last = self._electrons(structure)
        periodic = bool(structure.pbc.any())
        stress = self.conservative and periodic and structure.cell.rank == 3
        inputs = self._inputs(structure, periodic)
        born = {"born": True} if BORN in properties and BORN in self._electric() else {}
        outputs = self.compute(**inputs, stress=stress, **born)
        energy = outputs["energy"].item()
        self.results: dict[str, Any] = {
            "energy": energy,
            "free_energy": energy,
            "energies": outputs["energies"].cpu().numpy(),
            "forces": outputs["forces"].double().cpu().numpy(),
        }
        for name, key in ELECTRIC.items():
            if key in outputs and not (name == "dipole" and periodic):
                value = outputs[key] if key in PER_ATOM else outputs[key][0]
                self.results[name] = value.detach().double().cpu().numpy()
        if self.calibrated and set(DEVIATIONS) & set(properties):
            self.results |= self._deviations(inputs)
        if stress:
            matrix = outputs["stress"][0].double().cpu().numpy()
            self.results["stress"] = full_3x3_to_voigt_6_stress(matrix)

    def get_property(
        self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True
    ) -> Any:
        """A property by its name: ASE calls it.

        Raises:
            PropertyNotImplementedError: if the potential does not have it, saying why.
        """
        if name in DEVIATIONS and not self.calibrated:
            raise PropertyNotImplementedError(
                f"This potential has no {name}, as it was not calibrated: run `geqlib calibrate`, "
                "and use the checkpoint that it writes."
            )
        if name == "stress" and not self.conservative:
            raise PropertyNotImplementedError(
                "This potential has no stress, because its forces are no derivatives of its energy."
            )
        return super().get_property(name, atoms, allow_calculation)

    def _electric(self) -> tuple[str, ...]:
        """Properties of a potential with charges or polarisabilities."""
        charged = getattr(self.potential, "long_range", None) is not None
        polarisable = bool(getattr(self.potential, "polarisability", False))
        return ("charges", "dipole", BORN) * charged + ("polarizability",) * polarisable

    def _deviations(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Standard deviations in eV, and in eV/angstrom for each atom."""
        deviations = self.potential.deviations(**inputs)
        return {
            "energy_std": deviations["energy_std"].item(),
            "forces_std": deviations["forces_std"].cpu().numpy(),
        }

    def _electrons(self, atoms: Atoms) -> dict[str, Any]:
        """Charge and multiplicity, where there are any; those of the calculator take precedence."""
        values = {
            key: _whole(f'atoms.info["{key}"]', atoms.info[key])
            for key in ("charge", "multiplicity", "spin")
            if atoms.info.get(key) is not None and KEYS[key] not in self.electrons
        }
        spin = values.pop("spin", None)
        if spin is not None and values.setdefault("multiplicity", spin) != spin:
            raise ValueError(
                f"atoms.info has the multiplicity {values['multiplicity']} and the spin {spin}, "
                "which also means 2S + 1: keep one."
            )
        return values | self.electrons

    def _charges(self, electrons: dict[str, Any]) -> dict[str, Tensor]:
        """The same as tensors; none for a neutral singlet and a potential without charges."""
        values = {name: torch.tensor([float(value)]) for name, value in electrons.items()}
        if self.potential is not None and self.potential.charges is not None:
            return {name: value.to(self.device) for name, value in values.items()}
        if not is_plain(values.get("charge"), values.get("multiplicity")):
            raise ValueError(
                f"The structure has {electrons}, which this potential does not know: train one on "
                "data with charges, or take them out of atoms.info."
            )
        return {}

    def get_hessian(self, atoms: Atoms | None = None) -> np.ndarray:
        """Second derivatives of the energy by the positions, for vibrations and normal modes.

        They are derivatives of the forces, not finite differences; a structure that repeats moves
        with all its images. Use `dtype=torch.float64`. `ase.vibrations.VibrationsData.from_2d`
        makes frequencies of them.

        Args:
            atoms: the structure; by default that of the last calculation.

        Returns:
            [3N, 3N] in eV/angstrom^2, in the order x, y, z of the first atom, and so on.

        Raises:
            ValueError: for a program, which has no second derivatives, or without a structure.
        """
        structure: Any = self.atoms if atoms is None else atoms
        if self.potential is not None:
            derivatives_only(self.potential, "Second derivatives")
        if self.potential is None:
            raise ValueError(
                "get_hessian needs a checkpoint or a potential: an exported program has no second "
                "derivatives."
            )
        if structure is None:
            raise ValueError("get_hessian has no structure: pass the atoms.")
        fields = self._inputs(structure, bool(structure.pbc.any()))
        pos = fields.pop("pos").requires_grad_()
        forces = energy_forces(self.potential, pos, **fields, create_graph=True)["forces"]
        rows = (
            [
                torch.autograd.grad(force, pos, retain_graph=True, materialize_grads=True)[0]
                for force in (-forces).flatten()
            ]
            if forces.requires_grad
            else [torch.zeros_like(pos)] * pos.numel()
        )
        size = pos.numel()
        return torch.stack(rows).reshape(size, size).double().cpu().numpy()

    def _inputs(self, atoms: Atoms, periodic: bool) -> dict[str, Any]:
        """The arguments of the potential; neighbours are searched in float64."""
        z = torch.tensor(atoms.numbers).long()
        check_numbers(z)  # before it is on a GPU, where the host would wait
        on_device = self.device.type == "cuda" and len(atoms) >= MANY
        arrays = atoms.positions, atoms.cell.array, atoms.pbc
        pos, cell, pbc = (
            torch.tensor(array, device=self.device if on_device else "cpu") for array in arrays
        )
        if self.near is None and periodic:
            raise ValueError(
                "This network has no cutoff, and a periodic structure has infinitely many pairs: "
                "give GeqCalculator the cutoff of its training data."
            )
        near = all_pairs(pos) if self.near is None else self.near(pos, cell, pbc)
        shift: Any = near.cell_shift
        if self.dtype != torch.float64:
            cells = {"cell": cell[None], "cell_shift": shift} if periodic else {}
            pos, shift = near_cell(pos, near.edge_index, **cells)
        near = near.to(self.device)
        fields = {
            "pos": pos.to(self.device, self.dtype),
            "z": z.to(self.device),
            "edge_index": near.edge_index,
            "reverse": near.reverse,
            **self._charges(self._electrons(atoms)),
        }
        if periodic:
            fields["cell"] = cell[None].to(self.device, self.dtype)
            fields["cell_shift"] = shift.to(self.device)
        return fields


def _whole(name: str, value: Any) -> int:
    """A charge or a multiplicity as a plain number: also of an array of one.

    Raises:
        ValueError: if it is another kind of value, or no charge or multiplicity.
    """
    number = np.asarray(value)
    plain = number.size == 1 and number.dtype.kind in "iuf"
    if not (plain and float(number.item()).is_integer()):
        raise ValueError(
            f"{name} is {value!r}: it must be one whole number, of the structure as a whole."
        )
    whole = int(number.item())
    if whole < 1 and "charge" not in name:
        raise ValueError(
            f"{name} is {whole}: it means 2S + 1, which is 1 where all electrons are paired, and 2 "
            "where one is not."
        )
    return whole
