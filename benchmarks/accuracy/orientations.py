"""Equivariance of a denoiser that works on a grid of orientations, under any rotation.

Protocol: PONITA of {channels} channels and {layers} layers, untrained, with
outputs that are not 0, in float64, on {molecules} molecules of {atoms} atoms at random places of a
box of 3 angstrom. Error: largest difference between the outputs of the turned molecule and the
turned outputs, over the largest output; over every fourth rotation of the icosahedron, for which
grids of 12 and 20 are exact, and over {rotations} random ones. `space: R3` has no orientations, and
GauntNet none either.

    python benchmarks/accuracy/orientations.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.provenance import start
from benchmarks.rows import Column, Row, Table, measured
from benchmarks.tables import publish
from geqlib.generation import DenoisingGauntNet
from geqlib.graph.complete import complete_graphs
from geqlib.models import PONITA
from geqlib.sphere.grids import rotation_group
from geqlib.symmetry.rotations import random_rotations

CHANNELS, LAYERS = 32, 5
MOLECULES, ATOMS, ROTATIONS = 2, 18, 16
ORIENTATIONS = (12, 20, 120)
COLUMNS = (
    Column("icosahedral", "rotations of the icosahedron", "", ".1e"),
    Column("all", "all rotations", "", ".1e"),
    Column("mean", "all rotations, mean", "", ".1e"),
)


def main() -> None:
    own = rotation_group("icosahedral").double()[::4]
    torch.manual_seed(0)
    every = random_rotations(ROTATIONS, 3, dtype=torch.float64)
    rows = []
    for name, network in networks().items():
        exact, free = errors(network, own), errors(network, every)
        cells = {"icosahedral": max(exact), "all": max(free), "mean": sum(free) / len(free)}
        rows.append(Row((name,), cells))
    table = Table(("network",), COLUMNS, tuple(rows), "all")
    publish(measured("accuracy/orientations", __doc__, [table]))


def networks() -> dict[str, nn.Module]:
    """Untrained, by what the table calls them."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"channels": CHANNELS, "basis": CHANNELS // 2, "layers": LAYERS}
    denoisers: dict[str, nn.Module] = {
        f"PONITA, {count} orientations": PONITA(6, 1, 5, 1, **sizes, orientations=count)
        for count in ORIENTATIONS
    }
    denoisers["PONITA, space R3"] = PONITA(6, 1, 5, 1, **sizes, space="R3")
    denoisers["GauntNet"] = DenoisingGauntNet(6, 5, channels=16, layers=3, neighbors=float(ATOMS))
    return {name: network.double().eval() for name, network in denoisers.items()}


@torch.no_grad()
def errors(network: nn.Module, rotations: Tensor) -> list[float]:
    """Of each rotation [R, 3, 3]."""
    generator = torch.Generator().manual_seed(1)
    count = MOLECULES * ATOMS
    pos = 3 * torch.rand(count, 3, generator=generator, dtype=torch.float64)
    x = torch.randn(count, 6, generator=generator, dtype=torch.float64)
    near = complete_graphs(ATOMS * torch.arange(MOLECULES + 1))
    fixed = {"x": x, "edge_index": near.edge_index, "reverse": near.reverse}

    def outputs(pos: Tensor) -> tuple[Tensor, Tensor]:
        scalars, vectors = network(pos=pos, vec=pos[:, None], **fixed)
        return scalars, vectors[:, 0]

    scalars, vectors = outputs(pos)
    largest = [float(part.abs().max()) for part in (scalars, vectors)]
    result = []
    for rotation in rotations:
        turned: Any = outputs(pos @ rotation.T)
        parts = turned[0] - scalars, turned[1] - vectors @ rotation.T
        result.append(
            max(float(p.abs().max()) / size for p, size in zip(parts, largest, strict=True))
        )
    return result


if __name__ == "__main__":
    start(main)
