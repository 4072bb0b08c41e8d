"""Dynamics that stop where the forces of a potential become too uncertain."""

from __future__ import annotations

from typing import Any

from ase import Atoms


class ExtrapolationAlarm:
    """Stops dynamics or a relaxation where the forces of a calibrated potential are too uncertain.

    Args:
        atoms: that move, with a `GeqCalculator` of a calibrated potential.
        limit: of the standard deviation of a force, in eV/angstrom, on any atom.

    Raises:
        ValueError: if the calculator has no standard deviations, or the limit is not positive; when
            called, if an atom is above the limit.

    Example:
        >>> from ase.md.verlet import VelocityVerlet
        >>> atoms.calc = GeqCalculator("calibrated.ckpt")  # doctest: +SKIP
        >>> dynamics = VelocityVerlet(atoms, timestep=0.5 * units.fs)  # doctest: +SKIP
        >>> dynamics.attach(ExtrapolationAlarm(atoms, 0.3), interval=10)  # doctest: +SKIP
    """

    def __init__(self, atoms: Atoms, limit: float) -> None:
        calculator: Any = atoms.calc
        if "forces_std" not in getattr(calculator, "implemented_properties", ()):
            raise ValueError(
                "The calculator of these atoms has no standard deviations of forces: make one of a "
                "checkpoint of `geqlib calibrate`."
            )
        if not limit > 0:
            raise ValueError(f"limit must be positive, in eV/angstrom, got {limit}.")
        self.atoms, self.limit = atoms, limit

    def __call__(self) -> None:
        """Compare with the limit: ASE calls it."""
        calculator: Any = self.atoms.calc
        deviation = calculator.get_property("forces_std", self.atoms)
        worst = int(deviation.argmax())
        if not deviation[worst] <= self.limit:  # also NaN
            raise ValueError(
                f"The force on atom {worst} ({self.atoms.symbols[worst]}) is uncertain by "
                f"{deviation[worst]:.3g} eV/angstrom, above the limit of {self.limit:g}: the "
                "structure is unlike the training data. Label such structures and train on them."
            )
