"""Labels of a structure: the keys under which a file has them, and their units."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from ase import Atoms, units

EnergyUnit = Literal["eV", "meV", "Hartree", "kcal/mol", "kJ/mol"]
LengthUnit = Literal["angstrom", "bohr"]
ForcesUnit = Literal["eV/A", "meV/A", "Hartree/bohr", "kcal/mol/A", "kJ/mol/A"]
StressUnit = Literal["eV/A^3", "meV/A^3", "Hartree/bohr^3", "GPa", "kbar"]
DipoleUnit = Literal["e*A", "e*bohr", "Debye"]
PolarisabilityUnit = Literal["A^3", "bohr^3"]

ENERGY = {
    "eV": 1.0,
    "meV": 1e-3,
    "Hartree": units.Hartree,
    "kcal/mol": units.kcal / units.mol,
    "kJ/mol": units.kJ / units.mol,
}
LENGTH = {"angstrom": 1.0, "bohr": units.Bohr}
FORCES = {
    "eV/A": 1.0,
    "meV/A": 1e-3,
    "Hartree/bohr": units.Hartree / units.Bohr,
    "kcal/mol/A": units.kcal / units.mol,
    "kJ/mol/A": units.kJ / units.mol,
}
STRESS = {
    "eV/A^3": 1.0,
    "meV/A^3": 1e-3,
    "Hartree/bohr^3": units.Hartree / units.Bohr**3,
    "GPa": units.GPa,
    "kbar": 0.1 * units.GPa,
}
DIPOLE = {"e*A": 1.0, "e*bohr": units.Bohr, "Debye": units.Debye}
POLARISABILITY = {"A^3": 1.0, "bohr^3": units.Bohr**3}
PER_ATOM = ("forces", "energies")
ELECTRIC = ("dipole", "polarisability")
INPUTS = ("charge", "multiplicity")  # of networks, not labels of their outputs
VOIGT = [0, 5, 4, 5, 1, 3, 4, 3, 2]  # of xx, yy, zz, yz, xz, xy, for the rows of the matrix
SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Keys and units of the labels in a file; they are converted to eV and angstrom on reading.

    Args:
        energy, forces, stress, energies: the key of the total energy, the forces, the stress and
            the energies of the atoms; None if it is not to be read. A stress is a 3 x 3 matrix or
            xx, yy, zz, yz, xz, xy, positive under tension: (dE / d strain) / volume. Some codes
            write the opposite sign. Only structures that repeat have one.
        virial: the key of -(dE / d strain), read in place of the stress.
        dipole: the key of the dipole moment, three numbers; of ions relative to the centre of the
            nuclear charges. Only structures that do not repeat have one.
        polarisability: the key of the polarisability, a 3 x 3 matrix or xx, yy, zz, yz, xz, xy.
        charge, multiplicity: the key of the total charge and of the spin multiplicity 2S + 1,
            whole numbers. They are inputs of a network, so that every structure needs them.
        energy_unit, length_unit: of all energies, and of positions and cells.
        forces_unit: energy_unit / length_unit by default.
        stress_unit: energy_unit / length_unit^3 by default.
        dipole_unit, polarisability_unit: they are converted to e angstrom and angstrom^3.
        molecules: whether structures are molecules, whatever cell and pbc the file gives them.

    Example:
        >>> atoms = Atoms("H2", [[0, 0, 0], [0, 0, 1]], info={"E": -1.0})
        >>> labels = Labels(energy="E", forces=None, energy_unit="Hartree")
        >>> float(labels.read(atoms)["energy"].round(3))
        -27.211
    """

    energy: str | None = "energy"
    forces: str | None = "forces"
    stress: str | None = None
    virial: str | None = None
    energies: str | None = None
    dipole: str | None = None
    polarisability: str | None = None
    charge: str | None = None
    multiplicity: str | None = None
    energy_unit: EnergyUnit = "eV"
    length_unit: LengthUnit = "angstrom"
    forces_unit: ForcesUnit | None = None
    stress_unit: StressUnit | None = None
    dipole_unit: DipoleUnit = "e*A"
    polarisability_unit: PolarisabilityUnit = "A^3"
    molecules: bool = False

    def __post_init__(self) -> None:
        tables = {
            "energy_unit": ENERGY,
            "length_unit": LENGTH,
            "forces_unit": FORCES,
            "stress_unit": STRESS,
            "dipole_unit": DIPOLE,
            "polarisability_unit": POLARISABILITY,
        }
        for name, table in tables.items():
            value = getattr(self, name)
            optional = name in ("forces_unit", "stress_unit")
            if value not in table and not (optional and value is None):
                raise ValueError(f"{name} must be one of {', '.join(table)}, got {value!r}.")
        if self.stress and self.virial:
            raise ValueError(
                f"Both stress ({self.stress!r}) and virial ({self.virial!r}) are named: the "
                "virial is read in place of the stress, so name one."
            )
        if self.virial and self.stress_unit:
            raise ValueError(
                f"stress_unit={self.stress_unit!r} is not used: a virial is in energy_unit."
            )

    @property
    def length(self) -> float:
        """Angstrom in the unit of length."""
        return LENGTH[self.length_unit]

    @property
    def keys(self) -> dict[str, str]:
        """The key of each label that is read."""
        named = {
            "energy": self.energy,
            "forces": self.forces,
            "stress": self.stress or self.virial,
            "energies": self.energies,
            "dipole": self.dipole,
            "polarisability": self.polarisability,
            "charge": self.charge,
            "multiplicity": self.multiplicity,
        }
        return {name: key for name, key in named.items() if key is not None}

    def energy_only(self) -> Labels:
        """The same units, and no other key than that of the energy."""
        nothing = dict.fromkeys(("forces", "stress", "virial", "energies", *ELECTRIC, *INPUTS))
        return replace(self, **nothing)

    def read(
        self, atoms: Atoms, *, missing: Literal["error", "mask", "allow"] = "error"
    ) -> dict[str, np.ndarray]:
        """Labels by name, in eV and angstrom: float64, NaN where they are missing.

        Constraints of the atoms change nothing: forces are those of the file.

        Raises:
            ValueError: if a label is missing, or there is a stress without a volume, unless
                `missing` is "mask" or "allow"; if one is infinite, or has another shape than it
                should; if charge and multiplicity are missing, or cannot be.
        """
        values = {name: self._label(atoms, name, key, missing) for name, key in self.keys.items()}
        _check_electrons(atoms.numbers, values)
        return values

    def unused_stress(self, atoms: Atoms) -> bool:
        """Whether there is a stress or virial, but no volume that it could belong to."""
        key = self.stress or self.virial
        if key is None or has_volume(atoms):
            return False
        value = _find(atoms, key, per_atom=False)
        return value is not None and not np.isnan(_numbers(value, "stress", key, (3, 3))).all()

    def _label(self, atoms: Atoms, name: str, key: str, missing: str) -> np.ndarray:
        shape = {"forces": (len(atoms), 3), "stress": (3, 3), "energies": (len(atoms),)}
        shape |= {"dipole": (3,), "polarisability": (3, 3)}
        value = _find(atoms, key, per_atom=name in PER_ATOM)
        if name in PER_ATOM and key in atoms.info and value is not atoms.info[key]:
            raise ValueError(
                f"{key!r} ({name}) is a column, and in the comment, too: keep one of them."
            )
        if name == "stress" and self.unused_stress(atoms):
            if missing == "error":
                raise ValueError(
                    f"{key!r} (stress) belongs to a volume, but there is no cell along which the "
                    "structure repeats: give it Lattice and pbc, or leave such labels out with "
                    'missing: "mask".'
                )
            value = None
        if name == "dipole" and value is not None and has_volume(atoms):
            if missing == "error":
                raise ValueError(
                    f"{key!r} (dipole) belongs to a molecule, but the structure repeats, and its "
                    "polarisation is defined up to vectors of the cell alone: leave such labels "
                    'out with missing: "mask".'
                )
            value = None
        if value is None and (missing == "error" or name in INPUTS):
            mask = "" if name in INPUTS else ', or set missing to "mask" if some frames lack it'
            raise ValueError(
                f"there is no key {key!r} for the {name}, only {_keys(atoms)}: name the right "
                f"one, {'or ' * (not mask)}null to do without{mask}."
            )
        if value is None:
            return np.full(shape.get(name, ()), np.nan)
        array = _numbers(value, name, key, shape.get(name, ())) * self._factor(name, atoms)
        with np.errstate(over="ignore"):
            if np.isinf(array.astype(np.float32)).any():
                raise ValueError(f"{key!r} ({name}) is infinite, or as good as that.")
        if name in INPUTS and not (np.isfinite(array) and array == np.round(array)):
            raise ValueError(f"{key!r} ({name}) is {array}: it must be a whole number.")
        if missing == "error" and np.isnan(array).any():
            raise ValueError(
                f'{key!r} ({name}) is NaN: correct it, or set missing to "mask" if that says that '
                "it is unknown."
            )
        return array

    def _factor(self, name: str, atoms: Atoms) -> float:
        energy = ENERGY[self.energy_unit]
        if name == "forces":
            return FORCES[self.forces_unit] if self.forces_unit else energy / self.length
        if name == "stress" and self.virial:
            return -energy / (abs(np.linalg.det(atoms.cell.array)) * self.length**3)
        if name == "stress":
            return STRESS[self.stress_unit] if self.stress_unit else energy / self.length**3
        if name == "dipole":
            return DIPOLE[self.dipole_unit]
        if name == "polarisability":
            return POLARISABILITY[self.polarisability_unit]
        return 1.0 if name in INPUTS else energy


