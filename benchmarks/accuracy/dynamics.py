"""Trained potentials in use: how far their energies turn, and how well dynamics keeps them.

Protocol: the models of benchmarks/accuracy/potential_3bpa.py, in float64. Energies of the first 20
frames of test_300K in 100 random rotations, by PONITA also averaged over three fixed rotations
(`GeqCalculator(rotations=3)`) and in the 60 rotations of the icosahedron, which map its
orientations to themselves. Dynamics: the first of these frames, velocities of 300 K, velocity
Verlet without thermostat, 20 000 steps of 0.5 fs; the drift is the slope of a line through the
total energy.

    GEQLIB_DATA=FOLDER OMP_NUM_THREADS=1 python benchmarks/accuracy/dynamics.py [RUN ...]

With RUN, gaunt or ponita, that row alone is measured again.
"""

from __future__ import annotations

import argparse
import sys
from math import ceil, log10
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
from benchmarks.measure import RESULTS, read_result, write_result
from benchmarks.training import RUNS, show
from geqlib.calculators import GeqCalculator
from geqlib.data import MoleculeData
from geqlib.sphere.grids import rotation_group
from geqlib.symmetry.rotations import random_rotations

MODELS = {"gaunt": "geqlib GauntNet", "ponita": "geqlib PONITA"}
COLOURS = {"geqlib GauntNet": "#009E73", "geqlib PONITA": "#0072B2"}
STEP, STEPS = 0.5, 20_000  # fs, and how many
EVERY = 20  # steps between two records
SPREAD = "standard deviation over 100 random rotations"
REACH = "largest difference between two of them in 20 frames"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runs", nargs="*", help=f"some of {', '.join(MODELS)}; all by default")
    chosen = parser.parse_args().runs or list(MODELS)
    data = MoleculeData("3bpa/train_300K.xyz.xz", 50, "3bpa/test_300K.xyz.xz", cutoff=5.0)
    data.setup("test")
    frames = [data.atoms(k, "test") for k in data.splits["test"].index[:20].tolist()]
    path = RESULTS / "accuracy/dynamics.json"
    rows = read_result("accuracy/dynamics")["rows"] if path.exists() else {}
    for run in chosen:
        rows[MODELS[run]] = measured(run, frames)
        content = {"protocol": " ".join((__doc__ or "").split("\n\n")[1].split()), "rows": rows}
        write_result("accuracy/dynamics", content)
    show("In use", ("", *rows, "unit"), _rows(rows))
    draw(rows).savefig(path.with_suffix(".png"), dpi=150)
    sys.stdout.write(f"wrote {path}\n")


def measured(run: str, frames: list[Atoms]) -> dict[str, Any]:
    checkpoint = RUNS / f"3bpa-{run}" / "checkpoints" / "best.ckpt"
    if not checkpoint.exists():
        raise SystemExit("There is no trained model: run accuracy/potential_3bpa.py first.")
    calculator = GeqCalculator(checkpoint, dtype=torch.float64)
    torch.manual_seed(0)
    turns = random_rotations(100, 3, dtype=torch.float64)
    found = {"alone": _turned(frames, calculator, turns)}
    if run == "ponita":
        averaged = GeqCalculator(checkpoint, dtype=torch.float64, rotations=3)
        found["averaged"] = _turned(frames, averaged, turns)
        group = rotation_group("icosahedral").double()
        found["icosahedral"] = _turned(frames, calculator, group)
    known = read_result("accuracy/potential_3bpa")["rows"][MODELS[run]]
    time, energy = _dynamics(frames[0], calculator)
    energy = 1000 * energy / len(frames[0])
    return {
        "rotations": found,
        "test_rmse": known["errors"]["300 K"][0],
        "picoseconds": float(time[-1]),
        "drift": abs(float(np.polyfit(time, energy, 1)[0])) * float(time[-1]),
        "fluctuation": float(energy.std()),
        "energy": (energy - energy[0]).round(5).tolist(),
    }


def table(found: dict[str, Any]) -> str:
    return markdown(("", *found["rows"], "unit"), _rows(found["rows"]))


def draw(rows: dict[str, Any]) -> Figure:
    """Total energy against time."""
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for name, row in rows.items():
        time = np.linspace(0, row["picoseconds"], len(row["energy"]))
        axes.plot(time, row["energy"], color=COLOURS[name], linewidth=0.8, label=name)
    axes.set(xlabel="ps", ylabel="total energy, meV an atom")
    axes.set_title("3BPA, velocity Verlet, 0.5 fs, no thermostat")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _rows(rows: dict[str, Any]) -> list[tuple[str, ...]]:
    found = list(rows.values())
    turned = [row["rotations"] for row in found]
    lines = [("RMSE of the energy on the test set", [f"{r['test_rmse']:.1f}" for r in found])]
    for key, how in (("alone", ""), ("averaged", ", three rotations averaged")):
        lines += [
            (SPREAD + how, [_small(t, key, "deviation") for t in turned]),
            (REACH + how, [_small(t, key, "range") for t in turned]),
        ]
    units = ["meV"] * len(lines) + ["", "meV an atom", "meV an atom"]
    lines += [
        (
            "largest difference over the icosahedron's 60 rotations, relative",
            [_small(t, "icosahedral", "relative") for t in turned],
        ),
        (
            f"drift of the energy in {found[0]['picoseconds']:.0f} ps",
            [f"{row['drift']:.4f}" for row in found],
        ),
        (
            "standard deviation of the energy in that time",
            [f"{row['fluctuation']:.4f}" for row in found],
        ),
    ]
    return [(name, *values, unit) for (name, values), unit in zip(lines, units, strict=True)]


def _small(turned: dict[str, Any], how: str, key: str) -> str:
    if how not in turned:
        return ""
    value = turned[how][key]
    if key == "relative":
        return f"{value:.0e}"
    return f"{value:.1f}" if value > 0.1 else f"below {10 ** ceil(log10(max(value, 1e-8))):.0e}"


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
    main()
