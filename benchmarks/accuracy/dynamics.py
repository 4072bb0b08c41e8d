"""A trained potential in use: how far its energy turns, and how well dynamics keeps it.

Protocol: the PONITA of benchmarks/accuracy/potential_3bpa.py, in float64. Energies of the first 20
frames of test_300K in 100 random rotations, by the network alone and averaged over three fixed
rotations (`GeqCalculator(rotations=3)`), and in the 60 rotations of the icosahedron, which map its
orientations to themselves. Dynamics: the first of these frames, velocities of 300 K, velocity
Verlet without thermostat, 20 000 steps of 0.5 fs; the drift is the slope of a line through the
total energy.

    GEQLIB_DATA=FOLDER OMP_NUM_THREADS=1 python benchmarks/accuracy/dynamics.py [--steps 20000]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.md.velocitydistribution import Stationary, ZeroRotation, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from matplotlib.figure import Figure
from rich.progress import Progress
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.markdown import markdown
from benchmarks.measure import read_result, write_result
from benchmarks.training import RUNS, show
from geqlib.calculators import GeqCalculator
from geqlib.data import MoleculeData
from geqlib.geometry.grids import rotation_group
from geqlib.geometry.rotations import random_rotations

CHECKPOINT = RUNS / "3bpa-ponita" / "checkpoints" / "best.ckpt"
STEP = 0.5  # fs
EVERY = 20  # steps between two records


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=int, default=20_000)
    steps = parser.parse_args().steps
    if not CHECKPOINT.exists():
        raise SystemExit("There is no trained model: run accuracy/potential_3bpa.py first.")
    data = MoleculeData("3bpa/train_300K.xyz.xz", 50, "3bpa/test_300K.xyz.xz", cutoff=5.0)
    data.setup("test")
    frames = [data.atoms(k, "test") for k in data.splits["test"].index[:20].tolist()]
    calculator = GeqCalculator(CHECKPOINT, dtype=torch.float64)
    torch.manual_seed(0)
    turns = random_rotations(100, 3, dtype=torch.float64)
    averaged = GeqCalculator(CHECKPOINT, dtype=torch.float64, rotations=3)
    found = {
        "random": _turned(frames, calculator, turns),
        "averaged": _turned(frames, averaged, turns),
        "icosahedral": _turned(frames, calculator, rotation_group("icosahedral").double()),
    }
    rmse = read_result("accuracy/potential_3bpa")["rows"]["geqlib PONITA"]["errors"]["300 K"][0]
    time, energy = _dynamics(frames[0], calculator, steps)
    atoms = len(frames[0])
    slope = np.polyfit(time, 1000 * energy / atoms, 1)[0]
    content = {
        "protocol": " ".join((__doc__ or "").split("\n\n")[1].split()),
        "rotations": found,
        "test_rmse": rmse,
        "picoseconds": float(time[-1]),
        "drift": abs(float(slope)) * float(time[-1]),
        "fluctuation": float(1000 * energy.std() / atoms),
    }
    show("In use", ("", "", "unit"), _rows(content))
    path = write_result("accuracy/dynamics", content)
    draw(time, 1000 * (energy - energy[0]) / atoms).savefig(path.with_suffix(".png"), dpi=150)
    sys.stdout.write(f"wrote {path}\n")


def table(found: dict[str, Any]) -> str:
    return markdown(("", "measured", "unit"), _rows(found))


def draw(time: np.ndarray, energy: np.ndarray) -> Figure:
    """Total energy against time."""
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(time, energy, color="#0072B2", linewidth=0.8)
    axes.set(xlabel="ps", ylabel="total energy, meV an atom")
    axes.set_title("3BPA, velocity Verlet, 0.5 fs, no thermostat")
    axes.grid(alpha=0.3)
    return figure


def _rows(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    turned, rmse = found["rotations"], found["test_rmse"]
    rows = [("RMSE of the energy on the test set", f"{rmse:.1f}", "meV")]
    for name, how in (("random", "the network alone"), ("averaged", "three rotations averaged")):
        deviation, reach = turned[name]["deviation"], turned[name]["range"]
        share = f"meV, 1/{rmse / deviation:.0f} of the RMSE"
        rows += [
            (f"standard deviation over 100 random rotations, {how}", f"{deviation:.2f}", share),
            (f"largest difference between two of them in 20 frames, {how}", f"{reach:.1f}", "meV"),
        ]
    relative = f"{turned['icosahedral']['relative']:.1e}"
    drift, deviation = f"{found['drift']:.4f}", f"{found['fluctuation']:.4f}"
    return [
        *rows,
        ("largest difference over the icosahedron's 60 rotations, relative", relative, ""),
        (f"drift of the energy in {found['picoseconds']:.0f} ps", drift, "meV an atom"),
        ("standard deviation of the energy in that time", deviation, "meV an atom"),
    ]


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


def _dynamics(atoms: Atoms, calculator: GeqCalculator, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Picoseconds, and total energies in eV."""
    moving = Atoms(atoms.numbers, atoms.positions, calculator=calculator)
    thermalize_momenta(moving, 300, rng=np.random.default_rng(0))
    Stationary(moving)
    ZeroRotation(moving)
    energy: list[float] = []
    verlet = VelocityVerlet(moving, STEP * units.fs)
    with Progress() as progress:
        task = progress.add_task("dynamics", total=steps)

        def record() -> None:
            energy.append(moving.get_total_energy())
            progress.update(task, completed=verlet.nsteps)

        verlet.attach(record, interval=EVERY)
        verlet.run(steps)
    return np.arange(len(energy)) * EVERY * STEP / 1000, np.array(energy)


if __name__ == "__main__":
    main()
