"""MACE by its own command, for a number of epochs: in its own environment, `make peers`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.io import write

from benchmarks.measure import processor_seconds

BIN = Path(".peers/mace/bin")
DECAYS = (1.0, 0.1, 1e-2)  # of the learning rate over all epochs
TIMED = 3  # epochs
# of the 3BPA example, smaller: 32x0e + 32x1o, correlation 3, two interactions
SETTINGS = {
    "model": "ScaleShiftMACE",
    "hidden_irreps": "32x0e + 32x1o",
    "max_ell": 2,
    "correlation": 3,
    "num_interactions": 2,
    "r_max": 5.0,
    "batch_size": 5,
    "valid_batch_size": 50,
    "lr": 0.01,
    "weight_decay": 5e-7,
    "energy_weight": 1,
    "forces_weight": 1000,
    "scaling": "rms_forces_scaling",
    "ema_decay": 0.99,
    "eval_interval": 1,
    "error_table": "TotalRMSE",
    "default_dtype": "float32",
    "device": "cpu",
    "energy_key": "REF_energy",
    "forces_key": "REF_forces",
}


def available() -> bool:
    """Whether `make peers` was run."""
    return (BIN / "mace_run_train").exists()


def frames(data: Any, split: str, name: str = "Default") -> list[Atoms]:
    """A split of a `MoleculeData` under the keys of `SETTINGS`; MACE reports errors by `name`."""
    structures = [data.atoms(k, split) for k in data.splits[split].index.tolist()]
    for atoms in structures:
        atoms.info["config_type"] = name
    return structures


def epoch_seconds(
    folder: Path, splits: dict[str, list[Atoms]], energies: dict[int, float]
) -> float:
    """Processor seconds of an epoch with its validation, from the last `TIMED` of a short run."""
    curve = _timed(folder, _command(folder, splits, energies, TIMED + 1, DECAYS[0]))
    return 60 * (curve[-1][0] - curve[0][0]) / TIMED


def best_of_decays(
    folder: Path,
    splits: dict[str, list[Atoms]],
    energies: dict[int, float],
    epochs: int,
    seed: int = 1,
) -> dict[str, Any]:
    """`train` with each of `DECAYS`, in folders of their own: that of least validation error.

    Errors of all are printed.
    """
    runs = [train(folder / f"decay-{d:g}", splits, energies, epochs, d, seed) for d in DECAYS]
    for run in runs:
        error = min(error for _, error in run["curve"])
        sys.stdout.write(f"decay {run['decay']:g}: validation {error}, test {run['test']}\n")
    return min(runs, key=lambda run: min(error for _, error in run["curve"]))


def train(
    folder: Path,
    splits: dict[str, list[Atoms]],
    energies: dict[int, float],
    epochs: int,
    decay: float,
    seed: int = 1,
) -> dict[str, Any]:
    """Train for some epochs, then test that of least validation loss with averaged weights.

    The learning rate falls by one factor an epoch, to `decay` of its first value at the end.

    Args:
        folder: of the run, relative to the current one; results.json ends up there.
        splits: "train", "val" and "test".
        energies: of isolated atoms.
        epochs: of training.
        decay: of the learning rate over all of them.
        seed: of the weights and the order of the data.

    Returns:
        "curve", rows of (CPU minutes, force RMSE in meV/angstrom on the validation frames), and
        "test", by name the RMSE of energies in meV and of forces in meV/angstrom.
    """
    outcome = folder / "results.json"
    if outcome.exists():
        return json.loads(outcome.read_text())
    curve = _timed(folder, _command(folder, splits, energies, epochs, decay, seed))
    # the command has loaded the best checkpoint and written its table of errors
    result = {
        "curve": curve,
        "epochs": epochs,
        "decay": decay,
        "test": _errors((folder / "train.log").read_text()),
    }
    outcome.write_text(json.dumps(result, indent=1))
    return result


def _command(
    folder: Path,
    splits: dict[str, list[Atoms]],
    energies: dict[int, float],
    epochs: int,
    decay: float,
    seed: int = 1,
) -> list[str]:
    command = [str((BIN / "mace_run_train").absolute()), "--name=mace", "--ema", "--amsgrad"]
    command += [f"--{key}={value}" for key, value in (SETTINGS | {"seed": seed}).items()]
    names = {"train": "train_file", "val": "valid_file", "test": "test_file"}
    folder.mkdir(parents=True, exist_ok=True)
    for part, option in names.items():
        write(folder / f"{part}.xyz", splits[part], format="extxyz")
        command.append(f"--{option}={part}.xyz")
    command += [f"--E0s={energies}", f"--max_num_epochs={epochs}", "--scheduler=ExponentialLR"]
    return [*command, f"--lr_scheduler_gamma={decay ** (1 / epochs):.8f}"]


def _timed(folder: Path, command: list[str]) -> list[list[float]]:
    """Run on one thread; CPU minutes since training began and force errors of all validations."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    curve: list[list[float]] = []
    start = None
    pipe: Any = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with (
        (folder / "train.log").open("w") as log,
        subprocess.Popen(command, cwd=folder, env=environment, **pipe) as run,
    ):
        for line in run.stdout or ():
            log.write(line)
            epoch = re.search(r"Epoch (\d+):.*RMSE_F=\s*([\d.]+)", line)
            if start is None and "Initial" in line:
                start = processor_seconds(run.pid)
            if epoch and start is not None:
                minutes = (processor_seconds(run.pid) - start) / 60
                curve.append([minutes, float(epoch[2])])
    if run.returncode:
        raise ValueError(f"MACE failed: {folder / 'train.log'} says why.")
    return curve


def _errors(log: str) -> dict[str, list[float]]:
    """The rows of MACE's tables, by the names that `frames` gave."""
    cells = r"^\|\s*(\S+)_Default\s*\|\s*([\d.]+)\s*\|\s*([\d.]+)"
    rows = re.findall(cells, log, re.MULTILINE)
    return {name: [float(energy), float(forces)] for name, energy, forces in rows}
