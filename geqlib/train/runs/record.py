"""The files of a run beside its checkpoints: fit.json, results.json, predictions."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning as L
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.extxyz import write_xyz
from ase.stress import full_3x3_to_voigt_6_stress
from lightning.pytorch.trainer.states import TrainerFn
from safetensors.torch import save_file
from torch import Tensor

from geqlib.data.shares import ShareOfBatches, is_padding
from geqlib.files.atomic import replace_file
from geqlib.files.plain import plain
from geqlib.train.runs.digests import test_set_digest
from geqlib.train.steps.processes import PredictedBatch, gathered, joined_predictions
from geqlib.train.steps.throughput import Throughput, graphs_of
from geqlib.train.tasks.label_checks import check_values


class RunRecord(L.Callback):
    """Records how long a run took, what it measured and what it predicted.

    fit.json: seconds of training in wall time and in processor time (all parts of a resumed run),
    epochs, steps, parameters, and steps and graphs per second of training since it was started or
    resumed, without validation; the metrics log both in minutes at every validation.
    results.json: metrics of the test split and a digest of it, baselines on it where the data
    module has `baselines()`, and the environment. predictions.safetensors: what `predict_step`
    returned; predictions.xyz: the same for energies and forces, where the data module has
    `atoms(index)`.

    Of several processes the first writes, when it has what all have measured and predicted; the
    others wait until it has. Processor time is that of all of them.

    Args:
        folder: of the run.
        seed: of the run.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.before = (0.0, 0.0)
        self.started: tuple[float, float] | None = None
        self.others = 0.0  # processor time of the other processes
        self.speed = Throughput()
        self.first_step = 0
        self.predictions: list[PredictedBatch] = []

    def state_dict(self) -> dict[str, Any]:
        seconds, processor = self._elapsed()
        return {"seconds": seconds, "processor_seconds": processor}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # checkpoints of the first versions do not have the second
        self.before = (state_dict["seconds"], state_dict.get("processor_seconds", 0.0))

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # of data modules and tasks that are not of this library: before training, not after it
        for holder in (pl_module, getattr(trainer, "datamodule", None)):
            for name, value in getattr(holder, "hparams", {}).items():
                plain(value, f"The argument {name} of {type(holder).__name__}", tensors=True)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.started = _clocks()
        self.speed, self.first_step = Throughput(), trainer.global_step

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.speed.begin()
        self.speed.count(graphs_of(batch) * trainer.world_size)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.speed.pause()

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking and self.started:
            self._ask_others(trainer)
            seconds, processor = self._elapsed()
            pl_module.log("minutes", seconds / 60)
            pl_module.log("processor_minutes", processor / 60)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self.speed.pause()
        self._ask_others(trainer)
        seconds, processor = self._elapsed()
        self._write(
            trainer,
            "fit.json",
            {
                "seconds": round(seconds, 1),
                "processor_seconds": round(processor, 1),
                "epochs": trainer.current_epoch,
                "steps": trainer.global_step,
                "parameters": sum(p.numel() for p in pl_module.parameters() if p.requires_grad),
                **self.speed.rates(trainer.global_step - self.first_step),
            },
        )

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.speed.pause()
        if trainer.state.fn == TrainerFn.VALIDATING:
            check_shares(trainer, trainer.val_dataloaders)

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        check_shares(trainer, trainer.test_dataloaders)

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        check_shares(trainer, trainer.predict_dataloaders)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.VALIDATING:
            check_values("val", trainer.callback_metrics)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        check_values("test", trainer.callback_metrics)
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        fit = self.folder / "fit.json"
        data = trainer.datamodule  # type: ignore[attr-defined]
        self._write(
            trainer,
            "results.json",
            {
                "name": self.folder.name,
                "seed": self.seed,
                "task": type(pl_module).__name__,
                "model": type(getattr(pl_module, "model", pl_module)).__name__,
                "data": type(data).__name__,
                "metrics": {k: float(v) for k, v in trainer.callback_metrics.items()},
                "units": metric_units(pl_module, data),
                "baselines": _baselines(data),
                "test_set": test_set_digest(data),
                "limit_test_batches": trainer.limit_test_batches,  # type: ignore[attr-defined]
                "fit": json.loads(fit.read_text()) if fit.exists() else {},
                "environment": environment(),
            },
        )

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not is_padding(batch):
            tensors = {key: value.cpu() for key, value in outputs.items()}
            self.predictions.append(PredictedBatch(dataloader_idx, batch.num_graphs, tensors))

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        shares, self.predictions = gathered(self.predictions), []
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        if shares is not None:
            whole = joined_predictions(shares)
            path = self.folder / "predictions.safetensors"
            data = getattr(trainer, "datamodule", None)
            names = predicted_names(data, whole)
            replace_file(path, lambda part: save_file(whole, part, names))
            write_structures(self.folder / "predictions.xyz", data, whole)
        trainer.strategy.barrier("predictions")

    def _ask_others(self, trainer: L.Trainer) -> None:
        """Learn the processor time of the other processes; all of them must call it."""
        if self.started is not None and trainer.world_size > 1:
            own = _clocks()[1] - self.started[1]
            total = trainer.strategy.reduce(torch.tensor(own).double(), reduce_op="sum")
            self.others = float(total) - own

    def _elapsed(self) -> tuple[float, float]:
        if self.started is None:
            return self.before
        now = _clocks()
        wall, processor = (
            b + n - s for b, n, s in zip(self.before, now, self.started, strict=True)
        )
        return wall, processor + self.others

    def _write(self, trainer: L.Trainer, name: str, content: dict[str, Any]) -> None:
        if trainer.is_global_zero:
            text = json.dumps(content, indent=1)
            replace_file(self.folder / name, lambda part: part.write_text(text))
        trainer.strategy.barrier(name)  # the next step of a sweep looks for the file


