"""Molecular dynamics by MACE's calculator, in MACE's environment: seconds of each block of steps.

Started as `python mace_dynamics.py MODEL FRAME.xyz DTYPE STEPS`; for every line that comes in, it
makes as many steps and answers with a line of seconds.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from ase import units
from ase.io import read
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from mace.calculators import MACECalculator


def main(model: str, frame: str, dtype: str, steps: str) -> None:
    atoms = read(frame)
    atoms.calc = MACECalculator(model_paths=model, device="cpu", default_dtype=dtype)
    MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.default_rng(0))
    verlet = VelocityVerlet(atoms, 0.5 * units.fs)
    for _ in sys.stdin:
        start = time.perf_counter()
        verlet.run(int(steps))
        sys.stdout.write(f"seconds {time.perf_counter() - start}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
