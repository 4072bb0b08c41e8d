"""Dynamics of many molecules: a batch in torch-sim beside one by one in ASE.

Protocol: GauntNet of the size of configs/3bpa_gaunt.yaml, untrained, float64, on the device that is
there; {copies} copies of a frame of 3BPA (27 atoms), each displaced at random by 0.01 angstrom, at
rest, velocity Verlet with steps of 0.5 fs. A block is {steps} steps, of all copies by torch-sim, of
one copy after another by ASE ({alone} of them, and the time of a structure and step is what is
compared). Blocks alternate, medians of {blocks} blocks after one that is not counted.

    make torch-sim
    GEQLIB_DATA=FOLDER .venv-torch-sim/bin/python benchmarks/speed/torch_sim.py
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch_sim as ts  # pyright: ignore[reportMissingImports]
from ase import Atoms, units
from ase.io import read
from ase.md.verlet import VelocityVerlet

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.measure import interleaved
from benchmarks.provenance import start
from benchmarks.rows import Column, Row, Table, measured
from benchmarks.tables import publish
from geqlib.calculators import GeqCalculator
from geqlib.calculators.torch_sim import TorchSimModel
from geqlib.models import GauntNet, Potential

COPIES, ALONE, STEPS, BLOCKS = 100, 5, 5, 5
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def main() -> None:
    frame = read(Path(os.environ["GEQLIB_DATA"]) / "3bpa" / "train_300K.xyz.xz", 0)
    copies = displaced(frame)
    potential = network()
    seconds = interleaved(
        {"torch-sim": _together(potential, copies), "ASE": _alone(potential, copies[:ALONE])},
        BLOCKS,
    )
    rates = {
        "torch-sim": COPIES * STEPS / seconds["torch-sim"],
        "ASE": ALONE * STEPS / seconds["ASE"],
    }
    publish(measured("speed/torch_sim", __doc__, [compared(rates)], {"device": DEVICE.type}))


def compared(rates: dict[str, float]) -> Table:
    rows = (
        Row(("ASE, one by one",), {"rate": rates["ASE"]}, "peer"),
        Row(
            (f"torch-sim, {COPIES} in a batch",),
            {"rate": rates["torch-sim"], "times": rates["torch-sim"] / rates["ASE"]},
            "geqlib",
        ),
    )
    columns = (
        Column("rate", "steps of a structure per second", "", ".0f"),
        Column("times", "times ASE", "", ".2f"),
    )
    return Table((f"dynamics of 27 atoms, {DEVICE.type}",), columns, rows, "rate")


def network() -> Potential:
    torch.manual_seed(0)
    net = GauntNet(
        ["H", "C", "N", "O"], channels=32, degree=3, hidden_degree=1, order=3, layers=2, cutoff=5.0
    )
    return Potential(net).to(DEVICE, torch.float64)


def displaced(frame: Atoms) -> list[Atoms]:
    generator = np.random.default_rng(0)
    moved = [Atoms(frame.numbers, frame.positions) for _ in range(COPIES)]
    for atoms in moved:
        atoms.positions += generator.normal(scale=0.01, size=atoms.positions.shape)
    return moved


def _together(potential: Potential, copies: list[Atoms]) -> Callable[[], object]:
    model = TorchSimModel(potential)
    state = ts.io.atoms_to_state(copies, DEVICE, torch.float64)
    state = ts.nve_init(state=state, model=model, kT=torch.zeros((), dtype=torch.float64))
    step = torch.tensor(0.5 * units.fs, dtype=torch.float64, device=DEVICE)

    def run() -> None:
        moving = state.clone()
        for _ in range(STEPS):
            moving = ts.nve_step(state=moving, model=model, dt=step)

    return run


def _alone(potential: Potential, copies: list[Atoms]) -> Callable[[], object]:
    calculators = [GeqCalculator(potential) for _ in copies]

    def run() -> None:
        for atoms, calculator in zip(copies, calculators, strict=True):
            moving = Atoms(atoms.numbers, atoms.positions, calculator=calculator)
            VelocityVerlet(moving, 0.5 * units.fs).run(STEPS)

    return run


if __name__ == "__main__":
    start(main)