def predicted_names(data: Any, predictions: Mapping[str, Tensor]) -> dict[str, str]:
    """Names of graphs, of the columns of targets, of their units and of classes, for the header of
    a file.

    Args:
        data: the data module, which has `targets`, `classes`, `units` or a method `identifiers()`
            that names every graph that can be an "index".
        predictions: of its test split.
    """
    names: dict[str, Any] = {}
    if hasattr(data, "identifiers") and "index" in predictions:
        identifiers = data.identifiers()
        names["names"] = [identifiers[k] for k in predictions["index"].tolist()]
    for name in ("targets", "classes"):
        if isinstance(value := getattr(data, name, None), list):
            names[name] = list(map(str, value))
    if units := getattr(data, "units", None):
        names["units"] = dict(units)
    return {name: json.dumps(value) for name, value in names.items()}


def check_shares(trainer: L.Trainer, loaders: Any) -> None:
    """Raise a ValueError if several processes would evaluate some graphs twice."""
    if trainer.world_size == 1:
        return
    for loader in loaders if isinstance(loaders, (list, tuple)) else [loaders]:
        if not isinstance(getattr(loader, "sampler", None), ShareOfBatches):
            raise ValueError(
                f"{type(trainer.datamodule).__name__} does not share its graphs out among "  # type: ignore[attr-defined]
                f"{trainer.world_size} processes, so that some would count twice: run this with "
                "--trainer.devices 1, or derive the data module from "
                "geqlib.data.loaders.SplitLoaders."
            )


