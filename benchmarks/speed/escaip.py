"""A training step of EScAIP on energies and forces, against the published form.

Protocol: 8 clouds of 64 atoms at the density of water (100 atoms per nm^3), neighbours within 6
angstrom, k = 30, 64 channels, 4 heads, 4 blocks, float32, one thread; energies, forces as their
derivatives, and the gradient of the mean squared force, with the same weights for both. Pairs
within the cutoff are listed before for geqlib, which selects those that count in every step; the
published form searches all pairs in every step. Medians of an interleaved run of {rounds} rounds.
Peak memory is the rise of a fresh process's maximum resident size over one step, after a step on
two clouds of four atoms that loads all code.

    python benchmarks/speed/escaip.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.peers.escaip_direct import DirectEScAIP
from benchmarks.provenance import start
from benchmarks.rows import Table, measured
from benchmarks.step_comparison import measured_steps, printed_memory, step_table
from benchmarks.tables import publish
from geqlib.graph import neighbor_list
from geqlib.models import EScAIP, Potential, energy_forces

ROUNDS = 9
SIZES: dict[str, Any] = {"channels": 64, "layers": 4, "heads": 4}
DENSITY = 0.1  # atoms per cubic angstrom


def steps(
    atoms: int = 64, molecules: int = 8, sizes: dict[str, Any] = SIZES
) -> dict[str, Callable[[], Tensor]]:
    """One training step of each implementation, returning the forces."""
    torch.manual_seed(0)
    side = (atoms / DENSITY) ** (1 / 3)
    pos = side * torch.rand(atoms * molecules, 3)
    batch = torch.arange(molecules).repeat_interleave(atoms)
    model = EScAIP(16, 1, **sizes, cutoff=6.0, k=30)
    edge_index = neighbor_list(pos, model.cutoff, batch=batch).edge_index
    fields = {"pos": pos, "z": torch.randint(1, 9, batch.shape), "edge_index": edge_index}
    fields |= {"batch": batch, "num_graphs": molecules}
    ours = Potential(model)
    theirs = Potential(DirectEScAIP(model))
    theirs.embedding = ours.embedding

    def step(potential: nn.Module) -> Tensor:
        model.zero_grad(set_to_none=True)
        forces = energy_forces(potential, **fields, create_graph=True)["forces"]  # type: ignore
        forces.square().mean().backward()
        return forces.detach()

    return {
        "geqlib": lambda: step(ours),
        "published form": lambda: step(theirs),
    }


def main() -> None:
    torch.set_num_threads(1)
    if printed_memory(steps, lambda: steps(atoms=4, molecules=2)):
        return
    runs = steps()
    one, other = (run() for run in runs.values())
    settings = {"force difference": float((one - other).abs().max() / other.abs().max())}
    table = compared(*measured_steps(__file__, runs, ROUNDS))
    publish(measured("speed/escaip", __doc__, [table], settings))


def compared(seconds: dict[str, float], memory: dict[str, float]) -> Table:
    title = "a training step on energies and forces"
    return step_table(title, seconds, memory, "forces and gradients")


if __name__ == "__main__":
    start(main)
