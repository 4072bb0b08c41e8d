"""Steps per second of molecular dynamics."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.device.contest import NOTE, Setting
from benchmarks.device.timing import reason, seconds_of
from benchmarks.rows import Cell, Column, Row
from benchmarks.structures import ASPIRIN, molecule
from benchmarks.workloads import CUTOFF
from geqlib.atoms.potential import Potential
from geqlib.models import PONITA, GauntNet

if TYPE_CHECKING:
    from ase.md.verlet import VelocityVerlet

TEMPERATURE = 10.0  # K: atoms of an untrained potential stay where they are
STEPS = 100  # of one measurement


def dynamics(setting: Setting) -> Iterator[Row]:
    """Velocity Verlet with `GeqCalculator`, and replayed where the calculator can replay."""
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
            for form, options in forms(setting).items():
                short = str(dtype).removeprefix("torch.")
                setting.clock.check(f"{name}, {short}, {form}")
                cells: dict[str, Cell] = {}
                try:
                    verlet = moving(network, device=setting.device, dtype=dtype, **options)
                    cells["rate"] = steps / seconds_of_steps(verlet, steps, setting)
                except Exception as error:
                    cells[NOTE] = reason(error)
                yield Row((f"{name}, {channels} channels", short, form), cells)


def forms(setting: Setting) -> dict[str, dict[str, Any]]:
    """Options of the calculator."""
    from geqlib.calculators import GeqCalculator

    replays = setting.cuda and "cuda_graphs" in signature(GeqCalculator).parameters
    return {"eager": {}} | ({"replayed": {"cuda_graphs": True}} if replays else {})


def seconds_of_steps(verlet: Any, steps: int, setting: Setting) -> float:
    """The least of three, after one that is not counted."""
    verlet.run(steps)
    return min(seconds_of(partial(verlet.run, steps), setting.device) for _ in range(3))


def moving(network: torch.nn.Module, **options: Any) -> VelocityVerlet:
    """One aspirin that moves."""
    from ase import Atoms, units
    from ase.md.velocitydistribution import thermalize_momenta
    from ase.md.verlet import VelocityVerlet

    from geqlib.calculators import GeqCalculator

    potential = Potential(network)
    seen = torch.zeros(119, dtype=torch.bool)
    seen[[1, 6, 8]] = True
    # forces of an untrained network, small enough to leave the molecule together
    potential.statistics.set(torch.zeros(119), seen, 1e-3, 0.0)
    start = molecule(ASPIRIN)
    atoms = Atoms(*start, calculator=GeqCalculator(potential, **options))
    thermalize_momenta(atoms, TEMPERATURE, rng=np.random.default_rng(0))
    return VelocityVerlet(atoms, 0.5 * units.fs)


def dynamics_columns(cuda: bool) -> tuple[Column, ...]:
    return Column("rate", "steps per second", "", ".0f"), Column(NOTE, "note")
