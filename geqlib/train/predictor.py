"""A trained model with all that its predictions need: its task, and how its data is read."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from copy import copy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import lightning as L
import torch
from safetensors.torch import load_file
from torch import Tensor

import geqlib.data  # noqa: F401  (the classes that checkpoints name)
from geqlib.atoms.potential import Potential
from geqlib.data.download import no_file
from geqlib.data.molecules.levels import settings_of_level
from geqlib.files.checkpoint import (
    build,
    data_cutoff,
    description_of,
    imported,
    load,
    model_file,
    read_stored,
)
from geqlib.graph import check_graph
from geqlib.train.run import measure, start_trainer
from geqlib.train.runs.configuration import Run
from geqlib.train.steps.precision import cast_to
from geqlib.train.steps.progress import watched
from geqlib.train.tasks.energy import EnergyForces
from geqlib.train.tasks.task import Task, with_positions


def load_predictor(path: str | Path, level: str | None = None) -> Predictor:
    """The model of a checkpoint with its task: what it predicts, in the units of its data.

    `geqlib.load` gives the network alone.

    Args:
        path: a checkpoint of `geqlib fit`, the folder of a run, or a potential of `geqlib export`.
        level: of theory, by name, of potentials that were trained on several: of all predictions
            but those of the run's own test split, whose structures have each its own.

    Raises:
        ValueError: if the file is missing or damaged, or does not say what the model was trained
            for.

    Example:
        >>> predictor = load_predictor("runs/water")  # doctest: +SKIP
        >>> predictor.predict("new.xyz")["energy"].shape  # doctest: +SKIP
        torch.Size([20])
    """
    return Predictor(path, level)


class Predictor:
    """Predictions of a trained model.

    Called with a batch of graphs, it gives the outputs of the task by name: "energy" and "forces"
    of a potential, "logits" of a classifier, "y" of a regression, the later positions "y" of an
    n-body model, "normal" of surfaces. Numbers are cast to the type of its weights.

    Args:
        path, level: see `load_predictor`.

    Attributes:
        task: with the trained model, in evaluation mode.
        path: of the file.
        bar: whether a terminal shows a progress bar, as commands do.
    """

    bar = False

    def __init__(self, path: str | Path, level: str | None = None) -> None:
        self.path, self.level = model_file(path), level
        self._stored = read_stored(self.path)
        self.task = trained_task(self.path, self._stored)
        if level is not None:
            if not isinstance(self.task.model, Potential):
                raise ValueError(
                    f"{self.path} is no potential, and has no level {level!r}: leave it out."
                )
            self.task.model.at_level(level)

    def __call__(self, batch: Any) -> dict[str, Tensor]:
        if "pos" in batch or "x" in batch:
            batch = copy(batch)  # the caller's stays as it is
            cast_to(self.task.model, batch, self.task.inputs)
            check_graph(batch if "pos" in batch else with_positions(batch))
        with torch.no_grad():
            outputs = self.task.predict_outputs(batch)
        return {name: value.detach() for name, value in outputs.items()}

    def predict(self, file: str | Path | None = None, **settings: Any) -> dict[str, Tensor]:
        """What the task predicts for all graphs of a file, whose labels are optional.

        Args:
            file: any that the training data could be; without one, the test split of the run.
            settings: of the data module that differ from those of the training, such as
                `batch_size`.

        Returns:
            Predictions by name, and labels where there are any; `batch` is the graph of each node.

        Raises:
            ValueError: if the file cannot be read, or does not fit the model.
        """
        return self.predictions(self.data(file, settings, labelled=False))

    def test(self, file: str | Path | None = None, **settings: Any) -> dict[str, float]:
        """The metrics of the task on all graphs of a file with labels; arguments as of `predict`.

        Returns:
            Metrics by name, such as "forces_rmse".
        """
        return self.metrics(self.data(file, settings))

    def predictions(self, data: L.LightningDataModule) -> dict[str, Tensor]:
        """`predict` for the test split of a data module."""
        with TemporaryDirectory() as folder:
            start_trainer("predict", self._run(data, folder))
            return load_file(Path(folder) / "predictions.safetensors")

    def metrics(self, data: L.LightningDataModule) -> dict[str, float]:
        """`test` for the test split of a data module."""
        with TemporaryDirectory() as folder:
            metrics = measure("test", self._run(data, folder), verbose=False)
        return {name.removeprefix("test/"): value for name, value in metrics.items()}

    def leave(self, command: Literal["test", "predict"], folder: str | Path) -> None:
        """Test or predict the test split of the run, and leave the results in a folder of it.

        They are the files of `geqlib.train.run.test` and `predict`, of the model as it is: a
        calibrated one, which the configuration of its run does not describe.
        """
        run = self._run(self.data(), str(folder))
        if command == "test":
            measure("test", run)
        else:
            start_trainer("predict", run)

    def data(
        self,
        file: str | Path | None = None,
        settings: Mapping[str, Any] | None = None,
        *,
        labelled: bool = True,
    ) -> L.LightningDataModule:
        """The data module that reads a file as the training data was read.

        Args:
            file: see `predict`.
            settings: arguments of the data module that differ.
            labelled: whether the file needs labels, which predictions do not.

        Raises:
            ValueError: if no data module can read such files, or a setting is none of its.
        """
        if file is not None and not isinstance(file, str | Path):
            raise ValueError(
                f"A file is named by its path, got {type(file).__name__}: write structures into a "
                "file (ase.io.write), or give them the calculator geqlib.calculators.GeqCalculator."
            )
        if file is not None and not Path(file).exists():
            raise ValueError(no_file(file))
        own = dict(settings or {})
        data: Any = self._training_data(own, one=file is not None or self.level is not None)
        if file is None:
            return data
        if takes_test_files(type(data)):  # read beside the training data, whose columns it has
            masks = not labelled and "missing" in inspect.signature(type(data)).parameters
            unlabelled = {"missing": "mask"} if masks else {}
            return self._training_data({**unlabelled, **own, "test": str(file)}, one=True)
        if not hasattr(data, "of_file"):
            raise ValueError(
                f"{type(data).__name__}, which {self.path} was trained on, reads no other files: "
                "without a file, its own test graphs are taken."
            )
        return data.of_file(file)

    def _training_data(self, settings: dict[str, Any], *, one: bool) -> L.LightningDataModule:
        """The data module of the training; of several levels, if `one`, that of the level."""
        description = description_of(self._stored.get("datamodule_hyper_parameters"))
        if one and "levels" in description.get("init_args", {}):
            arguments = settings_of_level(description["init_args"], self.level)
            description = {"class_path": "geqlib.data.MoleculeData", "init_args": arguments}
        if isinstance(self.task, EnergyForces) and not _reads_files(description):
            # any potential takes any structures
            cutoff = data_cutoff(self._stored)
            arguments = {"train": "the training data", "cutoff": cutoff}
            description = {"class_path": "geqlib.data.MoleculeData", "init_args": arguments}
        if not description:
            raise ValueError(
                f"{self.path} does not say what data it was trained on: use a checkpoint of "
                "`geqlib fit --config`."
            )
        path = description["class_path"]
        accepted = inspect.signature(imported(path, L.LightningDataModule)).parameters
        unknown = next((name for name in settings if name not in accepted), None)
        if unknown is not None:
            raise ValueError(
                f"{path} has no setting {unknown!r}: choose from {', '.join(accepted)}."
            )
        arguments = description["init_args"] | settings
        data = build({"class_path": path, "init_args": arguments}, L.LightningDataModule)
        if state := self._stored.get(type(data).__qualname__):
            data.load_state_dict(state)
        return data

    def _run(self, data: L.LightningDataModule, folder: str) -> Run:
        double = next(self.task.model.parameters()).dtype == torch.float64
        trainer = {
            "default_root_dir": folder,
            "enable_progress_bar": self.bar and watched(),
            "precision": "64-true" if double else "32-true",
        }
        return Run(self.task, data, trainer)


def trained_task(path: Path, stored: Mapping[str, Any]) -> Task:
    """The task of a checkpoint with all of its trained numbers.

    Args:
        path: of the checkpoint, or of an exported potential.
        stored: its content.

    Raises:
        ValueError: if it does not describe the task.
    """
    description, model = description_of(stored.get("hyper_parameters")), load(path)
    if not description and isinstance(model, Potential):
        return EnergyForces(model).eval()
    if not description:
        raise ValueError(
            f"{path} does not say what its model was trained for: use a checkpoint of `geqlib fit "
            "--config`; `geqlib.load` gives the network alone."
        )
    weights = stored["state_dict"]
    # in float64 only after training in it
    double = all(w.dtype == torch.float64 for w in weights.values() if w.is_floating_point())
    task = build(description, Task, model)
    task = task.double() if double else task
    task.load_state_dict(weights)
    return task.eval()


def takes_test_files(cls: type) -> bool:
    """Whether a data module without `of_file` takes files of its own as the test split.

    Example:
        >>> from geqlib.data import NBodyData, PropertyData
        >>> takes_test_files(PropertyData), takes_test_files(NBodyData)
        (True, False)
    """
    test = inspect.signature(cls).parameters.get("test")
    return not hasattr(cls, "of_file") and test is not None and "str" in str(test.annotation)


def _reads_files(description: dict[str, Any]) -> bool:
    return bool(description) and hasattr(
        imported(description["class_path"], L.LightningDataModule), "of_file"
    )
