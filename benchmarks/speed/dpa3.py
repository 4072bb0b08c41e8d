"""A training step of DPA3 that projects before it broadcasts, against one that does so after.

Protocol: water of {molecules} molecules, 1 g/cm^3, placed and turned at random in a periodic cell;
channels, layers and cutoffs of the published recipe for water (128, 64 and 32, 6, 6 and 4
angstrom), float32; energy, forces, and the gradient of their mean square by all parameters; same
weights and the same plan for both; medians of an interleaved run of {rounds} rounds, one thread.
Peak memory is the rise of a fresh process's maximum resident size over one step, after a step on
one molecule that loads all code.

    python benchmarks/speed/dpa3.py [--molecules 64]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ase import Atoms
from ase.build import molecule
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.peers.dpa3_direct import DirectDPA3
from benchmarks.provenance import start
from benchmarks.rows import measured
from benchmarks.step_comparison import measured_steps, printed_memory, step_table
from benchmarks.tables import publish
from geqlib.graph import neighbor_list
from geqlib.models import DPA3, Potential, energy_forces

ROUNDS = 5
MOLECULES = 64
VOLUME = 29.9  # angstrom^3 of a molecule at 1 g/cm^3
Step = Callable[[], list[Tensor]]


def water(molecules: int) -> Atoms:
    """Molecules on a jittered grid in a cube of the density of water."""
    generator = torch.Generator().manual_seed(0)
    side = (VOLUME * molecules) ** (1 / 3)
    count = round(molecules ** (1 / 3) + 0.499)
    atoms = Atoms(cell=[side] * 3, pbc=True)
    places = torch.cartesian_prod(*[torch.arange(count)] * 3)[:molecules] * side / count
    for place in places:
        one = molecule("H2O")
        angle, *axis = (torch.rand(4, generator=generator) - 0.5).tolist()
        one.rotate(720 * angle, axis)
        one.translate(place.numpy())
        atoms += one
    return atoms


def steps(molecules: int, **options: Any) -> dict[str, Step]:
    """Outputs and gradients of one training step of each implementation."""
    torch.manual_seed(0)
    model = DPA3(**options)
    ours, direct = Potential(model), Potential(DirectDPA3(model))
    direct.embedding = ours.embedding
    atoms = water(molecules)
    pos = torch.tensor(atoms.positions, dtype=torch.float32)
    cell = torch.tensor(atoms.cell.array, dtype=torch.float32)[None]
    near = neighbor_list(pos, model.cutoff, cell=cell)
    fields: dict[str, Any] = {"cell": cell, "cell_shift": near.cell_shift}
    plan = model.plan(near.edge_index, len(pos), pos, **fields)
    fields |= {"pos": pos, "z": torch.tensor(atoms.numbers), "edge_index": near.edge_index}
    parameters = [p for p in ours.parameters() if p.requires_grad]

    def step(potential: Potential) -> list[Tensor]:
        out = energy_forces(potential, **fields, plan=plan, create_graph=True, check=False)
        energy, forces = out["energy"], out["forces"]
        loss = energy.square().mean() / len(pos) ** 2 + forces.square().mean()
        grads = torch.autograd.grad(loss, parameters, materialize_grads=True)
        return [energy.detach(), forces.detach(), *grads]

    return {"geqlib": lambda: step(ours), "broadcast, then projected": lambda: step(direct)}


def difference(molecules: int, **options: Any) -> float:
    """Largest difference of the two: of energies, forces and gradients, relative to each's largest.

    Gradients of all parameters are one vector: some are zero but for rounding.
    """
    results = [run() for run in steps(molecules, **options).values()]
    ours, direct = ([e, f, torch.cat([g.flatten() for g in grads])] for e, f, *grads in results)
    pairs = zip(ours, direct, strict=True)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--molecules", type=int, default=MOLECULES)
    parser.add_argument("--memory", help="name of a step: print the peak of its memory")
    molecules = parser.parse_args().molecules
    torch.set_num_threads(1)
    if printed_memory(lambda: steps(molecules), lambda: steps(1)):
        return
    settings = {"molecules": molecules, "difference": difference(molecules)}
    size = "--molecules", str(molecules)
    seconds, memory = measured_steps(__file__, steps(molecules), ROUNDS, *size)
    table = step_table("a training step of DPA3", seconds, memory, "outputs and gradients")
    publish(measured("speed/dpa3", __doc__, [table], settings))


if __name__ == "__main__":
    start(main)
