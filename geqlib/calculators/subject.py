"""What checks of a calculator take and return: a calculator on one structure, a row of results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

Array = np.ndarray


class CalculationError(ValueError):
    """A calculator cannot calculate a structure: it refuses it, or fails."""


@dataclass(frozen=True)
class Row:
    """The result of one check.

    Args:
        name: of the check.
        error: relative to the largest force or stress; None if the check does not apply.
        tolerance: above which it fails; None if the error is only reported.
        reason: for this tolerance, or why the check does not apply.
        tested: False if the check applies, but had nothing to compare.
    """

    name: str
    error: float | None
    tolerance: float | None
    reason: str
    tested: bool = True

    @property
    def passed(self) -> bool | None:
        """None where there is no error or no tolerance."""
        if self.error is None or self.tolerance is None:
            return None
        return bool(self.error <= self.tolerance)


@dataclass(frozen=True)
class Subject:
    """A calculator on one structure.

    Args:
        calculator: any of ASE's.
        atoms: the structure, displaced from symmetric positions, without a calculator.
        cutoff: beyond which pairs do not interact, in angstrom; None if it is unknown.
        approximate: why rotations are not exact; empty where they are.
        seed: of all random numbers.
    """

    calculator: Calculator
    atoms: Atoms
    cutoff: float | None = None
    approximate: str = ""
    seed: int = 0

    def energy(self, atoms: Atoms) -> float:
        return float(self._property("energy", atoms))

    def forces(self, atoms: Atoms) -> Array:
        return np.array(self._property("forces", atoms), dtype=float)

    def stress(self, atoms: Atoms) -> Array:
        """[3, 3], as the calculator returns it: not necessarily symmetric."""
        stress = np.array(self._property("stress", atoms), dtype=float)
        if stress.size == 9:
            return stress.reshape(3, 3)
        xx, yy, zz, yz, xz, xy = stress
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])

    def scale(self) -> float:
        """The largest force, at least 0.001 eV/angstrom: errors are relative to it."""
        return max(float(np.abs(self.forces(self.atoms)).max(initial=0.0)), 1e-3)

    def random(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def both(self, atoms: Atoms) -> tuple[float, Array]:
        """Energy and forces of one calculation."""
        forces = self.forces(atoms)
        energy: Any = self.calculator.get_property("energy", atoms)
        return float(energy), forces

    def _property(self, name: str, atoms: Atoms) -> Array:
        # no cached result; some of ASE's, such as sums, have no reset, and compare structures
        getattr(self.calculator, "reset", lambda: None)()
        try:
            return np.asarray(self.calculator.get_property(name, atoms))
        except Exception as error:
            raise CalculationError(
                f"{type(self.calculator).__name__} cannot calculate {name} of "
                f"{atoms.get_chemical_formula()} ({type(error).__name__}: {error}): use structures "
                "that the calculator supports."
            ) from error


Check = Callable[[Subject], Row]
