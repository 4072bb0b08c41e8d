"""A step of dynamics with a checkpoint, a program of torch.export, and a compiled program.

Protocol: `GeqCalculator` in float32 on one thread, energy and forces of molecules of 9 and 60 atoms
(ethanol, C60), whose atoms move a little in every step, so that neighbours are looked up and not
searched; PONITA with 32 channels and two layers, GauntNet with 16 channels, random weights, cutoff
5 angstrom. Processor time, medians of one interleaved measurement of 30 rounds.

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
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.markdown import markdown
from benchmarks.measure import interleaved, write_result
from benchmarks.training import show
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
HEAD = ("ms a step", "atoms", "checkpoint", "torch", "compiled")


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("torch").setLevel(logging.ERROR)
    rows = [row for name in NETWORKS for row in measured(name)]
    content = {"protocol": " ".join((__doc__ or "").split("\n\n")[1].split()), "rows": rows}
    show("A step of dynamics", HEAD, _rows(content))
    sys.stdout.write(f"wrote {write_result('speed/programs', content)}\n")


def measured(name: str) -> list[dict[str, Any]]:
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
        found = []
        for formula in MOLECULES:
            steps = {key: step(calc, molecule(formula)) for key, calc in models.items()}
            seconds = interleaved(steps, ROUNDS, clock=process_time)
            atoms = len(molecule(formula))
            found.append({"network": name, "atoms": atoms, "seconds": seconds})
    return found


def step(calculator: GeqCalculator, atoms: Atoms) -> Callable[[], object]:
    start, rng = atoms.positions.copy(), np.random.default_rng(0)
    atoms.calc = calculator

    def run() -> object:
        atoms.positions = start + 0.01 * rng.standard_normal(start.shape)
        return atoms.get_forces()

    return run


def table(found: dict[str, Any]) -> str:
    return markdown(HEAD, _rows(found))


def _rows(found: dict[str, Any]) -> list[tuple[object, ...]]:
    rows = []
    for row in found["rows"]:
        own, *programs = row["seconds"].values()
        faster = (f"{1e3 * value:.1f}, {own / value:.1f} times as fast" for value in programs)
        rows.append((row["network"], row["atoms"], f"{1e3 * own:.1f}", *faster))
    return rows


if __name__ == "__main__":
    main()
