"""Steps per second of molecular dynamics."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet

from benchmarks.device.contest import NOTE, Setting
from benchmarks.device.timing import reason, seconds_of
from benchmarks.rows import Cell, Column, Row
from benchmarks.structures import ASPIRIN, molecule
from benchmarks.workloads import CUTOFF
from geqlib.atoms.potential import Potential
from geqlib.calculators import GeqCalculator
from geqlib.models import PONITA, GauntNet

TEMPERATURE = 10.0  # K: atoms of an untrained potential stay where they are
STEPS = 100  # of one measurement


def dynamics(setting: Setting) -> Iterator[Row]:
    """Steps per second of velocity Verlet with `GeqCalculator` on one aspirin.

    A calculator that replays its steps belongs beside these, as a further entry.
    """
    channels = 4 if setting.tiny else 128
    steps = 2 if setting.tiny else STEPS
    sizes: dict[str, Any] = {"channels": channels, "layers": 2, "cutoff": CUTOFF}
    torch.manual_seed(0)
    networks = {
        "geqlib GauntNet": GauntNet(["H", "C", "O"], degree=3, hidden_degree=1, order=3, **sizes),
        "geqlib PONITA": PONITA(16, 0, 1, 0, orientations=16, **sizes),
    }
    for name, network in networks.items():
        for dtype in (torch.float32, torch.float64):
            short = str(dtype).removeprefix("torch.")
            setting.clock.check(f"{name}, {short}")
            try:
                verlet = moving(network, setting.device, dtype)
                verlet.run(steps)
                seconds = min(
                    seconds_of(partial(verlet.run, steps), setting.device) for _ in range(3)
                )
                cells: dict[str, Cell] = {"rate": steps / seconds}
            except Exception as error:
                cells = {NOTE: reason(error)}
            yield Row((f"{name}, {channels} channels", short), cells)


def moving(network: torch.nn.Module, device: torch.device, dtype: torch.dtype) -> Any:
    potential = Potential(network)
    seen = torch.zeros(119, dtype=torch.bool)
    seen[[1, 6, 8]] = True
    # forces of an untrained network, small enough to leave the molecule together
    potential.statistics.set(torch.zeros(119), seen, 1e-3, 0.0)
    calculator = GeqCalculator(potential, device=device, dtype=dtype)
    start = molecule(ASPIRIN)
    atoms = Atoms(start.numbers, start.positions, calculator=calculator)
    thermalize_momenta(atoms, TEMPERATURE, rng=np.random.default_rng(0))
    return VelocityVerlet(atoms, 0.5 * units.fs)


def dynamics_columns(cuda: bool) -> tuple[Column, ...]:
    return Column("rate", "steps per second", "", ".0f"), Column(NOTE, "note")
