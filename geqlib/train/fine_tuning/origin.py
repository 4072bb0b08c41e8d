"""The trained model that a run begins with, as its file describes it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from geqlib.atoms.network import AtomNetwork
from geqlib.files.checkpoint import data_cutoff, description_of, imported, model_file, read_stored
from geqlib.train.fine_tuning.tables import elements_in

POTENTIAL = "geqlib.models.Potential"
ELEMENTS = "elements"  # of what checkpoints keep of networks with tables by element
SEEN = "model.statistics.seen"
OF_TASK, OF_ATOMS = "model.", "model.model."  # where a network is in a task, and around atoms


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
    def levels(self) -> tuple[str, ...]:
        """Names of the levels of theory that it has, if it has several."""
        arguments = (self.model or {}).get("init_args") or {}
        return tuple(arguments.get("levels") or ())

    @property
    def prefix(self) -> str | None:
        """Of the names of its network's weights; None if it does not say how it is built."""
        if self.model is None:
            return None
        return OF_TASK if network_in(self.model) is self.model else OF_ATOMS

    @property
    def trained_elements(self) -> Tensor | None:
        """[119] elements that it was trained on, if it says so."""
        seen = self.weights.get(SEEN)
        return seen.any(0) if seen is not None and seen.dim() == 2 else seen

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
        tuple(stored[ELEMENTS]) if stored.get(ELEMENTS) else elements_in(model),
    )


def _uncalibrated(model: dict[str, Any]) -> dict[str, Any]:
    if not str(model.get("class_path")).endswith(".CalibratedPotential"):
        return model
    arguments = dict(model.get("init_args") or {})
    for name in ("last", "features", "members"):
        arguments.pop(name, None)
    return {"class_path": POTENTIAL, "init_args": arguments}


def network_in(description: Mapping[str, Any]) -> Mapping[str, Any]:
    """The network on atoms that a model of geqlib is built around, or the model itself."""
    inner: Any = (description.get("init_args") or {}).get("model")
    try:
        wraps = issubclass(imported(str(description["class_path"]), object), AtomNetwork)
    except ValueError:  # a class of the user's own, which is not imported for a comparison
        return description
    return inner if wraps and is_described(inner) else description


def is_described(value: Any) -> bool:
    """Whether a value is a class path with arguments."""
    return isinstance(value, Mapping) and "class_path" in value
