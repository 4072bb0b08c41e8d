"""Predictions as files for other programs: extended XYZ of structures, tables of all else."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from geqlib.files.atomic import replace_file
from geqlib.train.runs.record import write_structures
from geqlib.train.tasks.energy import EnergyForces
from geqlib.train.tasks.nodes import NodeClassificationTask
from geqlib.train.tasks.properties import PropertyTask
from geqlib.train.tasks.task import Task

STRUCTURES = (".xyz", ".extxyz")
Table = tuple[list[str], Iterator[Sequence[Any]]]


def predictions_path(task: Task, source: Path) -> Path:
    """Where predictions go that are given no file: beside the user, named after their source."""
    ending = ".xyz" if isinstance(task, EnergyForces) else ".csv"
    return Path(f"{source.name.partition('.')[0]}_predictions{ending}")


def write_predictions(path: Path, task: Task, data: Any, predictions: Mapping[str, Tensor]) -> int:
    """Write predictions in the format that the ending of a file says.

    Args:
        path: .xyz and .extxyz for energies and forces, .csv for a table, .safetensors for all
            tensors.
        task: that predicted.
        data: what was predicted.
        predictions: by name.

    Returns:
        The number of graphs.

    Raises:
        ValueError: an ending that these predictions cannot have.
    """
    graphs = count_graphs(predictions)
    ending = path.suffix.lower()
    if ending == ".safetensors":
        replace_file(path, lambda part: save_file(dict(predictions), part))
    elif ending in STRUCTURES:
        if not write_structures(path, data, predictions):
            raise ValueError(
                f"{path}: these predictions are no energies of structures: name a .csv file."
            )
    elif ending == ".csv":
        header, rows = table(task, data, predictions)
        replace_file(path, lambda part: _write(part, header, rows))
    else:
        raise ValueError(
            f"{path} should end in .csv, .safetensors, or .xyz for structures with energies."
        )
    return graphs


def count_graphs(predictions: Mapping[str, Tensor]) -> int:
    """The number of graphs that were predicted."""
    if "batch" in predictions:
        batch = predictions["batch"]
        named = len(predictions["index"]) if "index" in predictions else 0
        return max(named, int(batch.max()) + 1 if len(batch) else 0)
    return max((len(value) for value in predictions.values()), default=0)


def table(task: Task, data: Any, predictions: Mapping[str, Tensor]) -> Table:
    """Header and rows: one per graph, or one per node where nodes are predicted.

    Raises:
        ValueError: predictions of another shape.
    """
    names = list(getattr(data, "names", ()))
    if "logits" in predictions and "y" not in predictions and hasattr(task, "accuracy"):
        return _classes(predictions, counted_in(task), names, getattr(data, "classes", None))
    if "energy" in predictions:
        columns = {
            k: predictions[k]
            for k in ("index", "energy", "energy_std", "energy_true")
            if k in predictions
        }
        return _columns(columns, "graph", names)
    if "marginal" in predictions:
        columns = {
            k: predictions[k] for k in ("batch", "marginal", "chosen", "true") if k in predictions
        }
        return _columns(columns | {"chosen": predictions["chosen"].long()}, "node", [])
    if isinstance(task, PropertyTask):
        types = task.model.types
        whole = [k for k in types if k in predictions and types[k].level == "graph"]
        if whole:
            order = ("index", *(k for name in whole for k in (name, f"{name}_true")))
            return _columns({k: predictions[k] for k in order if k in predictions}, "graph", names)
    if "predicted" not in predictions:
        raise ValueError(
            f"{type(task).__name__} predicts {', '.join(predictions)}, for which there is no "
            "table: name a .safetensors file."
        )
    order = ("batch", "pos", "predicted", "true")
    columns = {name: predictions[name] for name in order if name in predictions}
    targets = [str(target) for target in getattr(data, "targets", ())]
    return _columns(columns, "node" if "batch" in columns else "graph", names, targets)


def counted_in(task: Task) -> str:
    """What a row of classes is one of: "node" or "graph"."""
    return "node" if isinstance(task, NodeClassificationTask) else "graph"


def _classes(
    predictions: Mapping[str, Tensor],
    counted: str,
    names: Sequence[str],
    classes: Sequence[Any] | None,
) -> Table:
    """The likeliest class of each graph or node, and the probabilities of all; an unknown true
    class is empty."""
    probabilities = predictions["logits"].double().softmax(1)
    count = probabilities.size(1)
    labels = list(classes) if classes and len(classes) == count else list(range(count))
    true = predictions["true"].tolist() if "true" in predictions else None
    header = [counted, "class", *(f"p({label})" for label in labels)]
    header += ["true"] if true is not None else []

    def rows() -> Iterator[Sequence[Any]]:
        likeliest = probabilities.argmax(1).tolist()
        for k, row in enumerate(probabilities.tolist()):
            # unknown classes are negative
            last = [labels[true[k]] if true[k] >= 0 else ""] if true is not None else []
            name = names[k] if names else k
            yield [name, labels[likeliest[k]], *(f"{p:.6g}" for p in row), *last]

    return header, rows()


def _columns(
    columns: Mapping[str, Tensor],
    counted: str,
    names: Sequence[str],
    targets: Sequence[str] = (),
) -> Table:
    """Tensors side by side, of which wide ones have a column for each number or target."""
    flat = {name: value.reshape(len(value), -1) for name, value in columns.items()}
    header = [counted]
    for name, value in flat.items():
        name = "graph" if name == "batch" else name
        width = value.size(1)
        named = name in ("predicted", "true") and len(targets) == width
        parts = targets if named else range(width)
        header += [f"{name}_{part}" for part in parts] if width > 1 else [name]

    def rows() -> Iterator[Sequence[Any]]:
        for k in range(len(next(iter(flat.values())))):
            numbers = (x for value in flat.values() for x in value[k].tolist())
            first = names[k] if names and counted == "graph" else k
            yield [first, *(x if isinstance(x, int) else f"{x:.8g}" for x in numbers)]

    return header, rows()


def _write(path: Path, header: Sequence[str], rows: Iterator[Sequence[Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
