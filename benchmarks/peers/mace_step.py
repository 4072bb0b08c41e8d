"""Steps of an untrained MACE in its own environment, on request: for benchmarks/gpu.py.

Started as `python -P mace_step.py STRUCTURES.xyz DEVICE train|evaluate CHANNELS`. After "ready" it
answers every line that comes in with one line of JSON: {"seconds": ...} to "time CALLS",
{"value": ...} to "launches" and "memory", {"error": ...} if something fails.
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


def answer(line: str, run: Callable[[], Any], device: torch.device) -> dict[str, Any]:
    command, *numbers = line.split()
    try:
        if command == "time":
            return {"seconds": seconds_of(run, device, int(numbers[0]))}
        if command == "launches":
            return {"value": launches(run, device)}
        return {"value": peak_mebibytes(run, device)}
    except Exception as error:
        return {"error": reason(error)}


def say(content: Any) -> None:
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


def main(structures: str, device: str, task: str, channels: str) -> None:
    where = torch.device(device)
    run = step(structures, where, task == "train", int(channels))
    run()
    say("ready")
    for line in sys.stdin:
        say(answer(line, run, where))


if __name__ == "__main__":
    main(*sys.argv[1:])
