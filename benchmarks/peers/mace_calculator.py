"""A trained MACE as one of ASE's calculators here, which computes in its own environment."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from benchmarks.peers import mace

SCRIPT = Path(__file__).with_name("mace_trained.py")


class TrainedMACE(Calculator, AbstractContextManager["TrainedMACE"]):
    """A process that answers for one model, until the `with` block ends.

    Args:
        model: the file that MACE's command leaves.
        dtype: "float32" or "float64".

    Raises:
        ValueError: if the process ends, or says that it cannot compute something.
    """

    implemented_properties: Sequence[str] = ("energy", "free_energy", "forces", "stress")
    r_max = mace.SETTINGS["r_max"]

    def __init__(self, model: Path, dtype: str) -> None:
        super().__init__()
        python = (mace.BIN / "python").absolute()
        command = [str(python), "-P", str(SCRIPT), str(model), dtype]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, **pipes)

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def ask(self, task: str, value: Any) -> dict[str, Any]:
        """The answer to one of the tasks of benchmarks/peers/mace_trained.py."""
        process: Any = self.process
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps([task, value]) + "\n")
            process.stdin.flush()
        for line in process.stdout:
            if line.startswith("answer "):
                answer = json.loads(line.removeprefix("answer "))
                if "error" in answer:
                    raise ValueError(f"MACE cannot compute {task}: {answer['error']}")
                return answer
        raise ValueError(f"The process of MACE ended at {task}: its messages above say why.")

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Fill `results`: called by ASE."""
        super().calculate(atoms, list(properties), list(system_changes))
        structure: Any = self.atoms
        fields = {
            "numbers": structure.numbers.tolist(),
            "positions": structure.positions.tolist(),
            "cell": structure.cell.array.tolist(),
            "pbc": structure.pbc.tolist(),
        }
        answer = self.ask("structure", fields)
        self.results: dict[str, Any] = {
            "energy": answer["energy"],
            "free_energy": answer["energy"],
            "forces": np.array(answer["forces"]),
        }
        if answer["stress"] is not None:
            self.results["stress"] = np.array(answer["stress"])
