"""Runs on several processes and on one, for `test_two_processes.py`; in a process of its own,
because processes cannot be forked from one that has taken derivatives."""

from __future__ import annotations

import csv
import json
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import networkx as nx
import torch
from safetensors.torch import load_file

from geqlib.data import GraphData, MoleculeData, MultitaskData, NBodyData, SetData, SubsetData
from geqlib.generation import Denoiser
from geqlib.models import PONITA, SPEN, EquiVSet, MonoidGNN, SetNetwork
from geqlib.train import (
    BitsTask,
    DisplacementTask,
    EnergyForces,
    GraphClassificationTask,
    MoleculeDiffusion,
    MultitaskTask,
    SubsetTask,
)
from geqlib.train.run import Run, fit, predict, test, validate

SMALL: dict[str, Any] = {"channels": 4, "layers": 1, "orientations": 4}


def energies(test: int, batch: int) -> Any:
    """Energies and forces of an odd number of structures of different sizes."""
    net = PONITA(4, 0, 1, 0, cutoff=3.5, **SMALL)
    keys = {"energy_key": "E", "forces_key": "F", "cutoff": 3.5}
    data = MoleculeData("frames.xyz", 3, test, eval_batch_size=batch, batch_size=8, **keys)
    return EnergyForces(net), data


def motion(test: int, batch: int) -> Any:
    """A median, for which each process holds a list."""
    net = PONITA(1, 1, 0, 1, **SMALL)
    sizes = {"train": 20, "val": 4, "test": test}
    data = NBodyData(batch, **sizes, input_frame=3, target_frame=5)
    return DisplacementTask(net), data


def sets(test: int, batch: int) -> Any:
    """Several test sets."""
    sizes = {"train": 8, "val": 2, "test": test, "test_sizes": (3, 20_000)}
    return BitsTask(SetNetwork(4, "max")), SetData(batch, **sizes)


def several(test: int, batch: int) -> Any:
    """Metrics that are made when the first batch comes."""
    net = MonoidGNN(2, "max", out_node=3, out_graph=3, channels=4, layers=1)
    data = MultitaskData(batch, train=1, val=1, test=test, starts=(15, 20))
    return MultitaskTask(net), data


def classes(batch: int) -> Any:
    """Two sets that are measured after each epoch, of 5 and 7 graphs."""
    graphs = [shape(3 + k % 3) for k in range(18) for shape in (nx.cycle_graph, nx.path_graph)]
    options = {"batch_size": batch, "num_folds": 5, "validation": 0.17}
    data = GraphData.from_networkx(graphs[:35], ([0, 1] * 18)[:35], **options)
    return GraphClassificationTask(SPEN(2, 2, channels=4, layers=1), 2), data


def drawn(samples: int) -> Any:
    """Molecules that are drawn as a metric, each process its share."""

    def make(test: int, batch: int) -> Any:
        network = PONITA(5, 1, 4, 1, **SMALL)
        denoiser = Denoiser(network, ["H", "C", "N", "O"])
        task = MoleculeDiffusion(denoiser, samples=samples, steps=2, sigma_max=2.0)
        task.histogram = {2: 1, 5: 1}
        options = {"forces_key": None, "energy_key": "E", "molecules": True}
        return task, MoleculeData("frames.xyz", 3, test, eval_batch_size=batch, **options)

    return make


def chosen(test: int, batch: int) -> Any:
    sizes = {"size": 6, "chosen": 2, "test_sizes": (6, 9)}
    data = SubsetData("moons", batch, train=4, val=2, test=test, **sizes)
    return SubsetTask(EquiVSet(2, 4, hidden=4, background="superset")), data


CASES = {
    "molecules that are drawn": (drawn(5), 3, 2, 2),
    "fewer molecules than processes": (drawn(1), 4, 2, 3),
    "subsets": (chosen, 5, 2, 2),
    "energies, remainder": (energies, 5, 2, 2),
    "energies, batches of one": (energies, 3, 1, 2),
    "energies, fewer than processes": (energies, 1, 2, 2),
    "motion, three processes": (motion, 7, 2, 3),
    "motion, fewer than processes": (motion, 1, 2, 3),
    "sets": (sets, 3, 2, 2),
    "several targets": (several, 1, 2, 2),
}


def measured(name: str, folder: Path, processes: int) -> dict[str, Any]:
    """Metrics of the test split; predictions are written into the folder."""
    make, count, batch, _ = CASES[name]
    L.seed_everything(0, verbose=False)
    task, data = make(count, batch)
    checkpoint = folder / f"{name}.ckpt"
    run = Run(task, data, options(folder / f"{name} on {processes}", processes))
    if not checkpoint.exists():
        trainer = L.Trainer(**options(folder, 1), max_epochs=0, logger=False)
        trainer.fit(task, data)
        trainer.save_checkpoint(checkpoint)
    metrics = test(run, checkpoint)
    predict(run, checkpoint)
    return metrics


def options(folder: Path, processes: int) -> dict[str, Any]:
    several = {"devices": processes, "strategy": "ddp_fork"} if processes > 1 else {"devices": 1}
    return {"default_root_dir": str(folder), "accelerator": "cpu", **QUIET, **several}


QUIET = {"enable_progress_bar": False, "enable_model_summary": False}


def fitted(folder: Path) -> dict[str, Any]:
    """Metrics after an epoch on two processes, and those of its checkpoint on one."""
    L.seed_everything(0, verbose=False)
    task, data = classes(4)
    trainer = options(folder / "fit", 2) | {"max_epochs": 1}
    run = fit(Run(task, data, trainer, monitor="val/loss"))
    with (folder / "fit" / "metrics" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    logged = {key: float(value) for row in rows for key, value in row.items() if value}
    task, data = classes(4)
    alone = Run(task, data, options(folder / "alone", 1), monitor="val/loss")
    return {"several": logged, "one": validate(alone, run.folder / "checkpoints" / "last.ckpt")}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    results: dict[str, Any] = {"fit": fitted(folder)}
    for several in (True, False):  # derivatives in this process come last
        for name, (*_, processes) in CASES.items():
            number = processes if several else 1
            metrics = measured(name, folder, number)
            tensors = load_file(folder / f"{name} on {number}" / "predictions.safetensors")
            results.setdefault(name, []).append(
                {"metrics": metrics, "predictions": {k: v.tolist() for k, v in tensors.items()}}
            )
    (folder / "results.json").write_text(json.dumps(results))
