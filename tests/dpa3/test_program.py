"""Programs of `geqlib export` compute what the potential does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms

from geqlib.calculators import GeqCalculator
from geqlib.files.export import export_program, program_inputs
from geqlib.files.exported_program import plan_tensors, read_notes
from geqlib.graph import neighbor_list
from geqlib.models import Potential
from tests.atoms.atoms import system
from tests.dpa3.test_network import small


def potential() -> Potential:
    model = Potential(small()).double()
    model.statistics.seen[[1, 6, 8]] = True
    return model.eval()


@pytest.mark.slow
def test_a_program_gives_the_energies_and_forces_of_its_potential(tmp_path: Path) -> None:
    model = potential()
    export_program(model, tmp_path / "dpa3.pt2")
    assert read_notes(tmp_path / "dpa3.pt2")["angle_cutoff"] == model.model.angle_cutoff
    for nodes, periodic in ((5, False), (6, True), (1, False)):
        pos, z, cell = system(nodes, periodic=periodic)
        atoms = Atoms(z.numpy(), pos.numpy(), cell=cell.numpy(), pbc=periodic)
        results = []
        for calculator in (
            GeqCalculator(model, dtype=torch.float64),
            GeqCalculator(tmp_path / "dpa3.pt2", trusted=True),
        ):
            atoms.calc = calculator
            results.append([atoms.get_potential_energy(), atoms.get_forces()])
        for eager, program in zip(*results, strict=True):
            np.testing.assert_allclose(program, eager, atol=1e-10, rtol=1e-10)


def test_programs_know_the_plan_of_the_network() -> None:
    model = potential()
    pos, z, cell = system(6, periodic=True)
    near = neighbor_list(pos, 3.0, cell=cell[None])
    own = model.plan(near.edge_index, 6).tensors()
    inputs = program_inputs(model, pos, z, cell=cell)["plan"]
    plan = plan_tensors("angles", near.edge_index, 6, near.reverse)
    assert own.keys() == plan.keys() == inputs.keys()
    for name, tensor in own.items():
        assert torch.equal(tensor, plan[name]) and torch.equal(tensor, inputs[name])
