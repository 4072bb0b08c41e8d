"""Trained potentials in use: how far their energies turn, and how well dynamics keeps them.

Protocol: the models of benchmarks/accuracy/potential_3bpa.py, in float64. Energies of the first 20
frames of test_300K in 100 random rotations, by PONITA also averaged over three fixed rotations
(`GeqCalculator(rotations=3)`) and in the 60 rotations of the icosahedron, which map its
orientations to themselves. Dynamics: the first of these frames, velocities of 300 K, velocity
Verlet without thermostat, {steps} steps of {step} fs; the drift is the slope of a line through the
total energy.

    GEQLIB_DATA=FOLDER OMP_NUM_THREADS=1 python benchmarks/accuracy/dynamics.py [RUN ...]

With RUN, gaunt or ponita, that row alone is measured again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from ase import Atoms, units
from ase.md.velocitydistribution import Stationary, ZeroRotation, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from matplotlib.figure import Figure
from rich.progress import Progress
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.accuracy.potential_3bpa import MINUTES
from benchmarks.pictures import draw_curves
from benchmarks.provenance import start
from benchmarks.rows import Cell, Column, Row, Table, joined, measured, read_result
from benchmarks.tables import publish
from benchmarks.training import RUNS
from geqlib.calculators import GeqCalculator
from geqlib.data import MoleculeData
from geqlib.sphere.grids import rotation_group
from geqlib.symmetry.rotations import random_rotations

MODELS = {"gaunt": "geqlib GauntNet", "ponita": "geqlib PONITA"}
STEP, STEPS = 0.5, 20_000  # fs, and their number
EVERY = 20  # steps between two records
SPREAD = "standard deviation over 100 random rotations"
RANGE = "largest difference between two of them in 20 frames"
THREE = "three rotations averaged"
COLUMNS = (
    Column("test", "RMSE of the energy on the test set", "meV", ".1f"),
    Column("alone, deviation", SPREAD, "meV", ".2g"),
    Column("alone, range", RANGE, "meV", ".2g"),
    Column("averaged, deviation", f"{SPREAD}, {THREE}", "meV", ".2g"),
    Column("averaged, range", f"{RANGE}, {THREE}", "meV", ".2g"),
    Column(
        "icosahedral, relative",
        "largest relative difference over the icosahedron's 60 rotations",
        "",
        ".0e",
    ),
    Column("drift", "drift of the energy in 10 ps", "meV per atom", ".4f"),
    Column("fluctuation", "standard deviation of the energy in that time", "meV per atom", ".4f"),
)
CURVE = "total energy"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runs", nargs="*", help=f"some of {', '.join(MODELS)}; all by default")
    chosen = parser.parse_args().runs or list(MODELS)
    data = MoleculeData("3bpa/train_300K.xyz.xz", 50, "3bpa/test_300K.xyz.xz", cutoff=5.0)
    data.setup("test")
    frames = [data.atoms(k, "test") for k in data.splits["test"].index[:20].tolist()]
    for run in chosen:
        table = joined("accuracy/dynamics", compared([measure(run, frames)]))
        publish(measured("accuracy/dynamics", __doc__, [table]), draw(table))


def measure(run: str, frames: list[Atoms]) -> Row:
    checkpoint = trained_model(run)
    if not checkpoint.exists():
        raise SystemExit(
            f"There is no trained model {checkpoint}: python benchmarks/accuracy/potential_3bpa.py "
            f"{run} trains it."
        )
    calculator = GeqCalculator(checkpoint, dtype=torch.float64)
    torch.manual_seed(0)
    turns = random_rotations(100, 3, dtype=torch.float64)
    spreads = {"alone": _turned(frames, calculator, turns)}
    if run == "ponita":
        averaged = GeqCalculator(checkpoint, dtype=torch.float64, rotations=3)
        spreads["averaged"] = _turned(frames, averaged, turns)
        group = rotation_group("icosahedral").double()
        spreads["icosahedral"] = _turned(frames, calculator, group)
    trained = read_result("accuracy/potential_3bpa").tables[0].row(MODELS[run])
    time, energy = _dynamics(frames[0], calculator)
    energy = 1000 * energy / len(frames[0])
    cells = spread_cells(spreads) | {
        "test": trained.number("energy, 300 K"),
        "picoseconds": float(time[-1]),
        "drift": abs(float(np.polyfit(time, energy, 1)[0])) * float(time[-1]),
        "fluctuation": float(energy.std()),
    }
    return own_row(MODELS[run], cells, (energy - energy[0]).round(5).tolist())


def trained_model(run: str) -> Path:
    """The checkpoint that benchmarks/accuracy/potential_3bpa.py leaves."""
    return RUNS / f"3bpa-{run}-{MINUTES}min" / "checkpoints" / "best.ckpt"


def spread_cells(spreads: dict[str, dict[str, float]]) -> dict[str, Cell]:
    return {f"{how}, {key}": x for how, of_how in spreads.items() for key, x in of_how.items()}


def own_row(name: str, cells: dict[str, Cell], energy: list[float]) -> Row:
    times = np.linspace(0, cells["picoseconds"], len(energy)).tolist()
    return Row((name,), cells, curves={CURVE: tuple(zip(times, energy, strict=True))})


def compared(rows: list[Row]) -> Table:
    return Table(("",), COLUMNS, tuple(rows), turned=True)


def draw(table: Table) -> Figure:
    return draw_curves(
        table.rows,
        CURVE,
        title="3BPA, velocity Verlet, 0.5 fs, no thermostat",
        x="ps",
        y="total energy, meV per atom",
        logarithmic=False,
    )


def _turned(frames: list[Atoms], calculator: GeqCalculator, turns: Tensor) -> dict[str, float]:
    """Spread over rotations of the interaction energy."""
    energies = np.array([[_energy(a, calculator, t) for t in turns.numpy()] for a in frames])
    ranges = np.ptp(energies, axis=1)
    references = calculator.potential.statistics.references
    alone = np.array([float(references[a.numbers].sum()) for a in frames])
    return {
        "deviation": float(1000 * energies.std(1).mean()),
        "range": float(1000 * ranges.max()),
        "relative": float((ranges / np.abs(energies.mean(1) - alone)).max()),
    }


def _energy(atoms: Atoms, calculator: GeqCalculator, turn: np.ndarray) -> float:
    turned = Atoms(atoms.numbers, atoms.positions @ turn.T)
    turned.calc = calculator
    return turned.get_potential_energy()


def _dynamics(atoms: Atoms, calculator: GeqCalculator) -> tuple[np.ndarray, np.ndarray]:
    """Picoseconds, and total energies in eV."""
    moving = Atoms(atoms.numbers, atoms.positions, calculator=calculator)
    thermalize_momenta(moving, 300, rng=np.random.default_rng(0))
    Stationary(moving)
    ZeroRotation(moving)
    energy: list[float] = []
    verlet = VelocityVerlet(moving, STEP * units.fs)
    with Progress() as progress:
        task = progress.add_task("dynamics", total=STEPS)

        def record() -> None:
            energy.append(moving.get_total_energy())
            progress.update(task, completed=verlet.nsteps)

        verlet.attach(record, interval=EVERY)
        verlet.run(STEPS)
    return np.arange(len(energy)) * EVERY * STEP / 1000, np.array(energy)


if __name__ == "__main__":
    start(main)
