"""A step of dynamics with a checkpoint, a program of torch.export, and a compiled program.

Protocol: `GeqCalculator` in float32 on one thread, energy and forces of molecules of 9 and 60 atoms
(ethanol, C60), whose atoms move a little in every step, so that neighbours are looked up and not
searched; PONITA with 32 channels and two layers, GauntNet with 16 channels, random weights, cutoff
5 angstrom. Processor time, medians of one interleaved measurement of {rounds} rounds.

    python benchmarks/speed/programs.py
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.measure import interleaved
from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Row, Table, measured
from benchmarks.tables import publish
from geqlib.calculators import GeqCalculator
from geqlib.files.export import export_program
from geqlib.models import PONITA, GauntNet, Potential

CUTOFF = 5.0
ROUNDS = 30
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "PONITA": lambda: PONITA(8, 0, 1, 0, channels=32, layers=2, cutoff=CUTOFF),
    "GauntNet": lambda: GauntNet(["H", "C", "O"], channels=16, cutoff=CUTOFF),
}
MOLECULES = ("CH3CH2OH", "C60")
COLUMNS = (
    Column("checkpoint", "checkpoint", "ms", ".1f", 1e3),
    Column("torch", "torch", "ms", ".1f", 1e3),
    Column("torch speedup", "times as fast", "", ".1f"),
    Column("compiled", "compiled", "ms", ".1f", 1e3),
    Column("compiled speedup", "times as fast", "", ".1f"),
)


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("torch").setLevel(logging.ERROR)
    rows = [row for name in NETWORKS for row in rows_of(name)]
    publish(measured("speed/programs", __doc__, [compared(rows)]))


def rows_of(name: str) -> list[Row]:
    torch.manual_seed(0)
    potential = Potential(NETWORKS[name]())
    with TemporaryDirectory() as folder:
        export_program(potential, f"{folder}/torch.pt2")
        export_program(potential, f"{folder}/compiled.pt2", compiled=True)
        models = {
            "checkpoint": GeqCalculator(potential),
            "torch": GeqCalculator(f"{folder}/torch.pt2", trusted=True),
            "compiled": GeqCalculator(f"{folder}/compiled.pt2", trusted=True),
        }
        rows = []
        for formula in MOLECULES:
            steps = {key: step(calc, molecule(formula)) for key, calc in models.items()}
            seconds = interleaved(steps, ROUNDS, clock=process_time)
            rows.append(own_row(name, len(molecule(formula)), seconds))
    return rows


def own_row(name: str, atoms: int, seconds: dict[str, float]) -> Row:
    cells: dict[str, Cell] = dict(seconds)
    for program in ("torch", "compiled"):
        cells[f"{program} speedup"] = seconds["checkpoint"] / seconds[program]
    return Row((name, str(atoms)), cells)


def compared(rows: list[Row]) -> Table:
    return Table(("a step of", "atoms"), COLUMNS, tuple(rows), "compiled")


def step(calculator: GeqCalculator, atoms: Atoms) -> Callable[[], object]:
    start, rng = atoms.positions.copy(), np.random.default_rng(0)
    atoms.calc = calculator

    def run() -> object:
        atoms.positions = start + 0.01 * rng.standard_normal(start.shape)
        return atoms.get_forces()

    return run


if __name__ == "__main__":
    start(main)
