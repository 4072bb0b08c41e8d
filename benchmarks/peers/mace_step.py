"""Steps of an untrained MACE in its own environment, on request: for benchmarks/gpu.py.

Started as `python -P mace_step.py DEVICE CHANNELS`. It answers every line that comes in with one
line of JSON: to "prepare STRUCTURES.xyz train|evaluate", which makes the step of the lines that
follow, {"ready": true}, to "time" {"seconds": ...}, to "launches" and "memory" {"value": ...}, and
{"error": ...} if something fails.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.io import read
from mace import data, modules, tools
from mace.tools import torch_geometric

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.device.timing import launches, peak_mebibytes, reason, seconds_of

CUTOFF = 5.0
ELEMENTS = (1, 6, 7, 8)


def network(channels: int) -> torch.nn.Module:
    """As in MACE's 3BPA example: max_ell 3, correlation 3, two interactions."""
    from e3nn import o3  # after mace, which lets torch read its tables

    torch.manual_seed(0)
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    return modules.ScaleShiftMACE(
        r_max=CUTOFF,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=2,
        num_elements=len(ELEMENTS),
        hidden_irreps=o3.Irreps(f"{channels}x0e + {channels}x1o"),
        MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=np.zeros(len(ELEMENTS)),
        avg_num_neighbors=16.0,
        atomic_numbers=list(ELEMENTS),
        correlation=3,
        gate=torch.nn.functional.silu,
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )


def step(structures: str, device: torch.device, train: bool, channels: int) -> Callable[[], Any]:
    """Energies and forces, and in training the gradient of their squares."""
    atoms = read(structures, ":")
    table = tools.AtomicNumberTable(list(ELEMENTS))
    graphs = [
        data.AtomicData.from_config(config, z_table=table, cutoff=CUTOFF)
        for config in (data.config_from_atoms(a) for a in atoms)
    ]
    loader = torch_geometric.dataloader.DataLoader(graphs, batch_size=len(graphs), shuffle=False)
    batch = next(iter(loader)).to(device).to_dict()
    model = network(channels).to(device)
    parameters = list(model.parameters())

    def run() -> Any:
        for parameter in parameters:
            parameter.grad = None
        out = model(batch, training=train, compute_force=True)
        if not train:
            return out["forces"].detach()
        loss = out["energy"].square().mean() + out["forces"].square().mean()
        loss.backward()
        return loss.detach()

    return run


class Answers:
    """Steps of one device and width, on request."""

    def __init__(self, device: torch.device, channels: int) -> None:
        self.device, self.channels = device, channels
        self.run: Callable[[], Any] = lambda: None

    def __call__(self, command: str, *words: str) -> dict[str, Any]:
        if command == "prepare":
            structures, task = words
            self.run = step(structures, self.device, task == "train", self.channels)
            self.run()
            return {"ready": True}
        if command == "time":
            return {"seconds": seconds_of(self.run, self.device)}
        measure = launches if command == "launches" else peak_mebibytes
        return {"value": measure(self.run, self.device)}


def main(device: str, channels: str) -> None:
    answers = Answers(torch.device(device), int(channels))
    for line in sys.stdin:
        try:
            reply = answers(*line.split())
        except Exception as error:
            reply = {"error": reason(error)}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
