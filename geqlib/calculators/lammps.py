"""Trained potentials in LAMMPS, driven from Python: forces by `fix external`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from geqlib.atoms.forces import derivatives_only
from geqlib.atoms.potential import Potential
from geqlib.calculators.ase import GeqCalculator

UNITS = "metal"  # eV, angstrom, eV/angstrom
KINDS = frozenset(atomic_numbers)


class LammpsForces:
    """Energy, forces and virial of a trained potential for a running LAMMPS, by `fix external`.

    LAMMPS integrates, computes and writes; no other forces act than those of the potential and of
    the input script. Numbers are those of `GeqCalculator`. For one process of LAMMPS; see
    `geqlib.calculators.mliap` for several.

    Args:
        lammps: a `lammps.lammps` with its box and atoms, in metal units. It needs a `pair_style`
            (such as `zero`) whose cutoff is of no importance here.
        model: what `GeqCalculator` takes: a checkpoint, an exported file or a potential.
        species: the element of each atom type, in the order of LAMMPS's types.
        fix: name of the fix that is added.
        options: of `GeqCalculator`, such as device and dtype.

    Raises:
        ValueError: if LAMMPS has other units, no box, several processes, or more types than
            `species` has elements; see also `GeqCalculator`.

    Example:
        >>> # run = lammps.lammps(), with the atoms of water, and a pair_style
        >>> # LammpsForces(run, "runs/water/checkpoints/best.ckpt", ["O", "H"])
        >>> # run.command("run 1000")
    """

    def __init__(
        self,
        lammps: Any,
        model: str | Path | Potential,
        species: Sequence[str],
        *,
        fix: str = "geqlib",
        **options: Any,
    ) -> None:
        _check(lammps, species)
        self.lammps, self.fix = lammps, fix
        self.numbers = np.array([0, *(atomic_numbers[name] for name in species)])
        self.calculator = GeqCalculator(model, **options)
        if self.calculator.potential is not None:
            derivatives_only(self.calculator.potential, "Virials of LAMMPS")
        lammps.command(f"fix {fix} all external pf/callback 1 1")
        lammps.command(f"fix_modify {fix} energy yes virial yes")
        lammps.set_fix_external_callback(fix, self._callback, lammps)

    def _callback(
        self,
        lammps: Any,
        step: int,
        count: int,
        tags: np.ndarray,
        positions: np.ndarray,
        forces: np.ndarray,
    ) -> None:
        """Fill `forces` [count, 3] of the atoms at `positions`, in the order of LAMMPS.

        An exception cannot pass through LAMMPS, which would continue with old forces: Python prints
        it, energy and forces become NaN, and the run is stopped.
        """
        try:
            self._compute(lammps, count, positions, forces)
        except Exception:
            forces[:] = np.nan
            lammps.fix_external_set_energy_global(self.fix, float("nan"))
            lammps.force_timeout()
            raise

    def _compute(self, lammps: Any, count: int, positions: np.ndarray, forces: np.ndarray) -> None:
        kinds = np.array(lammps.numpy.extract_atom("type"))[:count]
        low, cell, periodic = box(lammps)
        atoms = Atoms(self.numbers[kinds], positions - low, cell=cell, pbc=periodic)
        atoms.calc = self.calculator
        forces[:] = atoms.get_forces()
        lammps.fix_external_set_energy_global(self.fix, atoms.get_potential_energy())
        if any(periodic):
            stress = atoms.get_stress(voigt=False)
            virial = -atoms.get_volume() * stress  # in energies, as a sum of r f
            xx, yy, zz = np.diag(virial)
            values = [xx, yy, zz, virial[0, 1], virial[0, 2], virial[1, 2]]
            lammps.fix_external_set_virial_global(self.fix, values)


def box(lammps: Any) -> tuple[np.ndarray, np.ndarray, list[bool]]:
    """The corner of LAMMPS's box, its vectors in rows, and along which of them it repeats."""
    low, high, xy, yz, xz, periodic, _ = lammps.extract_box()
    x, y, z = np.subtract(high, low)
    return (
        np.array(low),
        np.array([[x, 0, 0], [xy, y, 0], [xz, yz, z]]),
        [bool(p) for p in periodic],
    )


def _check(lammps: Any, species: Sequence[str]) -> None:
    unknown = sorted(set(species) - KINDS)
    if unknown:
        raise ValueError(f"species has {unknown[0]!r}, which is no element: write H, C, ...")
    if not lammps.extract_setting("box_exist"):
        raise ValueError("LAMMPS has no box yet: read or create its atoms first.")
    if lammps.extract_setting("world_size") > 1:
        raise ValueError(
            f"LAMMPS runs on {lammps.extract_setting('world_size')} processes, each of which holds "
            "only a part of the atoms: run it on one, or use MLIAPModel."
        )
    units = lammps.extract_global("units")
    if units != UNITS:
        raise ValueError(
            f"LAMMPS has units {units}, and a potential eV and angstrom: write `units metal`."
        )
    kinds = lammps.extract_setting("ntypes")
    if kinds != len(species):
        raise ValueError(
            f"LAMMPS has {kinds} atom types, but species names {len(species)} elements: name one "
            "for each type."
        )
