"""A trained MACE in its own environment, on request: for benchmarks/peers/mace_calculator.py.

Started as `python -P mace_trained.py MODEL DTYPE`. It answers every line that comes in, a task and
what it is about in JSON, with a line that begins with "answer ": "structure" with energy, forces
and stress; "errors" of a file with that of energies per atom; "memory", of a file and the size of a
batch, with the most memory of three training steps above that before data and model were read.
"""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._dynamo  # before memory is counted, as it is on our side
from ase import Atoms
from ase.io import read
from mace import data, modules, tools
from mace.calculators import MACECalculator
from mace.tools import torch_geometric

CHECKOUT = Path(__file__).parents[2]
STEPS = 3


class Answers:
    """Of one model and type; the model is read when it is first needed."""

    def __init__(self, path: str, dtype: str) -> None:
        self.path, self.dtype = path, dtype
        self.calculator: MACECalculator | None = None

    def __call__(self, task: str, value: Any) -> dict[str, Any]:
        actions: dict[str, Callable[[Any], dict[str, Any]]] = {
            "structure": self.structure,
            "errors": self.errors,
            "memory": self.memory,
        }
        return actions[task](value)

    def structure(self, fields: dict[str, Any]) -> dict[str, Any]:
        atoms = Atoms(**fields, calculator=self._calculator())
        stress = atoms.get_stress().tolist() if atoms.pbc.all() else None
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        return {"energy": float(energy), "forces": forces.tolist(), "stress": stress}

    def errors(self, file: str) -> dict[str, Any]:
        """In meV per atom, by the numbers that MACE was given."""
        errors = []
        for atoms in read(file, ":"):
            energy = atoms.info["REF_energy"]
            atoms.calc = self._calculator()
            errors.append((atoms.get_potential_energy() - energy) / len(atoms))
        return {"energy": 1000 * float(np.sqrt(np.mean(np.square(errors))))}

    def memory(self, arguments: tuple[str, int]) -> dict[str, Any]:
        """As `benchmarks.training.step_memory`: of steps alone, without data and weights."""
        file, size = arguments
        module = runpy.run_path(str(CHECKOUT / "geqlib" / "train" / "steps" / "peak_memory.py"))
        model = torch.load(self.path, map_location="cpu", weights_only=False).train()
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        batches = cycle(list(islice(_loader(file, size, model), STEPS)))
        loss = modules.WeightedEnergyForcesLoss(1.0, 1000.0)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-6, amsgrad=True)
        memory = module["PeakMemory"]()
        for batch in islice(batches, STEPS):
            optimizer.zero_grad()
            loss(batch, model(batch.to_dict(), training=True, compute_force=True)).backward()
            optimizer.step()
        return {"mebibytes": memory.mebibytes()}

    def _calculator(self) -> MACECalculator:
        if self.calculator is None:
            self.calculator = MACECalculator(
                model_paths=self.path, device="cpu", default_dtype=self.dtype
            )
        return self.calculator


def _loader(file: str, size: int, model: Any) -> Any:
    """Batches of all structures of a file, whose graphs are made first, as MACE does."""
    keys = data.KeySpecification(
        info_keys={"energy": "REF_energy"}, arrays_keys={"forces": "REF_forces"}
    )
    table = tools.AtomicNumberTable([int(z) for z in model.atomic_numbers])
    cutoff = float(model.r_max)
    torch.set_default_dtype(torch.float32)
    graphs = [
        data.AtomicData.from_config(
            data.config_from_atoms(atoms, key_specification=keys), z_table=table, cutoff=cutoff
        )
        for atoms in read(file, ":")
    ]
    return iter(torch_geometric.dataloader.DataLoader(graphs, batch_size=size, shuffle=True))


def main(model: str, dtype: str) -> None:
    answers = Answers(model, dtype)
    for line in sys.stdin:
        task, value = json.loads(line)
        try:
            reply = answers(task, value)
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(f"answer {json.dumps(reply)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