def write_structures(path: Path, data: Any, predictions: Mapping[str, Tensor]) -> bool:
    """Write the structures of a test set with their predictions as extended XYZ, one at a time.

    Predictions are called `energy`, `forces` and `stress`, which ASE reads as results; labels
    `REF_energy`, `REF_forces` and so on; standard deviations `energy_std` and `forces_std`, where
    the potential is calibrated; dipoles and polarisabilities `dipole` and `polarisability`. All are
    in eV, e and angstrom. Structures without a volume have no stress. What the files say of a
    structure under other keys, such as `config_type`, goes with it.

    Args:
        path: of the file.
        data: the data module; without a method `atoms(index)` nothing is written.
        predictions: "energy" [G], "index" [G] of the frame, "forces" [N, 3], "batch" [N] and
            optionally "stress" [G, 3, 3].

    Returns:
        Whether there was anything to write.
    """
    if not hasattr(data, "atoms") or not {"energy", "index", "batch"} <= predictions.keys():
        return False
    replace_file(path, lambda part: _write(part, _predicted(data, predictions)))
    return True


def _write(path: Path, structures: Iterator[Atoms]) -> None:
    with path.open("w") as file:
        for atoms in structures:
            write_xyz(file, [atoms])


def _predicted(data: Any, predictions: Mapping[str, Tensor]) -> Iterator[Atoms]:
    energy, index = predictions["energy"].tolist(), predictions["index"].tolist()
    # the atoms of a structure follow each other in all arrays
    sizes = predictions["batch"].bincount(minlength=len(index)).tolist()
    forces = predictions["forces"].double().split(sizes) if "forces" in predictions else None
    deviations = predictions["forces_std"].split(sizes) if "forces_std" in predictions else None
    infos = data.infos() if hasattr(data, "infos") else None
    for k, number in enumerate(index):
        atoms = data.atoms(number)
        if infos is not None:
            atoms.info = {**infos[number], **atoms.info}
        # nine numbers, which ASE writes as such, and reads as a matrix
        for name in ("REF_stress", "REF_polarisability"):
            if name in atoms.info:
                atoms.info[name] = atoms.info[name].ravel()
        results: dict[str, Any] = {"energy": energy[k]}
        if forces is not None:
            results["forces"] = forces[k].numpy()
        if "stress" in predictions and atoms.cell.rank == 3:
            matrix = predictions["stress"][k].double().numpy()
            results["stress"] = full_3x3_to_voigt_6_stress(matrix)
        if "dipole" in predictions and not predictions["dipole"][k].isnan().any():
            results["dipole"] = predictions["dipole"][k].double().numpy()
        atoms.calc = SinglePointCalculator(atoms, **results)
        if "polarisability" in predictions:
            matrix = predictions["polarisability"][k].double().numpy()
            atoms.info["polarisability"] = matrix.ravel()  # as ASE writes nine numbers
        if "energy_std" in predictions:
            atoms.info["energy_std"] = float(predictions["energy_std"][k])
        if deviations is not None:
            atoms.arrays["forces_std"] = deviations[k].numpy()
        yield atoms


def _clocks() -> tuple[float, float]:
    """Wall time and processor time of all threads, in seconds."""
    return time.perf_counter(), time.process_time()


def environment() -> dict[str, str]:
    """Versions, machine and commit that a number was measured with."""
    packages = ("torch", "torch-geometric", "lightning", "geqlib")
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "threads": str(torch.get_num_threads()),
        "commit": _commit(),
    }


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def metric_units(task: Any, data: Any) -> dict[str, str]:
    """Units of metrics: those of the task, and of errors those of the data."""
    errors = ("mae", "rmse")
    unit, units = getattr(data, "unit", None), getattr(data, "units", None) or {}
    if len(getattr(data, "targets", ())) == 1:
        unit, units = next(iter(units.values()), unit), {}
    named = {f"{error}_{target}": own for target, own in units.items() for error in errors}
    single = dict.fromkeys(errors, unit) if isinstance(unit, str) else {}
    return named | single | dict(getattr(task, "units", {}))


def _baselines(data: Any) -> dict[str, dict[str, float]]:
    errors = data.baselines() if hasattr(data, "baselines") else {}
    return {
        name: {"mse": float(e.mean()), "median": float(e.median())} for name, e in errors.items()
    }
