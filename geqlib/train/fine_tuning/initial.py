"""Fine-tuning: a new run whose weights begin where another model's ended."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from torch import Tensor, nn

from geqlib.elements import atomic_numbers, chemical_symbols
from geqlib.files.atomic import replace_file
from geqlib.files.checkpoint import (
    data_cutoff,
    description_of,
    imported,
    model_file,
    read_stored,
)

FILE = "init.json"  # in the folder of a run
POTENTIAL = "geqlib.models.Potential"
# tasks put these around a network, with arguments that the task has, too
WRAPPERS = {POTENTIAL: ("zbl",), "geqlib.atoms.properties.AtomProperties": ()}
# arguments of networks that may differ: tables grow, and dropout has no weights
FREE = ("elements", "dropout")
# of data: what the numbers are that a regression has standardised
TARGETS = ("target", "targets", "properties", "unit", "property")
ELEMENTS = "elements"  # of what checkpoints keep of such networks
EMBEDDING, SEEN = "model.embedding.weight", "model.statistics.seen"


@dataclass(frozen=True)
class Origin:
    """The trained model that a run begins with.

    Args:
        path: of its file.
        sha256: of that file.
        weights: state of its task by name, "model.*" and what else the task has.
        model: how the model is built, `{"class_path": ..., "init_args": {...}}`; None if unknown.
        task: the same of the task without its model; empty if unknown.
        data: arguments of its data module.
        cutoff: of its data, in angstrom; None without one.
        elements: atomic numbers of its tables by element, in their order, if it has any.

    Example:
        >>> Origin(Path("a.ckpt"), "12ab", {}, None, {}, {}, 5.0).record
        {'path': 'a.ckpt', 'sha256': '12ab'}
    """

    path: Path
    sha256: str
    weights: Mapping[str, Tensor]
    model: dict[str, Any] | None
    task: dict[str, Any]
    data: Mapping[str, Any]
    cutoff: float | None
    elements: tuple[int, ...] | None = None

    @property
    def record(self) -> dict[str, str]:
        """What runs and checkpoints remember of it."""
        return {"path": str(self.path), "sha256": self.sha256}


def read_origin(path: str | Path) -> Origin:
    """Read the model that a run begins with: a checkpoint, a run's folder or an exported model.

    A calibrated potential begins as a potential: training makes its covariance obsolete.

    Raises:
        ValueError: if the file is missing, damaged or would run code.
    """
    file = model_file(path)
    stored = read_stored(file)
    arguments = stored.get("hyper_parameters")
    model = arguments.get("model") if isinstance(arguments, dict) else None
    data = stored.get("datamodule_hyper_parameters")
    return Origin(
        file,
        hashlib.sha256(file.read_bytes()).hexdigest(),
        {
            str(name): value
            for name, value in stored["state_dict"].items()
            if isinstance(value, Tensor) and not str(name).startswith("model.covariance.")
        },
        _uncalibrated(model) if isinstance(model, dict) else None,
        description_of(arguments),
        data if isinstance(data, dict) else {},
        data_cutoff(stored),
        tuple(stored[ELEMENTS]) if stored.get(ELEMENTS) else _elements_in(model),
    )


def _uncalibrated(model: dict[str, Any]) -> dict[str, Any]:
    if not str(model.get("class_path")).endswith(".CalibratedPotential"):
        return model
    arguments = dict(model.get("init_args") or {})
    for name in ("last", "features"):
        arguments.pop(name, None)
    return {"class_path": POTENTIAL, "init_args": arguments}


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
    if path not in WRAPPERS or arguments.get("charge") or arguments.get("long_range"):
        return origin.model, {}
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
        _check_same(origin, origin.model, new)
    own = getattr(data, "cutoff", None)
    if origin.cutoff and own and not math.isclose(origin.cutoff, own):
        raise ValueError(
            f"The cutoff of the data was {origin.cutoff} for {origin.path}, and is {own} in this "
            "run: make them equal, as the network knows no other neighbours."
        )
    _check_elements(task, data)


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
        if _is_described(before) and _is_described(now):
            _check_same(origin, before, now)
            continue
        raise ValueError(
            f"{names[0]} of {origin.path} has {key} {before!r}, and that of this run {now!r}: set "
            f"{key} to {before!r}, or leave the model out of the configuration, which then is that "
            "of the checkpoint."
        )


def _is_described(value: Any) -> bool:
    return isinstance(value, Mapping) and "class_path" in value


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


# --- what is taken over ---------------------------------------------------------------------------


def take_over(task: nn.Module, origin: Origin) -> None:
    """Copy all weights, statistics and normalisation of a trained model into a new task, in place.

    Tables by element keep the rows of elements that the trained model knows; rows of new elements
    stay as they are in the new task.

    Args:
        task: whose weights are new.
        origin: what it begins with.

    Raises:
        ValueError: if a tensor is missing, or has another shape.
    """
    new, old = task.state_dict(), origin.weights
    tables = _tables(task, origin)
    for name, value in new.items():
        if name not in old:
            if name.startswith("model.") and not name.startswith("model.charges."):
                raise ValueError(_misfit(origin, task, f"{name} is missing in the checkpoint"))
            continue
        if name == EMBEDDING and value.shape == old[name].shape:
            _copy_known_rows(value, old[name], old.get(SEEN))
        elif name in tables and tables[name].fits(value, old[name]):
            tables[name].copy(value, old[name])
        elif value.shape == old[name].shape:
            value.copy_(old[name])
        else:
            sizes = f"{tuple(old[name].shape)} in the checkpoint and {tuple(value.shape)} here"
            raise ValueError(_misfit(origin, task, f"{name} is {sizes}"))
    left = [name for name in old if name.startswith("model.") and name not in new]
    if left:
        raise ValueError(_misfit(origin, task, f"this run has no {left[0]}"))


def _misfit(origin: Origin, task: nn.Module, what: str) -> str:
    return (
        f"The weights of {origin.path} do not fit {type(task).__name__}: {what}. Build the network "
        "as the checkpoint's was, or leave it out of the configuration."
    )


def _copy_known_rows(new: Tensor, old: Tensor, seen: Tensor | None) -> None:
    """Rows [119, F] of the elements that were trained; the others were never more than random."""
    if seen is None or not bool(seen.any()):
        new.copy_(old)
    else:
        new[seen] = old[seen].to(new)


@dataclass(frozen=True)
class ElementTable:
    """A parameter with a block of equal size for each element of a network along one axis.

    Args:
        axis: of the parameter.
        new, old: atomic numbers in the order of the blocks.

    Example:
        >>> new = torch.zeros(3, 2)
        >>> ElementTable(0, (1, 6, 8), (8, 1)).copy(new, torch.tensor([[8.0, 8.0], [1.0, 1.0]]))
        >>> new
        tensor([[1., 1.],
                [0., 0.],
                [8., 8.]])
    """

    axis: int
    new: tuple[int, ...]
    old: tuple[int, ...]

    def fits(self, new: Tensor, old: Tensor) -> bool:
        """Whether the shapes differ by the numbers of elements alone."""
        sizes = [list(new.shape), list(old.shape)]
        lengths = [size.pop(self.axis) for size in sizes]
        counts = len(self.new), len(self.old)
        blocks = [divmod(n, count) for n, count in zip(lengths, counts, strict=True)]
        return sizes[0] == sizes[1] and blocks[0] == blocks[1] and not blocks[0][1]

    def copy(self, new: Tensor, old: Tensor) -> None:
        """Copy the blocks of elements that both have."""
        shared = [z for z in self.old if z in self.new]
        to = torch.tensor([self.new.index(z) for z in shared], device=new.device)
        source = torch.tensor([self.old.index(z) for z in shared], device=old.device)
        values = old.unflatten(self.axis, (len(self.old), -1)).index_select(self.axis, source)
        view = new.unflatten(self.axis, (len(self.new), -1))
        view.index_copy_(self.axis, to, values.to(new))


def _tables(task: nn.Module, origin: Origin) -> dict[str, ElementTable]:
    """Tables by element of a network that has them, by the names of their parameters."""
    tables = {}
    for prefix, network in task.named_modules():
        if not hasattr(network, "element_axes"):
            continue
        part: Any = network
        new = tuple(int(z) for z in part.elements)
        old = origin.elements or new
        tables |= {
            f"{prefix}.{name}": ElementTable(axis, new, old)
            for name, axis in part.element_axes.items()
        }
    return tables


def _elements_in(description: Any) -> tuple[int, ...] | None:
    """The `elements` of the first network of a description that has some."""
    if not isinstance(description, Mapping):
        return None
    arguments = description.get("init_args") or {}
    elements = arguments.get("elements")
    if isinstance(elements, Sequence) and not isinstance(elements, str):
        return tuple(atomic_numbers.get(e, -1) if isinstance(e, str) else int(e) for e in elements)
    nested = (_elements_in(part) for part in arguments.values())
    return next((part for part in nested if part), None)


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

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        # after the data is read and before averaged weights are copied; a resumed run has its own
        if stage != "fit" or self.resumed:
            return
        task: Any = pl_module
        data: Any = getattr(trainer, "datamodule", None)
        origin = read_origin(self.path)
        check_origin(origin, task, data)
        with torch.no_grad():
            take_over(task, origin)
        task.begun_from = origin.record
        # another target is another quantity, whose mean and spread are its own
        old, new = origin.data, getattr(data, "hparams", {})
        shared = [key for key in TARGETS if key in old and key in new]
        task.keeps_normalisation = all(old[key] == new[key] for key in shared)
        task.adapt()

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.resumed:
            self._check_resumed(getattr(pl_module, "begun_from", None))

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.resumed:
            return
        task: Any = pl_module
        old = task.measure_old() if hasattr(task, "measure_old") else {}
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
