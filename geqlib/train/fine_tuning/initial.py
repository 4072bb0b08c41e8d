"""Fine-tuning: a new run whose weights begin where another model's ended."""

from __future__ import annotations

import inspect
import json
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from torch import Tensor

from geqlib.elements import chemical_symbols
from geqlib.files.atomic import replace_file
from geqlib.files.checkpoint import imported
from geqlib.train.fine_tuning.old_errors import changed_since, old_errors
from geqlib.train.fine_tuning.origin import (
    POTENTIAL,
    Origin,
    is_described,
    network_in,
    read_origin,
)
from geqlib.train.fine_tuning.weights import take_over

FILE = "init.json"  # in the folder of a run
# tasks put these around a network, with arguments that the task has, too
WRAPPERS = {POTENTIAL: ("zbl",), "geqlib.atoms.properties.AtomProperties": ()}
# arguments of networks that may differ: tables grow, and dropout has no weights
FREE = ("elements", "dropout", "levels", "level")
# arguments that say what a network gives, besides those whose names begin with "out": layers that
# have other shapes by them begin anew
OUTPUTS = ("irreps_out", "num_classes", "classes", "properties", "intensive")
# of data: what the numbers are that a regression has standardised
TARGETS = ("target", "targets", "properties", "unit", "property")


# --- the model of a checkpoint as a configuration -------------------------------------------------


def task_of(origin: Origin) -> dict[str, Any]:
    """The task of a checkpoint with its network, as a configuration names it.

    Raises:
        ValueError: if the file does not say it, or names a class that is not trusted.
    """
    if not origin.task:
        raise ValueError(
            f"{origin.path} does not say what task its model was trained for: name one (--model "
            "EnergyForces), which takes the network of the file."
        )
    network, arguments = network_of(origin)
    return {
        "class_path": origin.task["class_path"],
        "init_args": {**origin.task["init_args"], **arguments, "model": network},
    }


def network_of(origin: Origin) -> tuple[dict[str, Any], dict[str, Any]]:
    """How the network of a checkpoint is built, and arguments that its task passes on.

    Raises:
        ValueError: as of `task_of`.
    """
    if origin.model is None:
        raise ValueError(
            f"{origin.path} does not say how its network is built: name it in the configuration "
            "(model.init_args.model)."
        )
    _check_trusted(origin.model)
    path, arguments = origin.model["class_path"], dict(origin.model.get("init_args") or {})
    for name in ("levels", "level"):  # which are those of the data
        arguments.pop(name, None)
    if path not in WRAPPERS or arguments.get("charge") or arguments.get("long_range"):
        return {**origin.model, "init_args": arguments}, {}
    return arguments["model"], {k: arguments[k] for k in WRAPPERS[path] if k in arguments}


def _check_trusted(description: Any) -> None:
    """Refuse classes that a checkpoint may not name: configurations may name any."""
    if isinstance(description, list | tuple):
        for part in description:
            _check_trusted(part)
    if not isinstance(description, dict):
        return
    if "class_path" in description:
        imported(str(description["class_path"]), object)
    for part in description.values():
        _check_trusted(part)


# --- what does not fit ----------------------------------------------------------------------------


def check_origin(origin: Origin, task: Any, data: Any) -> None:
    """Refuse a model that is not the one which is trained, before any of it is taken over.

    Args:
        origin: what the run begins with.
        task: of the run, whose model and data agree with each other.
        data: its data module.

    Raises:
        ValueError: with what differs, and both values.
    """
    new = task.hparams.get("model") if hasattr(task, "hparams") else None
    if origin.model is not None and isinstance(new, dict):
        _check_same(origin, *_comparable(origin.model, new))
    if origin.levels and getattr(task.model, "levels", None) is None:
        raise ValueError(
            f"{origin.path} knows the levels {', '.join(origin.levels)}, and the data of this run "
            "has none: read it by LevelsData, as one of them or under a new name."
        )
    own = getattr(data, "cutoff", None)
    if origin.cutoff and own and not math.isclose(origin.cutoff, own):
        raise ValueError(
            f"The cutoff of the data was {origin.cutoff} for {origin.path}, and is {own} in this "
            "run: make them equal, as the network knows no other neighbours."
        )
    _check_elements(task, data)


def _comparable(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Any, Any]:
    """Two models, or if tasks of different kinds put something around them, their networks."""
    if _class_name(old) == _class_name(new):
        return old, new
    return network_in(old), network_in(new)