def has_volume(atoms: Atoms) -> bool:
    """Whether a structure repeats, and its cell has a volume: what a stress needs."""
    return bool(atoms.pbc.any()) and abs(float(np.linalg.det(atoms.cell.array))) > 0


def _check_electrons(numbers: np.ndarray, values: dict[str, np.ndarray]) -> None:
    """Refuse a multiplicity that no number of electrons has: often it is meant as another."""
    if "multiplicity" not in values:
        return
    multiplicity, charge = int(values["multiplicity"]), int(values.get("charge", 0))
    electrons = int(numbers.sum()) - charge
    if multiplicity < 1 or multiplicity - 1 > electrons or (electrons - multiplicity) % 2 == 0:
        raise ValueError(
            f"{electrons} electrons (charge {charge}) cannot have the multiplicity {multiplicity}: "
            "it is 2S + 1, one more than the number of unpaired electrons."
        )


def _find(atoms: Atoms, key: str, *, per_atom: bool) -> Any:
    """ASE moves some keys, energy and forces among them, from the frame to a calculator."""
    results = atoms.calc.results if atoms.calc is not None else {}
    # the info first: under `stress`, results may hold those of the atoms
    order = (results, atoms.arrays, atoms.info) if per_atom else (atoms.info, results, atoms.arrays)
    return next((values[key] for values in order if key in values), None)


def _keys(atoms: Atoms) -> str:
    results = atoms.calc.results if atoms.calc is not None else {}
    every = {str(key)[:40] for values in (results, atoms.info, atoms.arrays) for key in values}
    keys = sorted(every - {"numbers", "positions"})
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return (", ".join(keys[:SHOWN]) or "none") + more


def _numbers(value: Any, name: str, key: str, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{key!r} ({name}) is {str(value)[:40]!r}, which is no number.")
    if shape == (3, 3) and array.shape == (6,):
        array = array[VOIGT]
    if shape == (3, 3) and array.shape == (9,):
        array = array.reshape(3, 3)
    if array.shape != shape:
        raise ValueError(
            f"{key!r} ({name}) has shape {array.shape}: expected {shape or 'one number'}."
        )
    return array.astype(np.float64)
