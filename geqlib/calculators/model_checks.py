"""Checks of a potential of this library, beyond those of any calculator: `geqlib check`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from torch import Tensor
from torch._dynamo.exc import BackendCompilerFailed

from geqlib.atoms.direct import NOT_CONSERVATIVE
from geqlib.atoms.forces import compiled_energy_forces
from geqlib.atoms.potential import Potential
from geqlib.calculators.ase import GeqCalculator
from geqlib.calculators.checks import (
    check_calculator,
    displaced_at_random,
    no_stress,
    work,
    worse,
    worst,
)
from geqlib.calculators.subject import CalculationError, Row, Subject
from geqlib.files.export import export_program

SINGLE = 1e-3  # of forces in float32
DOUBLE = 1e-9  # of two ways to compute the same in float64
GRID = (
    "only reported: a grid of orientations is exact for its own rotations, approximate for others"
)


def check_potential(
    model: str | Path | Potential,
    structures: Sequence[Atoms],
    *,
    cutoff: float | None = None,
    backend: str = "inductor",
    seed: int = 0,
    progress: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> list[Row]:
    """The checks of any calculator, in float64, and of float32, compiled and exported forms.

    Args:
        model: a checkpoint, a file of `geqlib export`, or a potential in memory.
        structures: see `check_calculator`.
        cutoff: for networks that have none.
        backend: of `torch.compile`.
        seed: of all random numbers.
        progress: around the structures, for a progress bar.

    Raises:
        ValueError: see `GeqCalculator` and `check_calculator`.
    """
    calculator = GeqCalculator(model, dtype=torch.float64, cutoff=cutoff)
    approximate = GRID if has_grid(calculator.potential) else ""
    rows = check_calculator(
        calculator, structures, approximate=approximate, seed=seed, progress=progress
    )
    rows = [*forces_of(calculator), *rows]
    moved = [displaced_at_random(structure, seed + k) for k, structure in enumerate(structures)]
    subjects = [Subject(calculator, atoms, calculator.cutoff, approximate, seed) for atoms in moved]
    rows += [single(subjects, calculator), compiled(subjects, calculator, backend)]
    return [*rows, exported(subjects, calculator)]


def has_grid(potential: Potential | None) -> bool:
    """Whether a network has a finite grid of orientations."""
    kernel = getattr(getattr(potential, "model", None), "kernel", None)
    return isinstance(getattr(kernel, "grid", None), Tensor)


def compared(
    name: str, subjects: Sequence[Subject], other: Calculator, tolerance: float, reason: str
) -> Row:
    """Energies, forces and stress of another calculator against those of the subjects' own."""
    rows = [
        Row(name, change(subject, Subject(other, subject.atoms)), tolerance, reason)
        for subject in subjects
    ]
    return worst(rows)


def change(subject: Subject, twin: Subject) -> float:
    """The largest difference of results, relative as in the checks of any calculator."""
    atoms, scale = subject.atoms, subject.scale()
    (energy, forces), (other, others) = subject.both(atoms), twin.both(atoms)
    error = abs(other - energy) / (scale + 0.01 * abs(energy))
    error = worse(error, float(np.abs(others - forces).max()) / scale)
    if no_stress(subject):
        return error
    stress = np.abs(twin.stress(atoms) - subject.stress(atoms)).max() * atoms.get_volume()
    return worse(error, float(stress) / work(subject))


def forces_of(calculator: GeqCalculator) -> list[Row]:
    """A row that fails if the forces are no derivatives; none otherwise."""
    if calculator.conservative:
        return []
    return [Row("forces are derivatives", np.inf, 0.0, f"forces are {NOT_CONSERVATIVE}")]


class _Compiled(GeqCalculator):
    """The calculator, with its energy and forces compiled."""

    def __init__(self, eager: GeqCalculator, backend: str) -> None:
        super().__init__(eager.potential, dtype=eager.dtype, cutoff=eager.cutoff)
        compute = compiled_energy_forces(self.potential, backend=backend)

        def detached(**fields: Any) -> dict[str, Tensor]:
            ends, reverse = fields["edge_index"], fields["reverse"]
            plan = self.potential.plan(ends, len(fields["pos"]), reverse=reverse)
            return {name: x.detach() for name, x in compute(**fields, plan=plan).items()}

        self.compute = detached


def single(subjects: Sequence[Subject], eager: GeqCalculator) -> Row:
    """The same network in float32."""
    name = "float32 against float64"

    def compare() -> Row:
        rounded = GeqCalculator(eager.potential, dtype=torch.float32, cutoff=eager.cutoff)
        return compared(name, subjects, rounded, SINGLE, "rounding")

    return judged_form(name, SINGLE, compare)


def compiled(subjects: Sequence[Subject], eager: GeqCalculator, backend: str) -> Row:
    """`compiled_energy_forces` against `energy_forces`."""
    name = "compiled against eager"

    def compare() -> Row:
        return compared(name, subjects, _Compiled(eager, backend), DOUBLE, "both in float64")

    return judged_form(name, DOUBLE, compare)


def exported(subjects: Sequence[Subject], eager: GeqCalculator) -> Row:
    """A program of `geqlib export` against `energy_forces`."""
    name = "exported against eager"

    def compare() -> Row:
        with TemporaryDirectory() as folder:
            file = f"{folder}/program.pt2"
            export_program(eager.potential, file, dtype=eager.dtype)
            program = GeqCalculator(file, trusted=True, cutoff=eager.cutoff)
            return compared(name, subjects, program, DOUBLE, "both in float64")

    return judged_form(name, DOUBLE, compare)


def judged_form(name: str, tolerance: float, compare: Callable[[], Row]) -> Row:
    """The row; without an error where geqlib refuses the form, failed where it does not work."""
    try:
        return compare()
    except Exception as error:
        if is_refusal(error):
            return Row(name, None, None, str(error))
        return Row(name, np.inf, tolerance, f"{type(error).__name__}: {error}")


def is_refusal(error: Exception) -> bool:
    """Whether geqlib says that a network has no such form, rather than that one does not work.

    It does when the form is built, by a ValueError, or, of layers that torch compiles wrongly, when
    the backend is first called: see `compiled_energy_forces`.
    """
    if not isinstance(error, CalculationError):
        return isinstance(error, ValueError)
    inner = error.__cause__
    return isinstance(inner, ValueError) and isinstance(inner.__cause__, BackendCompilerFailed)
