"""Steps of molecular dynamics per second: geqlib's calculator beside MACE's.

Protocol: the models that benchmarks/accuracy/potential_3bpa.py trained, on one frame of 3BPA (27
atoms), velocity Verlet of ASE with steps of 0.5 fs; blocks of {steps} steps alternate between the
two processes, medians of {blocks} blocks after one that is not counted.

    GEQLIB_DATA=FOLDER python benchmarks/speed/dynamics.py
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from ase import Atoms, units
from ase.io import write
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.accuracy.potential_3bpa import MINUTES
from benchmarks.measure import interleaved
from benchmarks.peers import mace
from benchmarks.provenance import start
from benchmarks.rows import Column, Row, Table, measured
from benchmarks.tables import publish
from benchmarks.training import RUNS
from geqlib.calculators import GeqCalculator
from geqlib.data import MoleculeData

OURS = {"geqlib GauntNet": f"3bpa-gaunt-{MINUTES}min", "geqlib PONITA": f"3bpa-ponita-{MINUTES}min"}
THEIRS = RUNS / f"3bpa-mace-{MINUTES}min" / "mace.model"
STEPS, BLOCKS = 50, 9
DTYPES = ("float32", "float64")


def main() -> None:
    data = MoleculeData("3bpa/train_300K.xyz.xz", 50, "3bpa/test_300K.xyz.xz", cutoff=5.0)
    data.setup("test")
    atoms = data.atoms(int(data.splits["test"].index[0]), "test")
    with TemporaryDirectory() as folder:
        frame = Path(folder) / "frame.xyz"
        write(frame, Atoms(atoms.numbers, atoms.positions), format="extxyz")
        runs: dict[str, Callable[[], object]] = {}
        for dtype in DTYPES:
            for name, run in OURS.items():
                runs[f"{name}, {dtype}"] = _ours(atoms, run, getattr(torch, dtype))
            if mace.available() and THEIRS.exists():
                runs[f"MACE, {dtype}"] = _theirs(frame, dtype)
        seconds = interleaved(runs, BLOCKS)
    table = compared({name: STEPS / value for name, value in seconds.items()})
    settings = {"threads": torch.get_num_threads()}
    publish(measured("speed/dynamics", __doc__, [table], settings))


def compared(rates: dict[str, float]) -> Table:
    rows = tuple(
        Row((name,), {"rate": rate}, "geqlib" if name.startswith("geqlib") else "peer")
        for name, rate in rates.items()
    )
    column = Column("rate", "steps per second", "", ".0f")
    return Table(("molecular dynamics of 27 atoms",), (column,), rows, "rate")


def _ours(atoms: Atoms, run: str, dtype: torch.dtype) -> Callable[[], object]:
    calculator = GeqCalculator(RUNS / run / "checkpoints" / "best.ckpt", dtype=dtype)
    moving = Atoms(atoms.numbers, atoms.positions, calculator=calculator)
    thermalize_momenta(moving, 300, rng=np.random.default_rng(0))
    verlet = VelocityVerlet(moving, 0.5 * units.fs)
    return lambda: verlet.run(STEPS)


def _theirs(frame: Path, dtype: str) -> Callable[[], object]:
    script = Path(mace.__file__).with_name("mace_dynamics.py")
    # -P: the script's folder has a mace.py of its own
    command = [str(mace.BIN / "python"), "-P", str(script), str(THEIRS), str(frame), dtype]
    command.append(str(STEPS))
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def block() -> None:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("MACE's process has no pipes.")
        process.stdin.write("go\n")
        process.stdin.flush()
        for line in process.stdout:
            if line.startswith("seconds"):
                return
        raise RuntimeError("MACE's process ended: see its message above.")

    return block


if __name__ == "__main__":
    start(main)