def _check_same(origin: Origin, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    names = [_class_name(part) for part in (old, new)]
    if names[0] != names[1]:
        raise ValueError(
            f"The model of {origin.path} is {names[0]}, and that of this run {names[1]}: train the "
            "same architecture, or leave the model out of the configuration, which then is that of "
            "the checkpoint."
        )
    arguments = [_with_defaults(part) for part in (old, new)]
    for key in dict.fromkeys([*arguments[0], *arguments[1]]):
        before, now = (cast("Any", part.get(key)) for part in arguments)
        if key in FREE or before == now or (key == "charge" and not before):
            continue
        if key in OUTPUTS or key.startswith("out"):
            continue
        if is_described(before) and is_described(now):
            _check_same(origin, before, now)
            continue
        raise ValueError(
            f"{names[0]} of {origin.path} has {key} {before!r}, and that of this run {now!r}: set "
            f"{key} to {before!r}, or leave the model out of the configuration, which then is that "
            "of the checkpoint."
        )


def _class_name(description: Mapping[str, Any]) -> str:
    return str(description.get("class_path")).rpartition(".")[2]


def _with_defaults(description: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of a class; those of today's defaults where they are not given."""
    named = dict(description.get("init_args") or {})
    try:
        parameters = inspect.signature(imported(str(description["class_path"]), object)).parameters
    except ValueError:  # a class of the user's own, which is not imported for a comparison
        return named
    defaults = {k: p.default for k, p in parameters.items() if p.default is not p.empty}
    return {k: _listed(v) for k, v in (defaults | named).items()}


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _check_elements(task: Any, data: Any) -> None:
    """Refuse elements that the network has no weights for, before the first batch does."""
    tables = [part for part in task.modules() if hasattr(part, "element_axes")]
    for network in tables:
        own = {int(z) for z in network.elements}
        for split, structures in getattr(data, "splits", {}).items():
            z = getattr(structures, "arrays", {}).get("z")
            other = set() if z is None else {int(k) for k in z.unique()} - own
            if other:
                listed = ", ".join(chemical_symbols[k] for k in sorted(own | other))
                raise ValueError(
                    f"The {split} split has {chemical_symbols[min(other)]}, which is none of the "
                    f"elements of {type(network).__name__}: set its `elements` to [{listed}]; "
                    "those of the checkpoint keep their weights, others begin with new ones."
                )


# --- in a run -------------------------------------------------------------------------------------


class BeginFrom(L.Callback):
    """Loads a trained model into a new run, and has the run's folder and checkpoints say which.

    A run that resumes has its weights from its own checkpoint: the file is not read again, and may
    be gone.

    Args:
        path: of the model, see `read_origin`.
        folder: of the run.
        resumed: whether the run goes on.
    """

    def __init__(self, path: str | Path, folder: Path, *, resumed: bool) -> None:
        self.path, self.folder, self.resumed = path, folder, resumed
        self.adapted: dict[str, Tensor] = {}  # what the model had before it met the new data

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        # after the data is read and before averaged weights are copied; a resumed run has its own
        if stage != "fit" or self.resumed:
            return
        task: Any = pl_module
        data: Any = getattr(trainer, "datamodule", None)
        origin = read_origin(self.path)
        check_origin(origin, task, data)
        with torch.no_grad():
            taken = take_over(task, origin)
        if taken.sentence:
            warnings.warn(taken.sentence, stacklevel=2)
        task.begun_from = origin.record
        # another target is another quantity, whose mean and spread are its own
        old, new = origin.data, getattr(data, "hparams", {})
        shared = [key for key in TARGETS if key in old and key in new]
        same = all(old[key] == new[key] for key in shared)
        task.keeps_normalisation = same and taken.statistics
        if taken.statistics:
            first = {name: value.clone() for name, value in task.state_dict().items()}
            task.adapt(origin.trained_elements)
            self.adapted = changed_since(first, task)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.resumed:
            self._check_resumed(getattr(pl_module, "begun_from", None))

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.resumed:
            return
        task: Any = pl_module
        old = old_errors(task, self.adapted)
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            record = task.begun_from | ({"old": old} if old else {})
            text = json.dumps(record, indent=1) + "\n"
            replace_file(self.folder / FILE, lambda part: part.write_text(text))

    def _check_resumed(self, record: Mapping[str, str] | None) -> None:
        before = None if record is None else record["path"]
        # a folder stands for the best of its checkpoints
        if before is None or not Path(before).is_relative_to(self.path):
            raise ValueError(
                f"This run began with {before or 'new weights'}, and init is {self.path}, which "
                "cannot change within a run: resume it with its own config.yaml, or start a new "
                "run."
            )
