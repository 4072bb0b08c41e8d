"""MACE by its own command, for a given time: in its own environment, `make peers`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.io import write

from benchmarks.measure import processor_seconds

BIN = Path(".peers/mace/bin")
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
    "scheduler_patience": 50,
    "ema_decay": 0.99,
    "eval_interval": 1,
    "error_table": "TotalRMSE",
    "default_dtype": "float32",
    "device": "cpu",
    "seed": 1,
    "energy_key": "REF_energy",
    "forces_key": "REF_forces",
}


def available() -> bool:
    """Whether `make peers` was run."""
    return (BIN / "mace_run_train").exists()


def frames(data: Any, split: str, name: str = "Default") -> list[Atoms]:
    """A split of a `MoleculeData` under the keys of `SETTINGS`; MACE reports errors by `name`."""
    found = [data.atoms(k, split) for k in data.splits[split].index.tolist()]
    for atoms in found:
        atoms.info["config_type"] = name
    return found


def train(
    folder: Path, splits: dict[str, list[Atoms]], energies: dict[int, float], minutes: float
) -> dict[str, Any]:
    """Train for some minutes of processor time, then test the last checkpoint.

    Args:
        folder: of the run, relative to the current one; results.json ends up there.
        splits: "train", "val" and "test".
        energies: of isolated atoms.
        minutes: of processor time, summed over cores, after which training is stopped.

    Returns:
        "curve", rows of (minutes, force RMSE in meV/angstrom on the validation frames), and
        "test", by name the RMSE of energies in meV and of forces in meV/angstrom.
    """
    kept = folder / "results.json"
    if kept.exists():
        return json.loads(kept.read_text())
    command = [str((BIN / "mace_run_train").absolute()), "--name=mace", "--ema", "--amsgrad"]
    command += [f"--{key}={value}" for key, value in SETTINGS.items()]
    names = {"train": "train_file", "val": "valid_file", "test": "test_file"}
    folder.mkdir(parents=True, exist_ok=True)
    for part, option in names.items():
        write(folder / f"{part}.xyz", splits[part], format="extxyz")
        command.append(f"--{option}={part}.xyz")
    command.append(f"--E0s={energies}")
    epochs, curve = _timed(folder, [*command, "--max_num_epochs=2000"], minutes)
    # with as many epochs as are done it goes to the tests at once
    done = subprocess.run(
        [*command, f"--max_num_epochs={epochs}", "--restart_latest"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    (folder / "test.log").write_text(done.stdout + done.stderr)
    result = {
        "curve": curve,
        "epochs": epochs,
        "minutes": minutes,
        "test": _errors(done.stdout + done.stderr),
    }
    kept.write_text(json.dumps(result, indent=1))
    return result


def _timed(folder: Path, command: list[str], minutes: float) -> tuple[int, list[list[float]]]:
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    curve: list[list[float]] = []
    epoch, start, passed = 0, None, 0.0
    with (folder / "train.log").open("w") as log:
        run = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for line in run.stdout or ():
            log.write(line)
            found = re.search(r"Epoch (\d+):.*RMSE_F=\s*([\d.]+)", line)
            if start is None and "Initial" in line:
                start = processor_seconds(run.pid)
            if found and start is not None:
                passed = (processor_seconds(run.pid) - start) / 60
                epoch = int(found[1])
                curve.append([passed, float(found[2])])
                if passed >= minutes:
                    run.send_signal(signal.SIGKILL)
        run.wait()
    return epoch, curve


def _errors(log: str) -> dict[str, list[float]]:
    """The rows of MACE's tables, by the names that `frames` gave."""
    cells = r"^\|\s*(\S+)_Default\s*\|\s*([\d.]+)\s*\|\s*([\d.]+)"
    rows = re.findall(cells, log, re.MULTILINE)
    return {name: [float(energy), float(forces)] for name, energy, forces in rows}
