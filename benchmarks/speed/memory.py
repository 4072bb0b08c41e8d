"""Memory of a training step by size: what fits on a device.

Protocol: float32, forward and backward of the mean squared output, CPU; the rise of the resident
size over a step, in one process that gives freed memory back at once, after a step that loads all
code; parameters' gradients are part of it. PONITA on graphs of 20 points and all 380 edges, 12
orientations, 4 layers; GauntNet on the forces of molecules of 20 atoms, differentiated twice;
SPEN on random graphs of 20 nodes and 40 edges, 4 layers.

    python benchmarks/speed/memory.py
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.measure import in_own_process, peak_memory
from benchmarks.provenance import start
from benchmarks.rows import Column, Row, Table, measured
from benchmarks.tables import publish
from geqlib.models import PONITA, SPEN, GauntNet, Potential, energy_forces
from geqlib.nn import LogGaussianBasis

NODES, EDGES = 20, 40
GRAPHS = (8, 32)
COLUMNS = (
    *(Column(f"{graphs} graphs", f"{graphs} graphs", "MiB", ".0f") for graphs in GRAPHS),
    Column("parameters", "parameters"),
)
Step = Callable[[], Tensor]


def ponita(channels: int, **options: Any) -> Callable[[int], tuple[nn.Module, Step]]:
    def make(graphs: int) -> tuple[nn.Module, Step]:
        net = PONITA(1, 0, 1, 0, channels=channels, **options)
        pos, edge_index = torch.randn(graphs * NODES, 3), complete(graphs)
        return net, lambda: net(pos, edge_index, x=torch.ones(len(pos), 1))[0].square().mean()

    return make


def gaunt(channels: int) -> Callable[[int], tuple[nn.Module, Step]]:
    def make(graphs: int) -> tuple[nn.Module, Step]:
        net = Potential(GauntNet([6], channels=channels, cutoff=10.0))
        pos = 2.0 * torch.randn(graphs * NODES, 3)
        z = torch.full((len(pos),), 6)
        batch = torch.arange(graphs).repeat_interleave(NODES)

        def step() -> Tensor:
            outputs = energy_forces(
                net, pos, z, complete(graphs), batch=batch, num_graphs=graphs, create_graph=True
            )
            return outputs["forces"].square().mean()

        return net, step

    return make


def spen(channels: int, **options: Any) -> Callable[[int], tuple[nn.Module, Step]]:
    def make(graphs: int) -> tuple[nn.Module, Step]:
        net = SPEN(1, 2, channels=channels, **options)
        drawn = [nx.gnm_random_graph(NODES, EDGES, seed=seed) for seed in range(graphs)]
        whole = nx.disjoint_union_all(drawn).to_directed()
        edge_index = torch.tensor(list(whole.edges())).T.contiguous()
        batch = torch.arange(graphs).repeat_interleave(NODES)
        x = torch.ones(len(batch), 1)
        return net, lambda: net(x, edge_index, batch=batch, num_graphs=graphs).square().mean()

    return make


MAKERS = {
    "PONITA, 32 channels": ponita(32),
    "PONITA, 128 channels": ponita(128),
    "PONITA, 128 channels, factored": ponita(128, factored=True, radial=LogGaussianBasis()),
    "GauntNet, 16 channels": gaunt(16),
    "GauntNet, 64 channels": gaunt(64),
    "SPEN, 32 channels": spen(32),
    "SPEN, 32 channels, symmetric": spen(32, symmetric=True),
}


def complete(graphs: int) -> Tensor:
    """All pairs of different nodes of each graph."""
    pairs = torch.nonzero(1 - torch.eye(NODES)).T
    shift = NODES * torch.arange(graphs).repeat_interleave(pairs.size(1))
    return pairs.repeat(1, graphs) + shift


def measure(name: str) -> dict[str, Any]:
    torch.manual_seed(0)
    row: dict[str, Any] = {}
    for graphs in (1, *GRAPHS):
        net, step = MAKERS[name](graphs)
        row[f"{graphs} graphs"] = peak_memory(lambda step=step: step().backward())
        row["parameters"] = sum(p.numel() for p in net.parameters())
    del row["1 graphs"]  # which loaded the code
    return row


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        sys.stdout.write(json.dumps({name: measure(name) for name in MAKERS}) + "\n")
        return
    publish(measured("speed/memory", __doc__, [compared(in_own_process(__file__, "--child"))]))


def compared(cells: dict[str, dict[str, float]]) -> Table:
    rows = tuple(Row((name,), of_model) for name, of_model in cells.items())
    return Table(("",), COLUMNS, rows, f"{GRAPHS[-1]} graphs")


if __name__ == "__main__":
    start(main)
